//! Migrations on SQLite.
use std::{path::Path, time::Duration};

use bailiwick_core::model::TableDef;
use refinery::Runner;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::{
    SqliteOptions,
    connection::{Purpose, absolute, connect, create, is_there},
    error::SqliteError,
};
use crate::{
    LOCK_WAIT, OpenError, OpenOptions, SILENT_WAIT,
    migrations::{
        AUDIT_TRIGGER, Applied, FRAMEWORK_HISTORY, History, MigrateError, MigrateReport, RowCount,
        check_table, protect_audit_trail,
    },
    sql::Dialect,
};

/// See [`migrate`](crate::migrate). Makes the file if there is none. Blocks until it is done.
pub(crate) fn migrate(
    path: &Path,
    options: &OpenOptions,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    let path = absolute(path).map_err(open_error)?;
    if !is_there(&path).map_err(open_error)? {
        create(&path).map_err(open_error)?;
    }
    let longest = options.sqlite.busy_timeout.max(LOCK_WAIT);
    // The lock comes first: what was applied is read under it.
    let connection = match locked(&path, SILENT_WAIT) {
        Err(MigrateError::Locked(_) | MigrateError::Open(OpenError::Sqlite(SqliteError::Locked { .. }))) => {
            options.on_lock.inspect(|tell| tell(longest));
            locked(&path, longest)?
        }
        done => done?,
    };
    let report = migrate_in_transaction(&connection, app, tables)?;
    connection.execute_batch("COMMIT").map_err(database_error)?;
    Ok(report)
}

/// A connection that holds the lock of whoever writes, for which it has waited this long at most.
fn locked(path: &Path, wait: Duration) -> Result<Connection, MigrateError> {
    // To write, a connection first changes the mode of the file, and that is for ever.
    refuse_foreign(&connect(path, Purpose::Read, wait).map_err(open_error)?, path)?;
    let connection = connect(path, Purpose::Write, wait).map_err(open_error)?;
    connection.execute_batch("BEGIN IMMEDIATE").map_err(database_error)?;
    Ok(connection)
}

/// See [`pending`](crate::pending).
pub(crate) fn pending(
    path: &Path,
    options: &SqliteOptions,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    let path = absolute(path).map_err(open_error)?;
    let connection = if is_there(&path).map_err(open_error)? {
        Some(connect(&path, Purpose::Read, options.busy_timeout).map_err(open_error)?)
    } else {
        None
    };
    if let Some(connection) = &connection {
        refuse_foreign(connection, &path)?;
    }
    let mut report = MigrateReport::default();
    for history in History::all(app) {
        let applied = match &connection {
            Some(connection) => applied(connection, &history).map_err(database_error)?,
            None => Vec::new(),
        };
        report.applied.extend(history.pending(&applied)?.iter().map(ToString::to_string));
    }
    for table in tables {
        let counted = RowCount::of(Dialect::Sqlite, table).map(|count| match &connection {
            Some(connection) => is_counted(connection, &count),
            None => Ok(false),
        });
        if counted.transpose().map_err(database_error)? == Some(false) {
            report.counted.push(table.name);
        }
        if let Some(connection) = &connection
            && report.applied.is_empty()
        {
            check(connection, table)?;
        }
    }
    Ok(report)
}

/// Refuses a database that has tables, and no history that tells them to be ours.
fn refuse_foreign(connection: &Connection, path: &Path) -> Result<(), MigrateError> {
    let foreign = || {
        if kind(connection, FRAMEWORK_HISTORY)?.is_some() {
            return Ok(None);
        }
        let of_others = "SELECT min(name) FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT GLOB 'sqlite_*'";
        connection.query_row(of_others, [], |row| row.get::<_, Option<String>>(0))
    };
    match foreign().map_err(|error| open_error(SqliteError::of(path, error)))? {
        Some(table) => Err(MigrateError::Foreign { database: path.display().to_string(), table }),
        None => Ok(()),
    }
}

/// Refuses a database that the framework of this program does not fit.
pub(super) fn check_framework(connection: &Connection, path: &Path) -> Result<(), SqliteError> {
    let path = || path.to_owned();
    let history = History::framework();
    let applied = applied(connection, &history).map_err(|error| SqliteError::of(path(), error))?;
    match history.pending(&applied) {
        Ok(pending) if pending.is_empty() => Ok(()),
        Ok(pending) => Err(SqliteError::NotMigrated {
            path: path(),
            pending: pending.iter().map(ToString::to_string).collect(),
        }),
        Err(MigrateError::Newer { migration, .. }) => Err(SqliteError::Newer { path: path(), migration }),
        Err(MigrateError::Changed { migration, .. }) => Err(SqliteError::Changed { path: path(), migration }),
        Err(error) => Err(SqliteError::Other { path: path(), source: error.into() }),
    }
}

pub(super) fn migrate_in_transaction(
    connection: &Connection,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    let mut report = MigrateReport::default();
    for history in History::all(app) {
        connection.execute_batch(&history.create()).map_err(database_error)?;
        let applied = applied(connection, &history).map_err(database_error)?;
        for migration in history.pending(&applied)? {
            let sql = migration.sql().unwrap_or_default();
            connection.execute_batch(sql).map_err(|error| match error.sqlite_error_code() {
                Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => database_error(error),
                _ => MigrateError::Failed {
                    migration: migration.to_string(),
                    source: without_statement(error).into(),
                },
            })?;
            if connection.is_autocommit() {
                return Err(MigrateError::Failed {
                    migration: migration.to_string(),
                    source: "it ended the transaction that it runs in; leave COMMIT and ROLLBACK out".into(),
                });
            }
            connection.execute_batch(&history.record(Dialect::Sqlite, migration)).map_err(database_error)?;
            report.applied.push(migration.to_string());
        }
    }
    if kind(connection, AUDIT_TRIGGER).map_err(database_error)?.is_none() {
        connection.execute_batch(&protect_audit_trail(Dialect::Sqlite)).map_err(database_error)?;
    }
    for table in tables {
        check(connection, table)?;
        let Some(count) = RowCount::of(Dialect::Sqlite, table) else { continue };
        if kind(connection, table.name).map_err(database_error)?.as_deref() == Some("view") {
            return Err(MigrateError::CountedView { table: table.name });
        }
        if !is_counted(connection, &count).map_err(database_error)? {
            connection.execute_batch(&count.create()).map_err(database_error)?;
            report.counted.push(table.name);
        }
    }
    Ok(report)
}

/// What was applied, in order; nothing if there is no such table.
fn applied(connection: &Connection, history: &History) -> rusqlite::Result<Vec<Applied>> {
    if kind(connection, history.table)?.is_none() {
        return Ok(Vec::new());
    }
    let mut read = connection.prepare(&history.read())?;
    let applied = read.query_map([], |row| {
        Ok(Applied { version: row.get(0)?, name: row.get(1)?, checksum: row.get(2)? })
    })?;
    applied.collect()
}

/// Whether `name` is a table, a view or a trigger.
fn kind(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .query_row("SELECT type FROM sqlite_schema WHERE name = ?1", [name], |row| row.get(0))
        .optional()
}

fn is_counted(connection: &Connection, count: &RowCount) -> rusqlite::Result<bool> {
    Ok(kind(connection, &count.trigger())?.is_some())
}

fn check(connection: &Connection, table: &'static TableDef) -> Result<(), MigrateError> {
    let columns = || {
        let mut read = connection.prepare("SELECT name FROM pragma_table_xinfo(?1)")?;
        read.query_map([table.name], |row| row.get(0))?.collect::<rusqlite::Result<Vec<String>>>()
    };
    check_table(table, &columns().map_err(database_error)?)
}

/// What SQLite says of a statement, without the whole text of it.
fn without_statement(error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqlInputError { error, msg, .. } => rusqlite::Error::SqliteFailure(error, Some(msg)),
        other => other,
    }
}

fn open_error(error: SqliteError) -> MigrateError {
    OpenError::from(error).into()
}

fn database_error(error: rusqlite::Error) -> MigrateError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => MigrateError::Locked(error.into()),
        _ => MigrateError::Database(error.into()),
    }
}
