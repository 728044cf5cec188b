//! Families of refresh tokens on SQLite.
use bailiwick_core::{
    audit::{Act, SecurityEvent},
    clock::Timestamp,
    error::StoreError,
    identity::{FamilyId, UserId},
    store::{Answer, CredentialDigest, FamilyStore, Grant, NewFamily, Refresh, Refreshed},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteStore,
    error::store_error,
    row::{Key, Moment},
    tokens::may_log_in,
};
use crate::refresh::{Decision, Shown, decide};

impl FamilyStore for SqliteStore {
    fn create_family(&self, family: NewFamily, act: Act) -> Answer<'_, bool> {
        Box::pin(self.record(act, move |connection| create(connection, &family).map_err(store_error)))
    }

    fn refresh_family(&self, refresh: Refresh, act: Act) -> Answer<'_, Refreshed> {
        // The one writer holds every family meanwhile (JWT-49).
        Box::pin(self.record(act, move |connection| {
            let refreshed = exchange(connection, &refresh).map_err(store_error)?;
            let events = refreshed.events();
            Ok::<_, StoreError>((refreshed, events))
        }))
    }

    fn revoke_family(&self, token: CredentialDigest, act: Act) -> Answer<'_, Option<FamilyId>> {
        let now = act.at;
        Box::pin(self.record(act, move |connection| {
            let ended = revoke(connection, &token, now).map_err(store_error)?;
            let events: Vec<SecurityEvent> = ended.iter().map(Grant::revoked).collect();
            Ok::<_, StoreError>((ended.map(|grant| grant.family), events))
        }))
    }

    fn live_access_tokens(&self, now: Timestamp) -> Answer<'_, Vec<(String, u64)>> {
        Box::pin(self.scans.run(move |connection| live(connection, now).map_err(store_error)))
    }
}

fn create(connection: &Connection, family: &NewFamily) -> rusqlite::Result<(bool, Vec<SecurityEvent>)> {
    let (id, user, now) = (Key::from(family.id), Key::from(family.user_id), Moment(family.created_at));
    if !may_log_in(connection, &user, Some(&family.password_hash))? {
        return Ok((false, Vec::new()));
    }
    connection
        .prepare_cached(
            "DELETE FROM jwt_families WHERE user_id = ?1 AND (expires_at <= ?2 OR revoked_at IS NOT NULL)",
        )?
        .execute(params![user, now])?;
    connection
        .prepare_cached(
            "INSERT INTO jwt_families (id, user_id, created_at, last_used_at, expires_at, live)
             VALUES (?1, ?2, ?3, ?3, ?4, ?5)",
        )?
        .execute(params![id, user, now, Moment(family.ends_at()), family.digest.as_slice()])?;
    connection.prepare_cached(ADD_TOKEN)?.execute(params![
        family.digest.as_slice(),
        id,
        now,
        Moment(family.expires_at()),
        family.access.kid,
        Moment(family.access.expires_at)
    ])?;
    // The new one stays, however the clock stood when the others were made.
    let others = i64::from(family.max_per_user.saturating_sub(1));
    let oldest = connection
        .prepare_cached(
            "DELETE FROM jwt_families
             WHERE id IN (SELECT id FROM jwt_families WHERE user_id = ?1 AND id <> ?2
                          ORDER BY last_used_at DESC, id DESC LIMIT -1 OFFSET ?3)
             RETURNING id",
        )?
        .query_map(params![user, id, others], |row| Ok(row.get::<_, Key>(0)?.id()))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((true, family.events(&oldest)))
}

const ADD_TOKEN: &str =
    "INSERT INTO refresh_tokens (digest, family_id, created_at, expires_at, kid, access_expires_at)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

fn exchange(connection: &Connection, refresh: &Refresh) -> rusqlite::Result<Refreshed> {
    let Some(shown) = shown(connection, &refresh.digest)? else { return Ok(Refreshed::Refused) };
    let family = Key::from(shown.grant.family);
    let now = Moment(refresh.now);
    match decide(&shown, refresh) {
        Decision::Refuse => Ok(Refreshed::Refused),
        Decision::Repeat(successor) => {
            connection
                .prepare_cached(
                    "UPDATE refresh_tokens SET kid = ?2, access_expires_at = ?3
                     WHERE digest = ?1 AND access_expires_at <= ?3",
                )?
                .execute(params![shown.live, refresh.access.kid, Moment(refresh.access.expires_at)])?;
            Ok(Refreshed::Repeated(shown.grant, successor))
        }
        Decision::End => {
            connection
                .prepare_cached("UPDATE jwt_families SET revoked_at = ?2 WHERE id = ?1")?
                .execute(params![family, now])?;
            Ok(Refreshed::Reused(shown.grant))
        }
        Decision::Rotate { successor, expires_at } => {
            connection
                .prepare_cached("UPDATE refresh_tokens SET used_at = ?2 WHERE digest = ?1")?
                .execute(params![refresh.digest.as_slice(), now])?;
            connection.prepare_cached(ADD_TOKEN)?.execute(params![
                successor.as_slice(),
                family,
                now,
                Moment(expires_at),
                refresh.access.kid,
                Moment(refresh.access.expires_at)
            ])?;
            connection
                .prepare_cached(
                    "UPDATE jwt_families SET live = ?2, parent = ?3, last_used_at = max(last_used_at, ?4)
                     WHERE id = ?1",
                )?
                .execute(params![family, successor.as_slice(), refresh.digest.as_slice(), now])?;
            Ok(Refreshed::Rotated(shown.grant))
        }
    }
}

fn shown(connection: &Connection, digest: &CredentialDigest) -> rusqlite::Result<Option<Shown>> {
    connection
        .prepare_cached(
            "SELECT f.id, f.user_id, t.expires_at, t.used_at, f.expires_at, f.live, f.parent,
                    f.revoked_at IS NULL AND u.is_active
             FROM refresh_tokens t JOIN jwt_families f ON f.id = t.family_id JOIN users u ON u.id = f.user_id
             WHERE t.digest = ?1",
        )?
        .query_row([digest.as_slice()], |row| {
            Ok(Shown {
                grant: Grant { family: row.get::<_, Key>(0)?.id(), user: row.get::<_, Key>(1)?.id() },
                expires_at: row.get::<_, Moment>(2)?.0,
                used_at: row.get::<_, Option<Moment>>(3)?.map(|at| at.0),
                ends_at: row.get::<_, Moment>(4)?.0,
                live: row.get(5)?,
                parent: row.get(6)?,
                may_come_in: row.get(7)?,
            })
        })
        .optional()
}

fn revoke(
    connection: &Connection,
    token: &CredentialDigest,
    now: Timestamp,
) -> rusqlite::Result<Option<Grant>> {
    connection
        .prepare_cached(
            "UPDATE jwt_families SET revoked_at = ?2
             WHERE id = (SELECT family_id FROM refresh_tokens WHERE digest = ?1)
               AND revoked_at IS NULL AND expires_at > ?2
             RETURNING id, user_id",
        )?
        .query_map(params![token.as_slice(), Moment(now)], |row| {
            Ok(Grant { family: row.get::<_, Key>(0)?.id(), user: row.get::<_, Key>(1)?.id() })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()
        .map(|ended| ended.first().copied())
}

/// Ends every family of a user.
pub(super) fn end_all(connection: &Connection, user: UserId, now: Timestamp) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE jwt_families SET revoked_at = ?2 WHERE user_id = ?1 AND revoked_at IS NULL")?
        .execute(params![Key::from(user), Moment(now)])
        .map(drop)
}

fn live(connection: &Connection, now: Timestamp) -> rusqlite::Result<Vec<(String, u64)>> {
    let mut count = connection.prepare_cached(
        "SELECT t.kid, COUNT(*) FROM refresh_tokens t
         JOIN jwt_families f ON f.id = t.family_id JOIN users u ON u.id = f.user_id
         WHERE t.access_expires_at > ?1 AND f.revoked_at IS NULL AND f.expires_at > ?1 AND u.is_active
         GROUP BY t.kid ORDER BY t.kid",
    )?;
    count.query_map([Moment(now)], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?.collect()
}
