//! Users, organisations and who is a member of which.
use super::Answer;
use crate::{
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

    /// Adds a user.
    fn create_user(&self, user: NewUser) -> Answer<'_, (), DirectoryError>;

    /// All users, by name.
    fn users(&self) -> Answer<'_, Vec<UserRecord>>;

    /// Lets the user called `name` in, or keeps them out. Keeping them out ends all their tokens for good: who is let
    /// in again logs in again, and whoever had stolen a token does not (SES-21).
    fn set_active<'a>(
        &'a self,
        name: &'a Username,
        active: bool,
        now: Timestamp,
    ) -> Answer<'a, (), DirectoryError>;

    /// Replaces the password of the user called `name` and ends all that the old one opened: the user's log-in
    /// tokens.
    fn set_password<'a>(
        &'a self,
        name: &'a Username,
        hash: &'a Secret<String>,
        now: Timestamp,
    ) -> Answer<'a, (), DirectoryError>;

    /// Replaces the hash of a password that stays the same, because it is of another format or of other parameters than
    /// are made now (PWD-04): nothing that the password opened ends. Answers whether `old` was still the stored one; if
    /// not, nothing changes.
    ///
    /// # Security
    /// In one statement: a password that was changed meanwhile must not come back.
    fn upgrade_password<'a>(
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
    ) -> Answer<'a, (), DirectoryError>;

    /// Adds an organisation, and its first owner, in one transaction.
    fn create_org(&self, org: NewOrg) -> Answer<'_, (), DirectoryError>;

    /// All organisations, by slug.
    fn orgs(&self) -> Answer<'_, Vec<OrgRecord>>;

    /// Makes the user called `name` a member, or changes the role of one.
    fn put_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        role: Role,
        now: Timestamp,
    ) -> Answer<'a, (), DirectoryError>;

    /// Ends a membership. Tasks lose an assignee who leaves.
    fn remove_member<'a>(&'a self, slug: &'a Slug, name: &'a Username) -> Answer<'a, (), DirectoryError>;
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
    /// Whether the user may log in at all.
    pub is_active: bool,
    /// The password's hash: a PHC string, or what another system made of it.
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
    /// The password's hash: a PHC string, or what another system made of it.
    pub password_hash: Secret<String>,
    /// Whether the user is staff of the whole site.
    pub is_staff: bool,
    /// Now.
    pub created_at: Timestamp,
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
