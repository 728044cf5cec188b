//! The methods by which callers prove who they are.
use std::{sync::Arc, thread, time::Duration};

use bailiwick_core::{
    audit::Noted,
    clock::{Clock, Entropy},
    store::Store,
};

use super::{
    Accounts, ApiTokens, Families, Guesses, Jwt, LogIn, SessionLimits, Sessions,
    issuers::{InvalidIssuers, TrustedIssuer, TrustedIssuers},
    password::{HashCost, HasherError, PasswordHasher},
};

/// How callers prove who they are: by API tokens and sessions, which they get for a user name and a password, and
/// by access tokens of this server or of others.
#[derive(Clone, Debug)]
pub struct Authn {
    hash_cost: HashCost,
    token_lifetime: Duration,
    max_tokens_per_user: u32,
    sessions: SessionLimits,
    jwt: Option<Jwt>,
    issuers: Vec<TrustedIssuer>,
    min_password_chars: usize,
}

/// What is made of the methods.
pub(crate) struct Built {
    pub(crate) log_in: LogIn,
    pub(crate) tokens: ApiTokens,
    pub(crate) sessions: Sessions,
    pub(crate) families: Families,
    pub(crate) accounts: Accounts,
}

/// How often accounts may be tried, and written to.
#[derive(Default)]
pub(crate) struct Quotas {
    pub(crate) guesses: Option<Guesses>,
    pub(crate) mails: Option<Guesses>,
    pub(crate) leak_mails: Option<Guesses>,
}

impl Authn {
    /// Tokens of 30 days, at most 20 from log-ins for each user; the default [`SessionLimits`] and [`HashCost`]; new
    /// passwords of at least 15 characters (PWD-06).
    pub fn new() -> Self {
        let token_lifetime = Duration::from_secs(30 * 24 * 60 * 60);
        Self {
            hash_cost: HashCost::default(),
            token_lifetime,
            max_tokens_per_user: 20,
            sessions: SessionLimits::default(),
            jwt: None,
            issuers: Vec::new(),
            min_password_chars: 15,
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

    /// Access tokens of these other issuers, for users that exist here. Without, there are none.
    #[must_use]
    pub fn trusted_issuers(mut self, issuers: impl IntoIterator<Item = TrustedIssuer>) -> Self {
        self.issuers.extend(issuers);
        self
    }

    /// How many characters a password that a user sets has at least.
    #[must_use]
    pub fn min_password_chars(mut self, least: usize) -> Self {
        self.min_password_chars = least;
        self
    }

    /// For how long a session that is used works from then on.
    pub(crate) fn idle(&self) -> Duration {
        self.sessions.idle
    }

    /// The trusted issuers, if there are any, with the keys that lie in files.
    pub(crate) fn issuers(&self, clock: &Arc<dyn Clock>) -> Result<Option<TrustedIssuers>, InvalidIssuers> {
        if self.issuers.is_empty() {
            return Ok(None);
        }
        let own = self.jwt.as_ref().map(|jwt| jwt.tokens.issuer.as_str());
        TrustedIssuers::new(self.issuers.clone(), own, clock).map(Some)
    }

    pub(crate) fn build(
        self,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
        quotas: Quotas,
        noted: Noted,
    ) -> Result<Built, HasherError> {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let hasher = PasswordHasher::new(self.hash_cost, threads, Arc::clone(entropy))?;
        let log_in = LogIn::new(
            Arc::clone(store),
            hasher,
            Arc::clone(clock),
            Arc::clone(entropy),
            self.token_lifetime,
            self.max_tokens_per_user,
        )
        .guesses(quotas.guesses);
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
        )
        .leak_mails(quotas.leak_mails);
        let accounts = Accounts::new(
            Arc::clone(store),
            log_in.clone(),
            Arc::clone(clock),
            Arc::clone(entropy),
            self.min_password_chars,
        )
        .mails(quotas.mails);
        let families = Families::new(
            Arc::clone(store),
            log_in.clone(),
            Arc::clone(clock),
            Arc::clone(entropy),
            self.jwt,
            noted,
        );
        Ok(Built { log_in, tokens, sessions, families, accounts })
    }
}

impl Default for Authn {
    fn default() -> Self {
        Self::new()
    }
}
