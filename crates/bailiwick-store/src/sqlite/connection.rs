//! Connections: how each is opened and what it can do.
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rusqlite::{
    Connection, ErrorCode, OpenFlags,
    config::DbConfig,
    functions::{Context, FunctionFlags},
};

use super::{contains::contains, error::SqliteError};
use crate::sql::CONTAINS;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To read; it cannot write.
    Read,
    /// To write.
    Write,
}

/// How many prepared statements a connection keeps: more than the shapes of an ordinary day.
const STATEMENTS: usize = 256;

/// An absolute path: SQLite takes a relative one that begins with `file:` for a URI.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, SqliteError> {
    std::path::absolute(path).map_err(|error| SqliteError::of_io(path, error))
}

/// Whether there is a database at `path`, as far as one can tell without opening the file. It must not be opened here: the
/// locks that this process holds on a file through SQLite end when any handle to it is closed.
///
/// # Errors
/// If there is something at `path` that cannot be one, or there is no directory to make one in.
pub(super) fn is_there(path: &Path) -> Result<bool, SqliteError> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(SqliteError::IsDirectory { path: path.into() }),
        // The superuser could write it all the same; whoever took the right away did not mean that.
        Ok(found) if found.permissions().readonly() => Err(SqliteError::ReadOnly { path: path.into() }),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            match fs::metadata(directory) {
                Ok(found) if found.is_dir() => Ok(false),
                _ => Err(SqliteError::NoDirectory { directory: directory.into() }),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            let directory = path.parent().unwrap_or(Path::new("/"));
            Err(SqliteError::NoDirectory { directory: directory.into() })
        }
        Err(error) => Err(SqliteError::of_io(path, error)),
    }
}

/// Makes an empty file that only its owner can read; SQLite gives the files beside it the same rights.
pub(super) fn create(path: &Path) -> Result<(), SqliteError> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        // Another process was first: it is the same file.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(SqliteError::of_io(path, error)),
    }
}

/// Opens a database that is there.
pub(super) fn connect(
    path: &Path,
    purpose: Purpose,
    busy_timeout: Duration,
) -> Result<Connection, SqliteError> {
    // The file itself was opened by then: what cannot be opened is the log beside it.
    let fail = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(ErrorCode::CannotOpen) if purpose == Purpose::Write => {
            SqliteError::ReadOnly { path: path.into() }
        }
        _ => SqliteError::of(path, error),
    };
    let access = match purpose {
        Purpose::Read => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Purpose::Write => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    // Each connection is used by one thread at a time: SQLite needs no lock of its own.
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| SqliteError::of(path, error))?;
    connection.busy_timeout(busy_timeout).map_err(fail)?;
    if purpose == Purpose::Write {
        // SQLite falls back to reading where it may not write.
        if connection.is_readonly("main").map_err(fail)? {
            return Err(SqliteError::ReadOnly { path: path.into() });
        }
        write_ahead(&connection, busy_timeout).map_err(fail)?;
    }
    prepare(&connection, purpose).map_err(fail)?;
    Ok(connection)
}

/// Readers and the writer do not wait for each other, and a commit is on disk when it returns.
///
/// SQLite does not wait for the lock that the change to this mode takes: of two processes that make the same new
/// database, one would be told at once that it is locked. So the waiting is done here.
fn write_ahead(connection: &Connection, busy_timeout: Duration) -> rusqlite::Result<()> {
    const STEP: Duration = Duration::from_millis(20);
    connection.busy_timeout(STEP)?;
    // Each try may wait a step in SQLite, and waits one here.
    let mut tries = busy_timeout.as_millis() / (2 * STEP).as_millis();
    let mode = loop {
        match connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0)) {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tries > 0 => {
                tries -= 1;
                thread::sleep(STEP);
            }
            mode => break mode?,
        }
    };
    connection.busy_timeout(busy_timeout)?;
    if mode != "wal" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY);
        return Err(rusqlite::Error::SqliteFailure(code, Some(format!("journal mode is {mode}, not wal"))));
    }
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA journal_size_limit = 67108864;",
    )
}

fn prepare(connection: &Connection, purpose: Purpose) -> rusqlite::Result<()> {
    // Without it SQLite looks at the values that are bound, and compiles a statement with a LIMIT anew for each one:
    // a third of what a list costs.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.execute_batch(
        "PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF;
         PRAGMA temp_store = MEMORY;",
    )?;
    // A page that is mapped is not copied; the cache is for what lies beyond the map, and for what is written.
    connection.execute_batch("PRAGMA mmap_size = 268435456; PRAGMA cache_size = -8192;")?;
    if purpose == Purpose::Read {
        connection.execute_batch("PRAGMA query_only = ON;")?;
    }
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.create_scalar_function(
        CONTAINS,
        2,
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY,
        |context: &Context<'_>| {
            let text = |index| context.get_raw(index).as_str_or_null();
            Ok(match (text(0)?, text(1)?) {
                (Some(text), Some(term)) => Some(contains(text, term)),
                _ => None,
            })
        },
    )
}
