//! How entries are linked, and how that is checked.
use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use super::{Act, SecurityEvent, entry_id};
use crate::{
    clock::Timestamp,
    id::{InvalidId, parse_uuid},
    identity::OrgId,
    secret::Secret,
};

/// A chain of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    /// What belongs to no organisation: accounts, credentials, keys.
    Site,
    /// What belongs to this organisation.
    Org(OrgId),
}

impl Chain {
    /// The id in SQL: that of the organisation, or the nil UUID.
    pub const fn as_uuid(self) -> Uuid {
        match self {
            Self::Site => Uuid::nil(),
            Self::Org(id) => id.as_uuid(),
        }
    }

    /// The chain with this id.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        if uuid.is_nil() { Self::Site } else { Self::Org(OrgId::from_uuid(uuid)) }
    }

    /// `h_0`.
    fn genesis(self) -> Vec<u8> {
        let genesis = Sha256::new().chain_update(b"bailiwick audit chain");
        genesis.chain_update(self.as_uuid().as_bytes()).finalize().to_vec()
    }
}

/// `site`, or the id of the organisation.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Site => f.pad("site"),
            Self::Org(id) => id.fmt(f),
        }
    }
}

impl FromStr for Chain {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            "site" => Ok(Self::Site),
            text => parse_uuid(text).map(Self::from_uuid).ok_or(InvalidId),
        }
    }
}

/// Where a chain ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The chain.
    pub chain: Chain,
    /// How many entries it has.
    pub sequence: u64,
    /// The hash of the last one.
    pub hash: Vec<u8>,
}

impl Head {
    /// That of a chain without entries.
    pub fn genesis(chain: Chain) -> Self {
        Self { chain, sequence: 0, hash: chain.genesis() }
    }
}

/// An entry of the trail, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The chain.
    pub chain: Chain,
    /// Its place in the chain, from 1 on.
    pub sequence: u64,
    /// The name of what happened.
    pub event: String,
    /// When it happened.
    pub at: Timestamp,
    /// What the actor is.
    pub actor_kind: String,
    /// The id of the actor.
    pub actor_id: Option<Uuid>,
    /// The name of the actor.
    pub actor_name: Option<String>,
    /// What the target is.
    pub target_kind: Option<String>,
    /// Which the target is.
    pub target_id: Option<String>,
    /// The request.
    pub request_id: Option<String>,
    /// Where it came from.
    pub remote_addr: Option<String>,
    /// How it ended.
    pub outcome: String,
    /// What is to be known besides, as the text of a JSON object.
    pub details: String,
    /// The key that the link was made with.
    pub key_id: String,
    /// The link.
    pub hash: Vec<u8>,
}

impl Entry {
    /// What its link vouches for: every field in this order, each with its length in bytes before it, as four bytes, the
    /// highest first; `ff ff ff ff` for a field that is not there. No two entries have the same.
    ///
    /// chain (16 bytes), sequence (8), event, at (8, in microseconds since 1970), kind, id (16) and name of the actor, kind
    /// and id of the target, request id, remote address, outcome, details, id of the key.
    pub fn canonical(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256);
        let mut put = |field: Option<&[u8]>| {
            let length = field.map_or(u32::MAX, |field| u32::try_from(field.len()).unwrap_or(u32::MAX - 1));
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(field.unwrap_or_default());
        };
        put(Some(self.chain.as_uuid().as_bytes()));
        put(Some(&self.sequence.to_be_bytes()));
        put(Some(self.event.as_bytes()));
        put(Some(&self.at.as_micros().to_be_bytes()));
        put(Some(self.actor_kind.as_bytes()));
        put(self.actor_id.as_ref().map(|id| id.as_bytes().as_slice()));
        for text in
            [&self.actor_name, &self.target_kind, &self.target_id, &self.request_id, &self.remote_addr]
        {
            put(text.as_deref().map(str::as_bytes));
        }
        for text in [&self.outcome, &self.details, &self.key_id] {
            put(Some(text.as_bytes()));
        }
        bytes
    }

    /// Its id. It follows from its place and time.
    pub fn id(&self) -> Uuid {
        entry_id(self.chain, self.sequence, self.at)
    }

    /// The head of a chain that ends with it.
    pub fn head(&self) -> Head {
        Head { chain: self.chain, sequence: self.sequence, hash: self.hash.clone() }
    }

    /// As people and programs read it (contract §6).
    pub fn to_json(&self) -> Value {
        let target = self.target_kind.as_ref().map(|kind| json!({ "kind": kind, "id": self.target_id }));
        json!({
            "id": self.id().to_string(),
            "sequence": self.sequence,
            "event": self.event,
            "at": self.at.to_string(),
            "actor": {
                "kind": self.actor_kind,
                "id": self.actor_id.map(|id| id.to_string()),
                "name": self.actor_name,
            },
            "target": target,
            "request_id": self.request_id,
            "remote_addr": self.remote_addr,
            "outcome": self.outcome,
            "details": serde_json::from_str(&self.details).unwrap_or_else(|_| Value::from(self.details.clone())),
        })
    }
}

/// The keys that links are made with: the current one, and former ones, which only check. Cheap to clone.
///
/// Each entry names its key, so a chain holds across a change of the master key.
#[derive(Clone, Debug)]
pub struct AuditKeys(Arc<[AuditKey]>);

#[derive(Clone, Debug)]
struct AuditKey {
    /// Names the key in entries; it tells nothing of it.
    id: String,
    links: Secret<[u8; 32]>,
    heads: Secret<[u8; 32]>,
}

impl AuditKeys {
    /// Keys that are derived from these 32 secret bytes, and from former ones.
    pub fn new<'k>(
        current: &'k Secret<[u8; 32]>,
        former: impl IntoIterator<Item = &'k Secret<[u8; 32]>>,
    ) -> Self {
        Self(std::iter::once(current).chain(former).map(AuditKey::new).collect())
    }

    /// A key that everybody knows.
    ///
    /// # Security
    /// Such a chain shows what was damaged, but not what was forged: whoever can write to the database can make its links.
    pub fn insecure_without_key() -> Self {
        Self::new(&Secret::new([0; 32]), [])
    }

    /// Whether everybody knows the current key.
    pub fn are_known_to_everybody(&self) -> bool {
        self.current().id == Self::insecure_without_key().current().id
    }

    fn current(&self) -> &AuditKey {
        self.0.first().expect("there is a current key")
    }

    /// Seeds of the keys that sign heads, the current one first.
    pub fn head_seeds(&self) -> impl Iterator<Item = &Secret<[u8; 32]>> {
        self.0.iter().map(|key| &key.heads)
    }

    /// The entry that follows `head`.
    pub fn link(&self, head: &Head, act: &Act, event: &SecurityEvent) -> Entry {
        let key = self.current();
        let target = event.target();
        let mut entry = Entry {
            chain: head.chain,
            sequence: head.sequence + 1,
            event: event.kind.as_str().to_owned(),
            at: act.at,
            actor_kind: act.actor.kind.as_str().to_owned(),
            actor_id: act.actor.id.map(|id| id.as_uuid()),
            actor_name: act.actor.name.as_deref().map(str::to_owned),
            target_kind: target.as_ref().map(|target| target.kind.as_str().to_owned()),
            target_id: target.map(|target| target.id),
            request_id: act.request_id.as_deref().map(str::to_owned),
            remote_addr: act.remote_addr.map(|address| address.to_canonical().to_string()),
            outcome: event.kind.outcome().as_str().to_owned(),
            details: event.details(),
            key_id: key.id.clone(),
            hash: Vec::new(),
        };
        entry.hash = key.hash(&head.hash, &entry);
        entry
    }
}

impl AuditKey {
    fn new(root: &Secret<[u8; 32]>) -> Self {
        let id: String = root.derive("id").expose()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        Self { id, links: root.derive("links"), heads: root.derive("heads") }
    }

    fn hash(&self, before: &[u8], entry: &Entry) -> Vec<u8> {
        let key = self.links.expose();
        let mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
        mac.chain_update(before).chain_update(entry.canonical()).finalize().into_bytes().to_vec()
    }
}

/// Checks one chain, entry by entry from the first on.
#[derive(Clone, Debug)]
pub struct Verifier {
    keys: AuditKeys,
    last: Head,
    /// What the hashes at some places must be. Two heads that say different things of one place cannot both hold.
    expected: BTreeMap<u64, Vec<Vec<u8>>>,
}

/// Where a chain does not hold, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("chain {chain}, entry {sequence}: {fault}")]
pub struct Broken {
    /// The chain.
    pub chain: Chain,
    /// The place of the first entry that does not hold, or is missing.
    pub sequence: u64,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// There is none at this place, and there are later ones.
    #[error("it was removed")]
    Missing,
    /// Its link does not fit.
    #[error("it is not what was recorded: it was changed, put in or moved, or the one before it was")]
    Changed,
    /// Its link was made with a key that is not known.
    #[error("it was recorded under a master key that is not known")]
    UnknownKey,
    /// It is the last, and the chain was longer.
    #[error("the chain ends before it, and was longer")]
    Truncated,
    /// Another entry was here when the head was kept.
    #[error("it is another entry than when the head was written")]
    Replaced,
    /// It stands behind the end that the database itself has noted.
    #[error("it stands behind the end of the chain")]
    BehindTheEnd,
}

impl Verifier {
    /// A verifier of `chain`, which must go through all the heads in `kept`: those of other chains are left out.
    pub fn new(keys: AuditKeys, chain: Chain, kept: &[Head]) -> Self {
        let mut expected: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for head in kept.iter().filter(|head| head.chain == chain && head.sequence > 0) {
            expected.entry(head.sequence).or_default().push(head.hash.clone());
        }
        Self { keys, last: Head::genesis(chain), expected }
    }

    /// Where the chain has come to.
    pub fn last(&self) -> &Head {
        &self.last
    }

    /// Checks the next entry.
    ///
    /// # Errors
    /// If it does not follow the one before.
    pub fn check(&mut self, entry: &Entry) -> Result<(), Broken> {
        let wanted = self.last.sequence + 1;
        let broken = |sequence, fault| Err(Broken { chain: self.last.chain, sequence, fault });
        if entry.sequence > wanted {
            return broken(wanted, Fault::Missing);
        }
        if entry.chain != self.last.chain || entry.sequence < wanted {
            return broken(entry.sequence, Fault::Changed);
        }
        let Some(key) = self.keys.0.iter().find(|key| key.id == entry.key_id) else {
            return broken(wanted, Fault::UnknownKey);
        };
        if !bool::from(key.hash(&self.last.hash, entry).as_slice().ct_eq(&entry.hash)) {
            return broken(wanted, Fault::Changed);
        }
        let kept = self.expected.get(&wanted);
        if kept.is_some_and(|kept| kept.iter().any(|hash| *hash != entry.hash)) {
            return broken(wanted, Fault::Replaced);
        }
        self.last = entry.head();
        Ok(())
    }

    /// Checks the end of a chain: `noted` is the head that the database has, read after the last entry.
    ///
    /// # Errors
    /// If the chain was longer, or has an entry too many.
    pub fn finish(&self, noted: &Head) -> Result<(), Broken> {
        let Head { chain, sequence, ref hash } = self.last;
        let longest = self.expected.keys().next_back().copied().unwrap_or(0).max(noted.sequence);
        if longest > sequence {
            return Err(Broken { chain, sequence: sequence + 1, fault: Fault::Truncated });
        }
        if noted.sequence < sequence {
            return Err(Broken { chain, sequence: noted.sequence + 1, fault: Fault::BehindTheEnd });
        }
        if sequence > 0 && noted.hash != *hash {
            return Err(Broken { chain, sequence, fault: Fault::Changed });
        }
        Ok(())
    }
}
