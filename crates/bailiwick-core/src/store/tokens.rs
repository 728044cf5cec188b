//! API tokens.
use super::{Answer, CredentialDigest, Proof};
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind},
    clock::Timestamp,
    identity::{ApiTokenId, OrgId, Role, Scopes, UserId},
    secret::Secret,
};

/// Keeps API tokens by their digest.
pub trait TokenStore {
    /// Adds a token, and removes the owner's expired ones. [`NewToken::max_per_user`] is counted in the same
    /// transaction (TOK-26): beyond it a log-in revokes the owner's oldest log-in tokens, and a token that is made by
    /// name is refused. With [`NewToken::of_org`] the service that it speaks for is added too, and what is counted are the
    /// tokens of the organisation.
    fn create_token(&self, token: NewToken, act: Act) -> Answer<'_, TokenCreation>;

    /// Puts a token in the place of the one that `replaced` names, whose name and scopes it takes over; the replaced one
    /// works until `old_expires_at`, but no longer than it would have, and the one before that ends at once. All in one
    /// transaction, and beside the cap: for the overlap there is one token more, and never another. Answers what it took
    /// over: nothing if the owner of the new token is disabled, or has no live token of that id with a name and without
    /// a successor; or if, with [`NewToken::of_org`], whoever asks for it may not.
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

    /// The tokens that an organisation owns, the newest first, also those that have ended.
    fn org_tokens(&self, org: OrgId) -> Answer<'_, Vec<OrgTokenRecord>>;
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
    /// What is recorded once the token with this id and owner, which was a token of this organisation if of any, was ended.
    /// Its text shows only who found it.
    pub fn event(&self, id: ApiTokenId, owner: UserId, org: Option<OrgId>) -> SecurityEvent {
        let kind = match self {
            Self::Id(_) | Self::Of(..) => SecurityEventKind::TokenRevoked,
            Self::Digest(_) => SecurityEventKind::TokenLeaked,
        };
        SecurityEvent::new(kind).of(owner).on(id).within(org)
    }
}

/// A token to add.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// The token's id.
    pub id: ApiTokenId,
    /// The digest of its text.
    pub digest: CredentialDigest,
    /// Its owner; the id of the service, for a token of an organisation.
    pub user_id: UserId,
    /// For a token of an organisation: which one, what it may do there, and who makes it. None for a person's.
    pub of_org: Option<OfOrg>,
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

/// What makes a token an organisation's.
///
/// It is made or replaced only if its maker is, in that very moment, an active member with at least this role, and at
/// least an admin (ACL-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfOrg {
    /// The organisation.
    pub org_id: OrgId,
    /// What the token may do there.
    pub role: Role,
    /// Who makes it.
    pub created_by: UserId,
}

impl OfOrg {
    /// Whether a member with this role may make it.
    pub fn may_be_made_by(&self, role: Role) -> bool {
        role >= self.role.max(Role::Admin)
    }
}

impl NewToken {
    /// The user name of the service that a token of an organisation speaks for: no person can be called so, since it has
    /// a colon.
    pub fn service_name(&self) -> String {
        format!("service:{}", self.user_id)
    }

    /// The password hash of such a service: that of no password.
    pub const NO_PASSWORD: &'static str = "!";

    /// What whoever has it shows.
    pub const fn proof(&self) -> Proof {
        Proof::ApiToken(self.digest)
    }

    /// What is recorded once it is made, and `ended` the log-in tokens beyond the cap.
    pub fn events(&self, ended: &[ApiTokenId]) -> Vec<SecurityEvent> {
        let log_in = self.password_hash.is_some().then_some(SecurityEventKind::LoginSuccess);
        let made = self.event(SecurityEventKind::TokenCreated);
        let made = match self.name {
            Some(_) => made.with("scopes", &self.scopes),
            None => made,
        };
        let beyond = |id: &ApiTokenId| TokenRef::Id(*id).event(*id, self.user_id, None).with("reason", "cap");
        let log_in = log_in.map(|kind| SecurityEvent::new(kind).of(self.user_id));
        log_in.into_iter().chain([made]).chain(ended.iter().map(beyond)).collect()
    }

    /// What is recorded once it was put in the place of `replaced`.
    pub fn rotation_events(&self, replaced: ApiTokenId) -> Vec<SecurityEvent> {
        vec![self.event(SecurityEventKind::TokenRotated).with("replaces", replaced)]
    }

    /// A token of an organisation is told of in its trail.
    fn event(&self, kind: SecurityEventKind) -> SecurityEvent {
        let event = SecurityEvent::new(kind).of(self.user_id).on(self.id);
        match self.of_org {
            Some(of_org) => event.within(of_org.org_id).with("role", of_org.role),
            None => event,
        }
    }
}

/// What became of a token that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum TokenCreation {
    /// It works.
    Created,
    /// There is none: its owner is not there, is disabled, or has another password than the one that was proved; or its
    /// maker may not make it.
    Refused,
    /// There is none: its owner, or the organisation, has as many as may be.
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

impl TokenRecord {
    /// Whether it works at `now`.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at > now
    }
}

/// A token of an organisation, as its admins see it later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgTokenRecord {
    /// The token.
    pub token: TokenRecord,
    /// The service that it speaks for: what is named where a row names its maker.
    pub user_id: UserId,
    /// What it may do in the organisation.
    pub role: Role,
    /// Who made it, or the first of those it was put in the place of.
    pub created_by: UserId,
}
