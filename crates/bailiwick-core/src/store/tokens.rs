//! API tokens.
use super::{Answer, CredentialDigest, Proof};
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind},
    clock::Timestamp,
    identity::{ApiTokenId, Scopes, UserId},
    secret::Secret,
};

/// Keeps API tokens by their digest.
pub trait TokenStore {
    /// Adds a token, and removes the owner's expired ones. [`NewToken::max_per_user`] is counted in the same
    /// transaction (TOK-26): beyond it a log-in revokes the owner's oldest log-in tokens, and a token that is made by
    /// name is refused.
    fn create_token(&self, token: NewToken, act: Act) -> Answer<'_, TokenCreation>;

    /// Puts a token in the place of the one that `replaced` names, whose name and scopes it takes over; the replaced one
    /// works until `old_expires_at`, but no longer than it would have, and the one before that ends at once. All in one
    /// transaction, and beside the cap: for the overlap there is one token more, and never another. Answers what it took
    /// over: nothing if the owner of the new token is disabled, or has no live token of that id with a name and without
    /// a successor.
    fn rotate_token(
        &self,
        replaced: ApiTokenId,
        token: NewToken,
        old_expires_at: Timestamp,
        act: Act,
    ) -> Answer<'_, Option<TokenRecord>>;

    /// Ends a token at once. Answers whose it was, if there was a live one.
    fn revoke_token(&self, which: TokenRef, act: Act) -> Answer<'_, Option<UserId>>;

    /// The tokens of a user, the newest first, also those that have ended.
    fn tokens_of(&self, user: UserId) -> Answer<'_, Vec<TokenRecord>>;
}

/// A token that is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRef {
    /// The one with this id, whoever has it.
    Id(ApiTokenId),
    /// The one with this id, if this user has it.
    Of(UserId, ApiTokenId),
    /// The one whose text has this digest.
    Digest(CredentialDigest),
}

impl TokenRef {
    /// What is recorded once the token with this id and owner was ended. Its text shows only who found it.
    pub fn event(&self, id: ApiTokenId, owner: UserId) -> SecurityEvent {
        let kind = match self {
            Self::Id(_) | Self::Of(..) => SecurityEventKind::TokenRevoked,
            Self::Digest(_) => SecurityEventKind::TokenLeaked,
        };
        SecurityEvent::new(kind).of(owner).on(id)
    }
}

/// A token to add.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The token's id.
    pub id: ApiTokenId,
    /// The digest of its text.
    pub digest: CredentialDigest,
    /// Its owner.
    pub user_id: UserId,
    /// What the owner calls it; none for a token that a log-in made.
    pub name: Option<String>,
    /// The part of its text that may be shown: prefix and last four characters (TOK-25).
    pub display: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// Now.
    pub created_at: Timestamp,
    /// When it stops working by itself.
    pub expires_at: Timestamp,
    /// How many live tokens the owner may have, this one included: of those that log-ins made if it has no name, else of
    /// those that have one.
    pub max_per_user: u32,
    /// The hash that the owner's password was verified against, for a token that a log-in made. If the owner has another
    /// by now, there is no token: a password that was just replaced opens nothing any more.
    pub password_hash: Option<Secret<String>>,
}

impl NewToken {
    /// What whoever has it shows.
    pub const fn proof(&self) -> Proof {
        Proof::ApiToken(self.digest)
    }

    /// What is recorded once it is made, and `ended` the log-in tokens beyond the cap.
    pub fn events(&self, ended: &[ApiTokenId]) -> Vec<SecurityEvent> {
        let log_in = self.password_hash.is_some().then_some(SecurityEventKind::LoginSuccess);
        let made = SecurityEvent::new(SecurityEventKind::TokenCreated).of(self.user_id).on(self.id);
        let made = match self.name {
            Some(_) => made.with("scopes", &self.scopes),
            None => made,
        };
        let beyond = |id: &ApiTokenId| TokenRef::Id(*id).event(*id, self.user_id).with("reason", "cap");
        let log_in = log_in.map(|kind| SecurityEvent::new(kind).of(self.user_id));
        log_in.into_iter().chain([made]).chain(ended.iter().map(beyond)).collect()
    }

    /// What is recorded once it was put in the place of `replaced`.
    pub fn rotation_events(&self, replaced: ApiTokenId) -> Vec<SecurityEvent> {
        let rotated = SecurityEvent::new(SecurityEventKind::TokenRotated).of(self.user_id).on(self.id);
        vec![rotated.with("replaces", replaced)]
    }
}

/// What became of a token that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum TokenCreation {
    /// It works.
    Created,
    /// There is none: its owner is not there, is disabled, or has another password than the one that was proved.
    Refused,
    /// There is none: its owner has as many as may be.
    TooMany,
}

/// A token, as its owner sees it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The token's id.
    pub id: ApiTokenId,
    /// What the owner calls it; none for a token that a log-in made.
    pub name: Option<String>,
    /// The part of its text that may be shown.
    pub display: String,
    /// What it may be used for.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working by itself.
    pub expires_at: Timestamp,
    /// When it was used last, to a minute or so; none if it never was.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}
