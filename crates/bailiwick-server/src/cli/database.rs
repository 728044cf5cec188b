//! The database that the settings name.
use std::{
    error::Error, fs, future::Future, io::ErrorKind, num::NonZeroU32, path::Path, pin::Pin, sync::Arc,
    time::Duration,
};

use bailiwick::{
    database::{
        IN_FORCE_AFTER, MigrateError, MigrateReport, OpenError, OpenOptions, Opened, PostgresOptions,
    },
    model::TableDef,
    store::Store,
};

use super::{
    block_on,
    failure::{Failure, with_causes},
    output::tell,
};
use crate::{
    application,
    config::{DatabaseUrl, Environment, Loaded, directory_of},
    resources,
};

pub(crate) mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Opens the database, which must have the schema of this version: the framework's part of it, which opening looks at,
/// and the application's.
pub(super) async fn open(loaded: &Loaded) -> Result<Arc<dyn Store>, Failure> {
    Ok(open_with_counters(loaded).await?.store)
}

/// The same with the counters in it.
pub(super) async fn open_with_counters(loaded: &Loaded) -> Result<Opened, Failure> {
    let pending = pending(loaded).await?;
    let (url, options) = location(loaded)?;
    let keys = application::audit_keys(&loaded.settings)?;
    // First, because it tells best of a database that is not there.
    let opened = bailiwick::database::open_with_counters(&url, &options, keys).await.map_err(cannot_open)?;
    if pending.is_empty() {
        return Ok(opened);
    }
    Err(Failure::out_of_reach(
        format!("the database lacks {}", pending.join(", ")),
        "run `bailiwick migrate` once, before the servers of this version start",
    ))
}

/// Changes who may do what, and returns when every server acts on it.
pub(super) fn change<T: Change>(
    loaded: &Loaded,
    work: impl AsyncFnOnce(Arc<dyn Store>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    block_on(async {
        let done = work(open(loaded).await?).await?;
        in_force(&done).await;
        Ok(done)
    })
}

/// What the work on a change answers.
pub(super) trait Change {
    /// Whether anything was changed.
    fn was_made(&self) -> bool;
}

/// What fails where it changes nothing.
impl Change for () {
    fn was_made(&self) -> bool {
        true
    }
}

/// What says whether it changed anything.
impl Change for bool {
    fn was_made(&self) -> bool {
        *self
    }
}

/// What was changed, if anything was.
impl<T> Change for Option<T> {
    fn was_made(&self) -> bool {
        self.is_some()
    }
}

/// Waits until every server acts on a change, if it was made: each remembers for a moment whom a credential speaks for.
async fn in_force(change: &impl Change) {
    if change.was_made() {
        tokio::time::sleep(IN_FORCE_AFTER).await;
    }
}

/// What the database lacks, by name.
pub(super) async fn pending(loaded: &Loaded) -> Result<Vec<String>, Failure> {
    let (url, options) = location(loaded)?;
    let report =
        bailiwick::database::pending(&url, &options, &embedded::migrations::runner(), &tables()).await;
    report.map(|report| names(&report)).map_err(cannot_migrate)
}

/// Asks whether the database has the schema of this version, as often as it is called: `/readyz` does.
///
/// A database that a newer version has migrated is ready: while versions follow each other, the servers of the old one
/// answer until those of the new one do.
pub(super) fn migrations_check(loaded: &Loaded) -> Result<impl Fn() -> MigrationsCheck + use<>, Failure> {
    let (url, options) = location(loaded)?;
    let options = Arc::new(OpenOptions { on_lock: None, ..options });
    let url: Arc<str> = url.into();
    Ok(move || -> MigrationsCheck {
        let (url, options) = (Arc::clone(&url), Arc::clone(&options));
        Box::pin(async move {
            let app = embedded::migrations::runner();
            match bailiwick::database::pending(&url, &options, &app, &tables()).await {
                Ok(report) if report.is_empty() => Ok(()),
                Ok(report) => Err(format!("the database lacks {}", names(&report).join(", ")).into()),
                Err(MigrateError::Newer { .. }) => Ok(()),
                Err(error) => Err(error.into()),
            }
        })
    })
}

/// The answer, when it comes.
pub(super) type MigrationsCheck =
    Pin<Box<dyn Future<Output = Result<(), Box<dyn Error + Send + Sync>>> + Send>>;

/// Brings the database to the schema of this version; answers what it lacked, by name.
pub(super) async fn migrate(loaded: &Loaded) -> Result<Vec<String>, Failure> {
    let (url, options) = location(loaded)?;
    let report =
        bailiwick::database::migrate(&url, &options, &embedded::migrations::runner(), &tables()).await;
    report.map(|report| names(&report)).map_err(cannot_migrate)
}

/// Makes the database ready to be served: a SQLite that is there is migrated, PostgreSQL must have been, since several
/// servers share it and the old ones may still run.
pub(super) async fn prepare(loaded: &Loaded) -> Result<Opened, Failure> {
    if let DatabaseUrl::Sqlite(path) = &loaded.settings.database.url {
        if lacks_database(path) && loaded.settings.server.environment == Environment::Development {
            tell(&format!("there was no database: made an empty one at {}", path.display()));
        } else if lacks_database(path) {
            return Err(Failure::out_of_reach(
                format!("there is no database at {}", path.display()),
                "run `bailiwick migrate` to make an empty one, `bailiwick init` to begin anew, or correct database.url",
            ));
        }
        migrate(loaded).await?;
    }
    open_with_counters(loaded).await
}

/// Whether there is nothing at `path`, or an empty file. A database that is not where it was, such as one on a volume that
/// is not mounted, must not become an empty one in which nobody is known and new rows are lost: not in production.
///
/// If even the directory is missing, opening the database says so.
fn lacks_database(path: &Path) -> bool {
    match fs::metadata(path) {
        Ok(file) => file.is_file() && file.len() == 0,
        Err(error) => error.kind() == ErrorKind::NotFound && directory_of(path).is_dir(),
    }
}

fn location(loaded: &Loaded) -> Result<(String, OpenOptions), Failure> {
    let database = &loaded.settings.database;
    let mut options = OpenOptions { on_lock: Some(tell_of_lock), ..OpenOptions::default() };
    if let Some(most) = database.max_connections.and_then(|most| NonZeroU32::new(most.get())) {
        let mut postgres = PostgresOptions::default();
        postgres.max_connections = most;
        options.postgres = postgres;
    }
    let url = match &database.url {
        DatabaseUrl::Postgres(url) => url.expose().clone(),
        DatabaseUrl::Sqlite(path) => match path.to_str() {
            Some(path) => format!("sqlite://{path}"),
            None => {
                return Err(Failure::refused(
                    format!("the path of the database is not UTF-8: {}", path.display()),
                    "keep the database in a directory with an ordinary name, by database.url",
                ));
            }
        },
    };
    Ok((url, options))
}

fn tell_of_lock(longest: Duration) {
    tell(&format!(
        "another process holds the database; waiting for it to end or to be done, at most {} seconds",
        longest.as_secs()
    ));
}

fn names(report: &MigrateReport) -> Vec<String> {
    let counters = report.counted.iter().map(|table| format!("counter of {table}"));
    report.applied.iter().cloned().chain(counters).collect()
}

fn cannot_open(error: OpenError) -> Failure {
    match error {
        OpenError::Url(_) => Failure::refused(error, "correct database.url"),
        // The message says what to do.
        error => Failure::out_of_reach(with_causes(&error), ""),
    }
}

fn cannot_migrate(error: MigrateError) -> Failure {
    match error {
        MigrateError::Open(error) => cannot_open(error),
        error => Failure::out_of_reach(with_causes(&error), ""),
    }
}

/// The tables of the resources.
fn tables() -> Vec<&'static TableDef> {
    resources::all().tables().to_vec()
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Waker},
    };

    use super::*;

    #[tokio::test]
    async fn only_a_change_that_was_made_is_waited_for() {
        fn waits(change: &impl Change) -> bool {
            pin!(in_force(change)).poll(&mut Context::from_waker(Waker::noop())).is_pending()
        }
        assert!(waits(&()) && waits(&true));
        assert!(!waits(&false), "a token that was not there is not revoked");
    }
}
