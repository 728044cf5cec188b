//! Users, organisations and memberships on SQLite.
use bailiwick_core::{
    audit::{Act, SecurityEvent},
    clock::Timestamp,
    identity::{Membership, OrgId, Role, Slug, UserId, Username},
    secret::Secret,
    store::{
        Answer, Directory, DirectoryError, Login, NewOrg, NewUser, OrgRecord, Right, UserRecord,
        WhichSessions, changed_member, changed_password, switched_user,
    },
};
use rusqlite::{
    Connection, OptionalExtension, Row, params,
    types::{FromSqlError, Type},
};

use super::{
    SqliteStore,
    error::{Violation, store_error, violation},
    families, passwords,
    row::{Key, Moment},
    sessions,
};
use crate::migrations::quoted;

impl Directory for SqliteStore {
    fn membership<'a>(&'a self, user: UserId, slug: &'a str) -> Answer<'a, Option<Membership>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            membership(&reader, user, slug).optional().map_err(store_error)
        })
    }

    fn login<'a>(&'a self, name: &'a str) -> Answer<'a, Option<Login>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            login(&reader, name).optional().map_err(store_error)
        })
    }

    fn user_id<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<UserId>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            match user_of(&reader, &lower(name)) {
                Ok(user) => Ok(Some(user)),
                Err(DirectoryError::Store(error)) => Err(error),
                Err(_) => Ok(None),
            }
        })
    }

    fn create_user(&self, user: NewUser, act: Act) -> Answer<'_, (), DirectoryError> {
        Box::pin(self.record(act, move |connection| {
            create_user(connection, &user)?;
            Ok::<_, DirectoryError>(((), vec![user.event()]))
        }))
    }

    fn users(&self) -> Answer<'_, Vec<UserRecord>> {
        Box::pin(self.scans.run(|connection| users(connection).map_err(store_error)))
    }

    fn set_active<'a>(
        &'a self,
        name: &'a Username,
        active: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let (name, now) = (lower(name), act.at);
        Box::pin(self.record(act, move |connection| set_active(connection, &name, active, now)))
    }

    fn set_password<'a>(
        &'a self,
        name: &'a Username,
        hash: &'a Secret<String>,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let (name, hash, now) = (lower(name), hash.clone(), act.at);
        Box::pin(self.record(act, move |connection| set_password(connection, &name, &hash, now)))
    }

    fn renew_password_hash<'a>(
        &'a self,
        user: UserId,
        old: &'a Secret<String>,
        new: &'a Secret<String>,
    ) -> Answer<'a, bool> {
        let (old, new) = (old.clone(), new.clone());
        Box::pin(self.writer.run(move |connection| {
            let renewed = connection
                .prepare_cached("UPDATE users SET password_hash = ?3 WHERE id = ?1 AND password_hash = ?2")
                .and_then(|mut renew| renew.execute(params![Key::from(user), old.expose(), new.expose()]));
            renewed.map(|renewed| renewed > 0).map_err(store_error)
        }))
    }

    fn set_right<'a>(
        &'a self,
        name: &'a Username,
        right: Right,
        granted: bool,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let name = lower(name);
        Box::pin(self.record(act, move |connection| set_right(connection, &name, right, granted)))
    }

    fn create_org(&self, org: NewOrg, act: Act) -> Answer<'_, (), DirectoryError> {
        Box::pin(self.record(act, move |connection| {
            create_org(connection, &org)?;
            Ok::<_, DirectoryError>(((), org.events()))
        }))
    }

    fn orgs(&self) -> Answer<'_, Vec<OrgRecord>> {
        Box::pin(self.scans.run(|connection| orgs(connection).map_err(store_error)))
    }

    fn put_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        role: Role,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let (slug, name, now) = (slug.as_str().to_owned(), lower(name), act.at);
        Box::pin(self.record(act, move |connection| {
            let (org, user) = (org_of(connection, &slug)?, user_of(connection, &name)?);
            put_member(connection, org, user, role, now)
        }))
    }

    fn remove_member<'a>(
        &'a self,
        slug: &'a Slug,
        name: &'a Username,
        act: Act,
    ) -> Answer<'a, (), DirectoryError> {
        let (slug, name) = (slug.as_str().to_owned(), lower(name));
        Box::pin(self.record(act, move |connection| {
            let (org, user) = (org_of(connection, &slug)?, user_of(connection, &name)?);
            remove_member(connection, org, user)
        }))
    }
}

/// A name as the index has it. User names are ASCII.
fn lower(name: &Username) -> String {
    name.as_str().to_ascii_lowercase()
}

fn failed(error: rusqlite::Error) -> DirectoryError {
    DirectoryError::Store(store_error(error))
}

/// A change that was made, and what is recorded of it.
type Recorded = Result<((), Vec<SecurityEvent>), DirectoryError>;

fn recorded(event: Option<SecurityEvent>) -> Recorded {
    Ok(((), event.into_iter().collect()))
}

fn membership(connection: &Connection, user: UserId, slug: &str) -> rusqlite::Result<Membership> {
    let mut find = connection.prepare_cached(
        "SELECT orgs.id, memberships.role
         FROM orgs JOIN memberships ON memberships.org_id = orgs.id AND memberships.user_id = ?1
         WHERE orgs.slug = ?2",
    )?;
    find.query_row(params![Key::from(user), slug], |row| {
        Ok(Membership::from_store(row.get::<_, Key>(0)?.id(), role(row, 1)?))
    })
}

pub(super) fn role(row: &Row<'_>, index: usize) -> rusqlite::Result<Role> {
    let stored = row.get_ref(index)?;
    stored.as_str()?.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(index, Type::Text, FromSqlError::other(error).into())
    })
}

fn login(connection: &Connection, name: &str) -> rusqlite::Result<Login> {
    let mut find = connection.prepare_cached(
        "SELECT id, is_active, password_hash, username FROM users
         WHERE lower(username) = ?1 AND service_org_id IS NULL",
    )?;
    find.query_row([name.to_ascii_lowercase()], |row| {
        Ok(Login {
            user_id: row.get::<_, Key>(0)?.id(),
            is_active: row.get(1)?,
            password_hash: Secret::new(row.get(2)?),
            username: row.get(3)?,
        })
    })
}

fn create_user(connection: &Connection, user: &NewUser) -> Result<(), DirectoryError> {
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO users (id, username, email, password_hash, is_active, is_staff, is_author, is_editor, created_at)
             VALUES (?1, ?2, ?3, ?4, TRUE, ?5, FALSE, FALSE, ?6)",
        )
        .map_err(failed)?;
    let inserted = insert.execute(params![
        Key::from(user.id),
        user.username.as_str(),
        user.email,
        user.password_hash.expose(),
        user.is_staff,
        Moment(user.created_at)
    ]);
    match inserted {
        Ok(_) => Ok(()),
        Err(error) if violation(&error) == Some(Violation::Unique) => Err(DirectoryError::Taken),
        Err(error) => Err(failed(error)),
    }
}

fn users(connection: &Connection) -> rusqlite::Result<Vec<UserRecord>> {
    let mut find = connection.prepare_cached(
        "SELECT id, username, email, is_active, is_staff, is_author, is_editor, created_at
         FROM users WHERE service_org_id IS NULL ORDER BY lower(username)",
    )?;
    let users = find.query_map([], |row| {
        Ok(UserRecord {
            id: row.get::<_, Key>(0)?.id(),
            username: row.get(1)?,
            email: row.get(2)?,
            is_active: row.get(3)?,
            is_staff: row.get(4)?,
            is_author: row.get(5)?,
            is_editor: row.get(6)?,
            created_at: row.get::<_, Moment>(7)?.0,
        })
    })?;
    users.collect()
}

fn set_active(connection: &Connection, name: &str, active: bool, now: Timestamp) -> Recorded {
    let user = Key::from(user_of(connection, name)?);
    let change = || {
        let was = connection
            .prepare_cached("SELECT is_active FROM users WHERE id = ?1")?
            .query_row([&user], |row| row.get::<_, bool>(0))?;
        connection
            .prepare_cached("UPDATE users SET is_active = ?2 WHERE id = ?1")?
            .execute(params![user, active])?;
        if !active {
            connection
                .prepare_cached(
                    "UPDATE api_tokens SET revoked_at = ?2 WHERE user_id = ?1 AND revoked_at IS NULL",
                )?
                .execute(params![user, Moment(now)])?;
            sessions::end(connection, user.id(), WhichSessions::All)?;
            families::end_all(connection, user.id(), now)?;
            passwords::end_resets(connection, &user)?;
        }
        rusqlite::Result::Ok(was)
    };
    let was = change().map_err(failed)?;
    recorded(switched_user(user.id(), was, active))
}

fn set_right(connection: &Connection, name: &str, right: Right, granted: bool) -> Recorded {
    let (find, set) = match right {
        Right::Staff => {
            ("SELECT is_staff FROM users WHERE id = ?1", "UPDATE users SET is_staff = ?2 WHERE id = ?1")
        }
        Right::Author => {
            ("SELECT is_author FROM users WHERE id = ?1", "UPDATE users SET is_author = ?2 WHERE id = ?1")
        }
        Right::Editor => {
            ("SELECT is_editor FROM users WHERE id = ?1", "UPDATE users SET is_editor = ?2 WHERE id = ?1")
        }
    };
    let user = Key::from(user_of(connection, name)?);
    let change = || {
        let had = connection.prepare_cached(find)?.query_row([&user], |row| row.get::<_, bool>(0))?;
        connection.prepare_cached(set)?.execute(params![user, granted])?;
        rusqlite::Result::Ok(had)
    };
    let had = change().map_err(failed)?;
    recorded(right.event(user.id(), had, granted))
}

fn set_password(connection: &Connection, name: &str, hash: &Secret<String>, now: Timestamp) -> Recorded {
    let user = user_of(connection, name)?;
    passwords::replace_password(connection, user, hash, now).map_err(failed)?;
    recorded(Some(changed_password(user)))
}

fn create_org(connection: &Connection, org: &NewOrg) -> Result<(), DirectoryError> {
    let mut insert = connection
        .prepare_cached(
            "INSERT INTO orgs (id, slug, name, created_at, updated_at, version)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
        )
        .map_err(failed)?;
    let now = Moment(org.created_at);
    match insert.execute(params![Key::from(org.id), org.slug.as_str(), org.name, now, NewOrg::VERSION]) {
        Ok(_) => {}
        Err(error) if violation(&error) == Some(Violation::Unique) => return Err(DirectoryError::Taken),
        Err(error) => return Err(failed(error)),
    }
    match insert_member(connection, org.id, org.owner, Role::Owner, org.created_at) {
        Err(error) if violation(&error) == Some(Violation::ForeignKey) => Err(DirectoryError::NoSuchUser),
        inserted => inserted.map_err(failed),
    }
}

fn orgs(connection: &Connection) -> rusqlite::Result<Vec<OrgRecord>> {
    let mut find = connection.prepare_cached(
        "SELECT id, slug, name, (SELECT COUNT(*) FROM members WHERE org_id = orgs.id), created_at
         FROM orgs ORDER BY slug",
    )?;
    let orgs = find.query_map([], |row| {
        Ok(OrgRecord {
            id: row.get::<_, Key>(0)?.id(),
            slug: row.get(1)?,
            name: row.get(2)?,
            members: u64::try_from(row.get::<_, i64>(3)?).unwrap_or(0),
            created_at: row.get::<_, Moment>(4)?.0,
        })
    })?;
    orgs.collect()
}

fn org_of(connection: &Connection, slug: &str) -> Result<OrgId, DirectoryError> {
    let find = || {
        let mut find = connection.prepare_cached("SELECT id FROM orgs WHERE slug = ?1")?;
        find.query_row([slug], |row| row.get::<_, Key>(0)).optional()
    };
    find().map_err(failed)?.map(|key| key.id()).ok_or(DirectoryError::NoSuchOrg)
}

fn user_of(connection: &Connection, name: &str) -> Result<UserId, DirectoryError> {
    let find = || {
        let mut find = connection.prepare_cached("SELECT id FROM users WHERE lower(username) = ?1")?;
        find.query_row([name], |row| row.get::<_, Key>(0)).optional()
    };
    find().map_err(failed)?.map(|key| key.id()).ok_or(DirectoryError::NoSuchUser)
}

fn role_of(connection: &Connection, org: OrgId, user: UserId) -> Result<Option<Role>, DirectoryError> {
    let find = || {
        let mut find =
            connection.prepare_cached("SELECT role FROM memberships WHERE org_id = ?1 AND user_id = ?2")?;
        find.query_row(params![Key::from(org), Key::from(user)], |row| role(row, 0)).optional()
    };
    find().map_err(failed)
}

/// Refuses to take the last owner away (ACL-08), who is a person: a token may be lost. Nobody else writes until the transaction ends, so what is counted here
/// still holds when it commits.
fn keep_an_owner(connection: &Connection, org: OrgId) -> Result<(), DirectoryError> {
    let count = || {
        let mut count =
            connection.prepare_cached("SELECT COUNT(*) FROM members WHERE org_id = ?1 AND role = 'owner'")?;
        count.query_row([Key::from(org)], |row| row.get::<_, i64>(0))
    };
    if count().map_err(failed)? > 1 { Ok(()) } else { Err(DirectoryError::LastOwner) }
}

fn insert_member(
    connection: &Connection,
    org: OrgId,
    user: UserId,
    role: Role,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO memberships (org_id, user_id, role, joined_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (org_id, user_id) DO UPDATE SET role = excluded.role",
    )?;
    insert.execute(params![Key::from(org), Key::from(user), role.as_str(), Moment(now)]).map(drop)
}

fn put_member(connection: &Connection, org: OrgId, user: UserId, role: Role, now: Timestamp) -> Recorded {
    let before = role_of(connection, org, user)?;
    if role != Role::Owner && before == Some(Role::Owner) {
        keep_an_owner(connection, org)?;
    }
    insert_member(connection, org, user, role, now).map_err(failed)?;
    recorded(changed_member(org, user, before, Some(role)))
}

fn remove_member(connection: &Connection, org: OrgId, user: UserId) -> Recorded {
    let before = role_of(connection, org, user)?;
    match before {
        None => return Err(DirectoryError::NoMember),
        Some(Role::Owner) => keep_an_owner(connection, org)?,
        Some(_) => {}
    }
    let remove = || {
        for Pointer { table, org_column, user_column, has_version } in pointers(connection)? {
            let [table, org_column, user_column] = [table, org_column, user_column].map(|name| quoted(&name));
            let version = if has_version { ", version = version + 1" } else { "" };
            let clear = format!(
                "UPDATE {table} SET {user_column} = NULL{version} WHERE {org_column} = ?1 AND {user_column} = ?2"
            );
            connection.execute(&clear, params![Key::from(org), Key::from(user)])?;
        }
        connection
            .prepare_cached("DELETE FROM memberships WHERE org_id = ?1 AND user_id = ?2")?
            .execute(params![Key::from(org), Key::from(user)])
    };
    remove().map_err(failed)?;
    recorded(changed_member(org, user, before, None))
}

/// A table whose rows point at members by a foreign key, such as tasks with their assignee.
struct Pointer {
    table: String,
    org_column: String,
    user_column: String,
    has_version: bool,
}

/// All such tables, as the database itself knows them: the application's migrations made them, and nobody has to
/// tell us.
fn pointers(connection: &Connection) -> rusqlite::Result<Vec<Pointer>> {
    let mut find = connection.prepare_cached(
        "SELECT tables.name, org.\"from\", member.\"from\",
                EXISTS (SELECT 1 FROM pragma_table_xinfo(tables.name) WHERE name = 'version')
         FROM sqlite_schema AS tables
         JOIN pragma_foreign_key_list(tables.name) AS org
         JOIN pragma_foreign_key_list(tables.name) AS member ON member.id = org.id
         WHERE tables.type = 'table' AND org.\"table\" = 'memberships'
           AND coalesce(org.\"to\", CASE org.seq WHEN 0 THEN 'org_id' END) = 'org_id'
           AND coalesce(member.\"to\", CASE member.seq WHEN 1 THEN 'user_id' END) = 'user_id'",
    )?;
    let pointers = find.query_map([], |row| {
        Ok(Pointer {
            table: row.get(0)?,
            org_column: row.get(1)?,
            user_column: row.get(2)?,
            has_version: row.get(3)?,
        })
    })?;
    pointers.collect()
}
