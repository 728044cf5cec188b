//! Long reads, on threads of their own: what may read many rows must not hold up what does not.
use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use bailiwick_core::error::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{
    connection::{Purpose, connect},
    readers::closed,
};

/// A bounded number of threads that read, and a bounded queue before them.
#[derive(Debug)]
pub(super) struct Scans {
    queue: Arc<Queue>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    /// Set when nobody waits for the answer any more.
    abandoned: Arc<AtomicBool>,
    work: Box<Work>,
}

/// Reads on a connection, or hears why there is none.
type Work = dyn FnOnce(Result<&Connection, StoreError>) + Send;

/// Every how many steps of SQLite's machine a scan looks whether anyone still waits for it: a fraction of a
/// millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

impl Scans {
    /// Starts the threads; each opens its connection when it has something to read.
    pub(super) fn start(
        path: &Path,
        threads: usize,
        limit: usize,
        busy_timeout: Duration,
    ) -> std::io::Result<Self> {
        let queue = Arc::new(Queue { waiting: Mutex::default(), changed: Condvar::new(), limit });
        let scans = Self { queue, threads: Mutex::default() };
        for number in 0..threads.max(1) {
            let (queue, path) = (Arc::clone(&scans.queue), path.to_owned());
            let thread = thread::Builder::new()
                .name(format!("sqlite-scan-{number}"))
                .spawn(move || Scanner { path, busy_timeout, connection: None }.run(&queue))?;
            scans.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
        Ok(scans)
    }

    /// Reads on one of the threads.
    ///
    /// # Cancel safety
    /// If the future is dropped, a read that has not begun does not, and one that has is interrupted.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] at once if too many wait already.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiting = WhileWaiting(Arc::default());
        self.queue.push(Job {
            abandoned: Arc::clone(&waiting.0),
            work: Box::new(move |connection| {
                // Whoever asked may be gone.
                let _ = answer.send(connection.and_then(work));
            }),
        })?;
        let answer = answered.await;
        // Only a panic drops the sender: a thread that ends runs its queue empty before.
        answer.unwrap_or_else(|_| Err(StoreError::Refused("a read panicked".into())))
    }

    /// How many wait for a thread.
    pub(super) fn waiting(&self) -> usize {
        self.queue.lock().jobs.len()
    }

    /// Runs what waits, and ends the threads.
    pub(super) fn close(&self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It has caught all panics of its jobs; what is left of its own is reported by the runtime.
            let _ = thread.join();
        }
    }
}

/// Says so when nobody waits any more.
struct WhileWaiting(Arc<AtomicBool>);

impl Drop for WhileWaiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, job: Job) -> Result<(), StoreError> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(closed());
        }
        if waiting.jobs.len() >= self.limit {
            // Whoever went away does not count.
            waiting.jobs.retain(|job| !job.abandoned.load(Ordering::Relaxed));
            if waiting.jobs.len() >= self.limit {
                return Err(StoreError::Unavailable("too many long reads wait already".into()));
            }
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job; none after the end.
    fn pop(&self) -> Option<Job> {
        let mut waiting = self.lock();
        loop {
            match waiting.jobs.pop_front() {
                Some(job) if job.abandoned.load(Ordering::Relaxed) => {}
                Some(job) => return Some(job),
                None if waiting.closed => return None,
                None => waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Queue").field("limit", &self.limit).finish_non_exhaustive()
    }
}

struct Scanner {
    path: PathBuf,
    busy_timeout: Duration,
    connection: Option<Connection>,
}

impl Scanner {
    fn run(mut self, queue: &Queue) {
        while let Some(Job { abandoned, work }) = queue.pop() {
            let connection = match self.connection() {
                Ok(connection) => connection,
                Err(error) => {
                    work(Err(error));
                    continue;
                }
            };
            let watch = connection
                .progress_handler(STEPS_BETWEEN_LOOKS, Some(move || abandoned.load(Ordering::Relaxed)));
            debug_assert!(watch.is_ok(), "the connection is our own");
            // What panics takes its connection with it, and nothing else.
            let done = catch_unwind(AssertUnwindSafe(|| work(Ok(connection))));
            let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
            if done.is_err() || !clean {
                self.connection = None;
            }
        }
    }

    fn connection(&mut self) -> Result<&Connection, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.path, Purpose::Read, self.busy_timeout)
                .map_err(|error| StoreError::Unavailable(error.into()))?,
        };
        Ok(self.connection.insert(connection))
    }
}
