//! The methods by which callers prove who they are.
use std::{sync::Arc, thread, time::Duration};

use bailiwick_core::{
    clock::{Clock, Entropy},
    store::Store,
};

use super::{
    ApiTokens, Families, Jwt, LogIn, SessionLimits, Sessions,
    password::{HashCost, HasherError, PasswordHasher},
};

/// How callers prove who they are: by API tokens and sessions, which they get for a user name and a password.
#[derive(Clone, Debug)]
pub struct Authn {
    hash_cost: HashCost,
    token_lifetime: Duration,
    max_tokens_per_user: u32,
    sessions: SessionLimits,
    jwt: Option<Jwt>,
}

impl Authn {
    /// Tokens of 30 days, at most 20 from log-ins for each user; the default [`SessionLimits`] and [`HashCost`].
    pub fn new() -> Self {
        let token_lifetime = Duration::from_secs(30 * 24 * 60 * 60);
        Self {
            hash_cost: HashCost::default(),
            token_lifetime,
            max_tokens_per_user: 20,
            sessions: SessionLimits::default(),
            jwt: None,
        }
    }

    /// How much work a password's hash is.
    #[must_use]
    pub fn hash_cost(mut self, cost: HashCost) -> Self {
        self.hash_cost = cost;
        self
    }

    /// How long a token lives where its maker does not say.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// How many live tokens a user may have: one more log-in ends the oldest from a log-in, and one more by name is
    /// refused.
    #[must_use]
    pub fn max_tokens_per_user(mut self, most: u32) -> Self {
        self.max_tokens_per_user = most.max(1);
        self
    }

    /// How long a browser stays logged in.
    #[must_use]
    pub fn sessions(mut self, limits: SessionLimits) -> Self {
        self.sessions = limits;
        self
    }

    /// Access tokens that are signed, with families of refresh tokens. Without, there are none.
    #[must_use]
    pub fn jwt(mut self, jwt: Jwt) -> Self {
        self.jwt = Some(jwt);
        self
    }

    /// For how long a session that is used works from then on.
    pub(crate) fn idle(&self) -> Duration {
        self.sessions.idle
    }

    pub(crate) fn build(
        self,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<(LogIn, ApiTokens, Sessions, Families), HasherError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let hasher = PasswordHasher::new(self.hash_cost, threads, Arc::clone(entropy))?;
        let log_in = LogIn::new(
            Arc::clone(store),
            hasher,
            Arc::clone(clock),
            Arc::clone(entropy),
            self.token_lifetime,
            self.max_tokens_per_user,
        );
        let sessions = Sessions::new(
            Arc::clone(store),
            log_in.clone(),
            Arc::clone(clock),
            Arc::clone(entropy),
            self.sessions,
        );
        let tokens = ApiTokens::new(
            Arc::clone(store),
            Arc::clone(clock),
            Arc::clone(entropy),
            self.token_lifetime,
            self.max_tokens_per_user,
        );
        let families = Families::new(
            Arc::clone(store),
            log_in.clone(),
            Arc::clone(clock),
            Arc::clone(entropy),
            self.jwt,
        );
        Ok((log_in, tokens, sessions, families))
    }
}

impl Default for Authn {
    fn default() -> Self {
        Self::new()
    }
}
