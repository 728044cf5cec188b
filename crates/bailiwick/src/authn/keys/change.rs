//! What may become of a ring of keys, and when: decided here, on a ring that was read, and nowhere else.
//!
//! ```text
//! next ──promote──► active ──another is promoted──► retiring ──grace──► retired
//!   └──retire──► retired      any of them ──revoke──► revoked
//! ```
use std::time::Duration;

use bailiwick_core::{
    clock::Timestamp,
    secret::Secret,
    store::{KeyRecord, KeyRingRecord, KeyState},
};

/// The times that a key's life goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How long others may keep the JWKS document (`C` of KEY-02).
    pub cache: Duration,
    /// How long an access token lives (`L` of KEY-03).
    pub access_lifetime: Duration,
    /// How old a key that signs becomes.
    pub rotate_every: Duration,
}

impl Schedule {
    /// How long it may take until every server acts on a change, with room for clocks that differ (`P`). It is a second
    /// where all is well.
    pub const PROPAGATION: Duration = Duration::from_secs(60);
    /// By how much the clocks of those who verify may differ (`S`).
    pub const SKEW: Duration = Duration::from_secs(60);

    /// For how long a key is published before it signs: `C + P` (KEY-02).
    #[must_use]
    pub const fn publish(&self) -> Duration {
        self.cache.saturating_add(Self::PROPAGATION)
    }

    /// For how long a key verifies after it stopped signing: `P + L + S` (KEY-03).
    #[must_use]
    pub const fn grace(&self) -> Duration {
        self.access_lifetime.saturating_add(Self::PROPAGATION).saturating_add(Self::SKEW)
    }

    /// The least that [`rotate_every`](Self::rotate_every) may be: else keys would be made faster than they retire.
    #[must_use]
    pub const fn least_rotation(&self) -> Duration {
        self.publish().saturating_add(self.grace())
    }
}

/// Whether to wait until nobody can have a JWKS document without the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Until it is due.
    UntilDue,
    /// Not at all: whoever verifies with an old document refuses new tokens meanwhile.
    Not,
}

/// Why a key does not become what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No key is called so.
    #[error("there is no such key")]
    NoSuchKey,
    /// The key is that already, or is over.
    #[error("the key is {}", .0.as_str())]
    Is(KeyState),
    /// A document without the key may still be in use, for this long.
    #[error("a JWKS document without the key may be cached for another {} s", .0.as_secs() + 1)]
    Early(Duration),
    /// It is the one that signs, and no other is published for long enough to take over.
    #[error("the key is the one that signs, and no other can take over yet")]
    OnlySigner,
}

/// What is to be stored, and what came of it.
pub(super) type Changed<T> = Result<(Vec<KeyRecord>, T), Refusal>;

/// The key that signs.
pub(super) fn active(ring: &KeyRingRecord) -> Option<&KeyRecord> {
    ring.keys.iter().find(|key| key.state == KeyState::Active)
}

fn find<'r>(ring: &'r KeyRingRecord, kid: &str) -> Result<&'r KeyRecord, Refusal> {
    ring.keys.iter().find(|key| key.kid == kid).ok_or(Refusal::NoSuchKey)
}

/// How long it takes until the key may sign; nothing if it may.
fn until_due(key: &KeyRecord, now: Timestamp, schedule: &Schedule) -> Option<Duration> {
    let left = key.created_at.saturating_add(schedule.publish()).saturating_since(now);
    (!left.is_zero() && key.state == KeyState::Next).then_some(left)
}

/// Lets `key` sign, in place of the one that does. That one comes first: at no moment are there two.
fn activate(ring: &KeyRingRecord, key: &KeyRecord, now: Timestamp, schedule: &Schedule) -> Vec<KeyRecord> {
    let old = active(ring).map(|old| KeyRecord {
        state: KeyState::Retiring,
        retiring_at: Some(now),
        ends_at: Some(now.saturating_add(schedule.grace())),
        ..old.clone()
    });
    let new = KeyRecord {
        state: KeyState::Active,
        promote_at: None,
        activated_at: Some(now),
        retiring_at: None,
        ends_at: None,
        ..key.clone()
    };
    old.into_iter().chain([new]).collect()
}

/// Ends a key. Nobody needs its private half any more.
fn end(key: &KeyRecord, state: KeyState, now: Timestamp) -> KeyRecord {
    KeyRecord { state, sealed: Secret::new(Vec::new()), promote_at: None, ends_at: Some(now), ..key.clone() }
}

/// Lets a key sign: one that is published for long enough, or one that signed before and still verifies.
pub(super) fn promote(
    ring: &KeyRingRecord,
    kid: &str,
    now: Timestamp,
    schedule: &Schedule,
    wait: Wait,
) -> Changed<()> {
    let key = find(ring, kid)?;
    if !matches!(key.state, KeyState::Next | KeyState::Retiring) || has_ended(key, now) {
        return Err(Refusal::Is(key.state));
    }
    match until_due(key, now, schedule) {
        Some(left) if wait == Wait::UntilDue => Err(Refusal::Early(left)),
        _ => Ok((activate(ring, key, now, schedule), ())),
    }
}

/// Stops a key signing and keeps it verifying through the grace: another that is due takes over. One that has not
/// signed is withdrawn.
pub(super) fn retire(ring: &KeyRingRecord, kid: &str, now: Timestamp, schedule: &Schedule) -> Changed<()> {
    let key = find(ring, kid)?;
    match key.state {
        KeyState::Next => Ok((vec![end(key, KeyState::Retired, now)], ())),
        KeyState::Active => {
            let due =
                |key: &&KeyRecord| key.state == KeyState::Next && until_due(key, now, schedule).is_none();
            let next = ring.keys.iter().find(due).ok_or(Refusal::OnlySigner)?;
            Ok((activate(ring, next, now, schedule), ()))
        }
        state => Err(Refusal::Is(state)),
    }
}

/// Ends a key and all that it signed, at once (KEY-04). If it is the one that signs, the next one takes over, or else
/// `fresh`, whether others have seen it or not: what they cannot verify is better than what anybody can forge.
pub(super) fn revoke(
    ring: &KeyRingRecord,
    kid: &str,
    now: Timestamp,
    schedule: &Schedule,
    fresh: &KeyRecord,
) -> Changed<()> {
    let key = find(ring, kid)?;
    if key.state == KeyState::Revoked {
        return Err(Refusal::Is(key.state));
    }
    let ended = end(key, KeyState::Revoked, now);
    if key.state != KeyState::Active {
        return Ok((vec![ended], ()));
    }
    let rest = KeyRingRecord {
        version: ring.version,
        keys: ring.keys.iter().filter(|other| other.kid != kid).cloned().collect(),
    };
    let next = rest.keys.iter().find(|key| key.state == KeyState::Next).unwrap_or(fresh);
    let mut changed = vec![ended];
    changed.extend(activate(&rest, next, now, schedule));
    Ok((changed, ()))
}

/// Which key follows, and when a server lets it sign; at once if there is no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// The key that follows.
    pub kid: String,
    /// When it will sign; none if it does.
    pub due: Option<Timestamp>,
}

/// Publishes a key and lets it sign when it is due, or at once. One that waits for that already is the one.
pub(super) fn rotate(
    ring: &KeyRingRecord,
    now: Timestamp,
    schedule: &Schedule,
    wait: Wait,
    fresh: &KeyRecord,
) -> Changed<Rotation> {
    let waiting = ring.keys.iter().find(|key| key.state == KeyState::Next && key.promote_at.is_some());
    let key = waiting.unwrap_or(fresh);
    if wait == Wait::Not {
        let rotation = Rotation { kid: key.kid.clone(), due: None };
        return Ok((activate(ring, key, now, schedule), rotation));
    }
    let due = key.promote_at.unwrap_or_else(|| now.saturating_add(schedule.publish()));
    let rotation = Rotation { kid: key.kid.clone(), due: Some(due) };
    let added = waiting.is_none().then(|| KeyRecord { promote_at: Some(due), ..fresh.clone() });
    Ok((added.into_iter().collect(), rotation))
}

/// Whether the time of a key that verified is over, even if nobody has written it down yet.
pub(super) fn has_ended(key: &KeyRecord, now: Timestamp) -> bool {
    !key.state.verifies() || key.ends_at.is_some_and(|end| end <= now)
}

/// Whether it is time to publish a key: the one that signs has become old enough, has another algorithm than is wanted,
/// or there is none.
pub(super) fn needs_fresh(
    ring: &KeyRingRecord,
    now: Timestamp,
    schedule: &Schedule,
    algorithm: &str,
) -> bool {
    if ring.keys.iter().any(|key| key.state == KeyState::Next && key.promote_at.is_some()) {
        return false;
    }
    active(ring).is_none_or(|key| {
        let since = key.activated_at.unwrap_or(key.created_at);
        let old = since.saturating_add(schedule.rotate_every) <= now.saturating_add(schedule.publish());
        old || key.algorithm != algorithm
    })
}

/// What time brings by itself: keys whose grace is over end, one whose turn has come signs, and `fresh`, if it was made,
/// is published.
pub(super) fn pass_time(
    ring: &KeyRingRecord,
    now: Timestamp,
    schedule: &Schedule,
    fresh: Option<&KeyRecord>,
) -> Vec<KeyRecord> {
    let over = ring.keys.iter().filter(|key| key.state == KeyState::Retiring && has_ended(key, now));
    let mut changed: Vec<_> =
        over.map(|key| end(key, KeyState::Retired, key.ends_at.unwrap_or(now))).collect();
    let turn = |key: &&KeyRecord| key.state == KeyState::Next && key.promote_at.is_some_and(|at| at <= now);
    if active(ring).is_none() {
        // The first start, or somebody has deleted the rows.
        let next = ring.keys.iter().find(|key| key.state == KeyState::Next).or(fresh);
        changed.extend(next.into_iter().flat_map(|key| activate(ring, key, now, schedule)));
    } else if let Some(key) = ring.keys.iter().find(turn) {
        changed.extend(activate(ring, key, now, schedule));
    } else if let Some(fresh) = fresh {
        let due = now.saturating_add(schedule.publish());
        changed.push(KeyRecord { promote_at: Some(due), ..fresh.clone() });
    }
    changed
}
