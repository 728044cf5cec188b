//! Counters in the database file, for the processes of one machine that share it.
use std::{fmt, sync::Arc};

use bailiwick_core::{
    clock::Clock,
    store::{Answer, Charge, CounterKey, CounterStore, Verdict},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{SqliteStore, error::store_error, writer::Writer};
use crate::ledger::{EXPIRED_FOR_EACH_NEW, Ledger, OwnedCharge};

const READ: &str = "SELECT arrival FROM counters WHERE key = ?1";
const PUT: &str = "INSERT INTO counters (key, arrival) VALUES (?1, ?2)
                   ON CONFLICT (key) DO UPDATE SET arrival = excluded.arrival";
const REFILL: &str = "DELETE FROM counters WHERE key = ?1";
const REMOVE_EXPIRED: &str = "DELETE FROM counters WHERE key IN
                              (SELECT key FROM counters WHERE arrival <= ?1 ORDER BY arrival LIMIT ?2)";

/// Counts what callers spend in the table `counters` of a [`SqliteStore`], together with whoever else has its file open.
///
/// Every charge is a write: it waits for the commit that it shares with the writes of the same moment.
pub struct SqliteCounters {
    writer: Arc<Writer>,
    clock: Arc<dyn Clock>,
}

impl SqliteStore {
    /// Counters in this database. They go by the time of day of `clock`, which all processes that share the file read off
    /// one machine.
    pub fn counters(&self, clock: Arc<dyn Clock>) -> SqliteCounters {
        SqliteCounters { writer: Arc::clone(&self.writer), clock }
    }
}

impl CounterStore for SqliteCounters {
    fn spend<'a>(&'a self, charges: &'a [Charge]) -> Answer<'a, Vec<Verdict>> {
        let charges: Vec<OwnedCharge> = charges.iter().map(Into::into).collect();
        let clock = Arc::clone(&self.clock);
        Box::pin(self.writer.run(move |connection| {
            // In the transaction, which holds the lock of whoever writes.
            let mut ledger = Ledger::at(clock.now().as_micros());
            for charge in &charges {
                ledger.read(&charge.key, arrival(connection, &charge.key).map_err(store_error)?);
            }
            let verdicts = ledger.spend(&charges)?;
            write(connection, &ledger, clock.now().as_micros()).map_err(store_error)?;
            Ok(verdicts)
        }))
    }

    fn refill<'a>(&'a self, key: &'a CounterKey) -> Answer<'a, ()> {
        let key = key.to_string();
        Box::pin(self.writer.run(move |connection| {
            let removed = connection.prepare_cached(REFILL).and_then(|mut refill| refill.execute([key]));
            removed.map(drop).map_err(store_error)
        }))
    }

    fn give_back<'a>(&'a self, charge: &'a Charge) -> Answer<'a, ()> {
        let (charge, clock) = (OwnedCharge::from(charge), Arc::clone(&self.clock));
        Box::pin(self.writer.run(move |connection| {
            let mut ledger = Ledger::at(clock.now().as_micros());
            ledger.read(&charge.key, arrival(connection, &charge.key).map_err(store_error)?);
            ledger.give_back(&charge)?;
            write(connection, &ledger, clock.now().as_micros()).map_err(store_error)
        }))
    }
}

fn arrival(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.prepare_cached(READ)?.query_row([key], |row| row.get(0)).optional()
}

fn write(connection: &Connection, ledger: &Ledger<'_>, now: i64) -> rusqlite::Result<()> {
    let mut put = connection.prepare_cached(PUT)?;
    for (key, arrival) in ledger.changed() {
        put.execute(params![key, arrival])?;
    }
    let expired = ledger.new_rows() * EXPIRED_FOR_EACH_NEW;
    if expired > 0 {
        let expired = i64::try_from(expired).unwrap_or(i64::MAX);
        connection.prepare_cached(REMOVE_EXPIRED)?.execute([now, expired])?;
    }
    Ok(())
}

impl fmt::Debug for SqliteCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteCounters").finish_non_exhaustive()
    }
}
