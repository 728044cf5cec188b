//! Migrations: the schema of the framework and that of the application, side by side in one database.
//!
//! Both histories are kept in the form of `refinery`, in [`FRAMEWORK_HISTORY`] and [`APP_HISTORY`]. Everything that a
//! call of [`migrate`](crate::migrate) does happens in one transaction under a lock: two processes that migrate at
//! once do it one after the other, and a migration that fails leaves the database as it was. So a migration cannot
//! hold what runs in no transaction (`CREATE INDEX CONCURRENTLY`, `VACUUM`).
//!
//! This file decides what is to be done and writes the SQL; the back-ends run it.
use std::fmt::Write as _;

use bailiwick_core::model::{Part, TableDef};
use refinery::{Migration, Runner};

use crate::{OpenError, sql::Dialect};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// The table that says which migrations of the framework were applied.
pub const FRAMEWORK_HISTORY: &str = "bailiwick_schema";
/// The table that says which migrations of the application were applied.
pub const APP_HISTORY: &str = "app_schema";

/// What [`migrate`](crate::migrate) did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MigrateReport {
    /// The migrations that were applied, in order, by name: `V1__identity`.
    pub applied: Vec<String>,
    /// The tables whose rows are counted from now on.
    pub counted: Vec<&'static str>,
}

impl MigrateReport {
    /// Whether there was nothing to do.
    pub fn is_empty(&self) -> bool {
        self.applied.is_empty() && self.counted.is_empty()
    }
}

/// Why a database could not be brought to the schema that this program needs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A newer program has migrated this database.
    #[error(
        "the database has the migration {migration} in {history}, which this program does not know: a newer version \
         has migrated it; run that version, or restore a backup from before"
    )]
    Newer {
        /// The table that says so.
        history: &'static str,
        /// The migration, by version and name.
        migration: String,
    },
    /// A migration that was applied is not the one that this program has under its version.
    #[error(
        "the migration {migration} in {history} was changed after it was applied; put it back as it was, and make \
         the change in a new migration"
    )]
    Changed {
        /// The table that says what was applied.
        history: &'static str,
        /// The migration, by version and name.
        migration: String,
    },
    /// A migration was added below one that was applied.
    #[error(
        "the migration {migration} has a lower version than {newest} of {history}, which was applied already; give it \
         a higher one"
    )]
    OutOfOrder {
        /// The table that says what was applied.
        history: &'static str,
        /// The migration that was added, by version and name.
        migration: String,
        /// The newest migration that was applied, by version and name.
        newest: String,
    },
    /// Two migrations have one version.
    #[error("the migrations {first} and {second} have the same version; renumber one of them")]
    Repeated {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The database has tables and no history: it is another application's.
    #[error(
        "{database} is no database of Bailiwick: it has the table {table} of another application; name another one in \
         `database.url`; nothing was changed in this one"
    )]
    Foreign {
        /// The file, or the name of the database.
        database: String,
        /// One of its tables.
        table: String,
    },
    /// A migration failed, and nothing of it stays.
    #[error("the migration {migration} failed and was undone")]
    Failed {
        /// The migration, by version and name.
        migration: String,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A model declares a table that no migration made.
    #[error("a model declares the table {table}, which does not exist; add a migration that creates it")]
    NoTable {
        /// The table.
        table: &'static str,
    },
    /// A model declares a column that its table does not have.
    #[error("a model declares the column {column} of the table {table}, which has none; add a migration")]
    NoColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// A model lacks a column that every table has.
    #[error("the model of the table {table} declares no {part} column")]
    NoPart {
        /// The table.
        table: &'static str,
        /// The missing part.
        part: &'static str,
    },
    /// A view cannot be counted: triggers keep the count.
    #[error(
        "the model of {table} is declared counted, but {table} is a view; take `counted` out of the model"
    )]
    CountedView {
        /// The view.
        table: &'static str,
    },
    /// The database is locked, or another process migrates it for longer than anyone should wait.
    #[error("the database is locked by another process; stop it or wait for it, and try again")]
    Locked(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database failed.
    #[error("the database failed while it was migrated; nothing of it stays")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A migration that was applied, as a history tells it.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) version: i32,
    pub(crate) name: String,
    pub(crate) checksum: String,
}

/// One set of migrations and the table that remembers them.
pub(crate) struct History {
    pub(crate) table: &'static str,
    migrations: Vec<Migration>,
}

impl History {
    /// The framework's and the application's, in the order in which they are applied.
    pub(crate) fn all(app: &Runner) -> [Self; 2] {
        [Self::framework(), Self::new(APP_HISTORY, app)]
    }

    /// The framework's own.
    pub(crate) fn framework() -> Self {
        Self::new(FRAMEWORK_HISTORY, &embedded::migrations::runner())
    }

    fn new(table: &'static str, runner: &Runner) -> Self {
        let mut migrations = runner.get_migrations().clone();
        migrations.sort();
        Self { table, migrations }
    }

    /// Creates the table if it is not there. Runs on both databases; the columns are refinery's.
    pub(crate) fn create(&self) -> String {
        format!(
            "CREATE TABLE IF NOT EXISTS {} (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), \
             checksum varchar(255))",
            self.table
        )
    }

    /// Reads what was applied, in order: `version` (`int4`), `name` and `checksum` (text).
    pub(crate) fn read(&self) -> String {
        format!("SELECT version, name, checksum FROM {} ORDER BY version", self.table)
    }

    /// Remembers that `migration` was applied. Neither its name nor its checksum can hold a quote: the name is
    /// letters, digits and underscores, or it would have been no migration.
    pub(crate) fn record(&self, dialect: Dialect, migration: &Migration) -> String {
        let now = match dialect {
            Dialect::Sqlite => "strftime('%Y-%m-%dT%H:%M:%fZ', 'now')",
            Dialect::Postgres => r#"to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#,
        };
        format!(
            "INSERT INTO {} (version, name, applied_on, checksum) VALUES ({}, '{}', {now}, '{}')",
            self.table,
            migration.version(),
            migration.name(),
            migration.checksum()
        )
    }

    /// Which migrations are to be applied, in order, after those in `applied`.
    ///
    /// # Errors
    /// If the database is ahead of this program, or their histories do not agree.
    pub(crate) fn pending(&self, applied: &[Applied]) -> Result<Vec<&Migration>, MigrateError> {
        if let Some(pair) = self.migrations.windows(2).find(|pair| pair[0].version() == pair[1].version()) {
            let [first, second] = [&pair[0], &pair[1]].map(Migration::to_string);
            return Err(MigrateError::Repeated { first, second });
        }
        let mut newest: Option<&Migration> = None;
        for Applied { version, name, checksum } in applied {
            let Some(ours) = self.migrations.iter().find(|ours| ours.version() == *version) else {
                return Err(MigrateError::Newer {
                    history: self.table,
                    migration: format!("V{version}__{name}"),
                });
            };
            if ours.name() != name || ours.checksum().to_string() != *checksum {
                return Err(MigrateError::Changed { history: self.table, migration: ours.to_string() });
            }
            newest = Some(newest.map_or(ours, |newest| newest.max(ours)));
        }
        let is_applied =
            |migration: &&Migration| applied.iter().any(|applied| applied.version == migration.version());
        let pending: Vec<_> = self.migrations.iter().filter(|migration| !is_applied(migration)).collect();
        match (pending.first(), newest) {
            (Some(first), Some(newest)) if *first < newest => Err(MigrateError::OutOfOrder {
                history: self.table,
                migration: first.to_string(),
                newest: newest.to_string(),
            }),
            _ => Ok(pending),
        }
    }
}

/// Compares what a model declares with the columns that its table or view has.
///
/// # Errors
/// Names the first thing that is missing.
pub(crate) fn check_table(table: &'static TableDef, columns: &[String]) -> Result<(), MigrateError> {
    for (part, name) in [(Part::Id, "id"), (Part::Tenant, "tenant")] {
        if table.position(part).is_none() {
            return Err(MigrateError::NoPart { table: table.name, part: name });
        }
    }
    if columns.is_empty() {
        return Err(MigrateError::NoTable { table: table.name });
    }
    match table.columns.iter().find(|column| !columns.iter().any(|has| has == column.name)) {
        Some(column) => Err(MigrateError::NoColumn { table: table.name, column: column.name }),
        None => Ok(()),
    }
}

/// The trigger by which a database is known to keep its audit trail as it is.
pub(crate) const AUDIT_TRIGGER: &str = "bw_audit_append_only";

/// Lets nobody change or remove what the audit trail tells. Runs where [`AUDIT_TRIGGER`] is not there.
///
/// Whoever may change the schema can take it away; that is what the links of the trail are for.
pub(crate) fn protect_audit_trail(dialect: Dialect) -> String {
    const TABLES: [&str; 2] = ["audit_entries", "audit_heads"];
    let mut sql = String::new();
    match dialect {
        Dialect::Sqlite => {
            let refuse = "BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;";
            let _ = writeln!(sql, "CREATE TRIGGER {AUDIT_TRIGGER} BEFORE UPDATE ON audit_entries {refuse}");
            // To replace a row is no deletion to SQLite.
            let _ = writeln!(
                sql,
                "CREATE TRIGGER {AUDIT_TRIGGER}_replace BEFORE INSERT ON audit_entries WHEN EXISTS \
                 (SELECT 1 FROM audit_entries WHERE chain = NEW.chain AND sequence = NEW.sequence) {refuse}"
            );
            for table in TABLES {
                let _ = writeln!(
                    sql,
                    "CREATE TRIGGER {AUDIT_TRIGGER}_{table}_delete BEFORE DELETE ON {table} {refuse}"
                );
            }
        }
        Dialect::Postgres => {
            let _ = writeln!(
                sql,
                "CREATE OR REPLACE FUNCTION {AUDIT_TRIGGER}() RETURNS trigger LANGUAGE plpgsql AS \
                 $bw$ BEGIN RAISE EXCEPTION 'the audit trail is append-only'; END $bw$;"
            );
            for (table, events) in
                TABLES.into_iter().zip(["UPDATE OR DELETE OR TRUNCATE", "DELETE OR TRUNCATE"])
            {
                let _ = writeln!(
                    sql,
                    "CREATE TRIGGER {AUDIT_TRIGGER} BEFORE {events} ON {table} \
                     FOR EACH STATEMENT EXECUTE FUNCTION {AUDIT_TRIGGER}();"
                );
            }
        }
    }
    sql
}

/// What keeps the number of rows of each scope of a table.
pub(crate) struct RowCount {
    dialect: Dialect,
    table: &'static str,
    tenant: &'static str,
}

impl RowCount {
    /// The count of `table`, if it declares one.
    pub(crate) fn of(dialect: Dialect, table: &TableDef) -> Option<Self> {
        let tenant = table.columns[table.position(Part::Tenant)?].name;
        table.counted.then_some(Self { dialect, table: table.name, tenant })
    }

    /// The name of one of the triggers: all are there, or none.
    pub(crate) fn trigger(&self) -> String {
        format!("bw_count_{}", self.table)
    }

    /// Makes the triggers and counts the rows that are there already. In the transaction that migrates, so that no
    /// row is missed between.
    pub(crate) fn create(&self) -> String {
        match self.dialect {
            Dialect::Sqlite => self.create_on_sqlite(),
            Dialect::Postgres => self.create_on_postgres(),
        }
    }

    fn create_on_sqlite(&self) -> String {
        let Self { table, tenant, .. } = self;
        let (trigger, literal) = (self.trigger(), literal(table));
        let (table, tenant) = (quoted(table), quoted(tenant));
        let add = |row: &str, rows: i32| {
            format!(
                "INSERT INTO row_counts (table_name, scope_id, slot, rows) VALUES ({literal}, {row}.{tenant}, 0, {rows}) \
                 ON CONFLICT (table_name, scope_id, slot) DO UPDATE SET rows = rows + {rows};"
            )
        };
        let mut sql = self.count_now(&literal, &table, &tenant);
        for (suffix, on, body) in [
            ("", "INSERT ON".to_owned(), add("NEW", 1)),
            ("_delete", "DELETE ON".to_owned(), add("OLD", -1)),
            ("_update", format!("UPDATE OF {tenant} ON"), format!("{} {}", add("OLD", -1), add("NEW", 1))),
        ] {
            let name = quoted(&format!("{trigger}{suffix}"));
            let _ = writeln!(sql, "CREATE TRIGGER {name} AFTER {on} {table} BEGIN {body} END;");
        }
        sql
    }

    /// A transaction adds to the slot of its connection, so that two do not wait for each other; a slot may so fall
    /// below zero, and only the sum of all means something.
    fn create_on_postgres(&self) -> String {
        let Self { table, tenant, .. } = self;
        let (trigger, literal) = (quoted(&self.trigger()), literal(table));
        let (table, tenant) = (quoted(table), quoted(tenant));
        let add = |row: &str, rows: i32| {
            format!(
                "INSERT INTO row_counts AS kept (table_name, scope_id, slot, rows) \
                 VALUES ({literal}, {row}.{tenant}, pg_backend_pid() % 16, {rows}) \
                 ON CONFLICT (table_name, scope_id, slot) DO UPDATE SET rows = kept.rows + {rows};"
            )
        };
        let truncate = quoted(&format!("{}_truncate", self.trigger()));
        format!(
            "LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE;
             {count}
             CREATE OR REPLACE FUNCTION {trigger}() RETURNS trigger LANGUAGE plpgsql AS $bw$ BEGIN
               IF TG_OP = 'TRUNCATE' THEN DELETE FROM row_counts WHERE table_name = {literal}; RETURN NULL; END IF;
               IF TG_OP = 'UPDATE' AND OLD.{tenant} = NEW.{tenant} THEN RETURN NULL; END IF;
               IF TG_OP <> 'INSERT' THEN {minus} END IF;
               IF TG_OP <> 'DELETE' THEN {plus} END IF;
               RETURN NULL;
             END $bw$;
             CREATE TRIGGER {trigger} AFTER INSERT OR DELETE OR UPDATE OF {tenant} ON {table}
               FOR EACH ROW EXECUTE FUNCTION {trigger}();
             CREATE TRIGGER {truncate} AFTER TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION {trigger}();",
            count = self.count_now(&literal, &table, &tenant),
            minus = add("OLD", -1),
            plus = add("NEW", 1),
        )
    }

    fn count_now(&self, literal: &str, table: &str, tenant: &str) -> String {
        format!(
            "DELETE FROM row_counts WHERE table_name = {literal};
             INSERT INTO row_counts (table_name, scope_id, slot, rows)
               SELECT {literal}, {tenant}, 0, COUNT(*) FROM {table} GROUP BY {tenant};\n"
        )
    }
}

/// An identifier in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrations(names: &[&str]) -> History {
        let migrations: Vec<_> =
            names.iter().map(|name| Migration::unapplied(name, "SELECT 1").unwrap()).collect();
        History::new(APP_HISTORY, &Runner::new(&migrations))
    }

    fn applied(history: &History) -> Vec<Applied> {
        let of = |migration: &Migration| Applied {
            version: migration.version(),
            name: migration.name().to_owned(),
            checksum: migration.checksum().to_string(),
        };
        history.migrations.iter().map(of).collect()
    }

    fn names(pending: &[&Migration]) -> Vec<String> {
        pending.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_was_not_applied_is_pending_in_the_order_of_versions() {
        let all = migrations(&["V10__c", "V1__a", "V2__b"]);
        assert_eq!(names(&all.pending(&[]).unwrap()), ["V1__a", "V2__b", "V10__c"]);
        let some = applied(&migrations(&["V1__a"]));
        assert_eq!(names(&all.pending(&some).unwrap()), ["V2__b", "V10__c"]);
        assert!(all.pending(&applied(&all)).unwrap().is_empty());
    }

    #[test]
    fn a_database_of_a_newer_program_is_named() {
        let newer = applied(&migrations(&["V1__a", "V2__b"]));
        let error = migrations(&["V1__a"]).pending(&newer).unwrap_err();
        assert!(matches!(&error, MigrateError::Newer { migration, .. } if migration == "V2__b"), "{error}");
    }

    #[test]
    fn a_migration_that_changed_after_it_was_applied_is_named() {
        let mut before = applied(&migrations(&["V1__a"]));
        before[0].checksum = "1".to_owned();
        let error = migrations(&["V1__a"]).pending(&before).unwrap_err();
        assert!(matches!(&error, MigrateError::Changed { migration, .. } if migration == "V1__a"), "{error}");
    }

    #[test]
    fn a_migration_below_an_applied_one_and_a_version_used_twice_are_named() {
        let before = applied(&migrations(&["V2__b"]));
        let error = migrations(&["V1__a", "V2__b"]).pending(&before).unwrap_err();
        assert!(matches!(&error, MigrateError::OutOfOrder { migration, .. } if migration == "V1__a"));
        let error = migrations(&["V1__a", "V1__b"]).pending(&[]).unwrap_err();
        assert!(matches!(error, MigrateError::Repeated { .. }));
    }
}
