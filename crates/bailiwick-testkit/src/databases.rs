//! A fresh database for each test.
use std::{env, path::PathBuf, thread};

use bailiwick_core::clock::{Entropy, OsEntropy};
use tempfile::TempDir;
use tokio_postgres::{Config, NoTls, config::Host};

/// Names the PostgreSQL server that tests may make databases on, as `postgres://user@host:port/postgres`.
pub const POSTGRES_URL: &str = "BAILIWICK_TEST_POSTGRES_URL";
/// Names the Redis server that tests may write to, each under a prefix of its own, as `redis://host:port/`.
pub const REDIS_URL: &str = "BAILIWICK_TEST_REDIS_URL";
/// Names the daemon of ClamAV that tests may show files, as `clamd://host:port`.
pub const CLAMD_URL: &str = "BAILIWICK_TEST_CLAMD_URL";
/// Names the S3 server that tests may write to, each under a prefix of its own, as `http://host:port`.
pub const S3_URL: &str = "BAILIWICK_TEST_S3_URL";
/// Set to `1`, it turns every skipped test into a failure: nothing may be left out where all is to run.
pub const TEST_ALL: &str = "BAILIWICK_TEST_ALL";

/// The server named by `BAILIWICK_TEST_POSTGRES_URL`. Without it, says so on standard output: the test that asked
/// is to end there.
///
/// # Panics
/// If the variable is missing and `BAILIWICK_TEST_ALL=1` says that nothing may be skipped.
pub fn postgres_url() -> Option<String> {
    server(POSTGRES_URL, "PostgreSQL")
}

/// The server named by `BAILIWICK_TEST_REDIS_URL`, as [`postgres_url`] for PostgreSQL.
///
/// # Panics
/// If the variable is missing and `BAILIWICK_TEST_ALL=1` says that nothing may be skipped.
pub fn redis_url() -> Option<String> {
    server(REDIS_URL, "Redis")
}

/// The scanner named by `BAILIWICK_TEST_CLAMD_URL`, as `clamd://host:port`, as [`postgres_url`] for PostgreSQL. It knows the
/// test file of EICAR.
///
/// # Panics
/// If the variable is missing and `BAILIWICK_TEST_ALL=1` says that nothing may be skipped.
pub fn clamd_url() -> Option<String> {
    server(CLAMD_URL, "ClamAV")
}

/// The S3 server named by `BAILIWICK_TEST_S3_URL`, as [`postgres_url`] for PostgreSQL. It has the bucket `bailiwick-test`.
///
/// # Panics
/// If the variable is missing and `BAILIWICK_TEST_ALL=1` says that nothing may be skipped.
pub fn s3_url() -> Option<String> {
    server(S3_URL, "S3")
}

fn server(variable: &str, kind: &str) -> Option<String> {
    if let Ok(url) = env::var(variable)
        && !url.is_empty()
    {
        return Some(url);
    }
    assert!(env::var(TEST_ALL).as_deref() != Ok("1"), "{TEST_ALL}=1, but {variable} names no server");
    #[expect(clippy::print_stdout, reason = "a test that skips says so, where the runner looks for it")]
    let () = println!("skipped: {variable} names no {kind} server");
    None
}

/// A name that nobody else has: the prefix and 16 hex digits.
pub fn random_name(prefix: &str) -> String {
    let mut random = [0; 8];
    OsEntropy.fill(&mut random);
    format!("{prefix}{:016x}", u64::from_be_bytes(random))
}

/// A SQLite database in a directory of its own, which goes when this is dropped.
#[derive(Debug)]
pub struct FreshSqlite {
    directory: TempDir,
}

/// A place for an SQLite database that is not there yet.
///
/// # Panics
/// If the system's directory for temporary files cannot be written.
pub fn fresh_sqlite() -> FreshSqlite {
    let directory = TempDir::with_prefix("bailiwick-test-").expect("a test can make a temporary directory");
    FreshSqlite { directory }
}

impl FreshSqlite {
    /// Where the database is.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("test.db")
    }

    /// The same, as `database.url` spells it.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.path().display())
    }
}

/// A PostgreSQL database with a random name, which goes when this is dropped, whoever is still connected.
#[derive(Debug)]
pub struct FreshPostgres {
    server: Box<Config>,
    name: String,
}

/// An empty database on the server that `BAILIWICK_TEST_POSTGRES_URL` names, or nothing (as [`postgres_url`] says).
///
/// Where the server can, the database orders text by the rules of American English and not by bytes as SQLite does:
/// a statement that leans on the database's locale gives another answer there.
///
/// # Panics
/// If the server cannot be reached or does not let its user make a database.
pub async fn fresh_postgres() -> Option<FreshPostgres> {
    let url = postgres_url()?;
    let server: Config =
        url.parse().unwrap_or_else(|error| panic!("{POSTGRES_URL} is no PostgreSQL URL: {error}"));
    let name = random_name("bailiwick_test_");
    // Not template1, which somebody else may be connected to.
    let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'");
    let english = format!("{create} LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
    if run(&server, &english).await.is_err() {
        // Before version 15 a database has no such locale, and a server may be built without ICU.
        run(&server, &create).await.unwrap_or_else(|error| panic!("{POSTGRES_URL}: {}", told(&error)));
    }
    Some(FreshPostgres { server: Box::new(server), name })
}

impl FreshPostgres {
    /// The database, as `database.url` spells it.
    pub fn url(&self) -> String {
        self.url_of(self.server.get_user().unwrap_or("postgres"), self.server.get_password(), &self.name)
    }

    /// The name of the database.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The server's own database, to look at this one from outside, for example at `pg_stat_activity`.
    pub fn server_url(&self) -> String {
        let database = self.server.get_dbname().unwrap_or("postgres");
        self.url_of(self.server.get_user().unwrap_or("postgres"), self.server.get_password(), database)
    }

    fn url_of(&self, user: &str, password: Option<&[u8]>, database: &str) -> String {
        let password = password.map_or_else(String::new, |password| format!(":{}", escaped(password)));
        let port = self.server.get_ports().first().copied().unwrap_or(5432);
        let host = match self.server.get_hosts().first() {
            Some(Host::Tcp(host)) => escaped(host.as_bytes()),
            #[cfg(unix)]
            Some(Host::Unix(path)) => escaped(path.as_os_str().as_encoded_bytes()),
            None => "localhost".to_owned(),
        };
        format!("postgres://{}{password}@{host}:{port}/{database}", escaped(user.as_bytes()))
    }
}

impl Drop for FreshPostgres {
    fn drop(&mut self) {
        let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        let server = self.server.clone();
        // In a thread of its own: this may run inside a runtime, which must not be blocked on itself.
        let dropped = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map(|runtime| runtime.block_on(run(&server, &drop)))
        });
        match dropped.join() {
            Ok(Ok(Ok(()))) => {}
            // No panic: it would hide what the test has found.
            Ok(Ok(Err(error))) => eprintln!("{} stays behind: {}", self.name, told(&error)),
            _ => eprintln!("{} stays behind", self.name),
        }
    }
}

async fn run(server: &Config, statement: &str) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = server.connect(NoTls).await?;
    let serving = tokio::spawn(connection);
    let done = client.batch_execute(statement).await;
    drop(client);
    // The answer is here; how the connection ends does not matter.
    let _ = serving.await;
    done
}

/// What the server said, which the error's own text leaves out.
fn told(error: &tokio_postgres::Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned())
}

/// Percent-encodes what may not stand in a part of a URL as it is.
fn escaped(bytes: &[u8]) -> String {
    let mut escaped = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                escaped.push(char::from(*byte));
            }
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sqlite_database_has_a_place_of_its_own_that_goes_with_it() {
        let (one, other) = (fresh_sqlite(), fresh_sqlite());
        assert_ne!(one.path(), other.path());
        let path = one.path();
        std::fs::write(&path, b"").unwrap();
        drop(one);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_postgres_database_is_there_until_it_is_dropped() {
        let Some(database) = fresh_postgres().await else { return };
        let config: Config = database.url().parse().unwrap();
        assert_eq!(config.get_dbname(), Some(database.name()));
        run(&config, "CREATE TABLE here (id int)").await.unwrap();
        let (server, name) = (database.server_url().parse::<Config>().unwrap(), database.name().to_owned());
        drop(database);
        let gone = format!(
            "DO $$ BEGIN ASSERT NOT EXISTS (SELECT FROM pg_database WHERE datname = '{name}'); END $$"
        );
        run(&server, &gone).await.unwrap();
    }

    #[test]
    fn a_password_with_any_character_survives_the_url() {
        let mut server = Config::new();
        server.host("localhost").port(1).user("a b").password("p@:/?#%é");
        let database = FreshPostgres { server: Box::new(server), name: "bailiwick_test_x".to_owned() };
        let read: Config = database.url().parse().unwrap();
        assert_eq!((read.get_user(), read.get_password()), (Some("a b"), Some("p@:/?#%é".as_bytes())));
        // Nothing to drop.
        std::mem::forget(database);
    }
}
