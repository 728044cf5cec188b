//! Users, organisations and memberships.
use bailiwick_core::{
    audit::Act,
    error::DecodeError,
    id::Id,
    identity::{Membership, Role, Slug, UserId, Username},
    query::Lane,
    secret::Secret,
    store::{
        Answer, Directory, DirectoryError, Login, NewOrg, NewUser, OrgRecord, Right, UserRecord,
        changed_member, changed_password, switched_user,
    },
};
use tokio_postgres::{Row, error::SqlState};
use uuid::Uuid;

use super::{
    PostgresStore,
    audit::Recording,
    failure::Failure,
    families::END_FAMILIES,
    passwords::END_RESETS,
    pool::{Ask, Lease, Trying, retrying},
    sessions::END_ALL,
    value::{Bind, Columns},
};
use crate::migrations::quoted;

const MEMBERSHIP: &str = "SELECT m.org_id, m.role FROM orgs o JOIN memberships m ON m.org_id = o.id \
     WHERE o.slug = $2 AND m.user_id = $1";
const LOGIN: &str = "SELECT id, is_active, password_hash, username FROM users \
     WHERE lower(username) = $1 AND service_org_id IS NULL";

const ADD_USER: &str = "INSERT INTO users \
     (id, username, email, password_hash, is_active, is_staff, is_author, is_editor, created_at) \
     VALUES ($1, $2, $3, $4, TRUE, $5, FALSE, FALSE, $6)";
const USERS: &str = "SELECT id, username, email, is_active, is_staff, is_author, is_editor, created_at \
     FROM users WHERE service_org_id IS NULL ORDER BY lower(username) COLLATE \"C\"";
const SET_ACTIVE: &str = "UPDATE users SET is_active = $2 WHERE id = $1";
const END_TOKENS: &str = "UPDATE api_tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
const SET_STAFF: &str = "UPDATE users SET is_staff = $2 WHERE id = $1";
const SET_AUTHOR: &str = "UPDATE users SET is_author = $2 WHERE id = $1";
const SET_EDITOR: &str = "UPDATE users SET is_editor = $2 WHERE id = $1";

/// Locks the user before their tokens are looked for: a log-in that is under way is waited for, and its token seen.
const LOCK_USER: &str = "SELECT id, is_active, is_staff, is_author, is_editor FROM users \
     WHERE lower(username) = $1 FOR NO KEY UPDATE";
pub(super) const SET_PASSWORD: &str = "UPDATE users SET password_hash = $2 WHERE id = $1";
const RENEW_PASSWORD_HASH: &str =
    "UPDATE users SET password_hash = $3 WHERE id = $1 AND password_hash = $2 RETURNING id";
pub(super) const END_LOG_INS: &str =
    "UPDATE api_tokens SET revoked_at = $2 WHERE user_id = $1 AND name IS NULL AND revoked_at IS NULL";

const ADD_ORG: &str =
    "INSERT INTO orgs (id, slug, name, created_at, updated_at, version) VALUES ($1, $2, $3, $4, $4, $5)";
const ADD_OWNER: &str =
    "INSERT INTO memberships (org_id, user_id, role, joined_at) VALUES ($1, $2, 'owner', $3)";
const ORGS: &str = "SELECT o.id, o.slug, o.name, o.created_at, \
     (SELECT count(*) FROM members m WHERE m.org_id = o.id) \
     FROM orgs o ORDER BY o.slug COLLATE \"C\"";

/// Whoever changes the members of an organisation waits here for whoever does already: two owners who leave at once
/// would each see the other (ACL-08). It does not keep anyone from adding rows to the organisation.
const LOCK_ORG: &str = "SELECT id FROM orgs WHERE slug = $1 FOR NO KEY UPDATE";
const FIND_USER: &str = "SELECT id FROM users WHERE lower(username) = $1";
/// Whoever is about to point at the membership waits as well, or is waited for.
const LOCK_MEMBER: &str = "SELECT role FROM memberships WHERE org_id = $1 AND user_id = $2 FOR UPDATE";
/// People: a token may be lost.
const OTHER_OWNERS: &str =
    "SELECT count(*) FROM members WHERE org_id = $1 AND user_id <> $2 AND role = 'owner'";
const PUT_MEMBER: &str = "INSERT INTO memberships (org_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role";
const REMOVE_MEMBER: &str = "DELETE FROM memberships WHERE org_id = $1 AND user_id = $2";

/// Every foreign key that points at memberships and does not say itself what happens when one goes: schema, table,
/// the columns that name the organisation and the user, and whether the table keeps a version.
const POINT_AT_MEMBERSHIPS: &str = "SELECT space.nspname, child.relname, \
       max(theirs.attname) FILTER (WHERE ours.attname = 'org_id'), \
       max(theirs.attname) FILTER (WHERE ours.attname = 'user_id'), \
       EXISTS (SELECT FROM pg_attribute v WHERE v.attrelid = child.oid AND v.attname = 'version' \
               AND v.atttypid = 'bigint'::regtype AND NOT v.attisdropped) \
     FROM pg_constraint key \
     JOIN pg_class child ON child.oid = key.conrelid \
     JOIN pg_namespace space ON space.oid = child.relnamespace \
     CROSS JOIN LATERAL unnest(key.conkey, key.confkey) AS pair (child, parent) \
     JOIN pg_attribute theirs ON theirs.attrelid = key.conrelid AND theirs.attnum = pair.child \
     JOIN pg_attribute ours ON ours.attrelid = key.confrelid AND ours.attnum = pair.parent \
     WHERE key.contype = 'f' AND key.confrelid = 'memberships'::regclass AND key.conparentid = 0 \
       AND key.confdeltype IN ('a', 'r') \
     GROUP BY space.nspname, child.oid, child.relname, key.oid \
     ORDER BY space.nspname, child.relname, key.oid";

impl Directory for PostgresStore {
    fn membership<'a>(&'a self, user: UserId, slug: &'a str) -> Answer<'a, Option<Membership>> {
        Box::pin(async move {
            if !storable(slug) {
                return Ok(None);
            }
            let binds = [user.as_uuid().into(), slug.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(MEMBERSHIP, &binds)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            Ok(Some(Membership::from_store(Id::from_uuid(row.uuid(0)?), role(row, 1)?)))
        })
    }

    fn login<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Login>> {
        Box::pin(async move {
            if !storable(name) {
                return Ok(None);
            }
            let name = name.to_ascii_lowercase();
            let binds = [name.as_str().into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(LOGIN, &binds)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            Ok(Some(Login {
                user_id: Id::from_uuid(row.uuid(0)?),
                is_active: row.bool(1)?,
                password_hash: Secret::new(row.text(2)?.to_owned()),
                username: row.text(3)?.to_owned(),
            }))
        })
    }

    fn user_id<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<UserId>> {
        Box::pin(async move {
            let name = lower(name);
            let [rows] = self.pool.read(Lane::Short, [Ask::new(FIND_USER, &[name.as_str().into()])]).await?;
            rows.first().map(|row| Ok(Id::from_uuid(row.uuid(0)?))).transpose()
        })
    }

    fn create_user(&self, user: NewUser, act: Act) -> Answer<'_, (), DirectoryError> {
        let recording = self.recording(act);
        Box::pin(async move { self.pool.to_the_end((user, recording), create_user).await.map_err(taken) })
    }

    fn users(&self) -> Answer<'_, Vec<UserRecord>> {
        Box::pin(async move {
            let [rows] = self.pool.read(Lane::Scan, [Ask::new(USERS, &[])]).await?;
            let users = rows.iter().map(|row| {
                Ok(UserRecord {
                    id: Id::from_uuid(row.uuid(0)?),
                    username: row.text(1)?.to_owned(),
                    email: row.text(2)?.to_owned(),
                    is_active: row.bool(3)?,
                    is_staff: row.bool(4)?,
                    is_author: row.bool(5)?,
                    is_editor: row.bool(6)?,
                    created_at: row.time(7)?,
                })
            });
            users.collect()
        })
    }

    fn set_active<'a>(
        &'a self,
        name: &'a Username,
        active: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let arguments = (lower(name), active, self.recording(act));
        Box::pin(async move { found(self.pool.to_the_end(arguments, set_active).await?) })
    }

    fn set_password<'a>(
        &'a self,
        name: &'a Username,
        hash: &'a Secret<String>,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let arguments = (lower(name), hash.clone(), self.recording(act));
        Box::pin(async move { found(self.pool.to_the_end(arguments, set_password).await?) })
    }

    fn renew_password_hash<'a>(
        &'a self,
        user: UserId,
        old: &'a Secret<String>,
        new: &'a Secret<String>,
    ) -> Answer<'a, bool> {
        Box::pin(async move {
            let binds = [user.as_uuid().into(), old.expose().as_str().into(), new.expose().as_str().into()];
            Ok(!self.change(RENEW_PASSWORD_HASH, &binds).await?.is_empty())
        })
    }

    fn set_right<'a>(
        &'a self,
        name: &'a Username,
        right: Right,
        granted: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let arguments = (lower(name), right, granted, self.recording(act));
        Box::pin(async move { found(self.pool.to_the_end(arguments, set_right).await?) })
    }

    fn create_org(&self, org: NewOrg, act: Act) -> Answer<'_, (), DirectoryError> {
        let recording = self.recording(act);
        Box::pin(async move {
            self.pool.to_the_end((org, recording), create_org).await.map_err(|failure| match failure.code() {
                Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => DirectoryError::NoSuchUser,
                _ => taken(failure),
            })
        })
    }

    fn orgs(&self) -> Answer<'_, Vec<OrgRecord>> {
        Box::pin(async move {
            let [rows] = self.pool.read(Lane::Scan, [Ask::new(ORGS, &[])]).await?;
            let orgs = rows.iter().map(|row| {
                Ok(OrgRecord {
                    id: Id::from_uuid(row.uuid(0)?),
                    slug: row.text(1)?.to_owned(),
                    name: row.text(2)?.to_owned(),
                    created_at: row.time(3)?,
                    members: u64::try_from(row.integer(4)?).unwrap_or(0),
                })
            });
            orgs.collect()
        })
    }

    fn put_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        role: Role,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let (name, recording) = (lower(name), self.recording(act));
        let place = Place { slug: slug.clone(), name, role: Some(role), recording };
        Box::pin(async move { self.pool.to_the_end(place, change_member).await? })
    }

    fn remove_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let (name, recording) = (lower(name), self.recording(act));
        let place = Place { slug: slug.clone(), name, role: None, recording };
        Box::pin(async move { self.pool.to_the_end(place, change_member).await? })
    }
}

impl PostgresStore {
    /// Runs one statement that writes and commits by itself.
    pub(super) async fn change(&self, text: &str, binds: &[Bind<'_>]) -> Result<Vec<Row>, Failure> {
        retrying(|| async { self.pool.lease(Lane::Short).await?.run(&Ask::new(text, binds)).await }).await
    }
}

impl From<Failure> for DirectoryError {
    fn from(failure: Failure) -> Self {
        Self::Store(failure.into())
    }
}

/// User names are ASCII (contract §2), so this is what the index on `lower(username)` holds.
fn lower(name: &Username) -> String {
    name.as_str().to_ascii_lowercase()
}

/// PostgreSQL cannot hold U+0000 in a text, so nothing is called so; asked for it, it would fail.
pub(super) fn storable(text: &str) -> bool {
    !text.contains('\0')
}

pub(super) fn role(row: &Row, index: usize) -> Result<Role, DecodeError> {
    let wrong = DecodeError { column: index, expected: "a role" };
    row.text(index)?.parse().map_err(|_| wrong)
}

fn found(found: bool) -> Result<(), DirectoryError> {
    if found { Ok(()) } else { Err(DirectoryError::NoSuchUser) }
}

fn taken(failure: Failure) -> DirectoryError {
    match failure.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => DirectoryError::Taken,
        _ => failure.into(),
    }
}

fn create_user<'a>(lease: &'a mut Lease, (user, recording): &'a (NewUser, Recording)) -> Trying<'a, ()> {
    Box::pin(async move {
        let binds = [
            user.id.as_uuid().into(),
            user.username.as_str().into(),
            user.email.as_str().into(),
            user.password_hash.expose().as_str().into(),
            user.is_staff.into(),
            user.created_at.into(),
        ];
        lease.begin(&[]).await?;
        lease.go_on(&[Ask::new(ADD_USER, &binds)]).await?;
        lease.commit_recording(recording, vec![user.event()]).await
    })
}

fn set_active<'a>(
    lease: &'a mut Lease,
    (name, active, recording): &'a (String, bool, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        // A log-in that makes a token at the same time waits for this lock, or is waited for: its token ends too.
        let users = lease.begin(&[Ask::new(LOCK_USER, &[name.as_str().into()])]).await?;
        let Some(row) = users[0].first() else { return Ok(false) };
        let (id, was) = (row.uuid(0)?, row.bool(1)?);
        let user: Bind<'_> = id.into();
        let (set, end, all) = ([user, (*active).into()], [user, recording.now()], [user]);
        let changes = [
            Ask::new(SET_ACTIVE, &set),
            Ask::new(END_TOKENS, &end),
            Ask::new(END_ALL, &all),
            Ask::new(END_FAMILIES, &end),
            Ask::new(END_RESETS, &all),
        ];
        lease.go_on(if *active { &changes[..1] } else { &changes }).await?;
        let event = switched_user(Id::from_uuid(id), was, *active);
        lease.commit_recording(recording, event.into_iter().collect()).await?;
        Ok(true)
    })
}

fn set_password<'a>(
    lease: &'a mut Lease,
    (name, hash, recording): &'a (String, Secret<String>, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        let users = lease.begin(&[Ask::new(LOCK_USER, &[name.as_str().into()])]).await?;
        let Some(user) = users[0].first() else { return Ok(false) };
        let id = user.uuid(0)?;
        let user: Bind<'_> = id.into();
        let (set, end, all) = ([user, hash.expose().as_str().into()], [user, recording.now()], [user]);
        let changes = [
            Ask::new(SET_PASSWORD, &set),
            Ask::new(END_LOG_INS, &end),
            Ask::new(END_ALL, &all),
            Ask::new(END_FAMILIES, &end),
            Ask::new(END_RESETS, &all),
        ];
        lease.go_on(&changes).await?;
        lease.commit_recording(recording, vec![changed_password(Id::from_uuid(id))]).await?;
        Ok(true)
    })
}

fn set_right<'a>(
    lease: &'a mut Lease,
    (name, right, granted, recording): &'a (String, Right, bool, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        let users = lease.begin(&[Ask::new(LOCK_USER, &[name.as_str().into()])]).await?;
        let Some(row) = users[0].first() else { return Ok(false) };
        let (statement, had) = match right {
            Right::Staff => (SET_STAFF, row.bool(2)?),
            Right::Author => (SET_AUTHOR, row.bool(3)?),
            Right::Editor => (SET_EDITOR, row.bool(4)?),
        };
        let user = row.uuid(0)?;
        lease.go_on(&[Ask::new(statement, &[user.into(), (*granted).into()])]).await?;
        let event = right.event(Id::from_uuid(user), had, *granted);
        lease.commit_recording(recording, event.into_iter().collect()).await?;
        Ok(true)
    })
}

fn create_org<'a>(lease: &'a mut Lease, (org, recording): &'a (NewOrg, Recording)) -> Trying<'a, ()> {
    Box::pin(async move {
        let (id, now): (Bind<'_>, Bind<'_>) = (org.id.as_uuid().into(), org.created_at.into());
        let added = [id, org.slug.as_str().into(), org.name.as_str().into(), now, NewOrg::VERSION.into()];
        let owner = [id, org.owner.as_uuid().into(), now];
        lease.begin(&[]).await?;
        lease.go_on(&[Ask::new(ADD_ORG, &added), Ask::new(ADD_OWNER, &owner)]).await?;
        lease.commit_recording(recording, org.events()).await
    })
}

/// A membership that is to change.
struct Place {
    slug: Slug,
    name: String,
    /// None to end it.
    role: Option<Role>,
    recording: Recording,
}

fn change_member<'a>(lease: &'a mut Lease, place: &'a Place) -> Trying<'a, Result<(), DirectoryError>> {
    Box::pin(async move {
        let (slug, name) = ([place.slug.as_str().into()], [place.name.as_str().into()]);
        let found = lease.begin(&[Ask::new(LOCK_ORG, &slug), Ask::new(FIND_USER, &name)]).await?;
        let Some(org) = found[0].first() else { return Ok(Err(DirectoryError::NoSuchOrg)) };
        let Some(user) = found[1].first() else { return Ok(Err(DirectoryError::NoSuchUser)) };
        let (org, user): (Uuid, Uuid) = (org.uuid(0)?, user.uuid(0)?);
        let member = [org.into(), user.into()];
        let found = lease.go_on(&[Ask::new(LOCK_MEMBER, &member), Ask::new(OTHER_OWNERS, &member)]).await?;
        let is = found[0].first().map(|row| role(row, 0)).transpose()?;
        let others = found[1].first().map_or(Ok(0), |row| row.integer(0))?;
        if is == Some(Role::Owner) && place.role != Some(Role::Owner) && others == 0 {
            return Ok(Err(DirectoryError::LastOwner));
        }
        match place.role {
            Some(role) => {
                let binds = [org.into(), user.into(), role.as_str().into(), place.recording.now()];
                lease.go_on(&[Ask::new(PUT_MEMBER, &binds)]).await?;
            }
            None if is.is_none() => return Ok(Err(DirectoryError::NoMember)),
            None => {
                let pointing = lease.go_on(&[Ask::new(POINT_AT_MEMBERSHIPS, &[])]).await?;
                for key in &pointing[0] {
                    lease.go_on(&[Ask::new(&clear(key)?, &member)]).await?;
                }
                lease.go_on(&[Ask::new(REMOVE_MEMBER, &member)]).await?;
            }
        }
        let event = changed_member(Id::from_uuid(org), Id::from_uuid(user), is, place.role);
        lease.commit_recording(&place.recording, event.into_iter().collect()).await?;
        Ok(Ok(()))
    })
}

/// The statement that makes the rows behind one foreign key point at the member no more.
fn clear(key: &Row) -> Result<String, Failure> {
    let (schema, table) = (quoted(key.text(0)?), quoted(key.text(1)?));
    let (org, user) = (quoted(key.text(2)?), quoted(key.text(3)?));
    let version = if key.bool(4)? { ", version = version + 1" } else { "" };
    Ok(format!("UPDATE {schema}.{table} SET {user} = NULL{version} WHERE {org} = $1 AND {user} = $2"))
}
