//! API tokens.
use super::{Answer, CredentialDigest, Proof};
use crate::{
    clock::Timestamp,
    identity::{ApiTokenId, UserId, Username},
    secret::Secret,
};

/// Keeps API tokens by their digest.
pub trait TokenStore {
    /// Adds a token, and removes the owner's expired ones. [`NewToken::max_per_user`] is counted in the same
    /// transaction (TOK-26): beyond it a log-in revokes the owner's oldest log-in tokens, and a token that is made by
    /// name is refused.
    fn create_token(&self, token: NewToken) -> Answer<'_, TokenCreation>;

    /// Ends a token at once. Answers whether there was a live one.
    fn revoke_token(&self, id: ApiTokenId, now: Timestamp) -> Answer<'_, bool>;

    /// The tokens of the user called `name`, the newest first; none if there is no such user.
    fn tokens_of<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<Vec<TokenRecord>>>;
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
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working by itself.
    pub expires_at: Timestamp,
    /// When it was used last, to a minute or so; none if it never was.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}
