//! Sessions of browsers.
use std::time::Duration;

use super::{Answer, CredentialDigest, Proof};
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind},
    clock::Timestamp,
    identity::{SessionId, UserId},
    secret::Secret,
};

/// Keeps sessions by the digest of their cookie. What is ended is removed: an id that was used is unknown (SES-20).
pub trait SessionStore {
    /// Adds a session, ends the one it replaces, removes the user's expired ones, and ends the oldest beyond
    /// [`NewSession::max_per_user`], all in one transaction. Answers whether the user is there, active, and still has the
    /// password that was proved: if not, nothing is changed.
    fn create_session(&self, session: NewSession, act: Act) -> Answer<'_, bool>;

    /// Ends sessions of a user at once, and answers how many there were.
    fn end_sessions(&self, user: UserId, which: WhichSessions, act: Act) -> Answer<'_, u64>;

    /// The live sessions of a user, the one that was used last first.
    fn sessions_of(&self, user: UserId, now: Timestamp) -> Answer<'_, Vec<SessionRecord>>;
}

/// Which sessions of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhichSessions {
    /// Every one.
    All,
    /// This one.
    Only(SessionId),
    /// Every one but this.
    AllBut(SessionId),
}

/// A session to add.
#[derive(Clone, Debug)]
pub struct NewSession {
    /// The session's id, which is no secret.
    pub id: SessionId,
    /// The digest of what its cookie holds.
    pub digest: CredentialDigest,
    /// Whose it is.
    pub user_id: UserId,
    /// The hash that the user's password was verified against. If the user has another by now, there is no session.
    pub password_hash: Secret<String>,
    /// The session that the browser had before: it ends, whoever it belonged to (SES-12).
    pub replaces: Option<CredentialDigest>,
    /// What the browser says it is.
    pub user_agent: String,
    /// Where the log-in came from.
    pub address: String,
    /// Now.
    pub created_at: Timestamp,
    /// How long it works without being used.
    pub idle: Duration,
    /// How long it works at all.
    pub absolute: Duration,
    /// How many live sessions the user may have, this one included.
    pub max_per_user: u32,
}

impl NewSession {
    /// What whoever has it shows.
    pub const fn proof(&self) -> Proof {
        Proof::Session(self.digest)
    }

    /// What is recorded once it has begun, and ended the one that it replaces, and the oldest beyond the cap.
    pub fn events(&self, replaced: Option<(SessionId, UserId)>, oldest: &[SessionId]) -> Vec<SecurityEvent> {
        let of_user = |kind| SecurityEvent::new(kind).of(self.user_id);
        let replaced = replaced.map(|(id, user)| ended_session(id, user).with("reason", "replaced"));
        let begun = [
            of_user(SecurityEventKind::LoginSuccess),
            of_user(SecurityEventKind::SessionCreated).on(self.id),
        ];
        let beyond = |id: &SessionId| ended_session(*id, self.user_id).with("reason", "cap");
        begun.into_iter().chain(replaced).chain(oldest.iter().map(beyond)).collect()
    }

    /// When it ends, however much it is used.
    pub fn ends_at(&self) -> Timestamp {
        self.created_at.saturating_add(self.absolute)
    }

    /// When it stops working if it is not used again.
    pub fn expires_at(&self) -> Timestamp {
        self.created_at.saturating_add(self.idle).min(self.ends_at())
    }
}

/// What is recorded once a session of `user` was ended.
pub fn ended_session(session: SessionId, user: UserId) -> SecurityEvent {
    SecurityEvent::new(SecurityEventKind::SessionLogout).of(user).on(session)
}

/// A session, as its user sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRecord {
    /// The session's id.
    pub id: SessionId,
    /// When the user logged in.
    pub created_at: Timestamp,
    /// When it was used last, to a minute or so.
    pub last_seen_at: Timestamp,
    /// When it stops working if it is not used again.
    pub expires_at: Timestamp,
    /// What the browser said it is.
    pub user_agent: String,
    /// Where the log-in came from.
    pub address: String,
}
