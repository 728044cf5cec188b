//! What can go wrong between here and PostgreSQL, and what it means to whoever asked.
use std::error::Error as StdError;

use bailiwick_core::error::{DecodeError, StoreError};
use deadpool_postgres::{HookError, PoolError};
use tokio_postgres::error::SqlState;

/// Why a statement did not run, or not to its end.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection to be had.
    Pool(PoolError),
    /// The server, or the way to it, failed.
    Postgres(tokio_postgres::Error),
    /// A stored value does not fit its declaration.
    Corrupt(DecodeError),
    /// This program failed.
    Defect(&'static str),
    /// All connections that long reads may have are taken, or others were quicker every time.
    Busy,
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        Self::Pool(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::Corrupt(error)
    }
}

impl Failure {
    fn postgres(&self) -> Option<&tokio_postgres::Error> {
        match self {
            Self::Postgres(error)
            | Self::Pool(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error))) => {
                Some(error)
            }
            _ => None,
        }
    }

    /// What the server calls it.
    pub(super) fn code(&self) -> Option<&SqlState> {
        self.postgres()?.code()
    }

    /// Whether the connection ended under the statement. Whether the statement took effect is then unknown.
    pub(super) fn connection_is_gone(&self) -> bool {
        match self {
            Self::Postgres(error) => error.code().map_or_else(|| is_broken(error), ends_connection),
            _ => false,
        }
    }

    /// Whether the same may be tried again at once: the server has undone it all, because of others.
    pub(super) fn lost_a_race(&self) -> bool {
        matches!(self, Self::Postgres(_))
            && self.code().is_some_and(|code| {
                *code == SqlState::T_R_SERIALIZATION_FAILURE || *code == SqlState::T_R_DEADLOCK_DETECTED
            })
    }

    /// Whether a statement was prepared before the schema changed, or the server has forgotten it. It has not run.
    pub(super) fn statement_is_stale(&self) -> bool {
        let Self::Postgres(error) = self else { return false };
        let Some(error) = error.as_db_error() else { return false };
        *error.code() == SqlState::INVALID_SQL_STATEMENT_NAME
            || (*error.code() == SqlState::FEATURE_NOT_SUPPORTED
                && error.routine() == Some("RevalidateCachedQuery"))
    }
}

/// Without a code, an error is one of this side: the socket broke or was closed.
fn is_broken(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || source_is_io(error)
}

fn source_is_io(error: &tokio_postgres::Error) -> bool {
    StdError::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

fn ends_connection(code: &SqlState) -> bool {
    [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW].contains(code)
        || [SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT, SqlState::DATABASE_DROPPED].contains(code)
        || code.code().starts_with("08")
}

/// Which of the three answers to a caller an error of the server is.
enum Class {
    Unavailable,
    NotWritable,
    Refused,
}

fn class(code: &SqlState) -> Class {
    let no_writing = [
        SqlState::DISK_FULL,
        SqlState::READ_ONLY_SQL_TRANSACTION,
        // The disk does not take what is written.
        SqlState::IO_ERROR,
    ];
    let later = [
        // A time limit, ours or the server's.
        SqlState::QUERY_CANCELED,
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        // The password was changed, or the rules of admission were, while we run: an operator is at it.
        SqlState::INVALID_PASSWORD,
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_CATALOG_NAME,
        // The database takes no connections. No statement of ours is answered so.
        SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE,
    ];
    if no_writing.contains(code) {
        Class::NotWritable
    } else if ends_connection(code) || later.contains(code) || code.code().starts_with("53") {
        // 53: too many connections, out of memory.
        Class::Unavailable
    } else {
        Class::Refused
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        let class = match (&failure, failure.postgres()) {
            (Failure::Corrupt(error), _) => return Self::Corrupt(*error),
            (Failure::Busy, _) => Class::Unavailable,
            (Failure::Defect(_), _) => Class::Refused,
            (_, Some(error)) => match error.code() {
                Some(code) => class(code),
                None if is_broken(error) || matches!(failure, Failure::Pool(_)) => Class::Unavailable,
                None => Class::Refused,
            },
            (Failure::Pool(_) | Failure::Postgres(_), None) => Class::Unavailable,
        };
        let source: Box<dyn StdError + Send + Sync> = match failure {
            Failure::Pool(error) => Box::new(error),
            Failure::Postgres(error) => Box::new(error),
            Failure::Corrupt(error) => Box::new(error),
            Failure::Defect(what) => what.into(),
            Failure::Busy => "too much is going on at once".into(),
        };
        match class {
            Class::Unavailable => Self::Unavailable(source),
            Class::NotWritable => Self::NotWritable(source),
            Class::Refused => Self::Refused(source),
        }
    }
}
