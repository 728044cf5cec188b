//! Reaching a PostgreSQL server, and saying in its operator's words why it could not be reached.
use std::{error::Error as StdError, time::Duration};

use tokio_postgres::{
    Config, NoTls,
    config::{Host, SslMode},
    error::SqlState,
};

use super::PostgresOptions;

/// The oldest version that has all we use: 13 brought `DROP DATABASE … WITH (FORCE)` to the tests and is the oldest
/// that is still met in service.
const OLDEST_VERSION: i64 = 13;

/// Why a PostgreSQL database could not be opened, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// `database.url` is no PostgreSQL URL.
    #[error("database.url is no PostgreSQL URL; write postgres://user:password@host:5432/database")]
    Url(#[source] Box<dyn StdError + Send + Sync>),
    /// `database.url` asks for TLS.
    #[error(
        "database.url asks for TLS (sslmode), which is not supported yet; reach the server over a Unix socket, the \
         loopback interface or a tunnel, and take sslmode out"
    )]
    TlsAsked,
    /// Nobody answers there.
    #[error("no PostgreSQL server answers at {at}; start it, or correct host and port in database.url")]
    Unreachable {
        /// Host and port.
        at: String,
        /// What the system said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
    /// Somebody may be there, but too slow.
    #[error("the PostgreSQL server at {at} did not answer in time; look whether a firewall is in between")]
    TimedOut {
        /// Host and port.
        at: String,
    },
    /// The password is wrong, or there is no such user: the server does not tell.
    #[error(
        "the PostgreSQL server at {at} refuses the user {user} with this password; correct user and password in \
         database.url"
    )]
    WrongPassword {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
    },
    /// The server wants a password.
    #[error(
        "the PostgreSQL server at {at} wants a password of the user {user}; write it in database.url, or the whole \
         URL in the file that database.url_file names"
    )]
    NoPassword {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
    },
    /// The server has no such user, or one that may not log in.
    #[error(
        "the PostgreSQL server at {at} lets no user {user} in ({reason}); correct the user in database.url, or make it \
         with: createuser {user}, or ALTER ROLE {user} LOGIN where it is there"
    )]
    NoSuchUser {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
        /// What the server said.
        reason: String,
    },
    /// The rules of the server admit no such connection without TLS; whether with TLS, it does not tell.
    #[error(
        "the PostgreSQL server at {at} does not admit the user {user} without TLS, which is not supported yet \
         ({reason}); add a rule without TLS (host or hostnossl) to its pg_hba.conf, or reach it over a Unix socket, the \
         loopback interface or a tunnel"
    )]
    TlsNeeded {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
        /// What the server said.
        reason: String,
    },
    /// The rules of the server admit no such connection.
    #[error(
        "the PostgreSQL server at {at} does not admit the user {user} ({reason}); add a rule for it to its pg_hba.conf"
    )]
    NotAdmitted {
        /// Host and port.
        at: String,
        /// The user.
        user: String,
        /// What the server said.
        reason: String,
    },
    /// The server has no such database.
    #[error("the PostgreSQL server at {at} has no database {database}; create it with: createdb {database}")]
    NoSuchDatabase {
        /// Host and port.
        at: String,
        /// The database.
        database: String,
    },
    /// The server has no connection left.
    #[error(
        "the PostgreSQL server at {at} has no connection left; lower database.max_connections here or raise \
         max_connections there"
    )]
    TooManyConnections {
        /// Host and port.
        at: String,
    },
    /// The server starts or stops.
    #[error("the PostgreSQL server at {at} is not ready ({reason}); wait for it")]
    NotReady {
        /// Host and port.
        at: String,
        /// What the server said.
        reason: String,
    },
    /// The server is too old.
    #[error("the PostgreSQL server is of version {version}; version 13 or newer is needed")]
    TooOld {
        /// Its version.
        version: String,
    },
    /// The database cannot hold every text.
    #[error(
        "the database has the encoding {encoding}; create one with UTF8: createdb --encoding UTF8 --template \
         template0 NAME"
    )]
    NotUnicode {
        /// Its encoding.
        encoding: String,
    },
    /// The locale has letters of its own for ASCII.
    #[error(
        "the database's locale has another lower case for the letter I than i, so that user names could not be \
         compared; create one with: createdb --locale C.UTF-8 --template template0 NAME"
    )]
    Locale,
    /// The server takes no writes.
    #[error("the PostgreSQL server at {at} is read-only (a standby?); name the primary in database.url")]
    ReadOnly {
        /// Host and port.
        at: String,
    },
    /// The schema is older than this program needs.
    #[error("the database {database} lacks migrations: {}; run `bailiwick migrate`", pending.join(", "))]
    NotMigrated {
        /// The database.
        database: String,
        /// The migrations of the framework that were not applied.
        pending: Vec<String>,
    },
    /// A newer program has migrated the database.
    #[error(
        "the database {database} has the migration {migration}, which this program does not know: run the newer \
         version that applied it, or restore a backup from before"
    )]
    Newer {
        /// The database.
        database: String,
        /// The migration, by version and name.
        migration: String,
    },
    /// A migration was changed after this database applied it.
    #[error(
        "the database {database} was made with another text of the migration {migration}; restore that text"
    )]
    Changed {
        /// The database.
        database: String,
        /// The migration, by version and name.
        migration: String,
    },
    /// Anything else.
    #[error("the PostgreSQL server at {at} refuses the connection")]
    Other {
        /// Host and port.
        at: String,
        /// What it said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

/// Where and as whom to connect.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) config: Config,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("at", &self.at()).field("database", &self.database()).finish()
    }
}

impl Target {
    /// Reads a URL.
    pub(super) fn parse(url: &str, options: &PostgresOptions) -> Result<Self, ConnectError> {
        let mut config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            // The driver knows only three of libpq's modes; the others all ask for TLS.
            let asks_for_tls = ["sslmode=verify", "sslmode=allow"].iter().any(|mode| url.contains(mode));
            if asks_for_tls { ConnectError::TlsAsked } else { ConnectError::Url(error.into()) }
        })?;
        if config.get_ssl_mode() == SslMode::Require {
            return Err(ConnectError::TlsAsked);
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            config.host("localhost");
        }
        if config.get_application_name().is_none() {
            config.application_name("bailiwick");
        }
        config.ssl_mode(SslMode::Disable);
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(options.connect_timeout);
        }
        // A peer that vanished without a word is noticed, also while an answer is awaited.
        config.keepalives(true).keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE / 3);
        config.keepalives_retries(3).tcp_user_timeout(KEEPALIVE * 2);
        Ok(Self { config })
    }

    /// Host and port, for messages.
    pub(super) fn at(&self) -> String {
        let port = self.config.get_ports().first().copied().unwrap_or(5432);
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => format!("{host}:{port}"),
            #[cfg(unix)]
            Some(Host::Unix(path)) => format!("{}:{port}", path.display()),
            None => match self.config.get_hostaddrs().first() {
                Some(address) => format!("{address}:{port}"),
                None => format!("localhost:{port}"),
            },
        }
    }

    fn user(&self) -> String {
        self.config.get_user().unwrap_or("of this process").to_owned()
    }

    pub(super) fn database(&self) -> String {
        self.config.get_dbname().or(self.config.get_user()).unwrap_or("of this process").to_owned()
    }

    /// Opens one connection, outside of any pool, and looks whether the server can be worked with.
    ///
    /// The connection is served by a task of its own until the client is dropped.
    pub(super) async fn connect_alone(&self) -> Result<tokio_postgres::Client, ConnectError> {
        // The driver's own limit is one of each address, and ends when the socket is open: somebody who accepts and
        // says nothing is waited for here.
        let limit = self.config.get_connect_timeout().copied().unwrap_or(KEEPALIVE);
        let addresses = self.config.get_hosts().len().max(self.config.get_hostaddrs().len()).max(1);
        let limit = limit * (u32::try_from(addresses).unwrap_or(u32::MAX).saturating_add(1));
        let connected = tokio::time::timeout(limit, self.connect_and_inspect()).await;
        connected.unwrap_or_else(|_| Err(ConnectError::TimedOut { at: self.at() }))
    }

    async fn connect_and_inspect(&self) -> Result<tokio_postgres::Client, ConnectError> {
        let (client, connection) = self.config.connect(NoTls).await.map_err(|error| self.explain(error))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = &error as &dyn StdError, "a PostgreSQL connection ended");
            }
        });
        let row = client.query_one(INSPECT, &[]).await.map_err(|error| self.explain(error))?;
        if row.get::<_, i64>("version") / 10_000 < OLDEST_VERSION {
            return Err(ConnectError::TooOld { version: row.get("version_text") });
        }
        let encoding: String = row.get("encoding");
        if encoding != "UTF8" {
            return Err(ConnectError::NotUnicode { encoding });
        }
        if !row.get::<_, bool>("lowers_ascii") {
            return Err(ConnectError::Locale);
        }
        if row.get::<_, bool>("read_only") {
            return Err(ConnectError::ReadOnly { at: self.at() });
        }
        Ok(client)
    }

    pub(super) fn explain(&self, error: tokio_postgres::Error) -> ConnectError {
        let (at, user) = (self.at(), self.user());
        let Some(told) = error.as_db_error() else {
            // The driver has no other way to say these than by its text.
            let text = chain(&error);
            return if text.contains("password missing") {
                ConnectError::NoPassword { at, user }
            } else if text.contains("timed out") || text.contains("timeout") {
                ConnectError::TimedOut { at }
            } else if text.starts_with("error connecting to server") || is_io(&error) {
                ConnectError::Unreachable { at, source: error.into() }
            } else {
                ConnectError::Other { at, source: error.into() }
            };
        };
        let reason = told.message().to_owned();
        match told.code() {
            code if *code == SqlState::INVALID_PASSWORD => ConnectError::WrongPassword { at, user },
            code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                let is_remote = matches!(self.config.get_hosts().first(), None | Some(Host::Tcp(_)));
                let names_tls = ["no encryption", "SSL", "TLS"].iter().any(|words| reason.contains(words));
                // The text may be in any language; the name of the server's function is not.
                if told.routine() == Some("InitializeSessionUserId") {
                    ConnectError::NoSuchUser { at, user, reason }
                } else if is_remote && names_tls {
                    ConnectError::TlsNeeded { at, user, reason }
                } else {
                    ConnectError::NotAdmitted { at, user, reason }
                }
            }
            code if *code == SqlState::INVALID_CATALOG_NAME => {
                ConnectError::NoSuchDatabase { at, database: self.database() }
            }
            code if *code == SqlState::TOO_MANY_CONNECTIONS => ConnectError::TooManyConnections { at },
            code if *code == SqlState::CANNOT_CONNECT_NOW => ConnectError::NotReady { at, reason },
            _ => ConnectError::Other { at, source: error.into() },
        }
    }
}

/// How long a connection may be silent before the peer is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// What must be known of a server before anything is asked of it.
const INSPECT: &str = "SELECT current_setting('server_version_num')::bigint AS version, \
     current_setting('server_version') AS version_text, \
     current_setting('server_encoding') AS encoding, \
     lower('ABCDEFGHIJKLMNOPQRSTUVWXYZ') = 'abcdefghijklmnopqrstuvwxyz' AS lowers_ascii, \
     current_setting('transaction_read_only')::boolean AS read_only";

/// What every connection of the pool is set to before it is first used, whatever the server's defaults are.
pub(super) fn session(options: &PostgresOptions) -> String {
    let milliseconds = |time: Duration| time.as_millis().clamp(1, i32::MAX as u128);
    format!(
        // A conditional UPDATE looks again at a row that somebody changed meanwhile, and so decides who was first:
        // at READ COMMITTED only.
        "SET default_transaction_isolation = 'read committed';
         SET statement_timeout = {};
         -- A belt: no transaction of ours waits for us.
         SET idle_in_transaction_session_timeout = {};
         -- Compiling costs more than any statement of ours gains.
         SET jit = off;
         -- What was answered is on disk. A server that does more than that by default keeps doing more.
         SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';",
        milliseconds(options.statement_timeout),
        milliseconds(options.statement_timeout),
    )
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || StdError::source(error).is_some_and(|source| source.is::<std::io::Error>())
}

fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
