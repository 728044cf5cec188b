//! The ring of keys that sign access tokens: kept in the database, encrypted, and shared by all servers.
//!
//! A [`KeyRing`] holds the keys of the ring decrypted, and looks at the ring's version every [`KeyRing::LOOK`]: what one
//! process changes is in force in all of them within a second. Whoever serves runs [`KeyRing::keep`], which does that
//! before anybody has to wait for it, and does what time brings: keys follow each other, end, and are encrypted anew.
//!
//! # Security
//! A ring that cannot be looked at lets nobody in: what it says may be older than a key's end (I9). The version is raised
//! by every change in the transaction of the change, so that no two processes ever sign with keys of which one has ended.
mod change;
mod opened;
mod seal;
#[cfg(test)]
mod tests;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use bailiwick_core::{
    audit::{Act, Actor, Noted},
    clock::{Clock, Entropy, Timestamp},
    error::StoreError,
    store::{KeyPurpose, KeyRecord, KeyRingRecord, KeyState, Store},
};

use self::change::{Changed, active, needs_fresh, pass_time};
pub use self::{
    change::{Refusal, Rotation, Schedule, Wait},
    opened::Keys,
    seal::{MasterKeys, SealError},
};
use super::jwt::{AccessClaims, AccessTokens, Algorithm, Invalid, KeyError, SigningKey};

/// The ring this is about.
const RING: KeyPurpose = KeyPurpose::AccessTokens;
/// How often a change is tried again that others were faster with.
const ATTEMPTS: u32 = 50;

/// Why there are no keys to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RingError {
    /// The store failed.
    #[error("the key ring could not be read or changed")]
    Store(#[from] StoreError),
    /// A private key cannot be decrypted.
    #[error("the signing key {kid} cannot be read")]
    Sealed {
        /// The key.
        kid: String,
        /// Why.
        source: SealError,
    },
    /// A key could not be made or used.
    #[error("a signing key could not be made or used")]
    Key(#[from] KeyError),
    /// What was asked cannot be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Others changed the ring again and again.
    #[error("the key ring was changed by others again and again")]
    Busy,
}

/// The keys of a ring. Cheap to clone.
#[derive(Clone)]
pub struct KeyRing {
    parts: Arc<Parts>,
    actor: Actor,
    noted: Noted,
}

struct Parts {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    master: MasterKeys,
    algorithm: Algorithm,
    schedule: Schedule,
    latest: RwLock<Option<Latest>>,
    /// Held by whoever looks: the others wait for what that brings.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Latest {
    keys: Arc<Keys>,
    /// When the store was asked, not when it answered.
    asked: Duration,
}

impl KeyRing {
    /// How old what is known of the ring may be.
    pub const LOOK: Duration = Duration::from_millis(500);

    /// The ring of `store`, whose new keys have this algorithm. It is not looked at yet.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        master: MasterKeys,
        algorithm: Algorithm,
        schedule: Schedule,
    ) -> Self {
        let (latest, looking) = (RwLock::new(None), tokio::sync::Mutex::new(()));
        let parts = Parts { store, clock, entropy, master, algorithm, schedule, latest, looking };
        Self { parts: Arc::new(parts), actor: Actor::SYSTEM, noted: Noted::default() }
    }

    /// The same ring, in whose trail it is told that `actor` changed it (KEY-10): else the server did by itself.
    #[must_use]
    pub fn by(mut self, actor: Actor) -> Self {
        self.actor = actor;
        self
    }

    /// The same ring, where the witnesses of `noted` are told what becomes of its keys here: else nobody is.
    #[must_use]
    pub fn noted_in(mut self, noted: Noted) -> Self {
        self.noted = noted;
        self
    }

    /// The times that keys go by.
    pub fn schedule(&self) -> &Schedule {
        &self.parts.schedule
    }

    pub(super) fn master(&self) -> &MasterKeys {
        &self.parts.master
    }

    /// The keys, as they were less than [`KeyRing::LOOK`] ago. Where there is none that signs, one is made.
    ///
    /// # Errors
    /// If the store fails, or a key cannot be decrypted.
    pub async fn keys(&self) -> Result<Arc<Keys>, RingError> {
        if let Some(keys) = self.parts.fresh() {
            return Ok(keys);
        }
        let _looking = self.parts.looking.lock().await;
        match self.parts.fresh() {
            Some(keys) => Ok(keys),
            None => self.look().await,
        }
    }

    /// Reads an access token that one of the keys has signed.
    ///
    /// Another server may have begun to sign with a key that is not known here yet: a token of an unknown key is refused
    /// only after the ring was looked at again. That is one question to the store, as any other token costs, and all who
    /// ask meanwhile share it.
    ///
    /// # Errors
    /// If the ring cannot be looked at. Inside: what is wrong with the token.
    pub async fn verify(
        &self,
        tokens: &AccessTokens,
        text: &str,
    ) -> Result<Result<Arc<AccessClaims>, Invalid>, RingError> {
        let began = self.parts.clock.monotonic();
        let read = self.keys().await?.verify(tokens, text, self.parts.clock.now());
        if !matches!(read, Err(Invalid::UnknownKey)) {
            return Ok(read);
        }
        let _looking = self.parts.looking.lock().await;
        let keys = match self.parts.latest() {
            Some(latest) if latest.asked > began => latest.keys,
            _ => self.look().await?,
        };
        Ok(keys.verify(tokens, text, self.parts.clock.now()))
    }

    /// Looks at the ring's version, and reads the ring if it is another than is known.
    async fn look(&self) -> Result<Arc<Keys>, RingError> {
        loop {
            let asked = self.parts.clock.monotonic();
            let known = self.parts.latest();
            let version = self.parts.store.key_ring_version(RING).await?;
            let keys = match known {
                Some(known) if known.keys.record.version == version => known.keys,
                known => {
                    let keys =
                        Arc::new(Keys::open(self.parts.store.key_ring(RING).await?, &self.parts.master)?);
                    if let Some(known) = known {
                        tell_of_changes(&known.keys.record, &keys.record);
                    }
                    keys
                }
            };
            if keys.signing.is_none() {
                self.begin().await?;
                continue;
            }
            *self.parts.latest.write().unwrap_or_else(PoisonError::into_inner) =
                Some(Latest { keys: Arc::clone(&keys), asked });
            return Ok(keys);
        }
    }

    /// Makes the first key sign. If somebody else was faster, theirs does.
    async fn begin(&self) -> Result<(), RingError> {
        let fresh = self.make().await?;
        let schedule = self.parts.schedule;
        self.try_change(|ring, now| match active(ring) {
            Some(_) => Ok((Vec::new(), ())),
            None => Ok((pass_time(ring, now, &schedule, Some(&fresh)), ())),
        })
        .await
    }

    /// The keys as they are stored, ended ones too, the oldest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, RingError> {
        Ok(self.parts.store.key_ring(RING).await?.keys)
    }

    /// Publishes a key, which signs when it is [promoted](Self::promote). Answers with its `kid`.
    ///
    /// # Errors
    /// If the store fails, or the key cannot be made.
    pub async fn generate(&self) -> Result<String, RingError> {
        let fresh = self.make().await?;
        self.change(|_, _| Ok((vec![fresh.clone()], fresh.kid.clone()))).await
    }

    /// Lets a key sign instead of the one that does, which retires.
    ///
    /// # Errors
    /// If there is no such key, or it is not its turn.
    pub async fn promote(&self, kid: &str, wait: Wait) -> Result<(), RingError> {
        self.change(|ring, now| change::promote(ring, kid, now, &self.parts.schedule, wait)).await
    }

    /// Stops a key signing; it verifies through the grace. Another that is due takes over.
    ///
    /// # Errors
    /// If there is no such key, none can take over, or it is over already.
    pub async fn retire(&self, kid: &str) -> Result<(), RingError> {
        self.change(|ring, now| change::retire(ring, kid, now, &self.parts.schedule)).await
    }

    /// Ends a key and all that it signed at once (KEY-04). If it was the one that signs, another one does.
    ///
    /// # Errors
    /// If there is no such key, or it was revoked already.
    pub async fn revoke(&self, kid: &str) -> Result<(), RingError> {
        let fresh = self.make().await?;
        self.change(|ring, now| change::revoke(ring, kid, now, &self.parts.schedule, &fresh)).await
    }

    /// Publishes a key and lets it sign: when nobody can have a JWKS document without it, by a server that is running
    /// then, or at once.
    ///
    /// # Errors
    /// If the store fails, or the key cannot be made.
    pub async fn rotate(&self, wait: Wait) -> Result<Rotation, RingError> {
        let fresh = self.make().await?;
        self.change(|ring, now| change::rotate(ring, now, &self.parts.schedule, wait, &fresh)).await
    }

    /// Does once what [`keep`](Self::keep) does: looks at the ring, and does what time brings.
    ///
    /// # Errors
    /// If the store fails, or a key cannot be made or decrypted.
    pub async fn tend(&self) -> Result<(), RingError> {
        let keys = {
            let _looking = self.parts.looking.lock().await;
            self.look().await?
        };
        let (now, schedule) = (self.parts.clock.now(), self.parts.schedule);
        let needs_fresh =
            |ring: &KeyRingRecord, now| needs_fresh(ring, now, &schedule, self.parts.algorithm.as_str());
        let fresh = if needs_fresh(&keys.record, now) { Some(self.make().await?) } else { None };
        let idle = fresh.is_none()
            && pass_time(&keys.record, now, &schedule, None).is_empty()
            && self.parts.sealed_anew(&keys.record)?.is_empty();
        if idle {
            return Ok(());
        }
        // What others did since is looked at again: of many servers one makes the key.
        self.change(|ring, now| {
            let fresh = fresh.as_ref().filter(|_| needs_fresh(ring, now));
            let mut changed = pass_time(ring, now, &schedule, fresh);
            let anew = self.parts.sealed_anew(ring).unwrap_or_default();
            changed.extend(anew.into_iter().filter(|key| !ring_has(&changed, &key.kid)).collect::<Vec<_>>());
            Ok((changed, ()))
        })
        .await
    }

    /// Keeps what is known of the ring young, and does what time brings, for as long as it is polled.
    pub async fn keep(&self) {
        let mut ticks = tokio::time::interval(Self::LOOK / 2);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failed = false;
        loop {
            ticks.tick().await;
            match self.tend().await {
                Ok(()) => failed = false,
                // Said once, not four times a second; requests that need a key are refused meanwhile.
                Err(error) => {
                    if !std::mem::replace(&mut failed, true) {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(error, "the ring of signing keys cannot be kept");
                    }
                }
            }
        }
    }

    /// A key that nobody knows of yet. RSA takes its time, so it is made on a thread of its own.
    async fn make(&self) -> Result<KeyRecord, RingError> {
        let (algorithm, entropy) = (self.parts.algorithm, Arc::clone(&self.parts.entropy));
        let made = tokio::task::spawn_blocking(move || SigningKey::generate(algorithm, &*entropy)).await;
        let (key, private) = made.unwrap_or(Err(KeyError::NotMade))?;
        Ok(KeyRecord {
            kid: key.kid().to_owned(),
            algorithm: algorithm.as_str().to_owned(),
            state: KeyState::Next,
            sealed_by: self.parts.master.id().to_owned(),
            sealed: self.parts.master.seal(key.kid(), &private, &*self.parts.entropy),
            created_at: self.parts.clock.now(),
            promote_at: None,
            activated_at: None,
            retiring_at: None,
            ends_at: None,
        })
    }

    /// Changes the ring, and knows of it when this answers.
    async fn change<T>(
        &self,
        work: impl Fn(&KeyRingRecord, Timestamp) -> Changed<T>,
    ) -> Result<T, RingError> {
        let value = self.try_change(work).await?;
        let _looking = self.parts.looking.lock().await;
        self.look().await?;
        Ok(value)
    }

    /// Changes the ring from the version that was read; again, if others were faster.
    async fn try_change<T>(
        &self,
        work: impl Fn(&KeyRingRecord, Timestamp) -> Changed<T>,
    ) -> Result<T, RingError> {
        for _ in 0..ATTEMPTS {
            let ring = self.parts.store.key_ring(RING).await?;
            let now = self.parts.clock.now();
            let (changed, value) = work(&ring, now)?;
            if changed.is_empty() {
                return Ok(value);
            }
            let act = Act::of(self.actor.clone(), now).noted_in(self.noted.clone());
            if self.parts.store.change_keys(RING, ring.version, changed, act).await? {
                return Ok(value);
            }
        }
        Err(RingError::Busy)
    }
}

/// Whoever changed a key, each server says so when it acts on it (KEY-10).
fn tell_of_changes(before: &KeyRingRecord, after: &KeyRingRecord) {
    for key in &after.keys {
        let was = before.keys.iter().find(|old| old.kid == key.kid).map(|old| old.state);
        if was != Some(key.state) {
            let (kid, state) = (key.kid.as_str(), key.state.as_str());
            tracing::warn!(kid, state, was = was.map(KeyState::as_str), "a signing key has changed");
        }
    }
}

fn ring_has(keys: &[KeyRecord], kid: &str) -> bool {
    keys.iter().any(|key| key.kid == kid)
}

impl Parts {
    fn latest(&self) -> Option<Latest> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn fresh(&self) -> Option<Arc<Keys>> {
        let latest = self.latest()?;
        let age = self.clock.monotonic().saturating_sub(latest.asked);
        (age < KeyRing::LOOK).then_some(latest.keys)
    }

    /// The keys that are encrypted under a former master key, encrypted under the current one (KEY-12).
    fn sealed_anew(&self, ring: &KeyRingRecord) -> Result<Vec<KeyRecord>, RingError> {
        let is_old = |key: &&KeyRecord| key.state.verifies() && key.sealed_by != self.master.id();
        let anew = ring.keys.iter().filter(is_old).map(|key| {
            let private =
                self.master.open(key).map_err(|source| RingError::Sealed { kid: key.kid.clone(), source })?;
            let mut anew = key.clone();
            anew.sealed_by = self.master.id().to_owned();
            anew.sealed = self.master.seal(&key.kid, &private, &*self.entropy);
            Ok(anew)
        });
        anew.collect()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRing").field("algorithm", &self.parts.algorithm).finish_non_exhaustive()
    }
}
