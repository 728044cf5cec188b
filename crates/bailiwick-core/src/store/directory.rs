//! Users, organisations and who is a member of which.
use super::Answer;
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind},
    clock::Timestamp,
    error::StoreError,
    identity::{Membership, OrgId, Role, Slug, UserId, Username},
    secret::Secret,
};

/// Knows users, organisations and memberships.
pub trait Directory {
    /// The user's place in the organisation that is called `slug`: none if the user is no member or there is no
    /// such organisation. One look-up, by index.
    fn membership<'a>(&'a self, user: UserId, slug: &'a str) -> Answer<'a, Option<Membership>>;

    /// What a log-in needs to know of the user called `name`, without regard to case.
    fn login<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Login>>;

    /// The user called `name`, without regard to case.
    fn user_id<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<UserId>>;

    /// Adds a user.
    fn create_user(&self, user: NewUser, act: Act) -> Answer<'_, (), DirectoryError>;

    /// All users, by name.
    fn users(&self) -> Answer<'_, Vec<UserRecord>>;

    /// Lets the user called `name` in, or keeps them out. Keeping them out ends all their tokens, sessions and families for
    /// good: who is let in again logs in again, and whoever had stolen one does not (SES-21).
    fn set_active<'a>(&'a self, name: &'a Username, active: bool, act: Act)
    -> Answer<'a, (), DirectoryError>;

    /// Replaces the password of the user called `name` and ends all that the old one opened: the user's sessions, log-in
    /// tokens and families of refresh tokens.
    fn set_password<'a>(
        &'a self,
        name: &'a Username,
        hash: &'a Secret<String>,
        act: Act,
    ) -> Answer<'a, (), DirectoryError>;

    /// Replaces the hash `old` of a user's password by `new`, another hash of the same password: nothing that it opened
    /// ends. Answers whether the user still had `old`; else nothing is changed.
    fn renew_password_hash<'a>(
        &'a self,
        user: UserId,
        old: &'a Secret<String>,
        new: &'a Secret<String>,
    ) -> Answer<'a, bool>;

    /// Gives the user called `name` a right on the whole site, or takes it away.
    fn set_right<'a>(
        &'a self,
        name: &'a Username,
        right: Right,
        granted: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError>;

    /// Adds an organisation, and its first owner, in one transaction.
    fn create_org(&self, org: NewOrg, act: Act) -> Answer<'_, (), DirectoryError>;

    /// All organisations, by slug.
    fn orgs(&self) -> Answer<'_, Vec<OrgRecord>>;

    /// Makes the user called `name` a member, or changes the role of one.
    fn put_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        role: Role,
        act: Act,
    ) -> Answer<'a, (), DirectoryError>;

    /// Ends a membership. Tasks lose an assignee who leaves.
    fn remove_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        act: Act,
    ) -> Answer<'a, (), DirectoryError>;
}

/// Why the directory did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// The name of the user or the slug of the organisation is in use.
    #[error("the name is taken")]
    Taken,
    /// There is no such user.
    #[error("there is no such user")]
    NoSuchUser,
    /// There is no such organisation.
    #[error("there is no such organisation")]
    NoSuchOrg,
    /// The user is no member of the organisation.
    #[error("the user is no member of the organisation")]
    NoMember,
    /// The organisation would have no owner (ACL-08).
    #[error("the organisation would have no owner")]
    LastOwner,
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

/// What a log-in needs to know of a user.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user.
    pub user_id: UserId,
    /// The name, as its owner writes it.
    pub username: String,
    /// Whether the user may log in at all.
    pub is_active: bool,
    /// The password's hash, as a PHC string.
    pub password_hash: Secret<String>,
}

/// A user to add.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// The user's id.
    pub id: UserId,
    /// The name.
    pub username: Username,
    /// The e-mail address.
    pub email: String,
    /// The password's hash, as a PHC string.
    pub password_hash: Secret<String>,
    /// Whether the user is staff of the whole site.
    pub is_staff: bool,
    /// Now.
    pub created_at: Timestamp,
}

impl NewUser {
    /// What is recorded once they are added.
    pub fn event(&self) -> SecurityEvent {
        let event = SecurityEvent::new(SecurityEventKind::UserCreated).of(self.id);
        let event = event.with("username", &self.username);
        if self.is_staff { event.with("is_staff", true) } else { event }
    }
}

/// What is recorded once `user`, who `was` let in or not, `is` now: nothing where nothing changed.
pub fn switched_user(user: UserId, was: bool, is: bool) -> Option<SecurityEvent> {
    let kind = if is { SecurityEventKind::UserEnabled } else { SecurityEventKind::UserDisabled };
    (was != is).then(|| SecurityEvent::new(kind).of(user))
}

/// A user, as an operator sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    /// The user's id.
    pub id: UserId,
    /// The name.
    pub username: String,
    /// The e-mail address.
    pub email: String,
    /// Whether the user may log in.
    pub is_active: bool,
    /// Whether the user is staff of the whole site.
    pub is_staff: bool,
    /// Whether the user may write articles.
    pub is_author: bool,
    /// Whether the user may publish articles.
    pub is_editor: bool,
    /// When the user was created.
    pub created_at: Timestamp,
}

/// A right on the whole site, apart from any organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Right {
    /// Operates the site.
    Staff,
    /// Writes articles.
    Author,
    /// Publishes articles.
    Editor,
}

impl Right {
    /// The right's name in the audit trail.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Staff => "staff",
            Self::Author => "author",
            Self::Editor => "editor",
        }
    }

    /// What is recorded once `user`, who `had` the right or not, `has` it or not: nothing where nothing changed.
    pub fn event(self, user: UserId, had: bool, has: bool) -> Option<SecurityEvent> {
        let event = SecurityEvent::new(SecurityEventKind::RightChanged).of(user);
        (had != has).then(|| event.with("right", self.as_str()).with("granted", has))
    }
}

/// What is recorded once `user`, who had the role `before` in `org`, if any, has the role `after`, if any: nothing where
/// nothing changed.
pub fn changed_member(
    org: OrgId,
    user: UserId,
    before: Option<Role>,
    after: Option<Role>,
) -> Option<SecurityEvent> {
    let event = |kind| SecurityEvent::new(kind).of(user).within(org);
    match (before, after) {
        (None, None) => None,
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) => {
            Some(event(SecurityEventKind::MemberRoleChanged).with("role", after).with("role_before", before))
        }
        (None, Some(role)) => Some(event(SecurityEventKind::MemberAdded).with("role", role)),
        (Some(role), None) => Some(event(SecurityEventKind::MemberRemoved).with("role_before", role)),
    }
}

/// An organisation to add.
#[derive(Clone, Debug)]
pub struct NewOrg {
    /// The organisation's id.
    pub id: OrgId,
    /// Its short name in URLs.
    pub slug: Slug,
    /// Its name for people.
    pub name: String,
    /// Its first owner.
    pub owner: UserId,
    /// Now.
    pub created_at: Timestamp,
}

impl NewOrg {
    /// The version that a new organisation has.
    pub const VERSION: i64 = 1;

    /// What is recorded once it is founded.
    pub fn events(&self) -> Vec<SecurityEvent> {
        let founded =
            SecurityEvent::new(SecurityEventKind::OrgCreated).of(self.owner).on(self.id).within(self.id);
        let owner = changed_member(self.id, self.owner, None, Some(Role::Owner));
        std::iter::once(founded.with("slug", &self.slug)).chain(owner).collect()
    }
}

/// An organisation, as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrgRecord {
    /// The organisation's id.
    pub id: OrgId,
    /// Its short name in URLs.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// How many members it has.
    pub members: u64,
    /// When it was created.
    pub created_at: Timestamp,
}
