//! Where Bailiwick keeps its data: SQLite, PostgreSQL, Redis, and memory.
//!
//! [`open`] gives a [`Store`] for a `database.url`; [`migrate`] brings the database to the schema that the program
//! needs. What callers spend is counted by [`MemoryCounters`] in one process, and for several servers by [`RedisCounters`]
//! or in the database, by the counters that [`open_with_counters`] gives.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use bailiwick_core::{audit::AuditKeys, secret::Secret};
//! use bailiwick_store::{OpenOptions, migrate, open, refinery::Runner};
//!
//! # async fn start(key: Secret<[u8; 32]>) -> Result<(), Box<dyn std::error::Error>> {
//! let url = "sqlite://bailiwick.db";
//! let options = OpenOptions::default();
//! // An application embeds its own: refinery::embed_migrations!("migrations").
//! let migrations = Runner::new(&[]);
//! migrate(url, &options, &migrations, &[]).await?;
//! let store = open(url, &options, AuditKeys::new(&key, [])).await?;
//! # let _ = store;
//! # Ok(())
//! # }
//! ```
//!
//! # Security
//! A back-end runs [`Plan`](bailiwick_core::query::Plan)s and the fixed statements of the identity tables, and nothing
//! else: there is no way to hand it SQL.
#[cfg(test)]
mod fixture;
mod ledger;
mod memory;
mod meters;
mod migrations;
mod postgres;
mod redis;
mod refresh;
mod remembering;
mod sql;
mod sqlite;

use std::{fmt, path::PathBuf, sync::Arc, thread, time::Duration};

use bailiwick_core::{
    audit::AuditKeys,
    clock::SystemClock,
    model::TableDef,
    store::{CounterStore, Store},
};
pub use refinery;
use refinery::Runner;

use self::remembering::RememberingStore;
pub use self::{
    memory::MemoryCounters,
    migrations::{APP_HISTORY, FRAMEWORK_HISTORY, MigrateError, MigrateReport},
    postgres::{ConnectError, PostgresCounters, PostgresOptions, PostgresStore},
    redis::{RedisCounters, RedisError, RedisOptions},
    remembering::IN_FORCE_AFTER,
    sqlite::{SqliteCounters, SqliteError, SqliteOptions, SqliteStore},
};

/// How a database is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// If it is SQLite.
    pub sqlite: SqliteOptions,
    /// If it is PostgreSQL.
    pub postgres: PostgresOptions,
    /// Told once by [`migrate`] when another process holds the database, and for how long it waits for that at most.
    pub on_lock: Option<fn(Duration)>,
}

/// How long another process may hold a database that is to be migrated: a large table takes its time.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long it may do so before `on_lock` is told: processes that start together take turns in less.
const SILENT_WAIT: Duration = Duration::from_secs(1);

/// Why a database could not be opened. The message says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL names no database. It is not repeated here: it may hold a password.
    #[error(
        "{0}; a database is named `sqlite://` and the path of a file, or `postgres://user@host/database`"
    )]
    Url(&'static str),
    /// SQLite could not open its file.
    #[error(transparent)]
    Sqlite(#[from] SqliteError),
    /// PostgreSQL could not be reached, or does not let us in.
    #[error(transparent)]
    Postgres(#[from] ConnectError),
}

/// Opens the database that `url` names: `sqlite://` and the path of a file (`sqlite://data.db` is relative,
/// `sqlite:///var/lib/data.db` absolute), or `postgres://…`. Its audit trail is linked with `audit_keys`.
///
/// # Errors
/// Names the cause and what to do about it.
pub async fn open(
    url: &str,
    options: &OpenOptions,
    audit_keys: AuditKeys,
) -> Result<Arc<dyn Store>, OpenError> {
    Ok(open_with_counters(url, options, audit_keys).await?.store)
}

/// A database, and counters in it that all processes share which have it open.
#[derive(Clone)]
#[non_exhaustive]
pub struct Opened {
    /// The database.
    pub store: Arc<dyn Store>,
    /// What callers spend, in its table `counters`.
    pub counters: Arc<dyn CounterStore>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Opens the database that `url` names, as [`open`], and the counters in it.
///
/// # Errors
/// As [`open`].
pub async fn open_with_counters(
    url: &str,
    options: &OpenOptions,
    audit_keys: AuditKeys,
) -> Result<Opened, OpenError> {
    // The time of the machine, whatever clock the application has: other processes go by it too.
    let clock = Arc::new(SystemClock::new());
    if audit_keys.are_known_to_everybody() {
        tracing::warn!(
            "the audit trail has no secret key: it shows what was damaged, but not what was forged"
        );
    }
    match Location::of(url)? {
        Location::Sqlite(path) => {
            let store = SqliteStore::open(path, &options.sqlite, audit_keys)?;
            let counters = Arc::new(store.counters(clock.clone()));
            Ok(Opened { store: Arc::new(RememberingStore::new(store, clock)), counters })
        }
        Location::Postgres => {
            let store = PostgresStore::connect(url, &options.postgres, audit_keys).await?;
            let counters = Arc::new(store.counters());
            Ok(Opened { store: Arc::new(RememberingStore::new(store, clock)), counters })
        }
    }
}

/// Brings the database that `url` names to the schema that this program needs: applies the migrations of the
/// framework and then those of the application (`app`) that were not applied yet, starts counting the rows of each
/// table that is declared `counted`, and checks that the tables have the columns that `tables` declare. All of it in
/// one transaction: it happens whole or not at all. Two processes that do it at once wait for each other.
///
/// # Cancel safety
/// A migration of SQLite runs on a thread of its own: it goes on when the future is dropped, until it is done or the
/// process ends.
///
/// # Errors
/// If the database cannot be opened, was migrated by a newer program, or does not fit the declarations.
pub async fn migrate(
    url: &str,
    options: &OpenOptions,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    match Location::of(url)? {
        Location::Sqlite(path) => {
            let (options, tables) = (options.clone(), tables.to_vec());
            let app = Runner::new(app.get_migrations());
            let (done, report) = tokio::sync::oneshot::channel();
            let work = move || done.send(sqlite::migrate(&path, &options, &app, &tables));
            let thread = thread::Builder::new().name("bailiwick-migrate".to_owned()).spawn(work);
            thread.map_err(|error| MigrateError::Database(error.into()))?;
            report.await.unwrap_or_else(|error| Err(MigrateError::Database(error.into())))
        }
        Location::Postgres => postgres::migrate(url, options, app, tables).await,
    }
}

/// What [`migrate`] would do, without doing it. Of a database that is not there, everything is pending.
///
/// # Errors
/// As [`migrate`]; that a table lacks a column is only known when nothing is pending.
pub async fn pending(
    url: &str,
    options: &OpenOptions,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    match Location::of(url)? {
        Location::Sqlite(path) => sqlite::pending(&path, &options.sqlite, app, tables),
        Location::Postgres => postgres::pending(url, &options.postgres, app, tables).await,
    }
}

enum Location {
    Sqlite(PathBuf),
    Postgres,
}

impl Location {
    fn of(url: &str) -> Result<Self, OpenError> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return match path {
                "" => Err(OpenError::Url("the URL names no file")),
                ":memory:" | "/:memory:" => Err(OpenError::Url("a database in memory is lost at every stop")),
                _ if path.contains(['?', '#', '\0']) => Err(OpenError::Url("the path has a ?, a # or a NUL")),
                _ => Ok(Self::Sqlite(path.into())),
            };
        }
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Self::Postgres);
        }
        Err(OpenError::Url("the URL is neither one of SQLite nor one of PostgreSQL"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_or_a_server_and_a_wrong_one_is_not_repeated() {
        let path = |url| match Location::of(url) {
            Ok(Location::Sqlite(path)) => path,
            _ => panic!("{url}"),
        };
        assert_eq!(path("sqlite://a b.db"), PathBuf::from("a b.db"));
        assert_eq!(path("sqlite:///var/lib/a.db"), PathBuf::from("/var/lib/a.db"));
        assert!(matches!(Location::of("postgres://a@b/c"), Ok(Location::Postgres)));
        for wrong in [
            "",
            "a.db",
            "sqlite://",
            "sqlite:a.db",
            "sqlite://:memory:",
            "sqlite://a?mode=ro",
            "mysql://u:pw@h/d",
        ] {
            let error = Location::of(wrong).err().unwrap_or_else(|| panic!("{wrong}")).to_string();
            assert!(!error.contains("pw") && !error.contains("mysql"), "{error}");
        }
    }
}
