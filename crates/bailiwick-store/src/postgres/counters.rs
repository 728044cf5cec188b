//! Counters in the database, for servers that share it.
//!
//! The charges of one moment go to the server together: one task of each process takes what waits, and charges it in one
//! transaction of two round trips. However many requests wait for one quota, they take one connection.
//!
//! A transaction first takes an advisory lock for each key, in one order for all processes, and then reads: whoever holds
//! the lock of a key has seen all that was spent before.
use std::{fmt, sync::Arc, time::Duration};

use bailiwick_core::{
    clock::Clock,
    error::StoreError,
    store::{Answer, Charge, CounterKey, CounterStore, Verdict},
};
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{
    PostgresStore,
    failure::Failure,
    pool::{Ask, Lease, Pool, Trying},
    value::{Bind, Columns},
};
use crate::ledger::{EXPIRED_FOR_EACH_NEW, Ledger, OwnedCharge};

/// What a crash of the server undoes of the last half second makes nobody richer than a quota: no charge waits for its disk.
const NO_DISK: &str = "SELECT set_config('synchronous_commit', 'off', true)";
/// In one order, so that no two wait for each other.
pub(super) const LOCK: &str = "SELECT pg_advisory_xact_lock(id) FROM \
     (SELECT DISTINCT hashtextextended(key, 0) AS id FROM unnest($1::text[]) AS key ORDER BY 1) AS ids";
const READ: &str = "SELECT key, arrival FROM counters WHERE key = ANY($1::text[])";
/// After the locks, as everything that is read.
const NOW: &str = "SELECT clock_timestamp()";
const PUT: &str = "INSERT INTO counters (key, arrival) SELECT * FROM unnest($1::text[], $2::int8[]) \
     ON CONFLICT (key) DO UPDATE SET arrival = excluded.arrival";
/// Last of all, and waiting for nobody: whoever holds a row that others want waits for none of theirs.
const REMOVE_EXPIRED: &str = "DELETE FROM counters WHERE key IN \
     (SELECT key FROM counters WHERE arrival <= $1 ORDER BY arrival LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// How many requests one transaction charges at most.
const MAX_BATCH: usize = 128;
/// How many may wait for the next one; with more, the counters are out of reach.
const QUEUE: usize = 4096;
/// How long a request waits for its charge. A server that takes longer is as good as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// Counts what callers spend in the table `counters` of a [`PostgresStore`], together with all that share the database.
/// Cheap to clone.
#[derive(Clone)]
pub struct PostgresCounters {
    queue: mpsc::Sender<Job>,
}

struct Job {
    work: Work,
    answer: oneshot::Sender<Result<Vec<Verdict>, StoreError>>,
}

#[derive(Debug)]
enum Work {
    Spend(Vec<OwnedCharge>),
    Refill(String),
    GiveBack(OwnedCharge),
}

/// What one transaction does.
struct Batch {
    work: Vec<Work>,
    /// Each key once.
    keys: Vec<String>,
    /// Instead of the server's.
    clock: Option<Arc<dyn Clock>>,
}

impl PostgresStore {
    /// Counters in this database, by the clock of its server, which is one for all that share it (THR-32). They use one
    /// connection of the pool at a time. To be called in a runtime.
    pub fn counters(&self) -> PostgresCounters {
        PostgresCounters::start(self.pool.clone(), None)
    }

    /// The same by the time of day of `clock`, for tests.
    pub fn counters_by(&self, clock: Arc<dyn Clock>) -> PostgresCounters {
        PostgresCounters::start(self.pool.clone(), Some(clock))
    }
}

impl PostgresCounters {
    fn start(pool: Pool, clock: Option<Arc<dyn Clock>>) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE);
        // Ends with the last clone.
        tokio::spawn(charge_queued(pool, clock, queued));
        Self { queue }
    }

    async fn ask(&self, work: Work) -> Result<Vec<Verdict>, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.queue.try_send(Job { work, answer }).map_err(|error| {
            StoreError::Unavailable(match error {
                TrySendError::Full(_) => "too many requests wait to be counted".into(),
                TrySendError::Closed(_) => "the counters were closed".into(),
            })
        })?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(StoreError::Unavailable("the counters were closed".into())),
            Err(_) => Err(StoreError::Unavailable("the database took too long to count".into())),
        }
    }
}

impl CounterStore for PostgresCounters {
    fn spend<'a>(&'a self, charges: &'a [Charge]) -> Answer<'a, Vec<Verdict>> {
        Box::pin(self.ask(Work::Spend(charges.iter().map(Into::into).collect())))
    }

    fn refill<'a>(&'a self, key: &'a CounterKey) -> Answer<'a, ()> {
        let refilled = self.ask(Work::Refill(key.to_string()));
        Box::pin(async move { refilled.await.map(drop) })
    }

    fn give_back<'a>(&'a self, charge: &'a Charge) -> Answer<'a, ()> {
        let given_back = self.ask(Work::GiveBack(charge.into()));
        Box::pin(async move { given_back.await.map(drop) })
    }
}

/// Charges what is queued, as much at a time as there is.
async fn charge_queued(pool: Pool, clock: Option<Arc<dyn Clock>>, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(MAX_BATCH);
    while queue.recv_many(&mut jobs, MAX_BATCH).await > 0 {
        // Whoever went away before it was begun is not charged.
        jobs.retain(|job| !job.answer.is_closed());
        if jobs.is_empty() {
            continue;
        }
        let (work, answers): (Vec<_>, Vec<_>) = jobs.drain(..).map(|job| (job.work, job.answer)).unzip();
        let mut keys: Vec<String> = work.iter().flat_map(Work::keys).map(str::to_owned).collect();
        keys.sort_unstable();
        keys.dedup();
        let batch = Batch { work, keys, clock: clock.clone() };
        match pool.to_the_end(batch, charge).await {
            Ok(verdicts) => {
                for (answer, verdicts) in answers.into_iter().zip(verdicts) {
                    // Whoever asked may be gone.
                    let _ = answer.send(Ok(verdicts));
                }
            }
            Err(failure) => {
                let failure = Arc::new(StoreError::from(failure));
                for answer in answers {
                    let _ = answer.send(Err(StoreError::Unavailable(Box::new(BatchFailed(failure.clone())))));
                }
            }
        }
    }
}

fn charge<'a>(lease: &'a mut Lease, batch: &'a Batch) -> Trying<'a, Vec<Vec<Verdict>>> {
    Box::pin(async move {
        let keys = [Bind::Texts(&batch.keys)];
        let begun = lease
            .begin(&[
                Ask::new(NO_DISK, &[]),
                Ask::new(LOCK, &keys),
                Ask::new(READ, &keys),
                Ask::new(NOW, &[]),
            ])
            .await?;
        let [_, _, rows, now] = &begun[..] else {
            return Err(Failure::Defect("each statement has an answer"));
        };
        let now = match (&batch.clock, now.first()) {
            (Some(clock), _) => clock.now(),
            (None, Some(row)) => row.time(0)?,
            (None, None) => return Err(Failure::Defect("the server knows the time")),
        };
        let now = now.as_micros();
        let mut ledger = Ledger::at(now);
        for key in &batch.keys {
            ledger.read(key, None);
        }
        for row in rows {
            let key = row.text(0)?;
            // What the database holds for equal is the same to it; here it is the same only byte by byte.
            if let Ok(at) = batch.keys.binary_search_by(|known| known.as_str().cmp(key)) {
                ledger.read(&batch.keys[at], Some(row.integer(1)?));
            }
        }
        let mut verdicts = Vec::with_capacity(batch.work.len());
        for work in &batch.work {
            verdicts.push(match work {
                Work::Spend(charges) => ledger.spend(charges).map_err(defect)?,
                Work::Refill(key) => ledger.refill(key).map(|()| Vec::new()).map_err(defect)?,
                Work::GiveBack(charge) => ledger.give_back(charge).map(|()| Vec::new()).map_err(defect)?,
            });
        }
        let (keys, arrivals): (Vec<&str>, Vec<i64>) = ledger.changed().unzip();
        if keys.is_empty() {
            lease.roll_back().await?;
            return Ok(verdicts);
        }
        let put = [Bind::Strs(&keys), Bind::Integers(&arrivals)];
        let expired = i64::try_from(ledger.new_rows() * EXPIRED_FOR_EACH_NEW).unwrap_or(i64::MAX);
        if expired > 0 {
            lease.go_on(&[Ask::new(PUT, &put)]).await?;
            lease.commit_with(&Ask::new(REMOVE_EXPIRED, &[now.into(), expired.into()])).await?;
        } else {
            lease.commit_with(&Ask::new(PUT, &put)).await?;
        }
        Ok(verdicts)
    })
}

fn defect(_: StoreError) -> Failure {
    Failure::Defect("a quota was not read")
}

impl Work {
    fn keys(&self) -> impl Iterator<Item = &str> {
        let (charges, key) = match self {
            Self::Spend(charges) => (charges.as_slice(), None),
            Self::Refill(key) => (&[][..], Some(key.as_str())),
            Self::GiveBack(charge) => (std::slice::from_ref(charge), None),
        };
        charges.iter().map(|charge| charge.key.as_str()).chain(key)
    }
}

/// The transaction of several requests failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the charges of one moment failed together")]
struct BatchFailed(#[source] Arc<StoreError>);

impl fmt::Debug for PostgresCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCounters").finish_non_exhaustive()
    }
}
