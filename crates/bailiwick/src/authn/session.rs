//! Sessions of browsers.
use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::extract::FromRequestParts;
use bailiwick_core::{
    audit::Actor,
    clock::{Clock, Entropy, Timestamp},
    id::Id,
    identity::{Credential, Principal, PrincipalParts, SessionId, UserId},
    request::{ClientAddr, Facts},
    secret::Secret,
    store::{CredentialDigest, Login, NewSession, SessionRecord, Store, WhichSessions},
};
use http::{HeaderMap, HeaderValue, request::Parts};

use super::{
    login::{LogIn, refused, unavailable},
    token::{self, TokenKind, TokenText},
};
use crate::{
    cookies::{Cookie, Reach},
    problem::Problem,
};

/// How long a browser stays logged in.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// A session ends when it was not used for this long.
    pub idle: Duration,
    /// A session ends this long after the log-in, however much it is used.
    pub absolute: Duration,
}

impl Default for SessionLimits {
    /// 30 minutes, and 12 hours (contract §2).
    fn default() -> Self {
        Self { idle: Duration::from_secs(30 * 60), absolute: Duration::from_secs(12 * 60 * 60) }
    }
}

/// Begins, lists and ends sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    store: Arc<dyn Store>,
    log_in: LogIn,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    limits: SessionLimits,
}

/// A session that was just begun.
#[derive(Clone, Debug)]
pub struct BegunSession {
    /// What its cookie holds.
    pub text: TokenText,
    /// Whose it is.
    pub principal: Principal,
}

/// The browser that sent a request: what is noted of it with the session that is begun for it. An argument of handlers.
#[derive(Clone, Debug)]
pub struct Browser {
    /// The session that it had before: it ends.
    replaces: Option<CredentialDigest>,
    user_agent: String,
    address: String,
}

impl Sessions {
    /// How many live sessions a user may have: one more ends the one that was used longest ago.
    pub const MAX_PER_USER: u32 = 50;

    /// Sessions of the users of `store` that end within `limits`.
    pub fn new(
        store: Arc<dyn Store>,
        log_in: LogIn,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        limits: SessionLimits,
    ) -> Self {
        Self { store, log_in, clock, entropy, limits }
    }

    /// Logs a browser in. The session that it had ends, and the new one has an id of its own (SES-12).
    ///
    /// # Errors
    /// 401 `invalid-credentials`; 429 if the account was tried too often; 503 if the store or the hasher cannot decide.
    pub async fn begin(
        &self,
        username: &str,
        password: Secret<String>,
        browser: Browser,
        facts: &Facts,
    ) -> Result<BegunSession, Problem> {
        let login = self.log_in.prove(username, password, facts).await?;
        let actor = Actor::user(login.user_id, &login.username);
        let (text, session) = self.session(login, browser);
        let (proof, now, user_id) = (session.proof(), session.created_at, session.user_id);
        // Since the password was checked the user may have been disabled, or been given another one.
        if !self.store.create_session(session, facts.act(now).by(actor)).await.map_err(unavailable)? {
            return Err(refused(Some(user_id), facts));
        }
        let principal = self.store.principal_of(proof, now).await.map_err(unavailable)?;
        Ok(BegunSession { text, principal: principal.ok_or_else(Problem::invalid_credentials)? })
    }

    fn session(&self, login: Login, browser: Browser) -> (TokenText, NewSession) {
        let text = TokenText::generate(TokenKind::Session, &*self.entropy);
        let session = NewSession {
            id: Id::new(&*self.clock, &*self.entropy),
            digest: text.digest(),
            user_id: login.user_id,
            password_hash: login.password_hash,
            replaces: browser.replaces,
            user_agent: browser.user_agent,
            address: browser.address,
            created_at: self.clock.now(),
            idle: self.limits.idle,
            absolute: self.limits.absolute,
            max_per_user: Self::MAX_PER_USER,
        };
        (text, session)
    }

    /// The live sessions of a user, the one that was used last first.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn of(&self, user: UserId) -> Result<Vec<SessionRecord>, Problem> {
        self.store.sessions_of(user, self.clock.now()).await.map_err(unavailable)
    }

    /// Ends a session of a user at once, and answers whether there was one.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn end(&self, user: UserId, session: SessionId, facts: &Facts) -> Result<bool, Problem> {
        let act = facts.act(self.clock.now());
        let ended = self.store.end_sessions(user, WhichSessions::Only(session), act).await;
        Ok(ended.map_err(unavailable)? > 0)
    }

    /// Ends all sessions of the caller but the one that is called with, if it is one.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn end_others(&self, caller: &Principal, facts: &Facts) -> Result<(), Problem> {
        let which = match caller.credential {
            Credential::Session(id) => WhichSessions::AllBut(id),
            _ => WhichSessions::All,
        };
        let act = facts.act(self.clock.now());
        self.store.end_sessions(caller.user_id(), which, act).await.map_err(unavailable)?;
        Ok(())
    }
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Browser {
    /// The longest name of a browser that is kept, in characters.
    const MAX_CHARS: usize = 256;

    fn of(parts: &Parts) -> Self {
        let sent = Cookie::Session.read(Reach::of_parts(parts), &parts.headers);
        let replaces = sent.and_then(|text| token::digest_if_plausible(TokenKind::Session, text));
        let address = parts.extensions.get::<ClientAddr>();
        Self {
            replaces,
            user_agent: user_agent(&parts.headers),
            address: address.map_or_else(String::new, |client| client.0.to_canonical().to_string()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Browser {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts))
    }
}

/// What a browser says it is, as text that can be shown: its user looks for it in the list of sessions.
fn user_agent(headers: &HeaderMap) -> String {
    let sent = headers.get(http::header::USER_AGENT).map_or(&b""[..], HeaderValue::as_bytes);
    let visible = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' };
    let text: String = sent.iter().take(Browser::MAX_CHARS).map(visible).collect();
    // Whoever sends a token here must not find it in the database (TOK-24).
    match text.find("bw_") {
        Some(at) => format!("{}[redacted]", &text[..at]),
        None => text,
    }
}

/// For how long a request waits until it is noted that its credential is used: a note is a durable write, and a read must not
/// stand still because nothing can be written.
const NOTE_WAIT: Duration = Duration::from_millis(500);

/// Notes at most once in a while that a credential is used: what is written down is the time to a minute or so
/// (SES-19, TOK-25). Answers with the principal as it is then, or nobody if its credential was ended in this very moment.
pub(super) async fn note_use(
    store: &dyn Store,
    principal: Principal,
    now: Timestamp,
    idle: Duration,
) -> Option<Principal> {
    // Nothing is kept of it that could be noted.
    if let Credential::External(_) = principal.credential {
        return Some(principal);
    }
    let every = Duration::from_secs(60).min(idle / 10);
    if principal.last_used_at.is_some_and(|last| now < last.saturating_add(every)) {
        return Some(principal);
    }
    let noted = tokio::time::timeout(NOTE_WAIT, store.note_use(principal.credential, now, idle)).await;
    let error: &dyn std::error::Error = match &noted {
        Ok(Ok(expires_at)) => {
            return expires_at.map(|expires_at| {
                let last_used_at = Some(now);
                Principal::new(PrincipalParts {
                    last_used_at,
                    expires_at,
                    ..PrincipalParts::clone(&principal)
                })
            });
        }
        Ok(Err(error)) => error,
        Err(too_late) => too_late,
    };
    // Who asks was found a moment ago. A session that is not noted as used ends the earlier.
    tracing::error!(error, "that a credential was used could not be noted");
    Some(principal)
}
