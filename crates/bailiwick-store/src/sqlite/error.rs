//! What SQLite says, in the words of whoever has to act on it.
use std::{path::PathBuf, sync::Arc};

use bailiwick_core::error::StoreError;
use rusqlite::{Error, ErrorCode, ffi};

/// Why SQLite could not open its file. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// There is no such file.
    #[error("there is no database at {path}; `bailiwick migrate` makes one")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The directory of the file does not exist.
    #[error("the directory {directory} of the database does not exist; create it, or correct `database.url`")]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// The path names a directory.
    #[error("{path} is a directory; `database.url` names the file in it, for example {path}/bailiwick.db")]
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The file may not be read.
    #[error(
        "the database {path} cannot be read; give it and its directory to the user who runs this program"
    )]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file, or the directory that must hold its log, may not be written.
    #[error(
        "the database {path} is read-only; make the file and its directory writable for the user who runs this program"
    )]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Another process holds the file.
    #[error("the database {path} is locked by another process; stop it, or wait until it is done")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{path} is no SQLite database, or a damaged one; correct `database.url`, or restore a backup")]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// There is no room for the log.
    #[error("the disk with the database {path} is full; free some space")]
    DiskFull {
        /// The file.
        path: PathBuf,
    },
    /// The schema is older than this program needs.
    #[error("the database {path} lacks migrations: {}; run `bailiwick migrate`", pending.join(", "))]
    NotMigrated {
        /// The file.
        path: PathBuf,
        /// The migrations of the framework that were not applied.
        pending: Vec<String>,
    },
    /// A newer program has migrated the database.
    #[error(
        "the database {path} has the migration {migration}, which this program does not know: run the newer version \
         that applied it, or restore a backup from before"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The migration, by version and name.
        migration: String,
    },
    /// A migration was changed after this database applied it.
    #[error("the database {path} was made with another text of the migration {migration}; restore that text")]
    Changed {
        /// The file.
        path: PathBuf,
        /// The migration, by version and name.
        migration: String,
    },
    /// Anything else.
    #[error("the database {path} cannot be opened")]
    Other {
        /// The file.
        path: PathBuf,
        /// What SQLite or the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl SqliteError {
    pub(super) fn of(path: impl Into<PathBuf>, error: Error) -> Self {
        let path = path.into();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked { path },
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::NotADatabase { path },
            Some(ErrorCode::DiskFull) => Self::DiskFull { path },
            Some(ErrorCode::ReadOnly) => Self::ReadOnly { path },
            Some(ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
                Self::Unreadable { path, source: error.into() }
            }
            _ => Self::Other { path, source: error.into() },
        }
    }

    pub(super) fn of_io(path: impl Into<PathBuf>, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let path = path.into();
        match error.kind() {
            ErrorKind::PermissionDenied => Self::Unreadable { path, source: error.into() },
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Other { path, source: error.into() },
        }
    }
}

/// What a failed statement means to whoever asked for it.
pub(super) fn store_error(error: Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => StoreError::NotWritable(error.into()),
        Some(
            ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::OutOfMemory
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::OperationInterrupted,
        ) => StoreError::Unavailable(error.into()),
        _ => StoreError::Refused(error.into()),
    }
}

/// A constraint that a statement did not meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    /// The value is there already.
    Unique,
    /// A row points at none, or is pointed at.
    ForeignKey,
}

/// The constraint that made a statement fail, if one did that a client can be told of.
pub(super) fn violation(error: &Error) -> Option<Violation> {
    match error.sqlite_error()?.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            Some(Violation::Unique)
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Some(Violation::ForeignKey),
        _ => None,
    }
}

/// The failure of a whole group of transactions, as each of them is told.
#[derive(Clone, Debug)]
pub(super) struct GroupFailed(Arc<Error>);

impl GroupFailed {
    pub(super) fn new(error: Error) -> Self {
        Self(Arc::new(error))
    }

    pub(super) fn to_store_error(&self) -> StoreError {
        match self.0.sqlite_error_code() {
            Some(ErrorCode::DiskFull | ErrorCode::ReadOnly) => {
                StoreError::NotWritable(Box::new(self.clone()))
            }
            _ => StoreError::Unavailable(Box::new(self.clone())),
        }
    }
}

impl std::fmt::Display for GroupFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the transaction could not be committed")
    }
}

impl std::error::Error for GroupFailed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.0)
    }
}
