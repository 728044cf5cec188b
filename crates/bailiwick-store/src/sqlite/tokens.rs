//! API tokens on SQLite.
use bailiwick_core::{
    audit::{Act, SecurityEvent},
    clock::Timestamp,
    error::StoreError,
    identity::{ApiTokenId, OrgId, Scopes, UserId},
    secret::Secret,
    store::{Answer, NewToken, OfOrg, OrgTokenRecord, TokenCreation, TokenRecord, TokenRef, TokenStore},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    directory::role,
    error::store_error,
    row::{Key, Moment},
};

impl TokenStore for SqliteStore {
    fn create_token(&self, token: NewToken, act: Act) -> Answer<'_, TokenCreation> {
        Box::pin(self.record(act, move |connection| create(connection, &token).map_err(store_error)))
    }

    fn rotate_token(
        &self,
        replaced: ApiTokenId,
        token: NewToken,
        old_expires_at: Timestamp,
        act: Act,
    ) -> Answer<'_, Option<TokenRecord>> {
        Box::pin(self.record(act, move |connection| {
            let rotated = rotate(connection, replaced, &token, old_expires_at).map_err(store_error)?;
            let events = rotated.iter().flat_map(|_| token.rotation_events(replaced)).collect();
            Ok::<_, StoreError>((rotated, events))
        }))
    }

    fn revoke_token(&self, which: TokenRef, act: Act) -> Answer<'_, Option<UserId>> {
        let now = act.at;
        Box::pin(self.record(act, move |connection| {
            let revoked = revoke(connection, which, now).map_err(store_error)?;
            let event = revoked.map(|Revoked { id, owner, org }| which.event(id, owner, org));
            Ok::<_, StoreError>((revoked.map(|token| token.owner), event.into_iter().collect()))
        }))
    }

    fn tokens_of(&self, user: UserId) -> Answer<'_, Vec<TokenRecord>> {
        Box::pin(self.scans.run(move |connection| tokens_of(connection, user).map_err(store_error)))
    }

    fn org_tokens(&self, org: OrgId) -> Answer<'_, Vec<OrgTokenRecord>> {
        Box::pin(self.scans.run(move |connection| org_tokens(connection, org).map_err(store_error)))
    }
}

fn create(
    connection: &Connection,
    token: &NewToken,
) -> rusqlite::Result<(TokenCreation, Vec<SecurityEvent>)> {
    if let Some(of_org) = &token.of_org {
        return create_for_org(connection, token, of_org);
    }
    let (id, owner) = (Key::from(token.id), Key::from(token.user_id));
    let now = Moment(token.created_at);
    if !may_log_in(connection, &owner, token.password_hash.as_ref())? {
        return Ok((TokenCreation::Refused, Vec::new()));
    }
    connection
        .prepare_cached("DELETE FROM api_tokens WHERE user_id = ?1 AND expires_at <= ?2")?
        .execute(params![owner, now])?;
    if token.name.is_some() && named(connection, &owner, &now)? >= token.max_per_user {
        return Ok((TokenCreation::TooMany, Vec::new()));
    }
    insert(connection, token, token.name.as_deref(), &token.scopes)?;
    let mut ended = Vec::new();
    if token.name.is_none() {
        // The new one stays, however the clock stood when the others were made.
        let others = i64::from(token.max_per_user.saturating_sub(1));
        ended = connection
            .prepare_cached(
                "UPDATE api_tokens SET revoked_at = ?3
                 WHERE id IN (SELECT id FROM api_tokens
                              WHERE user_id = ?1 AND id <> ?2 AND name IS NULL
                                AND revoked_at IS NULL AND expires_at > ?3
                              ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?4)
                 RETURNING id",
            )?
            .query_map(params![owner, id, now, others], |row| Ok(row.get::<_, Key>(0)?.id()))?
            .collect::<rusqlite::Result<_>>()?;
    }
    Ok((TokenCreation::Created, token.events(&ended)))
}

/// Makes a token of an organisation, and the service that it speaks for. Nobody else writes until the transaction ends, so
/// what is counted here still holds when it commits (TOK-26).
fn create_for_org(
    connection: &Connection,
    token: &NewToken,
    of_org: &OfOrg,
) -> rusqlite::Result<(TokenCreation, Vec<SecurityEvent>)> {
    if !may_make(connection, of_org)? {
        return Ok((TokenCreation::Refused, Vec::new()));
    }
    let (org, service, now) = (Key::from(of_org.org_id), Key::from(token.user_id), Moment(token.created_at));
    connection
        .prepare_cached(
            "DELETE FROM api_tokens
             WHERE expires_at <= ?2 AND user_id IN (SELECT id FROM users WHERE service_org_id = ?1)",
        )?
        .execute(params![org, now])?;
    let live: u32 = connection
        .prepare_cached(
            "SELECT COUNT(*) FROM users JOIN api_tokens ON api_tokens.user_id = users.id
             WHERE users.service_org_id = ?1 AND api_tokens.revoked_at IS NULL AND api_tokens.expires_at > ?2",
        )?
        .query_row(params![org, now], |row| row.get(0))?;
    if live >= token.max_per_user {
        return Ok((TokenCreation::TooMany, Vec::new()));
    }
    connection
        .prepare_cached(
            "INSERT INTO users (id, username, email, password_hash, is_active, is_staff, is_author, is_editor, created_at,
               service_org_id, created_by)
             VALUES (?1, ?2, '', ?3, TRUE, FALSE, FALSE, FALSE, ?4, ?5, ?6)",
        )?
        .execute(params![
            service,
            token.service_name(),
            NewToken::NO_PASSWORD,
            now,
            org,
            Key::from(of_org.created_by)
        ])?;
    connection
        .prepare_cached("INSERT INTO memberships (org_id, user_id, role, joined_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![org, service, of_org.role.as_str(), now])?;
    insert(connection, token, token.name.as_deref(), &token.scopes)?;
    Ok((TokenCreation::Created, token.events(&[])))
}

/// Whether whoever makes a token of an organisation may.
fn may_make(connection: &Connection, of_org: &OfOrg) -> rusqlite::Result<bool> {
    let maker = connection
        .prepare_cached(
            "SELECT memberships.role FROM memberships JOIN users ON users.id = memberships.user_id
             WHERE memberships.org_id = ?1 AND memberships.user_id = ?2 AND users.is_active",
        )?
        .query_row(params![Key::from(of_org.org_id), Key::from(of_org.created_by)], |row| role(row, 0))
        .optional()?;
    Ok(maker.is_some_and(|role| of_org.may_be_made_by(role)))
}

/// Whether a user is there, active, and has the password that was proved, if one was.
pub(super) fn may_log_in(
    connection: &Connection,
    user: &Key,
    proved: Option<&Secret<String>>,
) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT 1 FROM users WHERE id = ?1 AND is_active AND password_hash = coalesce(?2, password_hash)",
        )?
        .exists(params![user, proved.map(Secret::expose)])
}

/// How many live tokens of `owner` have a name.
fn named(connection: &Connection, owner: &Key, now: &Moment) -> rusqlite::Result<u32> {
    connection
        .prepare_cached(
            "SELECT COUNT(*) FROM api_tokens
             WHERE user_id = ?1 AND name IS NOT NULL AND revoked_at IS NULL AND expires_at > ?2",
        )?
        .query_row(params![owner, now], |row| row.get(0))
}

fn insert(
    connection: &Connection,
    token: &NewToken,
    name: Option<&str>,
    scopes: &Scopes,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO api_tokens (id, digest, user_id, name, display, scopes, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            Key::from(token.id),
            token.digest.as_slice(),
            Key::from(token.user_id),
            name,
            token.display,
            scopes.as_stored(),
            Moment(token.created_at),
            Moment(token.expires_at)
        ])
}

fn rotate(
    connection: &Connection,
    replaced: ApiTokenId,
    token: &NewToken,
    old_expires_at: Timestamp,
) -> rusqlite::Result<Option<TokenRecord>> {
    let now = Moment(token.created_at);
    if let Some(of_org) = &token.of_org
        && !may_make(connection, of_org)?
    {
        return Ok(None);
    }
    let found = connection
        .prepare_cached(
            "SELECT id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at FROM api_tokens
             WHERE id = ?1 AND user_id = ?2 AND name IS NOT NULL AND revoked_at IS NULL AND expires_at > ?3
               AND replaced_at IS NULL",
        )?
        .query_row(params![Key::from(replaced), Key::from(token.user_id), now], record)
        .optional()?;
    let Some(found) = found else { return Ok(None) };
    connection
        .prepare_cached(
            "UPDATE api_tokens SET expires_at = min(expires_at, ?2)
             WHERE id = (SELECT replaces FROM api_tokens WHERE id = ?1)",
        )?
        .execute(params![Key::from(replaced), now])?;
    connection
        .prepare_cached(
            "UPDATE api_tokens SET expires_at = min(expires_at, ?2), replaced_at = ?3 WHERE id = ?1",
        )?
        .execute(params![Key::from(replaced), Moment(old_expires_at), now])?;
    insert(connection, token, found.name.as_deref(), &found.scopes)?;
    connection
        .prepare_cached("UPDATE api_tokens SET replaces = ?2 WHERE id = ?1")?
        .execute(params![Key::from(token.id), Key::from(replaced)])?;
    Ok(Some(found))
}

/// A token that was ended.
#[derive(Clone, Copy)]
struct Revoked {
    id: ApiTokenId,
    owner: UserId,
    /// The organisation whose token it was.
    org: Option<OrgId>,
}

/// Ends the live token that `$found` says, by `?1`.
macro_rules! revoke {
    ($found:literal) => {
        concat!(
            "UPDATE api_tokens SET revoked_at = ?2 WHERE ",
            $found,
            " AND revoked_at IS NULL AND expires_at > ?2 RETURNING id, user_id, \
             (SELECT users.service_org_id FROM users WHERE users.id = user_id)"
        )
    };
}

fn revoke(connection: &Connection, which: TokenRef, now: Timestamp) -> rusqlite::Result<Option<Revoked>> {
    let found = |row: &Row<'_>| {
        Ok(Revoked {
            id: row.get::<_, Key>(0)?.id(),
            owner: row.get::<_, Key>(1)?.id(),
            org: row.get::<_, Option<Key>>(2)?.map(|key| key.id()),
        })
    };
    let revoked = match which {
        TokenRef::Id(id) => connection
            .prepare_cached(revoke!("id = ?1"))?
            .query_row(params![Key::from(id), Moment(now)], found),
        TokenRef::Of(owner, id) => connection
            .prepare_cached(revoke!("id = ?1 AND user_id = ?3"))?
            .query_row(params![Key::from(id), Moment(now), Key::from(owner)], found),
        TokenRef::Digest(digest) => connection
            .prepare_cached(revoke!("digest = ?1"))?
            .query_row(params![digest.as_slice(), Moment(now)], found),
    };
    revoked.optional()
}

fn tokens_of(connection: &Connection, user: UserId) -> rusqlite::Result<Vec<TokenRecord>> {
    connection
        .prepare_cached(
            "SELECT id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at FROM api_tokens
             WHERE user_id = ?1 ORDER BY created_at DESC, id DESC",
        )?
        .query_map([Key::from(user)], record)?
        .collect()
}

fn org_tokens(connection: &Connection, org: OrgId) -> rusqlite::Result<Vec<OrgTokenRecord>> {
    connection
        .prepare_cached(
            "SELECT id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at, user_id, role, created_by
             FROM org_tokens WHERE org_id = ?1 ORDER BY created_at DESC, id DESC",
        )?
        .query_map([Key::from(org)], |row| {
            Ok(OrgTokenRecord {
                token: record(row)?,
                user_id: row.get::<_, Key>(8)?.id(),
                role: role(row, 9)?,
                created_by: row.get::<_, Key>(10)?.id(),
            })
        })?
        .collect()
}

fn record(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    Ok(TokenRecord {
        id: row.get::<_, Key>(0)?.id(),
        name: row.get(1)?,
        display: row.get(2)?,
        scopes: Scopes::from_stored(row.get_ref(3)?.as_str_or_null()?),
        created_at: row.get::<_, Moment>(4)?.0,
        expires_at: row.get::<_, Moment>(5)?.0,
        last_used_at: row.get::<_, Option<Moment>>(6)?.map(|at| at.0),
        revoked_at: row.get::<_, Option<Moment>>(7)?.map(|at| at.0),
    })
}
