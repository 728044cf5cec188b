//! Where files are judged: on threads that may block, of which only so many do at a time (RST-14).
use std::{sync::Arc, thread, time::Duration};

use tokio::sync::Semaphore;

use crate::problem::Problem;

/// How many uploads may wait for their turn.
const QUEUE: usize = 64;
/// How many are judged at a time at most. Each may take the memory of an image twice: decoded, and encoded anew.
const MAX_AT_A_TIME: usize = 4;

/// A bounded number of jobs at a time, and a bounded queue before them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Workshop {
    working: Arc<Semaphore>,
    inside: Arc<Semaphore>,
}

impl Workshop {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(cores.min(MAX_AT_A_TIME), QUEUE)
    }

    fn of(at_a_time: usize, queue: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { working: semaphore(at_a_time), inside: semaphore(at_a_time + queue) }
    }

    /// Does `job` when it is its turn.
    ///
    /// # Errors
    /// 503 if too many wait, and 500 if the job panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let full = || Problem::unavailable().with_retry_after(Duration::from_secs(1));
        let inside = Arc::clone(&self.inside).try_acquire_owned().map_err(|_| full())?;
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| full())?;
        let done = tokio::task::spawn_blocking(move || {
            // Until the job is over, whether or not somebody still waits for it: it is what takes the memory.
            let _place = (inside, working);
            job()
        });
        done.await.map_err(|error| Problem::internal().because(error))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn who_finds_the_queue_full_is_told_to_come_again_and_a_job_that_panics_harms_nobody() {
        let workshop = Workshop::of(1, 1);
        let (go, wait) = mpsc::channel::<()>();
        let working = tokio::spawn({
            let workshop = workshop.clone();
            async move { workshop.run(move || wait.recv()).await }
        });
        while workshop.working.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let waiting = tokio::spawn({
            let workshop = workshop.clone();
            async move { workshop.run(|| 7).await }
        });
        while workshop.inside.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = workshop.run(|| 8).await.unwrap_err();
        assert_eq!(refused.status(), 503);
        go.send(()).unwrap();
        assert!(working.await.unwrap().is_ok());
        assert_eq!(waiting.await.unwrap().unwrap(), 7);

        let panicked = workshop.run(|| panic!("a picture that nobody has thought of")).await;
        let panicked: Result<(), _> = panicked;
        assert_eq!(panicked.unwrap_err().status(), 500);
        assert_eq!(workshop.run(|| 9).await.unwrap(), 9);
    }
}
