//! Log-in with user name and password, for a token.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, Entropy, Timestamp},
    error::StoreError,
    id::Id,
    identity::{ApiTokenId, Username},
    secret::Secret,
    store::{Login, NewToken, Store},
};

use super::{
    password::{self, PasswordHasher},
    token::TokenText,
};
use crate::problem::Problem;

/// Exchanges a user name and a password for a token. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogIn {
    store: Arc<dyn Store>,
    hasher: PasswordHasher,
    issue: Issue,
}

/// Makes tokens.
#[derive(Clone)]
struct Issue {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    lifetime: Duration,
    keep_at_most: u32,
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
    /// Log-ins to the users of `store`, whose tokens live for `lifetime`. A user has at most `keep_at_most` tokens
    /// from log-ins: one more ends the oldest.
    pub fn new(
        store: Arc<dyn Store>,
        hasher: PasswordHasher,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        lifetime: Duration,
        keep_at_most: u32,
    ) -> Self {
        Self { store, hasher, issue: Issue { clock, entropy, lifetime, keep_at_most } }
    }

    /// The hasher, for whoever sets passwords.
    pub fn hasher(&self) -> &PasswordHasher {
        &self.hasher
    }

    /// Logs in.
    ///
    /// # Errors
    /// 401 `invalid-credentials`; 503 if the store or the hasher cannot decide.
    ///
    /// # Security
    /// An unknown user, a wrong password and a disabled user have the same answer, after the same work (PWD-12). For a
    /// hash of another format see [`PasswordHasher::verify`]; the first log-in replaces it.
    pub async fn with_password(
        &self,
        username: &str,
        password: Secret<String>,
    ) -> Result<IssuedToken, Problem> {
        // What is too long was never set; hashing it would only cost (PWD-09).
        if password.expose().chars().count() > password::MAX_CHARS {
            return Err(Problem::invalid_credentials());
        }
        let refused = Problem::invalid_credentials;
        let login = self.proved(username, &password).await?.ok_or_else(refused)?;
        let login = self.rehashed(login, &password).await;
        if let Some(issued) = self.issue(login).await? {
            return Ok(issued);
        }
        // Another log-in may have put a new hash in the place of the one that was proved: then the same password is proved
        // against that.
        let login = self.proved(username, &password).await?.ok_or_else(refused)?;
        self.issue(login).await?.ok_or_else(refused)
    }

    /// The active user called `username`, if `password` is theirs.
    async fn proved(&self, username: &str, password: &Secret<String>) -> Result<Option<Login>, Problem> {
        // What can be no user name is nobody's; it is verified all the same, so that it takes as long.
        let login = match username.parse::<Username>() {
            Ok(username) => self.store.login(username.as_str()).await.map_err(unavailable)?,
            Err(_) => None,
        };
        let hash = login.as_ref().map(|login| login.password_hash.clone());
        let matches = self.hasher.verify(password.clone(), hash).await?;
        Ok(login.filter(|login| matches && login.is_active))
    }

    /// The log-in with a hash as they are made now, if the stored one is of another format or of other parameters
    /// (PWD-04). If it cannot be replaced, the next log-in tries again: nobody is kept out by that.
    ///
    /// The replacement comes before the token, which is made only for the hash that is stored.
    async fn rehashed(&self, login: Login, password: &Secret<String>) -> Login {
        if self.hasher.is_current(&login.password_hash) {
            return login;
        }
        match self.replace_hash(&login, password).await {
            Ok(Some(password_hash)) => Login { password_hash, ..login },
            Ok(None) => login,
            Err(error) => {
                tracing::warn!(user_id = %login.user_id, ?error, "a password keeps its old hash");
                login
            }
        }
    }

    /// The new hash, or none if the one that was verified is no longer the stored one.
    async fn replace_hash(
        &self,
        login: &Login,
        password: &Secret<String>,
    ) -> Result<Option<Secret<String>>, Problem> {
        let hash = self.hasher.hash(password.clone()).await?;
        let replaced = self.store.upgrade_password(login.user_id, &login.password_hash, &hash);
        Ok(replaced.await.map_err(unavailable)?.then_some(hash))
    }

    /// A token, or none if the user may not have it any more.
    async fn issue(&self, login: Login) -> Result<Option<IssuedToken>, Problem> {
        let (token, issued) = self.issue.token(login);
        // Since the password was checked the user may have been disabled, or been given another one: the store decides
        // in one transaction.
        let created = self.store.create_token(token).await.map_err(unavailable)?;
        Ok(created.then_some(issued))
    }

    /// Ends a token at once; ending one that is gone is no error.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn log_out(&self, token: ApiTokenId) -> Result<(), Problem> {
        self.store.revoke_token(token, self.issue.clock.now()).await.map_err(unavailable)?;
        Ok(())
    }
}

impl Issue {
    fn token(&self, login: Login) -> (NewToken, IssuedToken) {
        let text = TokenText::generate(&*self.entropy);
        let now = self.clock.now();
        let expires_at = now.saturating_add(self.lifetime);
        let token = NewToken {
            id: Id::new(&*self.clock, &*self.entropy),
            digest: text.digest(),
            user_id: login.user_id,
            name: None,
            display: text.display(),
            created_at: now,
            expires_at,
            keep_at_most: self.keep_at_most,
            password_hash: Some(login.password_hash),
        };
        (token, IssuedToken { text, expires_at })
    }
}

impl std::fmt::Debug for Issue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issue").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// A log-in that cannot be decided is refused (I9).
fn unavailable(error: StoreError) -> Problem {
    Problem::unavailable().because(error)
}
