//! Connections, and what is promised of them.
//!
//! A request may be dropped at any await, and then its connection goes to the next one. Three rules keep that one
//! clean (RST-12):
//!
//! 1. A statement outside of a transaction is sent whole, in one poll. It happens or it does not, whoever waits; its
//!    connection is given back when it has ended.
//! 2. A transaction runs in a task of its own, which no request can drop, to its `COMMIT` or `ROLLBACK`.
//! 3. A [`Lease`] that is dropped with a transaction open nevertheless (the task panicked, the runtime ends) closes
//!    its connection, and the server undoes the transaction.
use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, SystemClock},
    meter::{Distribution, Reading, WAIT_BOUNDS},
    query::Lane,
};
use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Object, PoolError, RecyclingMethod, Runtime, Timeouts,
};
use futures_util::{
    TryStreamExt,
    future::{join, join_all, try_join_all},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_postgres::{NoTls, Row};

use super::{
    PostgresOptions,
    connect::{Target, session},
    failure::Failure,
    value::Bind,
};

/// A statement and its values.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) text: &'a str,
    pub(super) binds: Binds<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Binds<'a> {
    /// Of a statement that this crate writes by hand.
    Own(&'a [Bind<'a>]),
    /// Of a plan's.
    Plan(&'a [bailiwick_core::model::ValueRef<'a>]),
}

impl<'a> Ask<'a> {
    pub(super) const fn new(text: &'a str, binds: &'a [Bind<'a>]) -> Self {
        Self { text, binds: Binds::Own(binds) }
    }
}

impl<'a> From<&'a crate::sql::Statement<'_>> for Ask<'a> {
    fn from(statement: &'a crate::sql::Statement<'_>) -> Self {
        Self { text: &statement.text, binds: Binds::Plan(&statement.binds) }
    }
}

/// How many prepared statements a connection keeps. There are more shapes of lists than that, which clients choose.
const MAX_STATEMENTS: usize = 256;
/// How often what lost a race is tried in all.
const MAX_ATTEMPTS: usize = 4;

/// The connections of one store. Cheap to clone.
#[derive(Clone)]
pub(super) struct Pool {
    connections: deadpool_postgres::Pool,
    /// What may read for long never takes all connections: half of them are left for what is short.
    scans: Arc<Semaphore>,
    wait: Duration,
    /// After this, the server has stopped any statement.
    patience: Duration,
    /// The time of the machine, whatever clock the application has.
    clock: SystemClock,
    /// From being asked for a connection to having it.
    waits: Arc<Distribution>,
}

impl Pool {
    /// Makes no connection yet.
    pub(super) fn new(target: &Target, options: &PostgresOptions) -> Self {
        let manager = Manager::from_config(
            target.config.clone(),
            NoTls,
            // A connection that is open is clean: the rules above see to it, and asking would cost a round trip.
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let session: Arc<str> = session(options).into();
        let prepare_session = Hook::async_fn(move |client: &mut deadpool_postgres::ClientWrapper, _| {
            let session = Arc::clone(&session);
            Box::pin(async move { client.batch_execute(&session).await.map_err(HookError::Backend) })
        });
        let max_connections = options.max_connections.get() as usize;
        let timeouts = Timeouts {
            wait: Some(options.wait_timeout),
            create: Some(options.connect_timeout),
            recycle: Some(options.connect_timeout),
        };
        let connections = deadpool_postgres::Pool::builder(manager)
            .max_size(max_connections)
            .timeouts(timeouts)
            // The one that was used last has the warmest caches, here and on the server.
            .queue_mode(deadpool_postgres::QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .post_create(prepare_session)
            .build()
            .expect("a pool with timeouts is given its runtime");
        let scans = (max_connections / 2).max(1);
        Self {
            connections,
            scans: Arc::new(Semaphore::new(scans)),
            wait: options.wait_timeout,
            patience: options.statement_timeout.saturating_add(STOP_TIMEOUT),
            clock: SystemClock::new(),
            waits: Arc::new(Distribution::new(WAIT_BOUNDS)),
        }
    }

    /// How long was waited for connections.
    pub(super) fn waits(&self) -> Reading {
        self.waits.reading()
    }

    /// How many connections are open, how many of them are idle, and how many callers wait for one.
    pub(super) fn connections(&self) -> (usize, usize, usize) {
        let status = self.connections.status();
        (status.size, status.available, status.waiting)
    }

    /// Takes no further work; connections end as they come back.
    pub(super) fn close(&self) {
        self.connections.close();
    }

    /// Borrows a connection.
    pub(super) async fn lease(&self, lane: Lane) -> Result<Lease, Failure> {
        let asked = self.clock.monotonic();
        let leased = self.wait_for(lane).await;
        // Who waited in vain has waited too.
        self.waits.record(self.clock.monotonic().saturating_sub(asked));
        leased
    }

    async fn wait_for(&self, lane: Lane) -> Result<Lease, Failure> {
        let scan = match lane {
            Lane::Short => None,
            Lane::Scan => {
                let permit = tokio::time::timeout(self.wait, Arc::clone(&self.scans).acquire_owned());
                Some(permit.await.map_err(|_| Failure::Busy)?.map_err(|_| PoolError::Closed)?)
            }
        };
        let connection = self.connections.get().await?;
        if connection.statement_cache.size() > MAX_STATEMENTS {
            connection.statement_cache.clear();
        }
        Ok(Lease { connection: Some(connection), scan, pending: Pending::Nothing, patience: self.patience })
    }

    /// Borrows a connection and runs statements that read. What fails because the connection had ended is tried once
    /// more: reading twice changes nothing.
    pub(super) async fn read<const N: usize>(
        &self,
        lane: Lane,
        asks: [Ask<'_>; N],
    ) -> Result<[Vec<Row>; N], Failure> {
        let mut lease = self.lease(lane).await?;
        match lease.read(&asks).await {
            Err(failure) if failure.connection_is_gone() => {
                tracing::warn!(error = ?failure, "a PostgreSQL connection had ended; reading again");
                drop(lease);
                // One that ended is seldom alone: the next must not be another of them.
                self.connections.retain(|_, _| false);
                self.lease(lane).await?.read(&asks).await
            }
            done => done,
        }
    }

    /// Runs `attempt`, again and again where it lost a race with others, in a task of its own: whoever waits for it
    /// may go, and it still runs to its end.
    pub(super) async fn to_the_end<A, T>(&self, arguments: A, attempt: Attempt<A, T>) -> Result<T, Failure>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        let pool = self.clone();
        let task = tokio::spawn(async move {
            retrying(|| async {
                let mut lease = pool.lease(Lane::Short).await?;
                let done = attempt(&mut lease, &arguments).await;
                lease.tidy(done.as_ref().err()).await;
                done
            })
            .await
        });
        task.await.unwrap_or(Err(Failure::Defect("a transaction did not run to its end")))
    }
}

/// One try at a transaction.
pub(super) type Attempt<A, T> = for<'a> fn(&'a mut Lease, &'a A) -> Trying<'a, T>;
pub(super) type Trying<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// Tries again what the server undid because of others.
pub(super) async fn retrying<T, F>(attempt: impl Fn() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    for _ in 1..MAX_ATTEMPTS {
        match attempt().await {
            Err(failure) if failure.lost_a_race() || failure.statement_is_stale() => {
                tracing::debug!(error = ?failure, "PostgreSQL undid a transaction; trying again");
            }
            done => return done,
        }
    }
    attempt().await
}

/// What a borrowed connection is in the middle of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    Statement,
    Transaction,
}

/// A borrowed connection.
pub(super) struct Lease {
    /// There until this is dropped.
    connection: Option<Object>,
    /// There for a long read.
    scan: Option<OwnedSemaphorePermit>,
    pending: Pending,
    patience: Duration,
}

impl Lease {
    fn connection(&self) -> &Object {
        self.connection.as_ref().expect("a lease has its connection until it is dropped")
    }

    /// Runs one statement by itself, which commits by itself.
    pub(super) async fn run(&mut self, ask: &Ask<'_>) -> Result<Vec<Row>, Failure> {
        let [rows] = self.read(std::array::from_ref(ask)).await?;
        Ok(rows)
    }

    /// Runs statements, each by itself, in one round trip.
    async fn read<const N: usize>(&mut self, asks: &[Ask<'_>; N]) -> Result<[Vec<Row>; N], Failure> {
        match self.read_once(asks).await {
            // It was refused before it ran.
            Err(failure) if failure.statement_is_stale() => {
                self.connection().statement_cache.clear();
                self.read_once(asks).await
            }
            done => done,
        }
    }

    async fn read_once<const N: usize>(&mut self, asks: &[Ask<'_>; N]) -> Result<[Vec<Row>; N], Failure> {
        self.pending = Pending::Statement;
        let answers = match asks.as_slice() {
            // One statement needs no list of futures.
            [ask] => vec![self.prepare(ask).await?.rows().await?],
            asks => {
                let prepared = try_join_all(asks.iter().map(|ask| self.prepare(ask))).await?;
                cause_first(join_all(prepared.into_iter().map(Prepared::rows)).await)?
            }
        };
        self.pending = Pending::Nothing;
        answers.try_into().map_err(|_| Failure::Defect("each statement has an answer"))
    }

    /// Begins a transaction with statements that read, in one round trip.
    pub(super) async fn begin(&mut self, asks: &[Ask<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        debug_assert_ne!(self.pending, Pending::Transaction, "one transaction at a time");
        // Before anything is sent: from here on, a connection that comes back too early is closed.
        self.pending = Pending::Transaction;
        let prepared = try_join_all(asks.iter().map(|ask| self.prepare(ask))).await?;
        let begun = self.connection().batch_execute("BEGIN");
        let (begun, answers) = join(begun, join_all(prepared.into_iter().map(Prepared::rows))).await;
        begun?;
        cause_first(answers)
    }

    /// Runs statements in the transaction that was begun, in one round trip.
    pub(super) async fn go_on(&mut self, asks: &[Ask<'_>]) -> Result<Vec<Vec<Row>>, Failure> {
        debug_assert_eq!(self.pending, Pending::Transaction, "a transaction was begun");
        let prepared = try_join_all(asks.iter().map(|ask| self.prepare(ask))).await?;
        cause_first(join_all(prepared.into_iter().map(Prepared::rows)).await)
    }

    /// Runs a last statement and commits, in one round trip. If the statement fails, `COMMIT` undoes all.
    pub(super) async fn commit_with(&mut self, ask: &Ask<'_>) -> Result<Vec<Row>, Failure> {
        debug_assert_eq!(self.pending, Pending::Transaction, "a transaction was begun");
        let prepared = self.prepare(ask).await?;
        let committed = self.connection().batch_execute("COMMIT");
        let (answer, committed) = join(prepared.rows(), committed).await;
        self.ended(&committed);
        let answer = answer?;
        committed?;
        Ok(answer)
    }

    /// Runs last statements and commits, in one round trip. If one of them fails, `COMMIT` undoes all.
    pub(super) async fn commit_with_all(&mut self, asks: &[Ask<'_>]) -> Result<(), Failure> {
        debug_assert_eq!(self.pending, Pending::Transaction, "a transaction was begun");
        let prepared = try_join_all(asks.iter().map(|ask| self.prepare(ask))).await?;
        let committed = self.connection().batch_execute("COMMIT");
        let (answers, committed) = join(join_all(prepared.into_iter().map(Prepared::rows)), committed).await;
        self.ended(&committed);
        cause_first(answers)?;
        Ok(committed?)
    }

    /// Commits. A transaction that is begun and not committed is undone when the attempt returns.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        self.end("COMMIT").await
    }

    /// Undoes the transaction.
    pub(super) async fn roll_back(&mut self) -> Result<(), Failure> {
        self.end("ROLLBACK").await
    }

    async fn end(&mut self, how: &str) -> Result<(), Failure> {
        debug_assert_eq!(self.pending, Pending::Transaction, "a transaction was begun");
        let ended = self.connection().batch_execute(how).await;
        self.ended(&ended);
        Ok(ended?)
    }

    /// Undoes what was begun and not committed.
    async fn tidy(&mut self, failure: Option<&Failure>) {
        if failure.is_some_and(Failure::statement_is_stale) {
            self.connection().statement_cache.clear();
        }
        if self.pending == Pending::Transaction
            && let Err(error) = self.roll_back().await
        {
            // The connection is closed then, and the server undoes the transaction by itself.
            tracing::debug!(?error, "could not roll back");
        }
    }

    /// Whatever the server answers to `COMMIT`, no transaction is open after it.
    fn ended(&mut self, answer: &Result<(), tokio_postgres::Error>) {
        let answered = answer.as_ref().map_or_else(|error| error.as_db_error().is_some(), |()| true);
        if answered {
            self.pending = Pending::Nothing;
        }
    }

    async fn prepare<'a>(&'a self, ask: &'a Ask<'a>) -> Result<Prepared<'a>, Failure> {
        let statement = self.connection().prepare_cached(ask.text).await?;
        Ok(Prepared { connection: self.connection(), statement, binds: &ask.binds })
    }
}

/// A statement that is known to the server, and its values.
struct Prepared<'a> {
    connection: &'a Object,
    statement: tokio_postgres::Statement,
    binds: &'a Binds<'a>,
}

impl Prepared<'_> {
    /// Sends it when it is first polled, so that several are under way at once.
    async fn rows(self) -> Result<Vec<Row>, Failure> {
        let rows = match self.binds {
            Binds::Own(binds) => self.connection.query_raw(&self.statement, binds.iter().copied()).await,
            Binds::Plan(values) => {
                let binds = values.iter().map(|value| Bind::Value(*value));
                self.connection.query_raw(&self.statement, binds).await
            }
        };
        Ok(rows?.try_collect().await?)
    }
}

/// All answers, or the failure that caused the others.
fn cause_first(answers: Vec<Result<Vec<Row>, Failure>>) -> Result<Vec<Vec<Row>>, Failure> {
    answers.into_iter().collect()
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        match self.pending {
            Pending::Nothing => drop(connection),
            Pending::Statement => give_back_later(connection, self.scan.take(), self.patience),
            Pending::Transaction => {
                tracing::warn!("a transaction was left open; closing its PostgreSQL connection");
                drop(Object::take(connection));
            }
        }
    }
}

/// Nobody waits for a statement any more: gives its connection back when it has ended. A long read that does not end
/// soon, as most do, is stopped, and its connection closed.
///
/// A connection whose read was stopped is not used again: the driver does not tell when the server has acted on the
/// request to stop, which may then hit the statement of the next borrower.
fn give_back_later(connection: Object, scan: Option<OwnedSemaphorePermit>, patience: Duration) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        drop(Object::take(connection));
        return;
    };
    runtime.spawn(async move {
        let patience = if scan.is_some() { SCAN_PATIENCE } else { patience };
        // Answered when what was sent before has ended.
        let ended = tokio::time::timeout(patience, connection.batch_execute(""));
        if matches!(ended.await, Ok(Ok(()))) {
            drop(connection);
            return;
        }
        let connection = Object::take(connection);
        if scan.is_some() {
            let stopping = connection.cancel_token();
            match tokio::time::timeout(STOP_TIMEOUT, stopping.cancel_query(NoTls)).await {
                Ok(Ok(())) => {}
                failed => tracing::warn!(?failed, "could not stop a read that nobody waits for"),
            }
        }
    });
}

/// How long a long read that nobody waits for may go on: about as long as a new connection takes.
const SCAN_PATIENCE: Duration = Duration::from_millis(20);
/// How long asking the server to stop a read may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
