//! API tokens on SQLite.
use bailiwick_core::{
    clock::Timestamp,
    error::StoreError,
    identity::{ApiTokenId, Credential, Membership, Principal, PrincipalParts, Username},
    secret::Secret,
    store::{Answer, NewToken, TokenCreation, TokenDigest, TokenRecord, TokenStore},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    directory::role,
    error::store_error,
    row::{Key, Moment},
};

impl TokenStore for SqliteStore {
    fn principal_of(&self, digest: TokenDigest, now: Timestamp) -> Answer<'_, Option<Principal>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            principal_of(&reader, &digest, now).optional().map_err(store_error)
        })
    }

    fn principal_in<'a>(
        &'a self,
        digest: TokenDigest,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            principal_in(&reader, &digest, now, slug).optional().map_err(store_error)
        })
    }

    fn create_token(&self, token: NewToken) -> Answer<'_, TokenCreation> {
        Box::pin(self.writer.run(move |connection| create(connection, &token).map_err(store_error)))
    }

    fn revoke_token(&self, id: ApiTokenId, now: Timestamp) -> Answer<'_, bool> {
        Box::pin(self.writer.run(move |connection| -> Result<bool, StoreError> {
            let mut revoke = connection
                .prepare_cached(
                    "UPDATE api_tokens SET revoked_at = ?2
                     WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2",
                )
                .map_err(store_error)?;
            Ok(revoke.execute(params![Key::from(id), Moment(now)]).map_err(store_error)? > 0)
        }))
    }

    fn tokens_of<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<Vec<TokenRecord>>> {
        let name = name.as_str().to_ascii_lowercase();
        Box::pin(self.scans.run(move |connection| tokens_of(connection, &name).map_err(store_error)))
    }
}

fn principal_of(
    connection: &Connection,
    digest: &TokenDigest,
    now: Timestamp,
) -> rusqlite::Result<Principal> {
    let mut find = connection.prepare_cached(
        "SELECT api_tokens.id, users.id, users.username, users.email, users.is_staff, users.created_at,
           api_tokens.expires_at
         FROM api_tokens JOIN users ON users.id = api_tokens.user_id
         WHERE api_tokens.digest = ?1 AND api_tokens.revoked_at IS NULL AND api_tokens.expires_at > ?2
           AND users.is_active",
    )?;
    find.query_row(params![digest.as_slice(), Moment(now)], principal)
}

fn principal_in(
    connection: &Connection,
    digest: &TokenDigest,
    now: Timestamp,
    slug: &str,
) -> rusqlite::Result<(Principal, Option<Membership>)> {
    let mut find = connection.prepare_cached(
        "SELECT api_tokens.id, users.id, users.username, users.email, users.is_staff, users.created_at,
           api_tokens.expires_at, memberships.org_id, memberships.role
         FROM api_tokens JOIN users ON users.id = api_tokens.user_id
         LEFT JOIN orgs ON orgs.slug = ?3
         LEFT JOIN memberships ON memberships.org_id = orgs.id AND memberships.user_id = users.id
         WHERE api_tokens.digest = ?1 AND api_tokens.revoked_at IS NULL AND api_tokens.expires_at > ?2
           AND users.is_active",
    )?;
    find.query_row(params![digest.as_slice(), Moment(now), slug], |row| {
        let membership = match row.get::<_, Option<Key>>(7)? {
            Some(org) => Some(Membership::from_store(org.id(), role(row, 8)?)),
            None => None,
        };
        Ok((principal(row)?, membership))
    })
}

fn principal(row: &Row<'_>) -> rusqlite::Result<Principal> {
    Ok(Principal::new(PrincipalParts {
        credential: Credential::ApiToken(row.get::<_, Key>(0)?.id()),
        user_id: row.get::<_, Key>(1)?.id(),
        username: row.get(2)?,
        email: row.get(3)?,
        is_staff: row.get(4)?,
        created_at: row.get::<_, Moment>(5)?.0,
        expires_at: row.get::<_, Moment>(6)?.0,
    }))
}

fn create(connection: &Connection, token: &NewToken) -> rusqlite::Result<TokenCreation> {
    let (id, owner) = (Key::from(token.id), Key::from(token.user_id));
    let (now, expires) = (Moment(token.created_at), Moment(token.expires_at));
    let password_hash = token.password_hash.as_ref().map(Secret::expose);
    let may_have_it = connection
        .prepare_cached(
            "SELECT 1 FROM users WHERE id = ?1 AND is_active AND password_hash = coalesce(?2, password_hash)",
        )?
        .exists(params![owner, password_hash])?;
    if !may_have_it {
        return Ok(TokenCreation::Refused);
    }
    connection
        .prepare_cached("DELETE FROM api_tokens WHERE user_id = ?1 AND expires_at <= ?2")?
        .execute(params![owner, now])?;
    if token.name.is_some() && named(connection, &owner)? >= token.max_per_user {
        return Ok(TokenCreation::TooMany);
    }
    connection
        .prepare_cached(
            "INSERT INTO api_tokens (id, digest, user_id, name, display, created_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![id, token.digest.as_slice(), owner, token.name, token.display, now, expires])?;
    if token.name.is_none() {
        // The new one stays, however the clock stood when the others were made.
        let others = i64::from(token.max_per_user.saturating_sub(1));
        connection
            .prepare_cached(
                "UPDATE api_tokens SET revoked_at = ?3
                 WHERE id IN (SELECT id FROM api_tokens
                              WHERE user_id = ?1 AND id <> ?2 AND name IS NULL
                                AND revoked_at IS NULL AND expires_at > ?3
                              ORDER BY created_at DESC, id DESC LIMIT -1 OFFSET ?4)",
            )?
            .execute(params![owner, id, now, others])?;
    }
    Ok(TokenCreation::Created)
}

/// How many tokens of `owner` have a name and are live, once the expired ones are gone.
fn named(connection: &Connection, owner: &Key) -> rusqlite::Result<u32> {
    connection
        .prepare_cached(
            "SELECT COUNT(*) FROM api_tokens WHERE user_id = ?1 AND name IS NOT NULL AND revoked_at IS NULL",
        )?
        .query_row([owner], |row| row.get(0))
}

fn tokens_of(connection: &Connection, name: &str) -> rusqlite::Result<Option<Vec<TokenRecord>>> {
    let owner: Option<Key> = connection
        .prepare_cached("SELECT id FROM users WHERE lower(username) = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()?;
    let Some(owner) = owner else { return Ok(None) };
    let mut find = connection.prepare_cached(
        "SELECT id, name, display, created_at, expires_at, revoked_at FROM api_tokens
         WHERE user_id = ?1 ORDER BY created_at DESC, id DESC",
    )?;
    let tokens = find.query_map([owner], |row| {
        Ok(TokenRecord {
            id: row.get::<_, Key>(0)?.id(),
            name: row.get(1)?,
            display: row.get(2)?,
            created_at: row.get::<_, Moment>(3)?.0,
            expires_at: row.get::<_, Moment>(4)?.0,
            revoked_at: row.get::<_, Option<Moment>>(5)?.map(|at| at.0),
        })
    })?;
    tokens.collect::<Result<_, _>>().map(Some)
}
