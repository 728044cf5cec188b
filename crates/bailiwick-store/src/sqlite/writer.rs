//! The one writer: it takes transactions from a queue and commits them in groups.
//!
//! A commit waits for the disk, so that what was answered is there after a crash. While it waits, others queue up; the
//! next commit takes them all. Nobody waits for a group to fill: with one caller, each transaction is a group.
//!
//! Within its group a transaction of several statements is a savepoint: if it fails, nothing of it stays, and the others
//! do not notice. One that writes with a single statement needs none, since a statement that fails leaves nothing by
//! itself; a savepoint would copy every page that it touches. If the commit fails, all of the group failed. Answers are
//! sent when the commit has returned, never before.
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use bailiwick_core::{
    clock::{Clock, SystemClock},
    error::StoreError,
    meter::{Distribution, Reading, WAIT_BOUNDS},
};
use rusqlite::{Connection, hooks::Wal};
use tokio::sync::{mpsc, oneshot};

use super::{error::GroupFailed, readers::closed};

/// How many transactions one commit takes at most: with more, the first would wait long for their answers.
const MAX_GROUP: usize = 128;
/// After how many pages in the log they are copied into the database file: 4 MiB, as SQLite does by itself. We do it
/// between two groups instead of within a commit, where somebody waits for it.
const CHECKPOINT_PAGES: u32 = 1000;
/// From how many pages on the log is cut even if readers must be waited for: 32 MiB. Below, a reader that takes long only
/// makes the log longer; above, it would grow for as long as there always is one. Tests would take long to get there.
const RESTART_PAGES: u32 = if cfg!(test) { 2 * CHECKPOINT_PAGES } else { 8 * 1024 };
/// How long to wait for such readers. Meanwhile nobody can write.
const RESTART_WAIT: Duration = Duration::from_millis(50);

/// Bounds for the sizes of groups.
const GROUP_BOUNDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0];

/// A hand on the writer.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    measured: Arc<Measured>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the writer measures.
#[derive(Debug)]
struct Measured {
    /// The time of the machine, whatever clock the application has.
    clock: SystemClock,
    /// From being asked for to its turn, of each transaction.
    waits: Distribution,
    /// Transactions of a commit.
    groups: Distribution,
}

impl Measured {
    fn new() -> Self {
        Self {
            clock: SystemClock::new(),
            waits: Distribution::new(WAIT_BOUNDS),
            groups: Distribution::new(GROUP_BOUNDS),
        }
    }
}

enum Message {
    Run(Box<dyn Job>),
    /// Run what is queued, and end.
    End,
}

impl Writer {
    /// Starts the writer with its connection, the only one that writes.
    pub(super) fn start(
        connection: Connection,
        queue_limit: usize,
        busy_timeout: Duration,
    ) -> std::io::Result<Self> {
        let (queue, queued) = mpsc::channel(queue_limit.max(1));
        let measured = Arc::new(Measured::new());
        let of_thread = Arc::clone(&measured);
        let thread = thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            connection.wal_hook(Some(remember_pages));
            let next_checkpoint = CHECKPOINT_PAGES;
            Loop { connection, queue: queued, busy_timeout, next_checkpoint, measured: of_thread }.run();
        })?;
        Ok(Self { queue, measured, thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` in a transaction. When this answers, what `work` did is on disk, or, if it answered with an error,
    /// undone.
    ///
    /// # Cancel safety
    /// If the future is dropped before `work` has begun, it does not happen; after, it happens whole.
    pub(super) async fn run<T, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.run_undone_by(Undo::Savepoint, work).await
    }

    /// The same, and what `then` makes of it once it is on disk: here, so that it is done also for those who have left
    /// meanwhile. All who write wait for it.
    pub(super) async fn run_and_then<T, U, E>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, E>
    where
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.send(Undo::Savepoint, work, then).await
    }

    /// The same for work that says by itself what undoes it.
    pub(super) async fn run_undone_by<T, E>(
        &self,
        undo: Undo,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.send(undo, work, std::convert::identity).await
    }

    async fn send<T, U, E>(
        &self,
        undo: Undo,
        work: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
        then: impl FnOnce(T) -> U + Send + 'static,
    ) -> Result<U, E>
    where
        T: Send + 'static,
        U: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let asked = self.measured.clock.monotonic();
        let job = Transaction { undo, asked, work: Some(work), outcome: None, then, answer };
        // A full queue is waited for: whoever writes has a time limit of their own.
        if self.queue.send(Message::Run(Box::new(job))).await.is_err() {
            return Err(closed().into());
        }
        answered.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// How long transactions waited for their turn.
    pub(super) fn waits(&self) -> Reading {
        self.measured.waits.reading()
    }

    /// How many transactions the commits took.
    pub(super) fn groups(&self) -> Reading {
        self.measured.groups.reading()
    }

    /// How many transactions wait.
    pub(super) fn queued(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Runs what is queued, and ends. Blocks until it is done.
    pub(super) fn close(&self) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        let mut end = Message::End;
        // The queue may be full, and waiting for room in it is not possible on every thread.
        while let Err(mpsc::error::TrySendError::Full(back)) = self.queue.try_send(end) {
            end = back;
            thread::sleep(Duration::from_millis(1));
        }
        // All panics of jobs were caught; one of the writer's own was reported when it happened.
        let _ = thread.join();
    }
}

/// What undoes a transaction that fails, without its group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undo {
    /// A savepoint around it.
    Savepoint,
    /// Its only statement that writes, however many it reads with. If it fails after that statement has succeeded, which
    /// only a defect can bring about, its whole group fails with it.
    Statement,
}

/// A transaction that waits for its turn, runs, and waits for its commit.
trait Job: Send {
    fn undo(&self) -> Undo;

    /// When it was asked for, by the clock of the writer.
    fn asked(&self) -> Duration;

    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;

    /// Does the work. Answers whether what it did is to stay.
    fn run(&mut self, connection: &Connection) -> bool;

    /// Sends the answer; that of the work itself, unless something failed around it.
    fn answer(self: Box<Self>, instead: Option<StoreError>);
}

struct Transaction<W, T, C, U, E> {
    undo: Undo,
    asked: Duration,
    work: Option<W>,
    outcome: Option<Result<T, E>>,
    then: C,
    answer: oneshot::Sender<Result<U, E>>,
}

impl<W, T, C, U, E> Job for Transaction<W, T, C, U, E>
where
    W: FnOnce(&Connection) -> Result<T, E> + Send,
    T: Send,
    C: FnOnce(T) -> U + Send,
    U: Send,
    E: From<StoreError> + Send,
{
    fn undo(&self) -> Undo {
        self.undo
    }

    fn asked(&self) -> Duration {
        self.asked
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(&mut self, connection: &Connection) -> bool {
        let Some(work) = self.work.take() else { return false };
        let outcome = work(connection);
        let stays = outcome.is_ok();
        self.outcome = Some(outcome);
        stays
    }

    fn answer(self: Box<Self>, instead: Option<StoreError>) {
        let outcome = match (instead, self.outcome) {
            // What the work refused by itself stays refused, whatever became of the others.
            (_, Some(Err(error))) => Err(error),
            (Some(error), _) => Err(error.into()),
            (None, Some(Ok(done))) => Ok((self.then)(done)),
            (None, None) => Err(StoreError::Refused("a write panicked".into()).into()),
        };
        // Whoever asked may be gone.
        let _ = self.answer.send(outcome);
    }
}

thread_local! {
    /// How many pages the log had after the last commit of this thread.
    static LOG_PAGES: Cell<u32> = const { Cell::new(0) };
}

fn remember_pages(_: &Wal, pages: i32) -> rusqlite::Result<()> {
    LOG_PAGES.set(u32::try_from(pages).unwrap_or(0));
    Ok(())
}

/// A write of one statement failed, and the statement cannot be undone by itself.
fn half_done() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
    rusqlite::Error::SqliteFailure(code, Some("a write failed after its statement had succeeded".into()))
}

struct Loop {
    connection: Connection,
    queue: mpsc::Receiver<Message>,
    busy_timeout: Duration,
    /// At how many pages in the log to look after it.
    next_checkpoint: u32,
    measured: Arc<Measured>,
}

/// Jobs that ran and wait for their commit.
type Group = Vec<Box<dyn Job>>;

impl Loop {
    fn run(mut self) {
        let mut group = Group::with_capacity(MAX_GROUP);
        while let Some(Message::Run(first)) = self.queue.blocking_recv() {
            if first.is_abandoned() {
                continue;
            }
            if let Err(error) = self.execute("BEGIN IMMEDIATE") {
                self.fail_queued(first, error);
                continue;
            }
            let ended = self.fill(&mut group, first);
            self.commit(&mut group);
            if ended {
                break;
            }
            self.look_after_the_log();
        }
        // What came after the end gets no answer, which says that it did not happen. Closing the last connection
        // cuts the log.
    }

    /// Runs `first` and whatever is queued behind it. Answers whether the end has come.
    fn fill(&mut self, group: &mut Group, first: Box<dyn Job>) -> bool {
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            self.measured.waits.record(self.measured.clock.monotonic().saturating_sub(job.asked()));
            let ran = self.run_one(&mut *job);
            group.push(job);
            if let Err(error) = ran {
                // The group cannot go on: what SQLite has not undone of it, this undoes.
                self.fail(group, error);
                return false;
            }
            while group.len() < MAX_GROUP && next.is_none() {
                match self.queue.try_recv() {
                    Ok(Message::Run(job)) if job.is_abandoned() => {}
                    Ok(Message::Run(job)) => next = Some(job),
                    Ok(Message::End) => return true,
                    Err(_) => break,
                }
            }
        }
        false
    }

    /// Runs a job so that nothing of it stays if it fails.
    ///
    /// # Errors
    /// If the transaction around it cannot go on.
    fn run_one(&self, job: &mut dyn Job) -> rusqlite::Result<()> {
        // A panic ends as a failure of this job alone: what it changed is undone, and its own state is not looked
        // at again.
        let run =
            |job: &mut dyn Job| catch_unwind(AssertUnwindSafe(|| job.run(&self.connection))).unwrap_or(false);
        match job.undo() {
            Undo::Savepoint => {
                self.execute("SAVEPOINT job")?;
                if !run(job) {
                    // Fails if the job's failure has ended the whole transaction: on a full disk, SQLite may have to.
                    self.execute("ROLLBACK TO job")?;
                }
                self.execute("RELEASE job")
            }
            Undo::Statement => {
                let changes = self.connection.total_changes();
                let stays = run(job);
                let is_whole = stays || self.connection.total_changes() == changes;
                if is_whole && !self.connection.is_autocommit() { Ok(()) } else { Err(half_done()) }
            }
        }
    }

    fn commit(&self, group: &mut Group) {
        if group.is_empty() {
            return;
        }
        match self.execute("COMMIT") {
            Ok(()) => {
                // Before the answers: whoever has one finds it counted.
                self.measured.groups.record_count(u32::try_from(group.len()).unwrap_or(u32::MAX));
                for job in group.drain(..) {
                    // What is made of it runs here too, and must not end the writer.
                    let _ = catch_unwind(AssertUnwindSafe(|| job.answer(None)));
                }
            }
            Err(error) => self.fail(group, error),
        }
    }

    /// Undoes the group and says so to each of its jobs.
    fn fail(&self, group: &mut Group, error: rusqlite::Error) {
        tracing::error!(%error, jobs = group.len(), "a group of transactions was not committed");
        if !self.connection.is_autocommit()
            && let Err(error) = self.execute("ROLLBACK")
        {
            // The next BEGIN will say so again; nothing was acknowledged.
            tracing::error!(%error, "a failed group of transactions could not be undone");
        }
        let failed = GroupFailed::new(error);
        group.drain(..).for_each(|job| job.answer(Some(failed.to_store_error())));
    }

    /// No transaction can begin: another process holds the lock, or the disk is full. All who wait now have waited as
    /// long, and are told together; or the last of them would wait for a time-out of each before.
    fn fail_queued(&mut self, first: Box<dyn Job>, error: rusqlite::Error) {
        tracing::error!(%error, "no transaction can begin");
        let failed = GroupFailed::new(error);
        // Counted before anyone is told: who writes again on being told has not waited yet.
        let waiting = self.queue.len();
        first.answer(Some(failed.to_store_error()));
        for _ in 0..waiting {
            match self.queue.try_recv() {
                Ok(Message::Run(job)) => job.answer(Some(failed.to_store_error())),
                Ok(Message::End) => self.queue.close(),
                Err(_) => break,
            }
        }
    }

    /// Copies the log into the database file when it has grown. Nobody waits for that but who writes next.
    fn look_after_the_log(&mut self) {
        let pages = LOG_PAGES.get();
        if pages < self.next_checkpoint {
            // If the log has begun anew, so do we.
            self.next_checkpoint = self.next_checkpoint.min(pages.max(1).next_multiple_of(CHECKPOINT_PAGES));
            return;
        }
        let copied = if pages < RESTART_PAGES {
            self.checkpoint("PRAGMA wal_checkpoint(PASSIVE)")
        } else {
            let restart = self
                .connection
                .busy_timeout(RESTART_WAIT)
                .and_then(|()| self.checkpoint("PRAGMA wal_checkpoint(RESTART)"));
            self.connection.busy_timeout(self.busy_timeout).and(restart)
        };
        let copied = copied.unwrap_or_else(|error| {
            // The log is longer than it should be, and nothing else.
            tracing::warn!(%error, pages, "the write-ahead log could not be copied into the database");
            false
        });
        let further = match copied {
            // A log that was copied whole begins anew with the next write, unless somebody still reads from it.
            true => CHECKPOINT_PAGES,
            // Somebody reads an older state, and will be done soon.
            false if pages < RESTART_PAGES => CHECKPOINT_PAGES / 4,
            // Or not so soon: each try stops all writes.
            false => CHECKPOINT_PAGES * 2,
        };
        self.next_checkpoint = pages.saturating_add(further);
    }

    /// Answers whether the whole log was copied.
    fn checkpoint(&self, statement: &str) -> rusqlite::Result<bool> {
        let mut checkpoint = self.connection.prepare_cached(statement)?;
        checkpoint.query_row([], |row| {
            Ok(row.get::<_, i64>(0)? == 0 && row.get::<_, i64>(1)? == row.get::<_, i64>(2)?)
        })
    }

    fn execute(&self, statement: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(statement)?.execute([]).map(drop)
    }
}
