//! The audit trail on SQLite. The one writer makes appends follow each other; other processes wait for its lock.
use std::collections::BTreeMap;

use bailiwick_core::{
    audit::{Act, AuditKeys, Chain, Entry, Head, SecurityEvent},
    error::StoreError,
    store::{Answer, AuditStore},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteStore,
    error::store_error,
    row::{Key, Moment},
};

impl AuditStore for SqliteStore {
    fn append_events(&self, events: Vec<SecurityEvent>, act: Act) -> Answer<'_, ()> {
        Box::pin(self.record(act, move |_| Ok::<_, StoreError>(((), events))))
    }

    fn audit_heads(&self) -> Answer<'_, Vec<Head>> {
        Box::pin(self.scans.run(|connection| heads(connection).map_err(store_error)))
    }

    fn audit_head(&self, chain: Chain) -> Answer<'_, Head> {
        Box::pin(self.scans.run(move |connection| head(connection, chain).map_err(store_error)))
    }

    fn audit_entries(&self, chain: Chain, after: u64, most: u32) -> Answer<'_, Vec<Entry>> {
        Box::pin(
            self.scans.run(move |connection| entries(connection, chain, after, most).map_err(store_error)),
        )
    }
}

impl SqliteStore {
    /// Runs `work` in a transaction, and appends the events that it answers in the same one. If they cannot be appended,
    /// nothing has happened (LOG-11).
    pub(super) async fn record<T, E>(
        &self,
        act: Act,
        work: impl FnOnce(&Connection) -> Result<(T, Vec<SecurityEvent>), E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let keys = self.audit_keys.clone();
        let recording = act.clone();
        let in_transaction = move |connection: &Connection| {
            let (value, events) = work(connection)?;
            append(connection, &keys, &recording, &events).map_err(store_error)?;
            Ok::<_, E>((value, events))
        };
        let tell = move |(value, events): (T, Vec<SecurityEvent>)| {
            act.recorded(&events);
            value
        };
        self.writer.run_and_then(in_transaction, tell).await
    }
}

fn append(
    connection: &Connection,
    keys: &AuditKeys,
    act: &Act,
    events: &[SecurityEvent],
) -> rusqlite::Result<()> {
    let mut heads = BTreeMap::new();
    for event in events {
        let chain = event.chain();
        let head = match heads.remove(&chain) {
            Some(head) => head,
            None => head(connection, chain)?,
        };
        let entry = keys.link(&head, act, event);
        insert(connection, &entry)?;
        heads.insert(chain, entry.head());
    }
    for Head { chain, sequence, hash } in heads.into_values() {
        connection
            .prepare_cached(
                "INSERT INTO audit_heads (chain, sequence, hash) VALUES (?1, ?2, ?3)
                 ON CONFLICT (chain) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash",
            )?
            .execute(params![Key(chain.as_uuid()), sequence.cast_signed(), hash])?;
    }
    Ok(())
}

fn insert(connection: &Connection, entry: &Entry) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "INSERT INTO audit_entries (chain, sequence, event, at, actor_kind, actor_id, actor_name, target_kind,
                                        target_id, request_id, remote_addr, outcome, details, key_id, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            Key(entry.chain.as_uuid()),
            entry.sequence.cast_signed(),
            entry.event,
            Moment(entry.at),
            entry.actor_kind,
            entry.actor_id.map(Key),
            entry.actor_name,
            entry.target_kind,
            entry.target_id,
            entry.request_id,
            entry.remote_addr,
            entry.outcome,
            entry.details,
            entry.key_id,
            entry.hash
        ])
}

fn heads(connection: &Connection) -> rusqlite::Result<Vec<Head>> {
    connection
        .prepare_cached(
            "SELECT sequence, hash, chain FROM audit_heads
             UNION ALL
             SELECT 0, x'', chain FROM (SELECT DISTINCT chain FROM audit_entries)
             WHERE chain NOT IN (SELECT chain FROM audit_heads)
             ORDER BY 3",
        )?
        .query_map([], |row| {
            let chain = Chain::from_uuid(row.get::<_, Key>(2)?.0);
            Ok(Head { chain, ..read_head(chain, row)? })
        })?
        .collect()
}

fn head(connection: &Connection, chain: Chain) -> rusqlite::Result<Head> {
    let found = connection
        .prepare_cached("SELECT sequence, hash FROM audit_heads WHERE chain = ?1")?
        .query_row([Key(chain.as_uuid())], |row| read_head(chain, row))
        .optional()?;
    Ok(found.unwrap_or_else(|| Head::genesis(chain)))
}

fn read_head(chain: Chain, row: &Row<'_>) -> rusqlite::Result<Head> {
    Ok(Head { chain, sequence: row.get::<_, i64>(0)?.cast_unsigned(), hash: row.get(1)? })
}

fn entries(connection: &Connection, chain: Chain, after: u64, most: u32) -> rusqlite::Result<Vec<Entry>> {
    // A sequence that does not fit is behind all that there are.
    let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
    let mut find = connection.prepare_cached(
        "SELECT sequence, event, at, actor_kind, actor_id, actor_name, target_kind, target_id, request_id,
                remote_addr, outcome, details, key_id, hash
         FROM audit_entries WHERE chain = ?1 AND sequence > ?2 ORDER BY sequence LIMIT ?3",
    )?;
    let found = find.query_map(params![Key(chain.as_uuid()), after, most], |row| {
        Ok(Entry {
            chain,
            sequence: row.get::<_, i64>(0)?.cast_unsigned(),
            event: row.get(1)?,
            at: row.get::<_, Moment>(2)?.0,
            actor_kind: row.get(3)?,
            actor_id: row.get::<_, Option<Key>>(4)?.map(|key| key.0),
            actor_name: row.get(5)?,
            target_kind: row.get(6)?,
            target_id: row.get(7)?,
            request_id: row.get(8)?,
            remote_addr: row.get(9)?,
            outcome: row.get(10)?,
            details: row.get(11)?,
            key_id: row.get(12)?,
            hash: row.get(13)?,
        })
    })?;
    found.collect()
}
