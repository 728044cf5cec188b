//! SQLite, in place.
//!
//! - **Short reads** run on the thread that asks, on a connection from a [pool](readers): handing them to another thread
//!   costs more than they do.
//! - **Long reads**, which may pass over every row of a scope, run on a [few threads](scans) of their own.
//! - **Writes** go through [one thread](writer), which commits them in groups: an answer means that the change is on disk.
mod audit;
mod connection;
mod contains;
mod counters;
mod directory;
mod error;
mod families;
mod keys;
mod migrate;
mod passwords;
mod principals;
mod readers;
mod row;
mod rows;
mod scans;
mod sessions;
#[cfg(test)]
mod tests;
mod tokens;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bailiwick_core::{
    audit::AuditKeys,
    meter::{Meter, Metered, Value},
};

pub(crate) use self::migrate::{migrate, pending};
use self::{
    connection::{Purpose, absolute, connect, is_there},
    readers::Readers,
    scans::Scans,
    writer::Writer,
};
pub use self::{counters::SqliteCounters, error::SqliteError};
use crate::{
    meters::{gauge, waited, waiting},
    sql::{Dialect, Statements},
};

/// How a SQLite database is opened.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long to wait for another process that holds a lock. The default is 5 s.
    pub busy_timeout: Duration,
    /// How many long reads (searches, unusual orders, exports) run at once. The default is 2.
    pub scan_threads: usize,
    /// How many long reads may wait; with more, a caller is told at once that the store is out of reach. The default
    /// is 64.
    pub scan_queue: usize,
    /// How many writes may wait for the writer; with more, callers wait before the queue. The default is 1024.
    pub write_queue: usize,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self { busy_timeout: Duration::from_secs(5), scan_threads: 2, scan_queue: 64, write_queue: 1024 }
    }
}

/// A database in one file of SQLite.
///
/// Other processes may read and write the file at the same time.
///
/// When the store is dropped, what was queued is written and the file is closed, which blocks for as long as that takes;
/// see [`close`](Self::close).
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    statements: Arc<Statements>,
    readers: Readers,
    scans: Scans,
    writer: Arc<Writer>,
    audit_keys: AuditKeys,
}

impl SqliteStore {
    /// Opens the database in the file at `path`, which [`migrate`](crate::migrate) has made. Its audit trail is linked with
    /// `audit_keys`.
    ///
    /// # Errors
    /// Names the cause and what to do about it.
    pub fn open(
        path: impl AsRef<Path>,
        options: &SqliteOptions,
        audit_keys: AuditKeys,
    ) -> Result<Self, SqliteError> {
        let path = absolute(path.as_ref())?;
        if !is_there(&path)? {
            return Err(SqliteError::Missing { path });
        }
        let connection = connect(&path, Purpose::Write, options.busy_timeout)?;
        migrate::check_framework(&connection, &path)?;
        let no_thread =
            |error: std::io::Error| SqliteError::Other { path: path.clone(), source: error.into() };
        let scans = Scans::start(&path, options.scan_threads, options.scan_queue, options.busy_timeout)
            .map_err(no_thread)?;
        let writer =
            Writer::start(connection, options.write_queue, options.busy_timeout).map_err(no_thread)?;
        Ok(Self {
            statements: Arc::new(Statements::new(Dialect::Sqlite)),
            readers: Readers::new(path.clone(), options.busy_timeout),
            scans,
            writer: Arc::new(writer),
            path,
            audit_keys,
        })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes what is queued, copies the log into the file, and closes it. What is asked afterwards is answered as out of
    /// reach. Blocks until it is done: milliseconds, unless another process holds a lock.
    pub fn close(&self) {
        self.scans.close();
        self.readers.close();
        // Last: whoever closes the last connection copies the log.
        self.writer.close();
    }
}

impl Metered for SqliteStore {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        each(waited(self.writer.waits()));
        each(waiting(self.writer.queued()));
        each(Meter {
            name: "bailiwick_database_commit_transactions",
            help: "How many transactions one commit of SQLite took",
            value: Value::Distribution(self.writer.groups()),
        });
        each(Meter {
            name: "bailiwick_database_scans_waiting",
            help: "How many long reads wait for a thread of SQLite",
            value: gauge(self.scans.waiting()),
        });
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}
