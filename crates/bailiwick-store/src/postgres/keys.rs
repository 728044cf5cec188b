//! Signing keys.
use bailiwick_core::{
    audit::Act,
    error::DecodeError,
    query::Lane,
    secret::Secret,
    store::{Answer, KeyPurpose, KeyRecord, KeyRingRecord, KeyState, KeyStore},
};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    audit::Recording,
    pool::{Ask, Lease, Trying},
    value::{Bind, Columns},
};

const VERSION: &str = "SELECT version FROM key_rings WHERE purpose = $1";
/// Version and keys come from one statement, and so from one moment.
const RING: &str = "SELECT r.version, k.kid, k.algorithm, k.state, k.sealed_by, k.sealed, k.created_at, k.promote_at, \
     k.activated_at, k.retiring_at, k.ends_at FROM key_rings r LEFT JOIN signing_keys k USING (purpose) \
     WHERE r.purpose = $1 ORDER BY k.created_at, k.kid";
/// Whoever changes the ring at the same time waits here, and then finds another version.
const RAISE: &str =
    "UPDATE key_rings SET version = version + 1 WHERE purpose = $1 AND version = $2 RETURNING version";
const PUT: &str = "INSERT INTO signing_keys (purpose, kid, algorithm, state, sealed_by, sealed, created_at, promote_at, \
     activated_at, retiring_at, ends_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) \
     ON CONFLICT (purpose, kid) DO UPDATE SET state = excluded.state, sealed_by = excluded.sealed_by, \
     sealed = excluded.sealed, promote_at = excluded.promote_at, activated_at = excluded.activated_at, \
     retiring_at = excluded.retiring_at, ends_at = excluded.ends_at";

impl KeyStore for PostgresStore {
    fn key_ring_version(&self, purpose: KeyPurpose) -> Answer<'_, u64> {
        Box::pin(async move {
            let binds = [purpose.as_str().into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(VERSION, &binds)]).await?;
            Ok(rows.first().map_or(Ok(0), version)?)
        })
    }

    fn key_ring(&self, purpose: KeyPurpose) -> Answer<'_, KeyRingRecord> {
        Box::pin(async move {
            let binds = [purpose.as_str().into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(RING, &binds)]).await?;
            Ok(ring(&rows)?)
        })
    }

    fn change_keys(
        &self,
        purpose: KeyPurpose,
        from: u64,
        keys: Vec<KeyRecord>,
        act: Act,
    ) -> Answer<'_, bool> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((purpose, from, keys, recording), change).await?) })
    }
}

fn ring(rows: &[Row]) -> Result<KeyRingRecord, DecodeError> {
    let version = rows.first().map_or(Ok(0), version)?;
    let keys = rows.iter().filter(|row| !row.is_null(1)).map(record);
    Ok(KeyRingRecord { version, keys: keys.collect::<Result<_, _>>()? })
}

fn version(row: &Row) -> Result<u64, DecodeError> {
    let wrong = DecodeError { column: 0, expected: "a version" };
    u64::try_from(row.integer(0)?).map_err(|_| wrong)
}

fn record(row: &Row) -> Result<KeyRecord, DecodeError> {
    let state = KeyState::parse(row.text(3)?);
    Ok(KeyRecord {
        kid: row.text(1)?.to_owned(),
        algorithm: row.text(2)?.to_owned(),
        state: state.ok_or(DecodeError { column: 3, expected: "the state of a key" })?,
        sealed_by: row.text(4)?.to_owned(),
        sealed: Secret::new(row.bytes(5)?),
        created_at: row.time(6)?,
        promote_at: row.optional_time(7)?,
        activated_at: row.optional_time(8)?,
        retiring_at: row.optional_time(9)?,
        ends_at: row.optional_time(10)?,
    })
}

fn change<'a>(
    lease: &'a mut Lease,
    (purpose, from, keys, recording): &'a (KeyPurpose, u64, Vec<KeyRecord>, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        let purpose: Bind<'_> = purpose.as_str().into();
        // A version that does not fit is none that the ring has.
        let Ok(from) = i64::try_from(*from) else { return Ok(false) };
        let raised = lease.begin(&[Ask::new(RAISE, &[purpose, from.into()])]).await?;
        if raised[0].is_empty() {
            return Ok(false);
        }
        let before = lease.go_on(&[Ask::new(RING, &[purpose])]).await?;
        let events = ring(&before[0])?.events(keys);
        // One after the other: the order is the caller's, and the index on the active key looks at each.
        for key in keys {
            let binds = [
                purpose,
                key.kid.as_str().into(),
                key.algorithm.as_str().into(),
                key.state.as_str().into(),
                key.sealed_by.as_str().into(),
                Bind::Bytes(key.sealed.expose()),
                key.created_at.into(),
                key.promote_at.into(),
                key.activated_at.into(),
                key.retiring_at.into(),
                key.ends_at.into(),
            ];
            lease.go_on(&[Ask::new(PUT, &binds)]).await?;
        }
        lease.commit_recording(recording, events).await?;
        Ok(true)
    })
}
