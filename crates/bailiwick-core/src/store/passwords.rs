//! Changes of passwords by their owners, and the tokens that replace one that was lost.
use super::{Answer, CredentialDigest};
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind},
    clock::Timestamp,
    identity::{SessionId, UserId},
    secret::Secret,
};

/// Replaces passwords. What the old one opened ends in the same transaction: the user's sessions, the tokens and the
/// families of refresh tokens that log-ins made, and all that could have replaced it.
pub trait PasswordStore {
    /// Replaces a password by its owner's wish. Answers whether they are active and still had the old one: if not,
    /// nothing is changed.
    fn change_password(&self, change: PasswordChange, act: Act) -> Answer<'_, bool>;

    /// The active users with this e-mail address, without regard to case, by name; at most [`Addressee::MOST`].
    fn users_of_email<'a>(&'a self, email: &'a str) -> Answer<'a, Vec<Addressee>>;

    /// Adds a token by which a user may set another password once, and removes the user's expired ones. Answers whether
    /// the user is there and active: if not, nothing is changed.
    fn create_password_reset(&self, reset: NewPasswordReset, act: Act) -> Answer<'_, bool>;

    /// The name of the active user whose live token has this digest.
    fn password_reset(&self, digest: CredentialDigest, now: Timestamp) -> Answer<'_, Option<String>>;

    /// Replaces the password of the active user whose live token has this digest, once (PWD-19). Answers whose it was: of
    /// many who use a token at once, one is answered so.
    fn use_password_reset(
        &self,
        digest: CredentialDigest,
        hash: Secret<String>,
        act: Act,
    ) -> Answer<'_, Option<UserId>>;
}

/// A password that its owner replaces.
#[derive(Clone, Debug)]
pub struct PasswordChange {
    /// Whose it is.
    pub user_id: UserId,
    /// The hash that the old password was verified against.
    pub old_hash: Secret<String>,
    /// The hash of the new one.
    pub new_hash: Secret<String>,
    /// The session that goes on, under another digest (SES-22): whoever knew its cookie knows nothing any more.
    pub session: Option<(SessionId, CredentialDigest)>,
    /// Now.
    pub changed_at: Timestamp,
}

/// What is recorded once the password of `user` was replaced, by them or by an operator.
pub fn changed_password(user: UserId) -> SecurityEvent {
    SecurityEvent::new(SecurityEventKind::PasswordChange).of(user)
}

/// What is recorded once `user` has replaced a lost password.
pub fn reset_password(user: UserId) -> SecurityEvent {
    SecurityEvent::new(SecurityEventKind::PasswordReset).of(user)
}

/// A token to add, by which a user may set another password.
#[derive(Clone, Debug)]
pub struct NewPasswordReset {
    /// The digest of its text.
    pub digest: CredentialDigest,
    /// Whose password it replaces.
    pub user_id: UserId,
    /// Now.
    pub created_at: Timestamp,
    /// When it stops working by itself.
    pub expires_at: Timestamp,
}

impl NewPasswordReset {
    /// What is recorded once it is made.
    pub fn event(&self) -> SecurityEvent {
        SecurityEvent::new(SecurityEventKind::PasswordResetRequested).of(self.user_id)
    }
}

/// A user to write to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The user.
    pub user_id: UserId,
    /// The name.
    pub username: String,
    /// The e-mail address, as the user wrote it: mail goes there, never to what somebody asked for.
    pub email: String,
}

impl Addressee {
    /// How many users of one address are written to at most.
    pub const MOST: u32 = 20;
}
