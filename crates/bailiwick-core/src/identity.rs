//! Who is asking, and in which organisation.
use std::{fmt, str::FromStr, sync::Arc};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::{clock::Timestamp, id::Id, text::Lines};

/// Marks the ids of users.
pub enum User {}
/// Marks the ids of organisations.
pub enum Org {}
/// Marks the ids of API tokens.
pub enum ApiToken {}
/// Marks the ids of sessions.
pub enum Session {}
/// Marks the ids of families of refresh tokens.
pub enum Family {}

/// The id of a user.
pub type UserId = Id<User>;
/// The id of an organisation.
pub type OrgId = Id<Org>;
/// The id of an API token.
pub type ApiTokenId = Id<ApiToken>;
/// The id of a session. It is no secret: what the cookie holds is another, random text.
pub type SessionId = Id<Session>;
/// The id of a family of refresh tokens: a log-in, and all that was refreshed from it. It is no secret.
pub type FamilyId = Id<Family>;

/// Who a request acts for, however the credential came.
///
/// Cheap to clone: it is shared, not copied.
#[derive(Clone, Debug)]
pub struct Principal(Arc<PrincipalParts>);

/// What a [`Principal`] is made of.
#[derive(Clone)]
pub struct PrincipalParts {
    /// The user.
    pub user_id: UserId,
    /// The user's name.
    pub username: String,
    /// The user's e-mail address; it is shown to the user alone (ACL-14).
    pub email: String,
    /// Whether the user is staff of the whole site. Staff is no member of an organisation (ACL-10).
    pub is_staff: bool,
    /// The organisation that the user serves, if it is no person but what a token of that organisation speaks for. It acts
    /// there and nowhere else, and has no account.
    pub service_of: Option<OrgId>,
    /// When the user was created.
    pub created_at: Timestamp,
    /// By what the user proved who they are.
    pub credential: Credential,
    /// What that may be used for.
    pub scopes: Scopes,
    /// When that was used last, as far as it was noted; none if it never was.
    pub last_used_at: Option<Timestamp>,
    /// When that stops working by itself.
    pub expires_at: Timestamp,
}

/// Without the e-mail address, which is nobody's but the user's: it must not reach a log by `{:?}` (ACL-14).
impl fmt::Debug for PrincipalParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrincipalParts")
            .field("user_id", &self.user_id)
            .field("username", &self.username)
            .field("is_staff", &self.is_staff)
            .field("service_of", &self.service_of)
            .field("credential", &self.credential)
            .finish_non_exhaustive()
    }
}

/// What a credential may be used for: all that its owner may do, or only what it names. Cheap to clone.
///
/// A scope is `<resource>:read`, `<resource>:write`, or the name of something else, such as `account`. What may be done is
/// what both the scopes and the owner's rights allow (TOK-27).
///
/// ```
/// use bailiwick_core::identity::Scopes;
///
/// let scopes = Scopes::only(["tasks:read", "tasks:write"]);
/// assert!(scopes.allow("tasks:read") && !scopes.allow("members:read"));
/// assert!(Scopes::ALL.allow("members:read"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scopes(Option<Arc<str>>);

impl Scopes {
    /// All that the owner may do.
    pub const ALL: Self = Self(None);

    /// Only what is named. Nothing, if nothing is.
    pub fn only<'n>(names: impl IntoIterator<Item = &'n str>) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        Self(Some(names.join(" ").into()))
    }

    /// As a store keeps them: the names with spaces between, or nothing for all.
    pub fn from_stored(stored: Option<&str>) -> Self {
        Self(stored.map(Into::into))
    }

    /// What a store keeps.
    pub fn as_stored(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether what needs `scope` may be done.
    pub fn allow(&self, scope: &str) -> bool {
        self.0.as_deref().is_none_or(|names| names.split(' ').any(|name| name == scope))
    }

    /// The names, if not all is allowed.
    pub fn names(&self) -> Option<impl Iterator<Item = &str>> {
        self.0.as_deref().map(|names| names.split(' ').filter(|name| !name.is_empty()))
    }
}

/// By what a principal proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// An API token.
    ApiToken(ApiTokenId),
    /// The session of a browser.
    Session(SessionId),
    /// An access token of a family of refresh tokens.
    Family(FamilyId),
    /// An access token of a trusted issuer. Nothing is kept of it here: what can be ended is its user.
    External(UserId),
}

impl Credential {
    /// The id of the record that the store keeps of it; of what others have issued, that of the user.
    pub const fn as_uuid(self) -> Uuid {
        match self {
            Self::ApiToken(id) => id.as_uuid(),
            Self::Session(id) => id.as_uuid(),
            Self::Family(id) => id.as_uuid(),
            Self::External(id) => id.as_uuid(),
        }
    }
}

impl Principal {
    /// The principal that a verified credential names.
    pub fn new(parts: PrincipalParts) -> Self {
        Self(Arc::new(parts))
    }

    /// The user.
    pub fn user_id(&self) -> UserId {
        self.0.user_id
    }

    /// Whether the principal may be a member of this organisation at all: a service of another may not, whatever a store
    /// says.
    pub fn may_belong_to(&self, org: OrgId) -> bool {
        self.0.service_of.is_none_or(|served| served == org)
    }
}

impl std::ops::Deref for Principal {
    type Target = PrincipalParts;

    fn deref(&self) -> &PrincipalParts {
        &self.0
    }
}

/// What a member may do in an organisation; each role may do all that the ones before it may (ACL-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads, creates, and changes what is their own.
    Member,
    /// Changes everything but the owners.
    Admin,
    /// May do anything, also end the organisation.
    Owner,
}

impl Role {
    /// All roles, the weakest first.
    pub const ALL: [Self; 4] = [Self::Viewer, Self::Member, Self::Admin, Self::Owner];
    /// The names of all roles, the weakest first.
    pub const NAMES: &'static [&'static str] = &["viewer", "member", "admin", "owner"];

    /// The role's name in JSON, SQL and on the command line.
    pub const fn as_str(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of viewer, member, admin, owner")]
pub struct InvalidRole;

impl FromStr for Role {
    type Err = InvalidRole;

    fn from_str(text: &str) -> Result<Self, InvalidRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(InvalidRole)
    }
}

/// A user's place in an organisation, as the store found it for this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Membership {
    org_id: OrgId,
    role: Role,
}

impl Membership {
    /// What a store answers now.
    ///
    /// # Security
    /// Whoever calls this vouches that the user has this role: it is what an authorisation is decided by. Only stores
    /// and tests have a reason to (I1); `cargo xtask tidy` lists the places.
    pub const fn from_store(org_id: OrgId, role: Role) -> Self {
        Self { org_id, role }
    }

    /// The organisation.
    pub const fn org_id(&self) -> OrgId {
        self.org_id
    }

    /// The user's role in it.
    pub const fn role(&self) -> Role {
        self.role
    }
}

/// A place that was looked up together with the principal, for the gate that will ask for it: one look-up instead of
/// two. It holds for the one request in whose extensions it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundMembership {
    /// Whose place it is.
    pub user_id: UserId,
    /// The organisation that was asked for.
    pub slug: Box<str>,
    /// The user's place in it, if there is one.
    pub membership: Option<Membership>,
}

/// The short name of an organisation in URLs: 1 to 50 characters of `a-z`, `0-9` and `-`, neither first nor last
/// a hyphen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slug(Box<str>);

impl Slug {
    /// The longest slug, in characters.
    pub const MAX_CHARS: usize = 50;

    /// Whether `text` can be a slug at all.
    pub fn is_plausible(text: &str) -> bool {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        (1..=Self::MAX_CHARS).contains(&text.len())
            && text.bytes().all(allowed)
            && !text.starts_with('-')
            && !text.ends_with('-')
    }

    /// The slug's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no slug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a slug is 1 to 50 characters of a-z, 0-9 and -, and neither begins nor ends with -")]
pub struct InvalidSlug;

impl FromStr for Slug {
    type Err = InvalidSlug;

    fn from_str(text: &str) -> Result<Self, InvalidSlug> {
        if Self::is_plausible(text) { Ok(Self(text.into())) } else { Err(InvalidSlug) }
    }
}

impl fmt::Display for Slug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A user's name: 3 to 64 characters of `A-Za-z0-9_.@+-`, unique without regard to case (contract §2).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Username(Box<str>);

impl Username {
    /// The longest name, in bytes, which are characters.
    const MAX_BYTES: usize = 64;

    /// The name as its owner writes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Username {
    /// The name as names are compared: two that differ in case only are one.
    pub fn folded(&self) -> FoldedUsername {
        let mut bytes = [0; Self::MAX_BYTES];
        let text = self.0.as_bytes();
        bytes[..text.len()].copy_from_slice(text);
        bytes.make_ascii_lowercase();
        FoldedUsername { bytes, len: text.len() }
    }
}

/// A [`Username`] without regard to case. It is copied, not shared: stores and their memories look users up by it.
///
/// ```
/// use bailiwick_core::identity::Username;
///
/// let [one, other] = ["Alice", "aLICE"].map(|name| name.parse::<Username>().unwrap().folded());
/// assert!(one == other && one.as_str() == "alice");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FoldedUsername {
    bytes: [u8; Username::MAX_BYTES],
    len: usize,
}

impl FoldedUsername {
    /// The name in lower case.
    pub fn as_str(&self) -> &str {
        // User names are ASCII.
        std::str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Debug for FoldedUsername {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FoldedUsername").field(&self.as_str()).finish()
    }
}

/// The text is no user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user name is 3 to 64 characters of A-Z, a-z, 0-9 and _.@+-")]
pub struct InvalidUsername;

impl FromStr for Username {
    type Err = InvalidUsername;

    fn from_str(text: &str) -> Result<Self, InvalidUsername> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte);
        let fits = (3..=Self::MAX_BYTES).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.into())) } else { Err(InvalidUsername) }
    }
}

/// Whether `text` can be an e-mail address: something on both sides of one `@`, without white space, characters that
/// deceive, and those that an address has only in quotation marks (RFC 5321 §4.1.2), in which nobody types one. Whether mail
/// arrives there, only a mail can tell.
///
/// ```
/// use bailiwick_core::identity::is_email_address;
///
/// assert!(is_email_address("ann.o'neill+api@example.com") && is_email_address("ann@intranet"));
/// assert!(!is_email_address("<ann@example.com>") && !is_email_address("ann@example..com"));
/// ```
pub fn is_email_address(text: &str) -> bool {
    let is_dotted = |text: &str| text.split('.').all(|part| !part.is_empty());
    let is_label = |text: &str| {
        let is_part = |character: char| character.is_alphanumeric() || character == '-';
        text.chars().all(is_part) && !text.starts_with('-') && !text.ends_with('-')
    };
    text.len() <= 254
        && !text.contains(char::is_whitespace)
        && !text.contains(['"', '(', ')', ',', ':', ';', '<', '>', '[', ']', '\\'])
        && Lines::One.first_forbidden(text).is_none()
        && text.split_once('@').is_some_and(|(name, host)| {
            is_dotted(name) && name.len() <= 64 && is_dotted(host) && host.split('.').all(is_label)
        })
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_ordered_and_read_back() {
        assert!(Role::Viewer < Role::Member && Role::Member < Role::Admin && Role::Admin < Role::Owner);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("Owner".parse::<Role>(), Err(InvalidRole));
    }

    #[test]
    fn an_address_is_one_that_mail_can_be_sent_to() {
        let longest = format!("{}@example.com", "a".repeat(64));
        for right in [
            "ann@example.com",
            "a@b",
            "x+y=z!#$%&'*/?^_`{|}~-@xn--bcher-kva.example",
            "jörg@bücher.example",
            &longest,
        ] {
            assert!(is_email_address(right), "{right}");
        }
        for wrong in [
            "",
            "@",
            "a@",
            "@b",
            "a@b@c",
            "a b@c",
            "<a@example.com>",
            "a@example.com>",
            "\"a\"@example.com",
            "a,b@c",
            "a@b..c",
            "a@.b",
            "a@b.",
            ".a@b",
            "a.@b",
            "a..b@c",
            "a@-b",
            "a@b-",
            "a@b_c",
            "a@[192.0.2.1]",
            "a\u{202e}@b",
            "a\n@b",
        ] {
            assert!(!is_email_address(wrong), "{wrong}");
        }
        assert!(!is_email_address(&format!("a{longest}")));
    }

    #[test]
    fn slugs_and_user_names_keep_to_their_alphabets() {
        let longest = "a".repeat(50);
        for right in ["a", "acme", "a-1", longest.as_str()] {
            assert!(right.parse::<Slug>().is_ok(), "{right}");
        }
        let too_long = "a".repeat(51);
        for wrong in ["", "-a", "a-", "A", "a_b", "a/b", "é", too_long.as_str()] {
            assert!(wrong.parse::<Slug>().is_err(), "{wrong}");
        }
        for right in ["bob", "Bob.O+1@x-y_z"] {
            assert!(right.parse::<Username>().is_ok(), "{right}");
        }
        for wrong in ["", "ab", "a b", "a/b", "josé"] {
            assert!(wrong.parse::<Username>().is_err(), "{wrong}");
        }
    }
}
