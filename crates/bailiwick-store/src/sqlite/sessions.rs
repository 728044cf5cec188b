//! Sessions on SQLite.
use bailiwick_core::{
    audit::{Act, SecurityEvent},
    clock::Timestamp,
    error::StoreError,
    identity::{SessionId, UserId},
    store::{Answer, NewSession, SessionRecord, SessionStore, WhichSessions, ended_session},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    error::store_error,
    row::{Key, Moment},
    tokens::may_log_in,
};

impl SessionStore for SqliteStore {
    fn create_session(&self, session: NewSession, act: Act) -> Answer<'_, bool> {
        Box::pin(self.record(act, move |connection| create(connection, &session).map_err(store_error)))
    }

    fn end_sessions(&self, user: UserId, which: WhichSessions, act: Act) -> Answer<'_, u64> {
        Box::pin(self.record(act, move |connection| {
            let ended = end(connection, user, which).map_err(store_error)?;
            let events = ended.iter().map(|id| ended_session(*id, user)).collect();
            Ok::<_, StoreError>((ended.len() as u64, events))
        }))
    }

    fn sessions_of(&self, user: UserId, now: Timestamp) -> Answer<'_, Vec<SessionRecord>> {
        Box::pin(self.scans.run(move |connection| sessions_of(connection, user, now).map_err(store_error)))
    }
}

fn create(connection: &Connection, session: &NewSession) -> rusqlite::Result<(bool, Vec<SecurityEvent>)> {
    let (id, user, now) = (Key::from(session.id), Key::from(session.user_id), Moment(session.created_at));
    if !may_log_in(connection, &user, Some(&session.password_hash))? {
        return Ok((false, Vec::new()));
    }
    connection
        .prepare_cached("DELETE FROM sessions WHERE user_id = ?1 AND expires_at <= ?2")?
        .execute(params![user, now])?;
    let mut replaced = None;
    if let Some(digest) = &session.replaces {
        replaced = connection
            .prepare_cached("DELETE FROM sessions WHERE digest = ?1 RETURNING id, user_id")?
            .query_row([digest.as_slice()], |row| {
                Ok((row.get::<_, Key>(0)?.id(), row.get::<_, Key>(1)?.id()))
            })
            .optional()?;
    }
    connection
        .prepare_cached(
            "INSERT INTO sessions
               (id, digest, user_id, created_at, last_seen_at, expires_at, ends_at, user_agent, address)
             VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id,
            session.digest.as_slice(),
            user,
            now,
            Moment(session.expires_at()),
            Moment(session.ends_at()),
            session.user_agent,
            session.address
        ])?;
    // The new one stays, however the clock stood when the others were made.
    let others = i64::from(session.max_per_user.saturating_sub(1));
    let oldest = connection
        .prepare_cached(
            "DELETE FROM sessions
             WHERE id IN (SELECT id FROM sessions WHERE user_id = ?1 AND id <> ?2
                          ORDER BY last_seen_at DESC, id DESC LIMIT -1 OFFSET ?3)
             RETURNING id",
        )?
        .query_map(params![user, id, others], |row| Ok(row.get::<_, Key>(0)?.id()))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    Ok((true, session.events(replaced, &oldest)))
}

/// Ends sessions, and answers which.
pub(super) fn end(
    connection: &Connection,
    user: UserId,
    which: WhichSessions,
) -> rusqlite::Result<Vec<SessionId>> {
    let user = Key::from(user);
    let id = |row: &Row<'_>| Ok(row.get::<_, Key>(0)?.id());
    match which {
        WhichSessions::All => connection
            .prepare_cached("DELETE FROM sessions WHERE user_id = ?1 RETURNING id")?
            .query_map([user], id)?
            .collect(),
        WhichSessions::Only(only) => connection
            .prepare_cached("DELETE FROM sessions WHERE user_id = ?1 AND id = ?2 RETURNING id")?
            .query_map(params![user, Key::from(only)], id)?
            .collect(),
        WhichSessions::AllBut(but) => connection
            .prepare_cached("DELETE FROM sessions WHERE user_id = ?1 AND id <> ?2 RETURNING id")?
            .query_map(params![user, Key::from(but)], id)?
            .collect(),
    }
}

fn sessions_of(
    connection: &Connection,
    user: UserId,
    now: Timestamp,
) -> rusqlite::Result<Vec<SessionRecord>> {
    let mut find = connection.prepare_cached(
        "SELECT id, created_at, last_seen_at, expires_at, user_agent, address FROM sessions
         WHERE user_id = ?1 AND expires_at > ?2 ORDER BY last_seen_at DESC, id DESC",
    )?;
    let sessions = find.query_map(params![Key::from(user), Moment(now)], |row| {
        Ok(SessionRecord {
            id: row.get::<_, Key>(0)?.id(),
            created_at: row.get::<_, Moment>(1)?.0,
            last_seen_at: row.get::<_, Moment>(2)?.0,
            expires_at: row.get::<_, Moment>(3)?.0,
            user_agent: row.get(4)?,
            address: row.get(5)?,
        })
    })?;
    sessions.collect()
}
