//! Counters on a Redis server, for any number of servers that share it.
//!
//! A request is one call of one [script](spend.lua), which Redis runs with nothing in between: exact under any concurrency
//! (THR-33). All calls share one connection, on which they follow each other without waiting. Time is Redis's own: the
//! clocks of the servers need not agree (THR-32). A quota that is full again expires (THR-34).
//!
//! # Failures
//! A call takes [`RedisOptions::command_timeout`] at most, and one that found the connection closed is made once more on a
//! new one, unless it gives back. While Redis is out of reach, calls fail at once, and a task looks for it with a growing pause.
//!
//! # Security
//! A password is in the URL alone, and in no message. Keys hold addresses and ids of users, and no names.
mod link;

use std::{fmt, sync::Arc, time::Duration};

use ::redis::{Client, ErrorKind, Script, ScriptInvocation, ServerErrorKind};
use bailiwick_core::{
    clock::Clock,
    error::StoreError,
    store::{Answer, Charge, CounterKey, CounterStore, Gcra, Verdict},
};

use self::link::{Call, Link};

/// How a Redis server is used.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RedisOptions {
    /// How long opening a connection may take. The default is 1 s.
    pub connect_timeout: Duration,
    /// How long Redis may take to answer. The default is 500 ms.
    pub command_timeout: Duration,
    /// The longest pause between two looks for a server that is out of reach. The default is 2 s; the first is 50 ms.
    pub longest_pause: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(1),
            command_timeout: Duration::from_millis(500),
            longest_pause: Duration::from_secs(2),
        }
    }
}

/// Why a Redis server cannot be used. The message says what to do, and repeats no password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL names no server.
    #[error("the URL names no Redis server; write redis://user:password@host:6379, or rediss:// for TLS")]
    Url,
    /// TLS was asked for without looking at the certificate.
    #[error("the URL asks for TLS that takes any certificate (#insecure); take that out of it")]
    Insecure,
    /// Nobody answers there.
    #[error("no Redis server answers at {at}; start it, or correct host and port")]
    Unreachable {
        /// Host and port.
        at: String,
        /// What the system said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody may be there, but too slow.
    #[error("the Redis server at {at} did not answer in time; look whether a firewall is in between")]
    TimedOut {
        /// Host and port.
        at: String,
    },
    /// The password or the user is wrong or missing.
    #[error("the Redis server at {at} does not let us in; correct user and password")]
    NotAdmitted {
        /// Host and port.
        at: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server is there and does not do what the counters need: scripts, and writing.
    #[error(
        "the Redis server at {at} does not do what counting needs; name a primary of version 6 or newer, and let the user run \
         EVALSHA, SCRIPT, TIME, GET, SET and DEL"
    )]
    Refused {
        /// Host and port.
        at: String,
        /// What it said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Counts what callers spend on a Redis server, together with all that use it with one prefix. Cheap to clone.
#[derive(Clone)]
pub struct RedisCounters {
    link: Arc<Link>,
    spend: Arc<Script>,
    give_back: Arc<Script>,
    /// In braces: a cluster keeps all keys of one site on one node, where one script sees them.
    prefix: Arc<str>,
    /// Instead of Redis's.
    clock: Option<Arc<dyn Clock>>,
}

impl RedisCounters {
    /// Connects to the server that `url` names: `redis://user:password@host:port/database`, or `rediss://` for TLS by the
    /// certificates that the system trusts. All keys begin with `bailiwick:{prefix}:`, which is one for all servers of a
    /// site, and another for each site that shares the Redis server. To be called in a runtime.
    ///
    /// # Errors
    /// Names the cause and what to do about it.
    pub async fn connect(url: &str, prefix: &str, options: &RedisOptions) -> Result<Self, RedisError> {
        let spend = Arc::new(Script::new(include_str!("spend.lua")));
        let give_back = Arc::new(Script::new(include_str!("give_back.lua")));
        // What comes behind it is a note to the driver, to look at no certificate.
        if url.contains('#') {
            return Err(RedisError::Insecure);
        }
        // The driver's message would repeat the URL's parts.
        let client = Client::open(url).map_err(|_| RedisError::Url)?;
        if url.starts_with("rediss:") && rustls::crypto::CryptoProvider::get_default().is_none() {
            // Another thread may have been first; either will do.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let link = Link::open(client, Arc::clone(&spend), *options).await?;
        Ok(Self { link, spend, give_back, prefix: format!("bailiwick:{{{prefix}}}:").into(), clock: None })
    }

    /// Goes by the time of day of `clock` instead of Redis's, for tests. Keys expire by Redis's time all the same.
    #[must_use]
    pub fn by_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    fn key(&self, key: &CounterKey) -> String {
        format!("{}{key}", self.prefix)
    }

    /// What both scripts take: quotas, and what is to be known of each.
    fn call<'s>(&self, script: &'s Script, charges: &[Charge]) -> ScriptInvocation<'s> {
        let mut call = script.prepare_invoke();
        for Charge { key, rate, cost } in charges {
            let gcra = Gcra::in_micros(*rate);
            call.key(self.key(key)).arg(gcra.price(*cost) / 1000).arg(gcra.tolerance() / 1000);
        }
        if let Some(clock) = &self.clock {
            call.arg(clock.now().as_micros());
        }
        call
    }

    async fn spend_now(&self, charges: &[Charge]) -> Result<Vec<Verdict>, StoreError> {
        if charges.is_empty() {
            return Ok(Vec::new());
        }
        let answer: Vec<u64> = self.link.run(&Call::Script(self.call(&self.spend, charges))).await?;
        verdicts(charges, &answer).ok_or_else(|| StoreError::Refused("Redis answered something else".into()))
    }
}

/// What the quotas say, by what was used of each before.
fn verdicts(charges: &[Charge], answer: &[u64]) -> Option<Vec<Verdict>> {
    let (all_allowed, used) = answer.split_first()?;
    if used.len() != charges.len() || *all_allowed > 1 {
        return None;
    }
    let mut verdicts = Vec::with_capacity(charges.len());
    for (at, Charge { key, rate, cost }) in charges.iter().enumerate() {
        let gcra = Gcra::in_micros(*rate);
        // Times since now, which is as good as any other beginning.
        let used_nanos = |at: usize| used[at].saturating_mul(1000);
        let (verdict, _) = gcra.decide(used_nanos(at), 0, *cost);
        verdicts.push(if *all_allowed == 0 && verdict.allowed {
            // Nothing was spent, by an earlier charge of the same quota neither.
            let first = charges.iter().position(|charge| charge.key == *key)?;
            gcra.look(used_nanos(first), 0)
        } else {
            verdict
        });
    }
    // Redis has decided; that both are of one mind is the promise of one formula.
    (verdicts.iter().all(|verdict| verdict.allowed) == (*all_allowed == 1)).then_some(verdicts)
}

impl CounterStore for RedisCounters {
    fn spend<'a>(&'a self, charges: &'a [Charge]) -> Answer<'a, Vec<Verdict>> {
        Box::pin(self.spend_now(charges))
    }

    fn refill<'a>(&'a self, key: &'a CounterKey) -> Answer<'a, ()> {
        let mut delete = ::redis::cmd("DEL");
        delete.arg(self.key(key));
        Box::pin(async move { self.link.run(&Call::Command(delete)).await })
    }

    fn give_back<'a>(&'a self, charge: &'a Charge) -> Answer<'a, ()> {
        let call = Call::Once(self.call(&self.give_back, std::slice::from_ref(charge)));
        Box::pin(async move { self.link.run(&call).await })
    }
}

impl fmt::Debug for RedisCounters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisCounters").field("at", &self.link.at()).field("prefix", &self.prefix).finish()
    }
}

/// What a failed call means to whoever made it.
fn store_error(error: ::redis::RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Server(ServerErrorKind::ReadOnly) => StoreError::NotWritable(error.into()),
        // OOM: the memory that it may use is full, and it forgets nothing to make room.
        _ if error.code() == Some("OOM") || error.code() == Some("MISCONF") => {
            StoreError::NotWritable(error.into())
        }
        ErrorKind::Server(ServerErrorKind::ResponseError | ServerErrorKind::NoPerm)
        | ErrorKind::Parse
        | ErrorKind::UnexpectedReturnType
        | ErrorKind::Extension => StoreError::Refused(error.into()),
        _ => StoreError::Unavailable(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use bailiwick_core::{store::Caller, units::Rate};

    use super::*;

    fn charge(policy: &'static str, rate: Rate) -> Charge {
        let caller = Caller::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        Charge::new(CounterKey { policy, caller }, rate)
    }

    #[test]
    fn an_answer_that_is_none_is_no_verdict() {
        let charges = [charge("anon", Rate::per_minute(60))];
        assert!(verdicts(&charges, &[1, 0]).is_some());
        let none: [&[u64]; 6] = [&[], &[1], &[1, 0, 0], &[2, 0], &[0, 0], &[1, 60_000_000]];
        for answer in none {
            assert!(verdicts(&charges, answer).is_none(), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn a_url_that_names_no_server_is_refused_and_not_repeated() {
        for url in [
            "redis://",
            "redis://:s3cret@",
            "redis://:s3cret@h:x",
            "http://s3cret@h",
            "rediss://:s3cret@h/#insecure",
        ] {
            let refused = RedisCounters::connect(url, "x", &RedisOptions::default()).await;
            let error = refused.expect_err(url);
            assert!(matches!(error, RedisError::Url | RedisError::Insecure), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
