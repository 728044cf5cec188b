//! Log-in with user name and password, for a token.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    audit::{Actor, SecurityEvent, SecurityEventKind},
    clock::{Clock, Entropy, Timestamp},
    error::StoreError,
    identity::{ApiTokenId, UserId, Username},
    request::{AuthMethod, AuthOutcome, Facts, Tally},
    secret::Secret,
    store::{Login, NewToken, Store, TokenCreation, TokenRef},
};

use super::{
    Guesses,
    password::{self, PasswordHasher},
    token::{TokenKind, TokenText, new_api_token},
};
use crate::problem::Problem;

/// Exchanges a user name and a password for a token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogIn {
    store: Arc<dyn Store>,
    hasher: PasswordHasher,
    guesses: Option<Guesses>,
    issue: Issue,
}

/// Makes tokens.
#[derive(Clone)]
struct Issue {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    lifetime: Duration,
    max_per_user: u32,
}

/// What a name and a password are worth.
enum Proof {
    /// They are those of this user, who may log in.
    Given(Login),
    /// They are not; the name is this user's, if it is anyone's.
    Refused(Option<UserId>),
}

/// A token that was just made.
#[derive(Clone, Debug)]
pub struct IssuedToken {
    /// Its text: the one time it can be seen.
    pub text: TokenText,
    /// When it stops working by itself.
    pub expires_at: Timestamp,
}

impl LogIn {
    /// Log-ins to the users of `store`, whose tokens live for `lifetime`. A user has at most `max_per_user` tokens
    /// from log-ins: one more ends the oldest.
    pub fn new(
        store: Arc<dyn Store>,
        hasher: PasswordHasher,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        lifetime: Duration,
        max_per_user: u32,
    ) -> Self {
        Self { store, hasher, guesses: None, issue: Issue { clock, entropy, lifetime, max_per_user } }
    }

    /// Limits how often an account may be tried, if anything does: by default, nothing.
    #[must_use]
    pub fn guesses(mut self, guesses: Option<Guesses>) -> Self {
        self.guesses = guesses;
        self
    }

    /// The hasher, for whoever sets passwords.
    pub fn hasher(&self) -> &PasswordHasher {
        &self.hasher
    }

    /// Logs in, for a token.
    ///
    /// # Errors
    /// 401 `invalid-credentials`; 429 if the account was tried too often; 503 if the store or the hasher cannot decide.
    pub async fn with_password(
        &self,
        username: &str,
        password: Secret<String>,
        facts: &Facts,
    ) -> Result<IssuedToken, Problem> {
        let login = self.prove(username, password, facts).await?;
        let (user_id, actor) = (login.user_id, Actor::user(login.user_id, &login.username));
        let (text, token) = self.issue.token(login);
        let issued = IssuedToken { text, expires_at: token.expires_at };
        let act = facts.act(token.created_at).by(actor);
        // Since the password was checked the user may have been disabled, or been given another one: the store decides
        // in one transaction.
        match self.store.create_token(token, act).await.map_err(unavailable)? {
            TokenCreation::Created => Ok(issued),
            TokenCreation::Refused | TokenCreation::TooMany => Err(refused(Some(user_id), facts)),
        }
    }

    /// The user who is called so and has this password, unless the account was tried too often. That it succeeded is
    /// recorded with what is made of it, that it failed here.
    ///
    /// # Errors
    /// 429 if it was, also for the right password, and whether there is such an account or not; 401
    /// `invalid-credentials`; 503 if the store or the hasher cannot decide.
    ///
    /// # Security
    /// An unknown user, a wrong password and a disabled user have the same answer, after the same work (PWD-12).
    ///
    /// # Cancel safety
    /// A try that is dropped before it is decided, since the client has left or the request took too long, stays counted
    /// as one that failed: whoever leaves gets no tries for nothing.
    pub(super) async fn prove(
        &self,
        username: &str,
        password: Secret<String>,
        facts: &Facts,
    ) -> Result<Login, Problem> {
        let attempted = self.attempt(username, password, facts).await?;
        attempted.map_err(|failed| failed.refuse(facts))
    }

    /// The same, for whoever says otherwise than by a refused log-in that it failed. Every way to prove a password leads
    /// through here.
    ///
    /// # Errors
    /// As [`prove`](Self::prove). Inside: that it failed, which is to be noted.
    pub(super) async fn attempt(
        &self,
        username: &str,
        password: Secret<String>,
        facts: &Facts,
    ) -> Result<Result<Login, Failed>, Problem> {
        let tried = match &self.guesses {
            Some(guesses) => Some((guesses, guesses.begin(username, facts).await?)),
            None => None,
        };
        let tally = |outcome| facts.tally(Tally::Authentication { method: AuthMethod::Password, outcome });
        match self.find(username, password).await {
            Ok(Proof::Given(login)) => {
                tally(AuthOutcome::Success);
                if let Some((guesses, tried)) = tried {
                    guesses.succeeded(tried).await;
                }
                Ok(Ok(login))
            }
            Ok(Proof::Refused(known)) => {
                tally(AuthOutcome::Failure);
                Ok(Err(Failed { user: known, was_last: tried.is_some_and(|(_, tried)| tried.is_last()) }))
            }
            Err(problem) => {
                tally(AuthOutcome::Unavailable);
                if let Some((guesses, tried)) = tried {
                    guesses.undecided(tried).await;
                }
                Err(problem)
            }
        }
    }

    /// Whether there is a user who is called so and has this password.
    async fn find(&self, username: &str, password: Secret<String>) -> Result<Proof, Problem> {
        // What is too long was never set; hashing it would only cost (PWD-09).
        if password.expose().chars().count() > password::MAX_CHARS {
            return Ok(Proof::Refused(None));
        }
        match self.verified(username, &password).await? {
            Proof::Given(login) if !self.hasher.is_current(&login.password_hash) => {
                self.renewed(login, username, password).await
            }
            proof => Ok(proof),
        }
    }

    /// The same, by the hash that is stored now.
    async fn verified(&self, username: &str, password: &Secret<String>) -> Result<Proof, Problem> {
        // What can be no user name is nobody's; it is verified all the same, so that it takes as long.
        let login = match username.parse::<Username>() {
            Ok(username) => self.store.login(username.as_str()).await.map_err(unavailable)?,
            Err(_) => None,
        };
        let hash = login.as_ref().map(|login| login.password_hash.clone());
        let matches = self.hasher.verify(password.clone(), hash).await?;
        match login {
            Some(login) if matches && login.is_active => Ok(Proof::Given(login)),
            login => Ok(Proof::Refused(login.map(|login| login.user_id))),
        }
    }

    /// The same log-in, with a hash as they are made now (PWD-04). Nothing that the password opened ends, since it is the
    /// same one. If it cannot be replaced, the one that is stored stays as good as it was.
    async fn renewed(
        &self,
        login: Login,
        username: &str,
        password: Secret<String>,
    ) -> Result<Proof, Problem> {
        let Ok(fresh) = self.hasher.hash(password.clone()).await else { return Ok(Proof::Given(login)) };
        match self.store.renew_password_hash(login.user_id, &login.password_hash, &fresh).await {
            Ok(true) => Ok(Proof::Given(Login { password_hash: fresh, ..login })),
            renewed => {
                if let Err(error) = renewed {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the hash of a password may not have been renewed");
                }
                // Another log-in has renewed it just now, the password was replaced, or the answer got lost: which it is,
                // the hash that is stored now says.
                self.verified(username, &password).await
            }
        }
    }

    /// Ends a token at once; ending one that is gone is no error.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn log_out(&self, token: ApiTokenId, facts: &Facts) -> Result<(), Problem> {
        let act = facts.act(self.issue.clock.now());
        self.store.revoke_token(TokenRef::Id(token), act).await.map_err(unavailable)?;
        Ok(())
    }
}

impl Issue {
    fn token(&self, login: Login) -> (TokenText, NewToken) {
        let Self { clock, entropy, lifetime, max_per_user } = self;
        let kind = TokenKind::Personal;
        let (text, token) =
            new_api_token(kind, login.user_id, *lifetime, *max_per_user, &**clock, &**entropy);
        (text, NewToken { password_hash: Some(login.password_hash), ..token })
    }
}

impl std::fmt::Debug for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issue").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// A user name and a password that prove nobody.
#[derive(Debug)]
#[must_use]
pub(super) struct Failed {
    /// Whose account was tried, if the name is anyone's.
    user: Option<UserId>,
    /// Whether it was the last try that may fail, for now.
    was_last: bool,
}

impl Failed {
    /// One that is not of how often an account may be tried.
    pub(super) fn by(user: Option<UserId>) -> Self {
        Self { user, was_last: false }
    }

    /// The same, where it is known whose account it was.
    pub(super) fn of(self, user: UserId) -> Self {
        Self { user: Some(user), ..self }
    }

    /// Notes it. That an account is closed to guesses is noted once, with the try that closed it and not with those that
    /// are refused for it: so no flood of them fills the trail (LOG-06).
    pub(super) fn note(self, facts: &Facts) {
        facts.note(SecurityEvent::new(SecurityEventKind::LoginFail).of(self.user));
        if self.was_last {
            facts.note(SecurityEvent::new(SecurityEventKind::LoginFailMax).of(self.user));
        }
    }

    /// Notes it, and answers it like every other.
    fn refuse(self, facts: &Facts) -> Problem {
        self.note(facts);
        Problem::invalid_credentials()
    }
}

/// A log-in that is no good any more, of this user: noted, and answered like every other.
pub(super) fn refused(user: Option<UserId>, facts: &Facts) -> Problem {
    Failed::by(user).refuse(facts)
}

/// A log-in that cannot be decided is refused (I9).
pub(super) fn unavailable(error: StoreError) -> Problem {
    Problem::unavailable().because(error)
}
