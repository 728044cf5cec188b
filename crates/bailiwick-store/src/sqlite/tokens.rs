//! API tokens on SQLite.
use bailiwick_core::{
    clock::Timestamp,
    error::StoreError,
    identity::{ApiTokenId, Username},
    secret::Secret,
    store::{Answer, NewToken, TokenCreation, TokenRecord, TokenStore},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteStore,
    error::store_error,
    row::{Key, Moment},
};

impl TokenStore for SqliteStore {
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

fn create(connection: &Connection, token: &NewToken) -> rusqlite::Result<TokenCreation> {
    let (id, owner) = (Key::from(token.id), Key::from(token.user_id));
    let (now, expires) = (Moment(token.created_at), Moment(token.expires_at));
    if !may_log_in(connection, &owner, token.password_hash.as_ref())? {
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
        "SELECT id, name, display, created_at, expires_at, last_used_at, revoked_at FROM api_tokens
         WHERE user_id = ?1 ORDER BY created_at DESC, id DESC",
    )?;
    let tokens = find.query_map([owner], |row| {
        Ok(TokenRecord {
            id: row.get::<_, Key>(0)?.id(),
            name: row.get(1)?,
            display: row.get(2)?,
            created_at: row.get::<_, Moment>(3)?.0,
            expires_at: row.get::<_, Moment>(4)?.0,
            last_used_at: row.get::<_, Option<Moment>>(5)?.map(|at| at.0),
            revoked_at: row.get::<_, Option<Moment>>(6)?.map(|at| at.0),
        })
    })?;
    tokens.collect::<Result<_, _>>().map(Some)
}
