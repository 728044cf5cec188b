//! PostgreSQL, for when one machine is too small.
//!
//! A [`PostgresStore`] keeps a pool of connections. Statements are prepared once a connection and pipelined: the
//! look-ups of one request cost one round trip, a write without references is one statement that commits by itself,
//! and a write with references two round trips.
//!
//! # Cancel safety
//! A future may be dropped at any await: a write then happens whole or not at all, no transaction stays open, and
//! the next borrower of the connection finds it clean (RST-12).
//!
//! # Security
//! There is no TLS yet. Reach the server over a Unix socket, the loopback interface or a tunnel; a URL that asks for
//! TLS is refused, not weakened.
mod audit;
mod connect;
mod counters;
mod directory;
mod failure;
mod families;
mod keys;
mod migrate;
mod passwords;
mod pool;
mod principals;
mod rows;
mod sessions;
mod tokens;
mod value;

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use bailiwick_core::{
    audit::AuditKeys,
    meter::{Meter, Metered},
};

pub(crate) use self::migrate::{migrate, pending};
pub use self::{connect::ConnectError, counters::PostgresCounters};
use self::{connect::Target, pool::Pool};
use crate::{
    meters::{gauge, waited, waiting},
    sql::{Dialect, Statements},
};

/// How a [`PostgresStore`] uses its server.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PostgresOptions {
    /// How many connections are open at most. The default is 10.
    pub max_connections: NonZeroU32,
    /// How long a request waits for a connection before it is answered as unavailable. The default is 5 s.
    pub wait_timeout: Duration,
    /// How long opening a connection may take. The default is 5 s; `connect_timeout` in the URL comes before it.
    pub connect_timeout: Duration,
    /// How long a statement may run before the server stops it. The default is 30 s.
    pub statement_timeout: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: NonZeroU32::new(10).expect("10 is not zero"),
            wait_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
        }
    }
}

/// A database on a PostgreSQL server, version 13 or newer. Cheap to clone.
#[derive(Clone)]
pub struct PostgresStore {
    pool: Pool,
    statements: Arc<Statements>,
    target: Arc<Target>,
    audit_keys: AuditKeys,
}

impl PostgresStore {
    /// Connects to the database that `url` names, as `postgres://user:password@host:port/database`, which
    /// [`migrate`](crate::migrate) has prepared. Its audit trail is linked with `audit_keys`.
    ///
    /// # Errors
    /// Names what is wrong and what to do about it.
    pub async fn connect(
        url: &str,
        options: &PostgresOptions,
        audit_keys: AuditKeys,
    ) -> Result<Self, ConnectError> {
        let target = Target::parse(url, options)?;
        // The pool would say only that something failed, at the first request.
        let client = target.connect_alone().await?;
        migrate::check_framework(&client, &target).await?;
        let pool = Pool::new(&target, options);
        Ok(Self {
            pool,
            statements: Arc::new(Statements::new(Dialect::Postgres)),
            target: Arc::new(target),
            audit_keys,
        })
    }

    /// Takes no further work: every call is answered as out of reach. What is under way ends by itself.
    pub fn close(&self) {
        self.pool.close();
    }
}

impl Metered for PostgresStore {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        let (open, idle, callers) = self.pool.connections();
        each(waited(self.pool.waits()));
        each(waiting(callers));
        each(Meter {
            name: "bailiwick_database_connections",
            help: "How many connections to PostgreSQL are open",
            value: gauge(open),
        });
        each(Meter {
            name: "bailiwick_database_connections_idle",
            help: "How many connections to PostgreSQL are open and not used at the moment",
            value: gauge(idle),
        });
    }
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PostgresStore").field(&self.target).finish()
    }
}
