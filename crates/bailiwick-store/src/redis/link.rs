//! The connection to a Redis server, lost and found.
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use ::redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, RedisResult, Script,
    ScriptInvocation,
    aio::{ConnectionLike, MultiplexedConnection},
};
use bailiwick_core::error::StoreError;
use tokio::sync::watch;

use super::{RedisError, RedisOptions, store_error};

const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// One connection that all calls share, and what becomes of it.
pub(super) struct Link {
    client: Client,
    script: Arc<Script>,
    options: RedisOptions,
    state: watch::Sender<State>,
}

#[derive(Clone)]
enum State {
    /// Calls go through.
    Up(Numbered),
    /// The connection has ended just now; calls wait for the next one.
    Renewing,
    /// Nobody answers; calls fail at once.
    Down,
}

/// A connection, and which it is: a call that comes back late must not end the next one.
#[derive(Clone)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

/// What is asked of Redis.
pub(super) enum Call<'s> {
    Script(ScriptInvocation<'s>),
    /// One that must not be made twice.
    Once(ScriptInvocation<'s>),
    Command(Cmd),
}

impl Call<'_> {
    async fn make<T: FromRedisValue>(&self, mut connection: MultiplexedConnection) -> RedisResult<T> {
        match self {
            // A server that does not know the script any more is told it again.
            Self::Script(script) | Self::Once(script) => script.invoke_async(&mut connection).await,
            Self::Command(command) => command.query_async(&mut connection).await,
        }
    }
}

impl Link {
    pub(super) async fn open(
        client: Client,
        script: Arc<Script>,
        options: RedisOptions,
    ) -> Result<Arc<Self>, RedisError> {
        let link = Self { client, script, options, state: watch::Sender::new(State::Down) };
        let mut connection = link.connect().await.map_err(|error| link.explain(error))?;
        warn_of_eviction(&link.at(), &mut connection).await;
        link.state.send_replace(State::Up(Numbered { number: 0, connection }));
        Ok(Arc::new(link))
    }

    /// Host and port, for messages.
    pub(super) fn at(&self) -> String {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
                format!("{host}:{port}")
            }
            other => other.to_string(),
        }
    }

    /// Makes a call. One that finds the connection closed is made once more on the next: what was spent by the first, if
    /// anything was, is spent twice, and never too little. What is given back is so asked for once.
    ///
    /// # Cancel safety
    /// A call that was sent is made, whoever waits for its answer.
    pub(super) async fn run<T>(self: &Arc<Self>, call: &Call<'_>) -> Result<T, StoreError>
    where
        T: FromRedisValue,
    {
        let Numbered { number, connection } = self.connection().await?;
        let error = match self.limited(call.make(connection)).await {
            Err(error) if error.is_io_error() => error,
            done => return done.map_err(store_error),
        };
        self.lost(number, &error);
        if error.is_timeout() || matches!(call, Call::Once(_)) {
            // Who did not answer once will hardly do so now, and the caller has waited long enough.
            return Err(store_error(error));
        }
        let Numbered { number, connection } = self.connection().await?;
        let done = self.limited(call.make(connection)).await;
        if let Err(error) = &done
            && error.is_io_error()
        {
            self.lost(number, error);
        }
        done.map_err(store_error)
    }

    /// The driver's own limit counts from when a command is sent, and a script that is not known takes three commands.
    async fn limited<T>(&self, call: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        tokio::time::timeout(self.options.command_timeout, call).await.unwrap_or_else(late)
    }

    /// The connection of this moment.
    async fn connection(&self) -> Result<Numbered, StoreError> {
        let mut state = self.state.subscribe();
        // The task that renews it says what has become of it in this time; a belt.
        let longest = self.options.connect_timeout.saturating_mul(2);
        let settled =
            tokio::time::timeout(longest, state.wait_for(|state| !matches!(state, State::Renewing)));
        match settled.await {
            Ok(Ok(state)) => match &*state {
                State::Up(connection) => Ok(connection.clone()),
                State::Renewing | State::Down => Err(out_of_reach()),
            },
            _ => Err(out_of_reach()),
        }
    }

    /// Ends the connection of this number, if nobody did, and lets a task look for another.
    fn lost(self: &Arc<Self>, number: u64, error: &::redis::RedisError) {
        let is_news = self.state.send_if_modified(|state| match state {
            State::Up(up) if up.number == number => {
                *state = State::Renewing;
                true
            }
            _ => false,
        });
        if is_news {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, at = self.at(), "the connection to Redis ended; looking for it");
            tokio::spawn(renew(Arc::downgrade(self), number.wrapping_add(1)));
        }
    }

    /// A connection to a server that answers, and knows the script.
    async fn connect(&self) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.options.connect_timeout))
            .set_response_timeout(Some(self.options.command_timeout));
        let connecting = async {
            let mut connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            self.script.load_async(&mut connection).await?;
            Ok(connection)
        };
        let late = |_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into());
        tokio::time::timeout(self.options.connect_timeout, connecting).await.unwrap_or_else(late)
    }

    fn explain(&self, error: ::redis::RedisError) -> RedisError {
        let at = self.at();
        let no_entry = ["NOAUTH", "WRONGPASS"];
        if error.is_timeout() {
            RedisError::TimedOut { at }
        } else if error.is_io_error() {
            RedisError::Unreachable { at, source: error.into() }
        } else if error.kind() == ErrorKind::AuthenticationFailed
            || error.code().is_some_and(|code| no_entry.contains(&code))
        {
            RedisError::NotAdmitted { at, source: error.into() }
        } else {
            RedisError::Refused { at, source: error.into() }
        }
    }
}

fn out_of_reach() -> StoreError {
    StoreError::Unavailable("Redis is out of reach".into())
}

/// Looks for the server until it is there, or nobody wants it any more.
async fn renew(link: Weak<Link>, number: u64) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Some(link) = link.upgrade() else { return };
        match link.connect().await {
            Ok(connection) => {
                tracing::info!(at = link.at(), "Redis answers again");
                link.state.send_replace(State::Up(Numbered { number, connection }));
                return;
            }
            Err(error) => {
                let was_renewing = link.state.send_if_modified(|state| {
                    let was_renewing = matches!(state, State::Renewing);
                    *state = State::Down;
                    was_renewing
                });
                if was_renewing {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(
                        error,
                        at = link.at(),
                        "Redis is out of reach: reads pass uncounted, all else is refused"
                    );
                }
            }
        }
        let longest = link.options.longest_pause;
        drop(link);
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(longest);
    }
}

/// Says so where Redis may forget what was spent, to make room for something else: then quotas are no longer exact.
async fn warn_of_eviction(at: &str, connection: &mut impl ConnectionLike) {
    let mut info = ::redis::cmd("INFO");
    // A user who may not ask is no reason not to count.
    let Ok(text) = info.arg("memory").query_async::<String>(connection).await else { return };
    let policy = text.lines().find_map(|line| line.trim_end().strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
        tracing::warn!(
            at,
            policy,
            "Redis may forget what was spent when its memory is full; set maxmemory-policy noeviction"
        );
    }
}
