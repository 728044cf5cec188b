//! Families of refresh tokens: a log-in, and all that was refreshed from it.
use std::time::Duration;

use super::{Answer, CredentialDigest, Proof};
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind},
    clock::Timestamp,
    identity::{FamilyId, UserId},
    secret::Secret,
};

/// Keeps families of refresh tokens, each token by its digest. Spent tokens are kept for as long as their family can
/// live: one that is used again gives a thief away (JWT-75).
pub trait FamilyStore {
    /// Adds a family with its first token, removes the user's families that have ended, and ends the oldest beyond
    /// [`NewFamily::max_per_user`], all in one transaction. Answers whether the user is there, active, and still has the
    /// password that was proved: if not, nothing is changed.
    fn create_family(&self, family: NewFamily, act: Act) -> Answer<'_, bool>;

    /// Exchanges a token for its successor, in one transaction that holds the family (JWT-49): of many who do so at once
    /// one makes the successor. What it decides is kept also if it refuses (JWT-47).
    fn refresh_family(&self, refresh: Refresh, act: Act) -> Answer<'_, Refreshed>;

    /// Ends the family that a token belongs to, be it the live one or a spent one. Answers which, if there is such a
    /// family that had not ended.
    fn revoke_family(&self, token: CredentialDigest, act: Act) -> Answer<'_, Option<FamilyId>>;

    /// How many access tokens live at `now`, by the `kid` of what signed them: as many as were noted with
    /// [`NewFamily::access`] and [`Refresh::access`], and whose family has not ended. Those that one refresh token gave
    /// again and again count as one, the last.
    fn live_access_tokens(&self, now: Timestamp) -> Answer<'_, Vec<(String, u64)>>;
}

/// What is noted of an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessNote {
    /// The key that signs it.
    pub kid: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

/// A family to add.
#[derive(Clone, Debug)]
pub struct NewFamily {
    /// The family's id, which is no secret.
    pub id: FamilyId,
    /// Whose it is.
    pub user_id: UserId,
    /// The hash that the user's password was verified against. If the user has another by now, there is no family.
    pub password_hash: Secret<String>,
    /// The digest of its first refresh token.
    pub digest: CredentialDigest,
    /// Now.
    pub created_at: Timestamp,
    /// How long a refresh token works.
    pub lifetime: Duration,
    /// How long the family works, however much it is used (JWT-42).
    pub absolute: Duration,
    /// Its first access token.
    pub access: AccessNote,
    /// How many live families the user may have, this one included.
    pub max_per_user: u32,
}

impl NewFamily {
    /// What an access token of it proves.
    pub const fn proof(&self) -> Proof {
        Proof::Family(self.id)
    }

    /// What is recorded once it is made, and has ended the oldest beyond the cap.
    pub fn events(&self, oldest: &[FamilyId]) -> Vec<SecurityEvent> {
        let of_user = |kind| SecurityEvent::new(kind).of(self.user_id);
        let begun =
            [of_user(SecurityEventKind::LoginSuccess), of_user(SecurityEventKind::TokenCreated).on(self.id)];
        let beyond =
            |family: &FamilyId| Grant { family: *family, user: self.user_id }.revoked().with("reason", "cap");
        begun.into_iter().chain(oldest.iter().map(beyond)).collect()
    }

    /// When it ends, however much it is used.
    pub fn ends_at(&self) -> Timestamp {
        self.created_at.saturating_add(self.absolute)
    }

    /// When its first refresh token stops working.
    pub fn expires_at(&self) -> Timestamp {
        self.created_at.saturating_add(self.lifetime).min(self.ends_at())
    }
}

/// A refresh token that is shown.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// Its digest.
    pub digest: CredentialDigest,
    /// The digests of the successors that it can have: the first is the one that is made. There are others while a
    /// former master key is known, from which they were derived.
    pub successors: Vec<CredentialDigest>,
    /// Now.
    pub now: Timestamp,
    /// How long a refresh token works; it ends with its family at the latest.
    pub lifetime: Duration,
    /// For how long after it was used the parent of the live token gets the same successor again.
    pub grace: Duration,
    /// The access token that is made with the successor.
    pub access: AccessNote,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Refreshed {
    /// The token was the live one; now the first of the successors is.
    Rotated(Grant),
    /// The token is the parent of the live one and was used a moment ago: the live one is the successor with this index.
    Repeated(Grant, usize),
    /// The token was used before: somebody has a copy of it, and the family was ended (JWT-41).
    Reused(Grant),
    /// There is no such token, it has expired, its family has ended, or its user may not come in.
    Refused,
}

impl Refreshed {
    /// What is recorded of it: nothing where nothing was given and nothing has ended.
    pub fn events(&self) -> Vec<SecurityEvent> {
        match self {
            Self::Rotated(grant) => vec![grant.event(SecurityEventKind::TokenRenewed)],
            Self::Reused(grant) => vec![grant.event(SecurityEventKind::TokenReuse)],
            // It hands out another access token: also to whoever copied the parent, and was quick.
            Self::Repeated(grant, _) => {
                vec![grant.event(SecurityEventKind::TokenRenewed).with("repeated", true)]
            }
            Self::Refused => Vec::new(),
        }
    }
}

/// For whom a token was refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The family.
    pub family: FamilyId,
    /// Whose it is.
    pub user: UserId,
}

impl Grant {
    /// What is recorded once its family was ended, on purpose or beyond the cap.
    pub fn revoked(&self) -> SecurityEvent {
        self.event(SecurityEventKind::TokenRevoked)
    }

    fn event(&self, kind: SecurityEventKind) -> SecurityEvent {
        SecurityEvent::new(kind).of(self.user).on(self.family)
    }
}
