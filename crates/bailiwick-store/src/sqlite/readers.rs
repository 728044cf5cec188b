//! Short reads, in place: on the thread that asks, which costs less than handing them to another.
use std::{
    ops::Deref,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bailiwick_core::error::StoreError;
use rusqlite::Connection;

use super::connection::{Purpose, connect};

/// Connections that read. There are as many as were ever in use at once: at most one for each thread that asks.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    busy_timeout: Duration,
    /// None after the end.
    idle: Mutex<Option<Vec<Connection>>>,
}

/// A connection on loan.
pub(super) struct Reader<'p> {
    /// Always there, until it goes back.
    connection: Option<Connection>,
    pool: &'p Readers,
}

/// How long a read may wait for a lock. Readers wait for nobody, but for a process that recovers the log, and a
/// thread that serves others must not wait long.
const MAX_WAIT: Duration = Duration::from_secs(1);

impl Readers {
    pub(super) fn new(path: PathBuf, busy_timeout: Duration) -> Self {
        Self { path, busy_timeout: busy_timeout.min(MAX_WAIT), idle: Mutex::new(Some(Vec::new())) }
    }

    /// A connection, opened now if all are in use.
    pub(super) fn get(&self) -> Result<Reader<'_>, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(Vec::pop);
        let connection = match idle {
            Some(Some(connection)) => connection,
            Some(None) => connect(&self.path, Purpose::Read, self.busy_timeout)
                .map_err(|error| StoreError::Unavailable(error.into()))?,
            None => return Err(closed()),
        };
        Ok(Reader { connection: Some(connection), pool: self })
    }

    /// Closes what is idle now, and the rest when it comes back.
    pub(super) fn close(&self) {
        drop(self.idle.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What whoever comes too late is told.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("the store was closed".into())
}

impl Deref for Reader<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("a reader has its connection until it is dropped")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // A read that failed or panicked in a transaction must not leave it to the next.
        if !connection.is_autocommit() && connection.execute_batch("ROLLBACK").is_err() {
            return;
        }
        if let Some(idle) = &mut *self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner) {
            idle.push(connection);
        }
    }
}
