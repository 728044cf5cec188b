//! Changes of passwords on SQLite.
use bailiwick_core::{
    audit::{Act, SecurityEvent},
    clock::Timestamp,
    error::StoreError,
    identity::UserId,
    secret::Secret,
    store::{
        Addressee, Answer, CredentialDigest, NewPasswordReset, PasswordChange, PasswordStore, WhichSessions,
        changed_password, reset_password,
    },
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{
    SqliteStore,
    error::store_error,
    families,
    row::{Key, Moment},
    sessions,
    tokens::may_log_in,
};

impl PasswordStore for SqliteStore {
    fn change_password(&self, change: PasswordChange, act: Act) -> Answer<'_, bool> {
        Box::pin(self.record(act, move |connection| {
            let changed = change_password(connection, &change).map_err(store_error)?;
            Ok::<_, StoreError>((changed, only_if(changed, changed_password(change.user_id))))
        }))
    }

    fn users_of_email<'a>(&'a self, email: &'a str) -> Answer<'a, Vec<Addressee>> {
        let email = email.to_owned();
        Box::pin(self.scans.run(move |connection| users_of_email(connection, &email).map_err(store_error)))
    }

    fn create_password_reset(&self, reset: NewPasswordReset, act: Act) -> Answer<'_, bool> {
        Box::pin(self.record(act, move |connection| {
            let made = create_reset(connection, &reset).map_err(store_error)?;
            Ok::<_, StoreError>((made, only_if(made, reset.event())))
        }))
    }

    fn password_reset(&self, digest: CredentialDigest, now: Timestamp) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            let found = live(&reader, &digest, now).map_err(store_error)?;
            Ok(found.map(|(_, username)| username))
        })
    }

    fn use_password_reset(
        &self,
        digest: CredentialDigest,
        hash: Secret<String>,
        act: Act,
    ) -> Answer<'_, Option<UserId>> {
        let now = act.at;
        Box::pin(self.record(act, move |connection| {
            let use_up = || {
                let Some((user, _)) = live(connection, &digest, now)? else { return Ok((None, Vec::new())) };
                replace_password(connection, user, &hash, now)?;
                Ok((Some(user), vec![reset_password(user)]))
            };
            use_up().map_err(store_error)
        }))
    }
}

fn only_if(done: bool, event: SecurityEvent) -> Vec<SecurityEvent> {
    if done { vec![event] } else { Vec::new() }
}

fn change_password(connection: &Connection, change: &PasswordChange) -> rusqlite::Result<bool> {
    let user = Key::from(change.user_id);
    if !may_log_in(connection, &user, Some(&change.old_hash))? {
        return Ok(false);
    }
    if let Some((session, digest)) = &change.session {
        sessions::end(connection, change.user_id, WhichSessions::AllBut(*session))?;
        connection
            .prepare_cached("UPDATE sessions SET digest = ?3 WHERE id = ?1 AND user_id = ?2")?
            .execute(params![Key::from(*session), user, digest.as_slice()])?;
    } else {
        sessions::end(connection, change.user_id, WhichSessions::All)?;
    }
    set_hash(connection, &user, &change.new_hash, change.changed_at)?;
    Ok(true)
}

/// Gives a user another password, and ends all that the old one opened or could be replaced by.
pub(super) fn replace_password(
    connection: &Connection,
    user: UserId,
    hash: &Secret<String>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    sessions::end(connection, user, WhichSessions::All)?;
    set_hash(connection, &Key::from(user), hash, now)
}

fn set_hash(
    connection: &Connection,
    user: &Key,
    hash: &Secret<String>,
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE users SET password_hash = ?2 WHERE id = ?1")?
        .execute(params![user, hash.expose()])?;
    connection
        .prepare_cached(
            "UPDATE api_tokens SET revoked_at = ?2
             WHERE user_id = ?1 AND name IS NULL AND revoked_at IS NULL",
        )?
        .execute(params![user, Moment(now)])?;
    families::end_all(connection, user.id(), now)?;
    end_resets(connection, user)
}

/// Ends all tokens by which a user could set another password.
pub(super) fn end_resets(connection: &Connection, user: &Key) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM password_resets WHERE user_id = ?1")?.execute([user]).map(drop)
}

fn users_of_email(connection: &Connection, email: &str) -> rusqlite::Result<Vec<Addressee>> {
    let mut find = connection.prepare_cached(
        "SELECT id, username, email FROM users
         WHERE lower(email) = lower(?1) AND is_active AND service_org_id IS NULL
         ORDER BY lower(username) LIMIT ?2",
    )?;
    let users = find.query_map(params![email, Addressee::MOST], |row| {
        Ok(Addressee { user_id: row.get::<_, Key>(0)?.id(), username: row.get(1)?, email: row.get(2)? })
    })?;
    users.collect()
}

fn create_reset(connection: &Connection, reset: &NewPasswordReset) -> rusqlite::Result<bool> {
    let (user, now) = (Key::from(reset.user_id), Moment(reset.created_at));
    if !may_log_in(connection, &user, None)? {
        return Ok(false);
    }
    connection
        .prepare_cached("DELETE FROM password_resets WHERE user_id = ?1 AND expires_at <= ?2")?
        .execute(params![user, now])?;
    connection
        .prepare_cached(
            "INSERT INTO password_resets (digest, user_id, created_at, expires_at) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![reset.digest.as_slice(), user, now, Moment(reset.expires_at)])?;
    Ok(true)
}

/// Whose live token has this digest.
fn live(
    connection: &Connection,
    digest: &CredentialDigest,
    now: Timestamp,
) -> rusqlite::Result<Option<(UserId, String)>> {
    connection
        .prepare_cached(
            "SELECT users.id, users.username
             FROM password_resets JOIN users ON users.id = password_resets.user_id
             WHERE password_resets.digest = ?1 AND password_resets.expires_at > ?2 AND users.is_active",
        )?
        .query_row(params![digest.as_slice(), Moment(now)], |row| {
            Ok((row.get::<_, Key>(0)?.id(), row.get(1)?))
        })
        .optional()
}
