//! Where files are judged: on threads that may block, of which only so many do at a time (RST-14).
use std::{sync::Arc, thread, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::problem::Problem;

/// How many uploads may wait for their turn, or have had it and are not stored yet.
const QUEUE: usize = 64;
/// How many are judged at a time at most. Each may take the memory of an image twice: decoded, and encoded anew.
const MAX_AT_A_TIME: usize = 4;

/// A bounded number of jobs at a time, and a bounded queue before them. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Workshop {
    working: Arc<Semaphore>,
    inside: Arc<Semaphore>,
}

/// The place of an upload in the workshop, until the last of its clones is dropped.
#[derive(Clone, Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "to be dropped")] Arc<OwnedSemaphorePermit>);

impl Workshop {
    pub(super) fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::of(cores.min(MAX_AT_A_TIME), QUEUE)
    }

    fn of(at_a_time: usize, queue: usize) -> Self {
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self { working: semaphore(at_a_time), inside: semaphore(at_a_time + queue) }
    }

    /// Does `job` when it is its turn. What it made takes memory for as long as the place is kept that comes with it.
    ///
    /// # Errors
    /// 503 if too many wait, and 500 if the job panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, Place), Problem> {
        let full = || Problem::unavailable().with_retry_after(Duration::from_secs(1));
        let inside = Arc::new(Arc::clone(&self.inside).try_acquire_owned().map_err(|_| full())?);
        let place = Place(Arc::clone(&inside));
        let working = Arc::clone(&self.working).acquire_owned().await.map_err(|_| full())?;
        let done = tokio::task::spawn_blocking(move || {
            // Until the job is over, whether or not somebody still waits for it: it is what takes the memory.
            let _place = (inside, working);
            job()
        });
        let done = done.await.map_err(|error| Problem::internal().because(error))?;
        Ok((done, place))
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
        let working = working.await.unwrap().unwrap();
        let (seven, place) = waiting.await.unwrap().unwrap();
        assert_eq!(seven, 7);
        // What was made is not stored yet.
        assert_eq!(workshop.run(|| 8).await.unwrap_err().status(), 503);
        drop((working, place));

        let panicked = workshop.run(|| panic!("a picture that nobody has thought of")).await;
        let panicked: Result<((), _), _> = panicked;
        assert_eq!(panicked.unwrap_err().status(), 500);
        assert_eq!(workshop.run(|| 9).await.unwrap().0, 9);
    }
}
