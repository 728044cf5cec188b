//! The keys of one issuer, as they are held between two readings.
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bailiwick_core::clock::{Clock, Timestamp};

use super::{
    KeySource, SourceError,
    source::{Document, Source, read_file},
};
use crate::authn::jwt::{ExternalClaims, ExternalTokens, Invalid, InvalidKeySet, KeySet, Verified};

/// How long a set is good that comes without `max-age`.
const MAX_AGE: Duration = Duration::from_secs(5 * 60);
/// The least and the most of what `max-age` may say.
const MAX_AGES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(60 * 60)];
/// How old what is known of a file may be.
const FILE_AGE: Duration = Duration::from_secs(1);
/// For how long more a set is used that should have been read again and cannot be.
const GRACE: Duration = Duration::from_secs(60 * 60);
/// How long after one that failed the next reading is tried.
const RETRY: Duration = Duration::from_secs(10);
/// How often unknown keys make a URL be asked (JWT-34).
const UNKNOWN_KEY: Duration = Duration::from_secs(30);
/// How often it is looked whether a set is to be read.
const TICK: Duration = Duration::from_millis(250);

/// An issuer, and what is known of its keys.
pub(super) struct Held {
    tokens: ExternalTokens,
    source: Source,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held by whoever reads: the others wait for what that brings.
    reading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    latest: Option<Latest>,
    /// How often the set was read, or failed to be.
    readings: u64,
    /// When the last reading failed, if it did.
    failed: Option<Duration>,
    /// When the set was read last for want of a key.
    missed: Option<Duration>,
}

#[derive(Clone)]
struct Latest {
    keys: Arc<Keys>,
    /// From when on it is to be read again. Counted from when it was asked for, not from when it came.
    old_at: Duration,
    /// From when on it is not used any more.
    ends_at: Duration,
}

/// A set, and the tokens that were verified with it.
struct Keys {
    document: Vec<u8>,
    set: KeySet,
    verified: Verified<ExternalClaims>,
}

/// Why a token is not accepted.
#[derive(Debug)]
pub(super) enum Refused {
    /// Something is wrong with it.
    Invalid(Invalid),
    /// Nobody knows.
    NoKeys(NoKeys),
}

/// The keys of an issuer could not be read, so that nobody can say whether its tokens are good.
#[derive(Debug, thiserror::Error)]
#[error("the keys of the issuer {issuer} are not known")]
pub(super) struct NoKeys {
    issuer: String,
}

/// For what a set is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// There is none, or it is old.
    Fresh,
    /// It lacks the key of a token.
    Key,
}

impl Held {
    pub(super) fn new(
        tokens: ExternalTokens,
        source: KeySource,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SourceError> {
        let source = Source::new(source)?;
        let (state, reading) = (Mutex::default(), tokio::sync::Mutex::new(()));
        let held = Self { tokens, source, clock, state, reading };
        if let Source::File(path) = &held.source {
            held.take(read_file(path)?, held.clock.monotonic())?;
        }
        Ok(held)
    }

    pub(super) fn issuer(&self) -> &str {
        &self.tokens.issuer
    }

    /// Reads a token that one of the issuer's keys has signed.
    pub(super) async fn verify(self: &Arc<Self>, text: &str) -> Result<Arc<ExternalClaims>, Refused> {
        let readings = self.state().readings;
        let latest = match self.latest() {
            // A file is read so fast that nobody need get what is old.
            Some(latest) if self.is_old(&latest) && self.source.is_file() => {
                self.read(Want::Fresh, readings).await;
                self.latest()
            }
            Some(latest) => {
                if self.is_old(&latest) && self.may_read(Want::Fresh) {
                    drop(self.spawn(Want::Fresh, readings));
                }
                Some(latest)
            }
            None => {
                self.read(Want::Fresh, readings).await;
                self.latest()
            }
        };
        let Some(latest) = latest else { return Err(self.no_keys()) };
        match self.verify_with(&latest.keys, text) {
            Err(Invalid::UnknownKey) => {}
            read => return read.map_err(Refused::Invalid),
        }
        self.read(Want::Key, readings).await;
        let Some(latest) = self.latest() else { return Err(self.no_keys()) };
        match self.verify_with(&latest.keys, text) {
            // The issuer may have another key by now, which nobody here has seen.
            Err(Invalid::UnknownKey) if self.state().failed.is_some() => Err(self.no_keys()),
            read => read.map_err(Refused::Invalid),
        }
    }

    fn verify_with(&self, keys: &Keys, text: &str) -> Result<Arc<ExternalClaims>, Invalid> {
        keys.verify(&self.tokens, text, self.clock.now())
    }

    fn no_keys(&self) -> Refused {
        Refused::NoKeys(NoKeys { issuer: self.tokens.issuer.clone() })
    }

    /// Keeps the set young, for as long as it is polled.
    pub(super) async fn keep(self: &Arc<Self>) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if self.may_read(Want::Fresh) {
                let readings = self.state().readings;
                self.read(Want::Fresh, readings).await;
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is one assignment after the other, none of which can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The set, if there is one that can still be used.
    fn latest(&self) -> Option<Latest> {
        let now = self.clock.monotonic();
        self.state().latest.clone().filter(|latest| now < latest.ends_at)
    }

    fn is_old(&self, latest: &Latest) -> bool {
        self.clock.monotonic() >= latest.old_at
    }

    /// Whether it is time to read the set.
    fn may_read(&self, want: Want) -> bool {
        let now = self.clock.monotonic();
        let state = self.state();
        let over =
            |since: Option<Duration>, wait| since.is_none_or(|since| now.saturating_sub(since) >= wait);
        match want {
            Want::Fresh => {
                let is_old = state.latest.as_ref().is_none_or(|latest| now >= latest.old_at);
                is_old && over(state.failed, RETRY)
            }
            Want::Key => {
                let wait = if self.source.is_file() { FILE_AGE } else { UNKNOWN_KEY };
                over(state.missed, wait)
            }
        }
    }

    /// Reads the set, unless it has been read since there were so many `readings`, or it is not time yet. Answers when that
    /// is done.
    async fn read(self: &Arc<Self>, want: Want, readings: u64) {
        if self.may_read(want) || self.reading.try_lock().is_err() {
            // That it broke off is seen by what is known then.
            let _ = self.spawn(want, readings).await;
        }
    }

    /// The reading is a task of its own: a client that goes away does not break it off for the others.
    fn spawn(self: &Arc<Self>, want: Want, readings: u64) -> tokio::task::JoinHandle<()> {
        let held = Arc::clone(self);
        tokio::spawn(async move {
            let _reading = held.reading.lock().await;
            if held.state().readings != readings || !held.may_read(want) {
                return;
            }
            let asked = held.clock.monotonic();
            if want == Want::Key {
                held.state().missed = Some(asked);
            }
            let read = held.source.read().await.and_then(|document| Ok(held.take(document, asked)?));
            held.note(read.err(), asked);
        })
    }

    /// Puts a document in the place of the one before.
    fn take(&self, document: Document, asked: Duration) -> Result<(), InvalidKeySet> {
        let Document { bytes, max_age } = document;
        let known = self.state().latest.as_ref().map(|latest| Arc::clone(&latest.keys));
        let keys = match known.filter(|keys| keys.document == bytes) {
            Some(same) => same,
            None => {
                let keys = Arc::new(Keys::new(bytes)?);
                let (issuer, set) = (self.issuer(), &keys.set);
                tracing::info!(
                    issuer,
                    keys = set.len(),
                    left_out = set.left_out(),
                    "the keys of an issuer were read"
                );
                keys
            }
        };
        let age = if self.source.is_file() {
            FILE_AGE
        } else {
            let [least, most] = MAX_AGES;
            max_age.unwrap_or(MAX_AGE).clamp(least, most)
        };
        let old_at = asked + age;
        self.state().latest = Some(Latest { keys, old_at, ends_at: old_at + GRACE });
        Ok(())
    }

    /// Notes how a reading went. That it fails is said once, and not again until it has gone well.
    fn note(&self, error: Option<SourceError>, asked: Duration) {
        let had_failed = {
            let mut state = self.state();
            state.readings += 1;
            std::mem::replace(&mut state.failed, error.is_some().then_some(asked)).is_some()
        };
        let issuer = self.issuer();
        match error {
            Some(error) if !had_failed => {
                let (from, error): (_, &dyn std::error::Error) = (&self.source, &error);
                tracing::warn!(issuer, %from, error, "the keys of an issuer cannot be read");
            }
            None if had_failed => tracing::info!(issuer, "the keys of an issuer can be read again"),
            _ => {}
        }
    }
}

impl Keys {
    fn new(document: Vec<u8>) -> Result<Self, InvalidKeySet> {
        let set = KeySet::parse(&document)?;
        Ok(Self { document, set, verified: Verified::new() })
    }

    fn verify(
        &self,
        tokens: &ExternalTokens,
        text: &str,
        now: Timestamp,
    ) -> Result<Arc<ExternalClaims>, Invalid> {
        let in_time = |claims: &ExternalClaims| tokens.in_time(claims, now);
        self.verified.read(text, in_time, || tokens.verify(text, now, &self.set))
    }
}
