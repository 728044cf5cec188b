//! The audit trail. The head of a chain is locked last, just before the commit: whoever holds it waits for nobody, so no
//! two transactions wait for each other.
use std::collections::BTreeMap;

use bailiwick_core::{
    audit::{Act, AuditKeys, Chain, Entry, Head, SecurityEvent},
    error::DecodeError,
    query::Lane,
    store::{Answer, AuditStore},
};
use tokio_postgres::{Row, error::SqlState};

use super::{
    PostgresStore,
    failure::Failure,
    pool::{Ask, Lease, Trying},
    value::{Bind, Columns},
};

const LOCK_HEAD: &str = "SELECT sequence, hash FROM audit_heads WHERE chain = $1 FOR UPDATE";
/// The first entry of a chain. Of two that begin one at once, the second waits here for the first, and then follows it.
const BEGIN_CHAIN: &str = "INSERT INTO audit_heads (chain, sequence, hash) VALUES ($1, 0, $2) \
     ON CONFLICT (chain) DO UPDATE SET sequence = audit_heads.sequence RETURNING sequence, hash";
const MOVE_HEAD: &str = "UPDATE audit_heads SET sequence = $2, hash = $3 WHERE chain = $1";
const ADD: &str = "INSERT INTO audit_entries (chain, sequence, event, at, actor_kind, actor_id, actor_name, target_kind, \
     target_id, request_id, remote_addr, outcome, details, key_id, hash) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

/// A chain whose head is gone ends nowhere.
const HEADS: &str = "SELECT sequence, hash, chain FROM audit_heads UNION ALL \
     SELECT 0, ''::bytea, chain FROM (SELECT DISTINCT chain FROM audit_entries) AS theirs \
     WHERE NOT EXISTS (SELECT FROM audit_heads h WHERE h.chain = theirs.chain) ORDER BY 3";
const HEAD: &str = "SELECT sequence, hash FROM audit_heads WHERE chain = $1";
const ENTRIES: &str = "SELECT sequence, event, at, actor_kind, actor_id, actor_name, target_kind, target_id, request_id, \
     remote_addr, outcome, details, key_id, hash \
     FROM audit_entries WHERE chain = $1 AND sequence > $2 ORDER BY sequence LIMIT $3";

/// Who changes something, and what their entries are linked with.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    act: Act,
    keys: AuditKeys,
}

impl Recording {
    /// Now.
    pub(super) fn now(&self) -> Bind<'static> {
        self.act.at.into()
    }
}

impl PostgresStore {
    pub(super) fn recording(&self, act: Act) -> Recording {
        Recording { act, keys: self.audit_keys.clone() }
    }
}

impl Lease {
    /// Runs the last statements of a change that the trail of the site tells, and locks its head behind them, in one round
    /// trip: for [`commit_recording_at`](Self::commit_recording_at).
    pub(super) async fn go_on_to_the_head(
        &mut self,
        asks: &[Ask<'_>],
    ) -> Result<(Vec<Vec<Row>>, Option<Head>), Failure> {
        let site = [Chain::Site.as_uuid().into()];
        let mut done = self.go_on(&[asks, &[Ask::new(LOCK_HEAD, &site)]].concat()).await?;
        let locked = done.pop().unwrap_or_default();
        let head = locked.first().map(|row| read_head(Chain::Site, row)).transpose()?;
        Ok((done, head))
    }

    /// Appends events to the trail and commits: what the transaction has changed is there with them, or not at all
    /// (LOG-11).
    pub(super) async fn commit_recording(
        &mut self,
        recording: &Recording,
        events: Vec<SecurityEvent>,
    ) -> Result<(), Failure> {
        self.commit_recording_at(None, recording, events).await
    }

    /// The same, where a head is locked already.
    pub(super) async fn commit_recording_at(
        &mut self,
        locked: Option<Head>,
        recording: &Recording,
        events: Vec<SecurityEvent>,
    ) -> Result<(), Failure> {
        if events.is_empty() {
            return self.commit().await;
        }
        // In the order of their ids, so that two that need two heads do not wait for each other.
        let mut heads: BTreeMap<Chain, Head> = BTreeMap::new();
        for event in &events {
            heads.entry(event.chain()).or_insert_with(|| Head::genesis(event.chain()));
        }
        for head in heads.values_mut() {
            *head = match &locked {
                Some(locked) if locked.chain == head.chain => locked.clone(),
                _ => self.lock_head(head).await?,
            };
        }
        let mut entries = Vec::with_capacity(events.len());
        for event in &events {
            if let Some(head) = heads.get_mut(&event.chain()) {
                let entry = recording.keys.link(head, &recording.act, event);
                *head = entry.head();
                entries.push(entry);
            }
        }
        let added: Vec<_> = entries.iter().map(added).collect();
        let moved: Vec<_> = heads
            .values()
            .map(|head| {
                let (chain, sequence) = (head.chain.as_uuid().into(), head.sequence.cast_signed().into());
                [chain, sequence, Bind::Bytes(&head.hash)]
            })
            .collect();
        let added = added.iter().map(|binds| Ask::new(ADD, binds));
        let asks: Vec<_> = added.chain(moved.iter().map(|binds| Ask::new(MOVE_HEAD, binds))).collect();
        self.commit_with_all(&asks).await.map_err(no_entry_behind_the_end)?;
        recording.act.recorded(&events);
        Ok(())
    }

    async fn lock_head(&mut self, genesis: &Head) -> Result<Head, Failure> {
        let chain: Bind<'_> = genesis.chain.as_uuid().into();
        let found = self.go_on(&[Ask::new(LOCK_HEAD, &[chain])]).await?;
        if let Some(row) = found[0].first() {
            return Ok(read_head(genesis.chain, row)?);
        }
        let begun = self.go_on(&[Ask::new(BEGIN_CHAIN, &[chain, Bind::Bytes(&genesis.hash)])]).await?;
        let row = begun[0].first().ok_or(Failure::Defect("a chain has a head once it has begun"))?;
        Ok(read_head(genesis.chain, row)?)
    }
}

/// An entry that stands where the next should: nobody's name is taken, and nothing is recorded until somebody has looked.
fn no_entry_behind_the_end(failure: Failure) -> Failure {
    match failure.code() {
        Some(code) if *code == SqlState::UNIQUE_VIOLATION => {
            Failure::Defect("the audit trail has an entry behind its end")
        }
        _ => failure,
    }
}

/// The binds of [`ADD`].
fn added(entry: &Entry) -> [Bind<'_>; 15] {
    [
        entry.chain.as_uuid().into(),
        entry.sequence.cast_signed().into(),
        entry.event.as_str().into(),
        entry.at.into(),
        entry.actor_kind.as_str().into(),
        entry.actor_id.into(),
        entry.actor_name.as_deref().into(),
        entry.target_kind.as_deref().into(),
        entry.target_id.as_deref().into(),
        entry.request_id.as_deref().into(),
        entry.remote_addr.as_deref().into(),
        entry.outcome.as_str().into(),
        entry.details.as_str().into(),
        entry.key_id.as_str().into(),
        Bind::Bytes(&entry.hash),
    ]
}

impl AuditStore for PostgresStore {
    fn append_events(&self, events: Vec<SecurityEvent>, act: Act) -> Answer<'_, ()> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((events, recording), append).await?) })
    }

    fn audit_heads(&self) -> Answer<'_, Vec<Head>> {
        Box::pin(async move {
            let [rows] = self.pool.read(Lane::Scan, [Ask::new(HEADS, &[])]).await?;
            let heads = rows.iter().map(|row| read_head(Chain::from_uuid(row.uuid(2)?), row));
            Ok(heads.collect::<Result<_, _>>()?)
        })
    }

    fn audit_head(&self, chain: Chain) -> Answer<'_, Head> {
        Box::pin(async move {
            let [rows] = self.pool.read(Lane::Short, [Ask::new(HEAD, &[chain.as_uuid().into()])]).await?;
            let head = rows.first().map(|row| read_head(chain, row)).transpose()?;
            Ok(head.unwrap_or_else(|| Head::genesis(chain)))
        })
    }

    fn audit_entries(&self, chain: Chain, after: u64, most: u32) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move {
            // A sequence that does not fit is behind all that there are.
            let Ok(after) = i64::try_from(after) else { return Ok(Vec::new()) };
            let binds = [chain.as_uuid().into(), after.into(), i64::from(most).into()];
            let [rows] = self.pool.read(Lane::Scan, [Ask::new(ENTRIES, &binds)]).await?;
            Ok(rows.iter().map(|row| read_entry(chain, row)).collect::<Result<_, _>>()?)
        })
    }
}

fn append<'a>(
    lease: &'a mut Lease,
    (events, recording): &'a (Vec<SecurityEvent>, Recording),
) -> Trying<'a, ()> {
    Box::pin(async move {
        lease.begin(&[]).await?;
        lease.commit_recording(recording, events.clone()).await
    })
}

fn read_head(chain: Chain, row: &Row) -> Result<Head, DecodeError> {
    Ok(Head { chain, sequence: sequence(row)?, hash: row.bytes(1)? })
}

fn sequence(row: &Row) -> Result<u64, DecodeError> {
    let wrong = DecodeError { column: 0, expected: "a sequence" };
    u64::try_from(row.integer(0)?).map_err(|_| wrong)
}

fn read_entry(chain: Chain, row: &Row) -> Result<Entry, DecodeError> {
    let text = |index| Ok::<_, DecodeError>(row.text(index)?.to_owned());
    let optional = |index| Ok::<_, DecodeError>(row.optional_text(index)?.map(str::to_owned));
    Ok(Entry {
        chain,
        sequence: sequence(row)?,
        event: text(1)?,
        at: row.time(2)?,
        actor_kind: text(3)?,
        actor_id: if row.is_null(4) { None } else { Some(row.uuid(4)?) },
        actor_name: optional(5)?,
        target_kind: optional(6)?,
        target_id: optional(7)?,
        request_id: optional(8)?,
        remote_addr: optional(9)?,
        outcome: text(10)?,
        details: text(11)?,
        key_id: text(12)?,
        hash: row.bytes(13)?,
    })
}
