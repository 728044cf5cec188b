//! Runs on PostgreSQL what [`migrations`](crate::migrations) decides.
use std::pin::pin;

use bailiwick_core::model::TableDef;
use refinery::Runner;
use tokio_postgres::{Client, error::SqlState};

use super::{ConnectError, PostgresOptions, connect::Target};
use crate::{
    LOCK_WAIT, OpenError, OpenOptions, SILENT_WAIT,
    migrations::{
        AUDIT_TRIGGER, Applied, FRAMEWORK_HISTORY, History, MigrateError, MigrateReport, RowCount,
        check_table, protect_audit_trail, quoted,
    },
    sql::Dialect,
};

/// Held while a database is migrated, by all versions of this program alike: "bailiwic" in ASCII.
const LOCK: i64 = i64::from_be_bytes(*b"bailiwic");

/// Not the time limits of requests: a migration takes as long as it takes. But whoever waits for a lock keeps all
/// others waiting behind, so that wait ends, after [`LOCK_WAIT`].
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '60s'; \
                     SET LOCAL idle_in_transaction_session_timeout = 0";

/// See [`migrate`](crate::migrate).
pub(crate) async fn migrate(
    url: &str,
    options: &OpenOptions,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    // If this fails or is dropped, the connection closes, and the server undoes the transaction.
    let client = connect(url, &options.postgres).await?;
    client.batch_execute(BEGIN).await.map_err(failed)?;
    let mut lock = pin!(client.query_one("SELECT pg_advisory_xact_lock($1)", &[&LOCK]));
    let locked = match tokio::time::timeout(SILENT_WAIT, &mut lock).await {
        Ok(locked) => locked,
        Err(_) => {
            options.on_lock.inspect(|tell| tell(LOCK_WAIT));
            lock.await
        }
    };
    locked.map_err(failed)?;
    refuse_foreign(&client).await?;
    let transaction = transaction(&client).await?;
    let mut report = MigrateReport::default();
    for history in History::all(app) {
        client.batch_execute(&history.create()).await.map_err(failed)?;
        let applied = applied(&client, &history).await?;
        for migration in history.pending(&applied)? {
            let sql = migration.sql().unwrap_or_default();
            client.batch_execute(sql).await.map_err(|error| match failed(error) {
                MigrateError::Database(source) => {
                    MigrateError::Failed { migration: migration.to_string(), source }
                }
                other => other,
            })?;
            if self::transaction(&client).await? != transaction {
                return Err(MigrateError::Failed {
                    migration: migration.to_string(),
                    source: "it ended the transaction that it runs in; leave COMMIT and ROLLBACK out".into(),
                });
            }
            let record = history.record(Dialect::Postgres, migration);
            client.batch_execute(&record).await.map_err(failed)?;
            report.applied.push(migration.to_string());
        }
    }
    let is_protected =
        client.query_one(HAS_TRIGGER, &[&"audit_entries", &AUDIT_TRIGGER]).await.map_err(failed)?;
    if !is_protected.get::<_, bool>(0) {
        client.batch_execute(&protect_audit_trail(Dialect::Postgres)).await.map_err(failed)?;
    }
    for table in tables {
        if let Some(count) = check(&client, table).await? {
            client.batch_execute(&count.create()).await.map_err(failed)?;
            report.counted.push(table.name);
        }
    }
    client.batch_execute("COMMIT").await.map_err(failed)?;
    Ok(report)
}

/// See [`pending`](crate::pending).
pub(crate) async fn pending(
    url: &str,
    options: &PostgresOptions,
    app: &Runner,
    tables: &[&'static TableDef],
) -> Result<MigrateReport, MigrateError> {
    let client = connect(url, options).await?;
    let begin = format!("{BEGIN}; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY");
    client.batch_execute(&begin).await.map_err(failed)?;
    refuse_foreign(&client).await?;
    let mut report = MigrateReport::default();
    for history in History::all(app) {
        let applied = applied(&client, &history).await?;
        report.applied.extend(history.pending(&applied)?.iter().map(ToString::to_string));
    }
    for table in tables {
        // What a migration is yet to make cannot be looked at.
        match check(&client, table).await {
            Ok(Some(_)) => report.counted.push(table.name),
            Ok(None) => {}
            Err(MigrateError::NoTable { .. } | MigrateError::NoColumn { .. })
                if !report.applied.is_empty() =>
            {
                if table.counted {
                    report.counted.push(table.name);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(report)
}

/// Refuses a database that has tables, and no history that tells them to be ours.
async fn refuse_foreign(client: &Client) -> Result<(), MigrateError> {
    let found = client.query_one(FOREIGN, &[&FRAMEWORK_HISTORY]).await.map_err(failed)?;
    match found.get::<_, Option<String>>("relation") {
        Some(table) => Err(MigrateError::Foreign { database: found.get("database"), table }),
        None => Ok(()),
    }
}

/// Refuses a database that the framework of this program does not fit.
pub(super) async fn check_framework(client: &Client, target: &Target) -> Result<(), ConnectError> {
    let (history, database) = (History::framework(), target.database());
    let applied = read_applied(client, &history).await.map_err(|error| target.explain(error))?;
    match history.pending(&applied) {
        Ok(pending) if pending.is_empty() => Ok(()),
        Ok(pending) => {
            let pending = pending.iter().map(ToString::to_string).collect();
            Err(ConnectError::NotMigrated { database, pending })
        }
        Err(MigrateError::Newer { migration, .. }) => Err(ConnectError::Newer { database, migration }),
        Err(MigrateError::Changed { migration, .. }) => Err(ConnectError::Changed { database, migration }),
        Err(error) => Err(ConnectError::Other { at: target.at(), source: error.into() }),
    }
}

async fn connect(url: &str, options: &PostgresOptions) -> Result<Client, MigrateError> {
    let target = Target::parse(url, options).map_err(OpenError::from)?;
    Ok(target.connect_alone().await.map_err(OpenError::from)?)
}

async fn applied(client: &Client, history: &History) -> Result<Vec<Applied>, MigrateError> {
    read_applied(client, history).await.map_err(failed)
}

/// What was applied, in order; nothing if there is no such table.
async fn read_applied(client: &Client, history: &History) -> Result<Vec<Applied>, tokio_postgres::Error> {
    if !client.query_one(IS_THERE, &[&history.table]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let rows = client.query(history.read().as_str(), &[]).await?;
    let read = |row: &tokio_postgres::Row| {
        Ok(Applied { version: row.try_get(0)?, name: row.try_get(1)?, checksum: row.try_get(2)? })
    };
    rows.iter().map(read).collect()
}

/// Names the transaction that is open.
async fn transaction(client: &Client) -> Result<i64, MigrateError> {
    Ok(client.query_one("SELECT txid_current()", &[]).await.map_err(failed)?.get(0))
}

const IS_THERE: &str = "SELECT to_regclass($1) IS NOT NULL";
/// A relation where ours would be made. Those of an extension are nobody's.
const FOREIGN: &str = "SELECT current_database()::text AS database, min(relname::text) AS relation FROM pg_class c \
     WHERE to_regclass($1) IS NULL AND relkind IN ('r', 'p', 'v', 'm', 'f') \
     AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema()) \
     AND NOT EXISTS (SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e')";
const COLUMNS: &str = "SELECT attname::text FROM pg_attribute \
     WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped";
const IS_TABLE: &str = "SELECT relkind IN ('r', 'p') FROM pg_class WHERE oid = to_regclass($1)";
const HAS_TRIGGER: &str =
    "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass($1) AND tgname = $2::text)";

/// Compares a table with its declaration; answers the count that it declares and does not have yet.
async fn check(client: &Client, table: &'static TableDef) -> Result<Option<RowCount>, MigrateError> {
    let name = quoted(table.name);
    let rows = client.query(COLUMNS, &[&name]).await.map_err(failed)?;
    let columns: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    check_table(table, &columns)?;
    let Some(count) = RowCount::of(Dialect::Postgres, table) else { return Ok(None) };
    let is_table: bool = client.query_one(IS_TABLE, &[&name]).await.map_err(failed)?.get(0);
    if !is_table {
        return Err(MigrateError::CountedView { table: table.name });
    }
    let counted = client.query_one(HAS_TRIGGER, &[&name, &count.trigger()]).await.map_err(failed)?;
    Ok(if counted.get(0) { None } else { Some(count) })
}

fn failed(error: tokio_postgres::Error) -> MigrateError {
    match error.code() {
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => MigrateError::Locked(error.into()),
        _ => MigrateError::Database(error.into()),
    }
}
