//! The audit trail: who did what to whom, in chains that nobody can change unseen (LOG-10).
//!
//! A store appends the [events](SecurityEvent) of a change in the transaction of that change (LOG-11): which they are is
//! said once, by functions beside the types of [`store`](crate::store). What fails and changes nothing is appended by
//! itself. Whatever was recorded or noted is told its [witnesses](Witness) at that moment. There is a [`Chain`] for each organisation, and one for the site. An [`Entry`] is linked to the one before it:
//!
//! ```text
//! h_0 = SHA-256("bailiwick audit chain" ‖ id of the chain)
//! h_n = HMAC-SHA-256(key, h_{n-1} ‖ canonical(entry_n))
//! ```
//!
//! The sequence of a chain begins with 1 and has no gap. So a [`Verifier`] finds an entry that was changed, removed, put
//! in or moved. That a chain was cut, only somebody knows who has kept an earlier [`Head`] of it.
//!
//! # Security
//! The key is derived from the master key and is not in the database: whoever can write there cannot make a link. No entry
//! holds a secret, nor a text of a client that is not checked: not even the name that a failed log-in gave, which may be a
//! password in the wrong field (LOG-03).
mod chain;
mod event;

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use smallvec::SmallVec;
use uuid::Uuid;

pub use self::{
    chain::{AuditKeys, Broken, Chain, Entry, Fault, Head, Verifier},
    event::{Declared, Detail, Details, Outcome, SecurityEvent, SecurityEventKind, Target, TargetKind},
};
use crate::{
    clock::Timestamp,
    identity::{Principal, UserId},
};

/// What somebody does in one moment, as the audit trail tells it: who, by which request, from where, when. Every change of
/// a store that the trail tells takes one. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Act {
    /// Who acts.
    pub actor: Actor,
    /// The id of the request, if it is one.
    pub request_id: Option<Arc<str>>,
    /// Where the request came from.
    pub remote_addr: Option<IpAddr>,
    /// Now.
    pub at: Timestamp,
    /// Who is told of its events.
    noted: Noted,
}

impl Act {
    /// What the server does by itself.
    pub fn system(at: Timestamp) -> Self {
        Self::of(Actor::SYSTEM, at)
    }

    /// What `actor` does without a request. Nobody is told of its events, unless it is [noted](Self::noted_in).
    pub fn of(actor: Actor, at: Timestamp) -> Self {
        Self { actor, request_id: None, remote_addr: None, at, noted: Noted::default() }
    }

    /// The same, where the witnesses of `noted` are told of its events.
    #[must_use]
    pub fn noted_in(mut self, noted: Noted) -> Self {
        self.noted = noted;
        self
    }

    /// The same, done by somebody else: a log-in acts for whom it proves.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    /// The same, at another time.
    #[must_use]
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = at;
        self
    }

    /// The same, of whose events everybody was told already.
    #[must_use]
    pub fn unnoted(self) -> Self {
        self.noted_in(Noted::default())
    }

    /// Says that these events were appended, and tells of them. For stores, once the transaction has committed, whether
    /// anybody waits for the answer or not.
    pub fn recorded(&self, events: &[SecurityEvent]) {
        for event in events {
            self.noted.tell(event, self.request_id.as_deref(), self.remote_addr);
        }
    }
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// What they are.
    pub kind: ActorKind,
    /// The id of a user.
    pub id: Option<UserId>,
    /// The name of a user, or of an operator as their machine knows them.
    pub name: Option<Arc<str>>,
}

impl Actor {
    /// The server itself.
    pub const SYSTEM: Self = Self { kind: ActorKind::System, id: None, name: None };
    /// Somebody who did not say who they are.
    pub const ANONYMOUS: Self = Self { kind: ActorKind::Anonymous, id: None, name: None };

    /// A user of the site.
    pub fn user(id: UserId, name: &str) -> Self {
        Self { kind: ActorKind::User, id: Some(id), name: Some(name.into()) }
    }

    /// Whoever runs a command on the machine.
    pub fn operator(name: Option<&str>) -> Self {
        Self { kind: ActorKind::Operator, id: None, name: name.map(Into::into) }
    }
}

impl From<&Principal> for Actor {
    fn from(principal: &Principal) -> Self {
        Self::user(principal.user_id(), &principal.username)
    }
}

/// What an [`Actor`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActorKind {
    /// A user, by a request with a credential.
    User,
    /// Whoever runs a command on the machine.
    Operator,
    /// The server itself.
    System,
    /// Somebody who did not say who they are.
    Anonymous,
}

impl ActorKind {
    /// The name in SQL and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
            Self::System => "system",
            Self::Anonymous => "anonymous",
        }
    }
}

/// Who is told of every security event in the moment in which it has happened: the log, the metrics.
pub trait Witness: fmt::Debug + Send + Sync {
    /// Hears of `event`, which happened in the request of this id, from this address; or in none, where a key follows
    /// another by time. Whoever tells may be a thread that all writes pass: it must not wait for anything.
    fn hear(&self, event: &SecurityEvent, request_id: Option<&str>, remote_addr: Option<IpAddr>);
}

/// Where security events are told: to its witnesses, at once. A request has one of its own, which also keeps what is still
/// to be appended to the trail. Cheap to clone: it is shared, not copied.
///
/// Nothing waits for the end of a request: what is recorded for one whose client has left, or whose answer was sent long ago,
/// is told like any other, and so is what no request brought about.
#[derive(Clone, Debug, Default)]
pub struct Noted(Arc<Mutex<Inner>>);

type Witnesses = SmallVec<[Arc<dyn Witness>; 2]>;

#[derive(Debug, Default)]
struct Inner {
    witnesses: Witnesses,
    to_append: Vec<SecurityEvent>,
}

impl Noted {
    /// Where these are told.
    pub fn by(witnesses: impl IntoIterator<Item = Arc<dyn Witness>>) -> Self {
        let noted = Self::default();
        noted.inner().witnesses.extend(witnesses);
        noted
    }

    /// Has one more told, of what happens from now on.
    pub fn add_witness(&self, witness: Arc<dyn Witness>) {
        self.inner().witnesses.push(witness);
    }

    /// Tells of an event.
    pub fn tell(&self, event: &SecurityEvent, request_id: Option<&str>, remote_addr: Option<IpAddr>) {
        // Not under the lock, which others of the request may want meanwhile.
        let witnesses: Witnesses = self.inner().witnesses.clone();
        for witness in witnesses {
            witness.hear(event, request_id, remote_addr);
        }
    }

    /// Keeps an event that changed nothing, to be appended by whoever answers the request.
    pub fn keep(&self, event: SecurityEvent) {
        self.inner().to_append.push(event);
    }

    /// Takes those out that are to be appended.
    pub fn take_to_append(&self) -> Vec<SecurityEvent> {
        std::mem::take(&mut self.inner().to_append)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of an entry: of the version 7, like all ids, and the same for whoever computes it, so that it need not be kept.
fn entry_id(chain: Chain, sequence: u64, at: Timestamp) -> Uuid {
    use sha2::{Digest, Sha256};
    let digest: [u8; 32] = Sha256::new()
        .chain_update(b"bailiwick audit entry")
        .chain_update(chain.as_uuid().as_bytes())
        .chain_update(sequence.to_be_bytes())
        .finalize()
        .into();
    let random: [u8; 10] = std::array::from_fn(|index| digest[index]);
    let millis = u64::try_from(at.as_micros() / 1000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

#[cfg(test)]
mod tests;
