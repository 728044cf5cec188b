//! What users do about their own accounts: make one, change its password, replace a lost one.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, Entropy},
    id::Id,
    identity::{Credential, InvalidUsername, Principal, Username, is_email_address},
    request::Facts,
    secret::Secret,
    store::{Addressee, DirectoryError, Login, NewPasswordReset, NewUser, PasswordChange, Store},
};

use super::{
    Guesses, LogIn,
    login::{Failed, unavailable},
    password::{self, UnfitPassword},
    token::{self, TokenKind, TokenText},
};
use crate::problem::{Code, FieldError, Problem};

/// Makes accounts, and replaces their passwords. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Arc<dyn Store>,
    log_in: LogIn,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    min_chars: usize,
    /// How often mail is sent to one address.
    mails: Option<Guesses>,
}

/// A token by which a user may replace a lost password, to be sent to them.
#[derive(Clone, Debug)]
pub struct PasswordReset {
    /// Who gets it.
    pub to: Addressee,
    /// Its text: the one time it can be seen.
    pub text: TokenText,
}

impl Accounts {
    /// How long a token that replaces a lost password works (contract §2).
    pub const RESET_LIFETIME: Duration = Duration::from_secs(60 * 60);

    /// Accounts of the users of `store`, whose new passwords have at least `min_chars` characters.
    pub fn new(
        store: Arc<dyn Store>,
        log_in: LogIn,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        min_chars: usize,
    ) -> Self {
        Self { store, log_in, clock, entropy, min_chars, mails: None }
    }

    /// Limits how often mail is sent to one address.
    #[must_use]
    pub fn mails(mut self, mails: Option<Guesses>) -> Self {
        self.mails = mails;
        self
    }

    /// Makes an account. Whether anyone may make one is for the caller to say.
    ///
    /// # Errors
    /// 422 for a name, an address or a password that is none or unfit; 409 if the name is taken; 503 if the store or the
    /// hasher cannot decide.
    pub async fn register(
        &self,
        username: &str,
        email: String,
        password: Secret<String>,
        facts: &Facts,
    ) -> Result<NewUser, Problem> {
        let mut errors = Vec::new();
        let name = username.parse::<Username>().map_err(|error: InvalidUsername| {
            errors.push(FieldError::body("#/username", "invalid-format", error.to_string()));
        });
        if !is_email_address(&email) {
            let detail = "an e-mail address looks like name@example.com";
            errors.push(FieldError::body("#/email", "invalid-format", detail));
        }
        // No password has to keep clear of what is no name; none that is fit otherwise has a U+0000.
        let kept_clear_of = name.as_ref().map_or("\0", Username::as_str);
        errors.extend(self.unfit("#/password", &password, kept_clear_of));
        let Ok(username) = name else { return Err(Problem::validation(errors)) };
        if !errors.is_empty() {
            return Err(Problem::validation(errors));
        }
        let password_hash = self.log_in.hasher().hash(password).await?;
        let user = NewUser {
            id: Id::new(&*self.clock, &*self.entropy),
            username,
            email,
            password_hash,
            is_staff: false,
            created_at: self.clock.now(),
        };
        match self.store.create_user(user.clone(), facts.act(user.created_at)).await {
            Ok(()) => Ok(user),
            Err(DirectoryError::Taken) => Err(Problem::conflict("the user name is taken")),
            Err(DirectoryError::Store(error)) => Err(unavailable(error)),
            Err(other) => Err(Problem::internal().because(other)),
        }
    }

    /// Replaces the caller's password, and ends all that the old one opened: their other sessions, the tokens and families
    /// of log-ins, and all that could have replaced it. The session that the caller uses goes on under the text that is answered
    /// (SES-22); the one it had is dead.
    ///
    /// # Errors
    /// 422 at `#/current_password` or `#/new_password`; 429 if the present password was tried too often; 503 if the store
    /// or the hasher cannot decide.
    ///
    /// # Security
    /// To guess the present password here counts like a log-in that fails (PWD-11, PWD-14).
    pub async fn change_password(
        &self,
        caller: &Principal,
        current: Secret<String>,
        new: Secret<String>,
        facts: &Facts,
    ) -> Result<Option<TokenText>, Problem> {
        let mut errors: Vec<_> = self.unfit("#/new_password", &new, &caller.username).into_iter().collect();
        let attempted = self.log_in.attempt(&caller.username, current, facts).await?;
        // The name may be somebody else's by now.
        let is_theirs = |login: &Login| login.user_id == caller.user_id();
        let own =
            attempted.and_then(|login| if is_theirs(&login) { Ok(login) } else { Err(Failed::by(None)) });
        let proved = own.map_err(|failed| failed.of(caller.user_id()).note(facts)).ok();
        if proved.is_none() {
            errors.insert(0, wrong_current_password());
        }
        let Some(login) = proved.filter(|_| errors.is_empty()) else {
            return Err(Problem::validation(errors));
        };
        let new_hash = self.log_in.hasher().hash(new).await?;
        let renewed = match caller.credential {
            Credential::Session(id) => Some((id, TokenText::generate(TokenKind::Session, &*self.entropy))),
            _ => None,
        };
        let change = PasswordChange {
            user_id: login.user_id,
            old_hash: login.password_hash,
            new_hash,
            session: renewed.as_ref().map(|(id, text)| (*id, text.digest())),
            changed_at: self.clock.now(),
        };
        let act = facts.act(change.changed_at);
        if self.store.change_password(change, act).await.map_err(unavailable)? {
            Ok(renewed.map(|(_, text)| text))
        } else {
            // Somebody else has changed it since it was verified.
            Err(Problem::validation(vec![wrong_current_password()]))
        }
    }

    /// Counts a wish for mail to this address, and answers whether to send any. The answer to whoever asked must not tell.
    ///
    /// # Errors
    /// 503 if the counters are out of reach.
    pub async fn may_send_to(&self, email: &str, facts: &Facts) -> Result<bool, Problem> {
        let Some(mails) = &self.mails else { return Ok(true) };
        match mails.begin(email, facts).await {
            // It is never forgotten: each is a mail.
            Ok(_sent) => Ok(true),
            Err(problem) if problem.code() == Code::Throttled => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    /// Makes tokens by which the users with this address may each replace a lost password, once, within
    /// [`RESET_LIFETIME`](Self::RESET_LIFETIME): to be sent to the addresses that they name, and shown nobody else. Asked
    /// for by the request of which `asked` tells, which may be answered already.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    ///
    /// # Security
    /// It takes longer if there are such users: nobody who is not known may wait for it (PWD-13).
    pub async fn begin_reset(&self, email: &str, asked: &Facts) -> Result<Vec<PasswordReset>, Problem> {
        let mut resets = Vec::new();
        for to in self.store.users_of_email(email).await.map_err(unavailable)? {
            let text = TokenText::generate(TokenKind::PasswordReset, &*self.entropy);
            let created_at = self.clock.now();
            let reset = NewPasswordReset {
                digest: text.digest(),
                user_id: to.user_id,
                created_at,
                expires_at: created_at.saturating_add(Self::RESET_LIFETIME),
            };
            if self.store.create_password_reset(reset, asked.act(created_at)).await.map_err(unavailable)? {
                resets.push(PasswordReset { to, text });
            }
        }
        Ok(resets)
    }

    /// Replaces a lost password by a token that was sent, and ends all that the old one opened. It logs nobody in
    /// (PWD-11).
    ///
    /// # Errors
    /// 422 at `#/token` if the token is dead, or at `#/new_password`, which leaves it as it was; 503 if the store or the
    /// hasher cannot decide.
    pub async fn finish_reset(&self, token: &str, new: Secret<String>, facts: &Facts) -> Result<(), Problem> {
        let digest = token::digest_if_plausible(TokenKind::PasswordReset, token).ok_or_else(dead_token)?;
        let found = self.store.password_reset(digest, self.clock.now()).await.map_err(unavailable)?;
        let username = found.ok_or_else(dead_token)?;
        if let Some(unfit) = self.unfit("#/new_password", &new, &username) {
            return Err(Problem::validation(vec![unfit]));
        }
        let hash = self.log_in.hasher().hash(new).await?;
        let act = facts.act(self.clock.now());
        let used = self.store.use_password_reset(digest, hash, act).await.map_err(unavailable)?;
        used.map(drop).ok_or_else(dead_token)
    }

    /// Why a password may not be set, at `pointer`.
    fn unfit(&self, pointer: &str, password: &Secret<String>, username: &str) -> Option<FieldError> {
        let checked = password::check(password.expose(), username, self.min_chars);
        checked.err().map(|unfit| FieldError::body(pointer, code(&unfit), unfit.to_string()))
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Accounts").field("min_chars", &self.min_chars).finish_non_exhaustive()
    }
}

fn wrong_current_password() -> FieldError {
    FieldError::body("#/current_password", "incorrect", "this is not the present password")
}

fn dead_token() -> Problem {
    let detail = "the token was used, has expired, or never was one: ask for another";
    Problem::validation(vec![FieldError::body("#/token", "invalid-token", detail)])
}

/// The permanent code of what makes a password unfit.
fn code(unfit: &UnfitPassword) -> &'static str {
    match unfit {
        UnfitPassword::TooShort(_) => "too-short",
        UnfitPassword::TooLong => "too-long",
        UnfitPassword::ControlCharacter => "invalid-character",
        // Whatever else is wrong with one, others would guess it.
        _ => "too-guessable",
    }
}
