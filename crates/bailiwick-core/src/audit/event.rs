//! What the trail tells.
use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;

use super::Chain;

use crate::{
    id::Id,
    identity::{ApiTokenId, Credential, FamilyId, OrgId, Role, Scopes, SessionId, UserId},
    named::named,
};

/// What happened to an account or by it, which whoever watches over the site wants to know: an entry of the audit trail,
/// and a line of the log besides that of the request. It holds no secret and no text of a client that was not checked: not
/// even the name that a failed log-in gave, which may be a password in the wrong field (LOG-03).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityEvent {
    /// What happened.
    pub kind: SecurityEventKind,
    /// Whose account it is about, if that is known.
    pub user_id: Option<UserId>,
    /// What it happened to, if that is not the account itself.
    pub target: Option<Target>,
    /// The organisation whose trail it belongs to; none for that of the site.
    pub org_id: Option<OrgId>,
    /// What is to be known besides.
    pub details: Details,
}

impl SecurityEvent {
    /// An event of the site, of which nothing is known but that it happened.
    pub fn new(kind: SecurityEventKind) -> Self {
        Self { kind, user_id: None, target: None, org_id: None, details: Details::default() }
    }

    /// It is about the account of this user.
    #[must_use]
    pub fn of(mut self, user: impl Into<Option<UserId>>) -> Self {
        self.user_id = user.into();
        self
    }

    /// It happened to this.
    #[must_use]
    pub fn on(mut self, target: impl Into<Target>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// It belongs to the trail of this organisation.
    #[must_use]
    pub fn within(mut self, org: impl Into<Option<OrgId>>) -> Self {
        self.org_id = org.into();
        self
    }

    /// Adds what is to be known besides.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Detail>) -> Self {
        self.details.0.insert(name, value.into().0);
        self
    }

    /// The chain that it belongs to.
    pub fn chain(&self) -> Chain {
        self.org_id.map_or(Chain::Site, Chain::Org)
    }

    /// The token, session or family that it is about, if it is about one.
    pub fn credential_id(&self) -> Option<Uuid> {
        let target = self.target.as_ref()?;
        let is_credential =
            matches!(target.kind, TargetKind::Token | TargetKind::Session | TargetKind::Family);
        if is_credential { Uuid::try_parse(&target.id).ok() } else { None }
    }

    /// The id of what it happened to, if that is neither an account nor one of its credentials.
    pub fn object_id(&self) -> Option<&str> {
        let target = self.target.as_ref()?;
        (target.kind == TargetKind::Attachment).then_some(target.id.as_str())
    }

    /// Why it happened, in a word of the program, if its details say so.
    pub fn reason(&self) -> Option<&str> {
        self.details.0.get("reason")?.as_str()
    }

    /// The signing key that it is about, by its `kid`, if it is about one.
    pub fn kid(&self) -> Option<&str> {
        let target = self.target.as_ref()?;
        (target.kind == TargetKind::Key).then_some(target.id.as_str())
    }

    /// What it happened to: what is named, or else the account.
    pub(super) fn target(&self) -> Option<Target> {
        self.target.clone().or_else(|| self.user_id.map(Target::from))
    }

    /// The details as JSON, with the user in them where the target is something else.
    pub(super) fn details(&self) -> String {
        let user = self.user_id.filter(|_| self.target.is_some());
        let user = user.map(|id| ("user_id".to_owned(), Value::from(id.to_string())));
        let own = self.details.0.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        Value::Object(own.chain(user).collect()).to_string()
    }
}

named! {
    /// See [`SecurityEvent`]. The names are those of the OWASP logging vocabulary, where it has one (LOG-06).
    SecurityEventKind {
        /// A user logged in.
        LoginSuccess = "authn_login_success",
        /// A user name and a password that do not belong together, or of a user who is kept out.
        LoginFail = "authn_login_fail",
        /// The last log-in to an account that may fail for now has failed: whoever goes on is refused unheard.
        LoginFailMax = "authn_login_fail_max",
        /// A password was replaced by its user, or by an operator.
        PasswordChange = "authn_password_change",
        /// A token was made by which a lost password can be replaced.
        PasswordResetRequested = "authn_password_reset_requested",
        /// A lost password was replaced by such a token.
        PasswordReset = "authn_password_reset",
        /// An account was made.
        UserCreated = "user_created",
        /// A user is let in again.
        UserEnabled = "user_enabled",
        /// A user is kept out, and all that they were let in by has ended.
        UserDisabled = "user_disabled",
        /// A user got a right on the whole site, or lost one.
        RightChanged = "privilege_permissions_changed",
        /// A token was made.
        TokenCreated = "authn_token_created",
        /// A token was put in the place of another.
        TokenRotated = "authn_token_rotated",
        /// A refresh token was exchanged for the next.
        TokenRenewed = "authn_token_renewed",
        /// A token was ended.
        TokenRevoked = "authn_token_revoked",
        /// Somebody has found a live token where none should be, and it was ended.
        TokenLeaked = "authn_token_leaked",
        /// A refresh token was used again: somebody has a copy of it, and its family was ended.
        TokenReuse = "authn_token_reuse",
        /// A session began.
        SessionCreated = "session_created",
        /// A session was ended.
        SessionLogout = "session_logout",
        /// The cookie of a session that is not there was sent. Only the log tells of it: what has ended is removed, and
        /// anybody can make a text up that looks like one.
        SessionUseAfterExpire = "session_use_after_expire",
        /// A request that another site may have forged was refused.
        MaliciousCsrf = "malicious_csrf",
        /// A browser asked whether a page of an origin that is not allowed may call. Only the log tells of it: whoever asks
        /// is nobody, and spends no quota.
        MaliciousCors = "malicious_cors",
        /// Somebody was refused what they may not do, or may not know of.
        AuthzFail = "authz_fail",
        /// A signing key was made, and is published.
        KeyGenerated = "key_generated",
        /// A key began to sign.
        KeyPromoted = "key_promoted",
        /// A key stopped signing; what it signed is good until it expires.
        KeyRetiring = "key_retiring",
        /// A key is over, after its time.
        KeyRetired = "key_retired",
        /// A key was ended, and all that it signed with it.
        KeyRevoked = "key_revoked",
        /// A private key was encrypted under another master key.
        KeyReencrypted = "key_reencrypted",
        /// An organisation was founded.
        OrgCreated = "org_created",
        /// A user became a member of an organisation.
        MemberAdded = "member_added",
        /// A user is a member no more.
        MemberRemoved = "member_removed",
        /// A member has another role.
        MemberRoleChanged = "member_role_changed",
        /// A file was uploaded. The log tells of it.
        UploadComplete = "upload_complete",
        /// A file was refused for what it is. The log tells of it.
        UploadRefused = "upload_validation",
        /// A file was deleted.
        UploadDelete = "upload_delete",
        /// An event could not be appended to the audit trail: only the log tells of it (LOG-05).
        AuditLost = "audit_append_failed",
    }
}

impl SecurityEventKind {
    /// Whether it is the sign of an attack, or of a mistake that looks like one; or of a trail that has lost something.
    pub const fn is_suspicious(self) -> bool {
        matches!(
            self,
            Self::LoginFail
                | Self::LoginFailMax
                | Self::TokenReuse
                | Self::TokenLeaked
                | Self::SessionUseAfterExpire
                | Self::MaliciousCsrf
                | Self::MaliciousCors
                | Self::UploadRefused
                | Self::AuditLost
        )
    }

    /// How it ended for whoever acted.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::LoginFail
            | Self::LoginFailMax
            | Self::TokenReuse
            | Self::SessionUseAfterExpire
            | Self::UploadRefused
            | Self::AuditLost => Outcome::Failure,
            Self::MaliciousCsrf | Self::MaliciousCors | Self::AuthzFail => Outcome::Denied,
            _ => Outcome::Success,
        }
    }
}

/// How something ended for whoever tried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Success,
    /// It was not done: what was shown is no good.
    Failure,
    /// It was not done: they may not.
    Denied,
}

impl Outcome {
    /// The name in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Denied => "denied",
        }
    }
}

/// What something happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What it is.
    pub kind: TargetKind,
    /// Which it is. It is no secret.
    pub id: String,
}

/// What a [`Target`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetKind {
    /// A user.
    User,
    /// An API token.
    Token,
    /// A session of a browser.
    Session,
    /// A family of refresh tokens.
    Family,
    /// A signing key, by its `kid`.
    Key,
    /// An organisation.
    Org,
    /// A file that belongs to something.
    Attachment,
}

impl TargetKind {
    /// The name in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Token => "token",
            Self::Session => "session",
            Self::Family => "family",
            Self::Key => "key",
            Self::Org => "org",
            Self::Attachment => "attachment",
        }
    }
}

impl Target {
    /// A signing key.
    pub fn key(kid: &str) -> Self {
        Self { kind: TargetKind::Key, id: kid.to_owned() }
    }

    /// A file that belongs to something.
    pub fn attachment<M>(id: Id<M>) -> Self {
        Self::by_id(TargetKind::Attachment, id)
    }

    fn by_id<M>(kind: TargetKind, id: Id<M>) -> Self {
        Self { kind, id: id.to_string() }
    }
}

impl From<UserId> for Target {
    fn from(id: UserId) -> Self {
        Self::by_id(TargetKind::User, id)
    }
}

impl From<OrgId> for Target {
    fn from(id: OrgId) -> Self {
        Self::by_id(TargetKind::Org, id)
    }
}

impl From<ApiTokenId> for Target {
    fn from(id: ApiTokenId) -> Self {
        Self::by_id(TargetKind::Token, id)
    }
}

impl From<SessionId> for Target {
    fn from(id: SessionId) -> Self {
        Self::by_id(TargetKind::Session, id)
    }
}

impl From<FamilyId> for Target {
    fn from(id: FamilyId) -> Self {
        Self::by_id(TargetKind::Family, id)
    }
}

impl From<Credential> for Target {
    fn from(credential: Credential) -> Self {
        match credential {
            Credential::ApiToken(id) => id.into(),
            Credential::Session(id) => id.into(),
            Credential::Family(id) => id.into(),
            Credential::External(user) => user.into(),
        }
    }
}

/// What is to be known of an event besides: a small JSON object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details(BTreeMap<&'static str, Value>);

/// A value among [`Details`]. It is made of types that hold no secret, never of any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail(Value);

impl From<&'static str> for Detail {
    /// A text of the program.
    fn from(text: &'static str) -> Self {
        Self(text.into())
    }
}

impl From<i64> for Detail {
    fn from(number: i64) -> Self {
        Self(number.into())
    }
}

impl From<bool> for Detail {
    fn from(bool: bool) -> Self {
        Self(bool.into())
    }
}

impl From<Role> for Detail {
    fn from(role: Role) -> Self {
        Self(role.as_str().into())
    }
}

impl<M> From<Id<M>> for Detail {
    fn from(id: Id<M>) -> Self {
        Self(id.to_string().into())
    }
}

impl From<&Scopes> for Detail {
    /// The names; null for all that the owner may do.
    fn from(scopes: &Scopes) -> Self {
        Self(scopes.names().map_or(Value::Null, |names| names.map(Value::from).collect()))
    }
}

impl From<&crate::identity::Slug> for Detail {
    fn from(slug: &crate::identity::Slug) -> Self {
        Self(slug.as_str().into())
    }
}

impl From<&crate::identity::Username> for Detail {
    fn from(name: &crate::identity::Username) -> Self {
        Self(name.as_str().into())
    }
}

impl From<Declared> for Detail {
    fn from(Declared(text): Declared) -> Self {
        Self(text.into())
    }
}

/// A text that the application declares and no client can choose: the template of a route, or the name of the rule that denied
/// something there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared(pub String);
