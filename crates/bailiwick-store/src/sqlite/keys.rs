//! Signing keys on SQLite.
use bailiwick_core::{
    audit::{Act, SecurityEvent},
    secret::Secret,
    store::{Answer, KeyPurpose, KeyRecord, KeyRingRecord, KeyState, KeyStore},
};
use rusqlite::{Connection, Row, params};

use super::{SqliteStore, error::store_error, row::Moment};

impl KeyStore for SqliteStore {
    fn key_ring_version(&self, purpose: KeyPurpose) -> Answer<'_, u64> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            version(&reader, purpose).map_err(store_error)
        })
    }

    fn key_ring(&self, purpose: KeyPurpose) -> Answer<'_, KeyRingRecord> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            ring(&reader, purpose).map_err(store_error)
        })
    }

    fn change_keys(
        &self,
        purpose: KeyPurpose,
        from: u64,
        keys: Vec<KeyRecord>,
        act: Act,
    ) -> Answer<'_, bool> {
        Box::pin(
            self.record(act, move |connection| change(connection, purpose, from, &keys).map_err(store_error)),
        )
    }
}

fn version(connection: &Connection, purpose: KeyPurpose) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT version FROM key_rings WHERE purpose = ?1")?
        .query_row([purpose.as_str()], |row| Ok(row.get::<_, i64>(0)?.unsigned_abs()))
}

/// Version and keys come from one statement, and so from one moment.
fn ring(connection: &Connection, purpose: KeyPurpose) -> rusqlite::Result<KeyRingRecord> {
    let mut find = connection.prepare_cached(
        "SELECT key_rings.version, kid, algorithm, state, sealed_by, sealed, created_at, promote_at,
                activated_at, retiring_at, ends_at
         FROM key_rings LEFT JOIN signing_keys USING (purpose)
         WHERE key_rings.purpose = ?1 ORDER BY created_at, kid",
    )?;
    let mut rows = find.query([purpose.as_str()])?;
    let mut ring = KeyRingRecord::default();
    while let Some(row) = rows.next()? {
        ring.version = row.get::<_, i64>(0)?.unsigned_abs();
        if row.get::<_, Option<String>>(1)?.is_some() {
            ring.keys.push(record(row)?);
        }
    }
    Ok(ring)
}

fn record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let moment = |index| row.get::<_, Option<Moment>>(index).map(|at| at.map(|at| at.0));
    Ok(KeyRecord {
        kid: row.get(1)?,
        algorithm: row.get(2)?,
        state: KeyState::parse(row.get_ref(3)?.as_str()?).ok_or_else(|| {
            rusqlite::Error::InvalidColumnType(3, "state".to_owned(), rusqlite::types::Type::Text)
        })?,
        sealed_by: row.get(4)?,
        sealed: Secret::new(row.get(5)?),
        created_at: row.get::<_, Moment>(6)?.0,
        promote_at: moment(7)?,
        activated_at: moment(8)?,
        retiring_at: moment(9)?,
        ends_at: moment(10)?,
    })
}

fn change(
    connection: &Connection,
    purpose: KeyPurpose,
    from: u64,
    keys: &[KeyRecord],
) -> rusqlite::Result<(bool, Vec<SecurityEvent>)> {
    // A version that does not fit is none that the ring has.
    let Ok(from) = i64::try_from(from) else { return Ok((false, Vec::new())) };
    let raised = connection
        .prepare_cached("UPDATE key_rings SET version = version + 1 WHERE purpose = ?1 AND version = ?2")?
        .execute(params![purpose.as_str(), from])?;
    if raised == 0 {
        return Ok((false, Vec::new()));
    }
    let events = ring(connection, purpose)?.events(keys);
    let mut put = connection.prepare_cached(
        "INSERT INTO signing_keys (purpose, kid, algorithm, state, sealed_by, sealed, created_at, promote_at,
                                   activated_at, retiring_at, ends_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
         ON CONFLICT (purpose, kid) DO UPDATE SET
             state = excluded.state, sealed_by = excluded.sealed_by, sealed = excluded.sealed,
             promote_at = excluded.promote_at, activated_at = excluded.activated_at,
             retiring_at = excluded.retiring_at, ends_at = excluded.ends_at",
    )?;
    for key in keys {
        put.execute(params![
            purpose.as_str(),
            key.kid,
            key.algorithm,
            key.state.as_str(),
            key.sealed_by,
            key.sealed.expose(),
            Moment(key.created_at),
            key.promote_at.map(Moment),
            key.activated_at.map(Moment),
            key.retiring_at.map(Moment),
            key.ends_at.map(Moment),
        ])?;
    }
    Ok((true, events))
}
