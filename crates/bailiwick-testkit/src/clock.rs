//! Time and randomness that a test decides (invariant I10).
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bailiwick_core::{
    audit::{Act, AuditKeys},
    clock::{Clock, Entropy, Timestamp},
    secret::Secret,
};

/// A clock that stands still until the test moves it. Clones show the same time.
///
/// It starts at 2026-01-01T00:00:00Z.
///
/// ```
/// use std::time::Duration;
///
/// use bailiwick_core::clock::Clock;
/// use bailiwick_testkit::FakeClock;
///
/// let clock = FakeClock::new();
/// let before = clock.now();
/// clock.advance(Duration::from_secs(90));
/// assert_eq!(clock.now().saturating_since(before), Duration::from_secs(90));
/// assert_eq!(clock.monotonic(), Duration::from_secs(90));
/// ```
#[derive(Clone, Debug)]
pub struct FakeClock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    now: Timestamp,
    monotonic: Duration,
}

impl FakeClock {
    /// A clock that shows 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self::at(Timestamp::from_micros(1_767_225_600_000_000))
    }

    /// A clock that shows `now`; `monotonic` starts at zero.
    pub fn at(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Hands { now, monotonic: Duration::ZERO })))
    }

    /// Lets `time` pass: the time of day and the monotonic time move together.
    pub fn advance(&self, time: Duration) {
        let mut hands = self.hands();
        hands.now = hands.now.saturating_add(time);
        hands.monotonic = hands.monotonic.saturating_add(time);
    }

    /// Sets the time of day, also back, as an operator or NTP may (RST-08); the monotonic time stays.
    pub fn set(&self, now: Timestamp) {
        self.hands().now = now;
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        // A test that panicked elsewhere has left both hands whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for FakeClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.hands().now
    }

    fn monotonic(&self) -> Duration {
        self.hands().monotonic
    }
}

/// Bytes that look random and are the same in every run with the same seed. Clones draw from the same sequence.
///
/// # Security
/// For tests only: whoever knows the seed knows every token and key that is made of it.
#[derive(Clone, Debug)]
pub struct SeededEntropy(Arc<Mutex<u64>>);

impl SeededEntropy {
    /// The sequence that `seed` begins.
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed)))
    }
}

impl Default for SeededEntropy {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&split_mix(&mut state).to_le_bytes()[..chunk.len()]);
        }
    }
}

/// SplitMix64: every state is reached once, so no id repeats within a test.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// What a test does to a store by itself, at the time that a [`FakeClock`] begins with: for calls whose entry in the audit
/// trail does not matter.
pub fn act() -> Act {
    Act::system(FakeClock::new().now())
}

/// What the audit trails of tests are linked with.
pub fn audit_keys() -> AuditKeys {
    AuditKeys::new(&Secret::new([0x5a; 32]), [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clone_shows_the_time_that_was_set_on_the_original() {
        let clock = FakeClock::new();
        let clone = clock.clone();
        assert_eq!(clone.now().to_string(), "2026-01-01T00:00:00.000000Z");
        clock.advance(Duration::from_millis(1500));
        assert_eq!(clone.now().to_string(), "2026-01-01T00:00:01.500000Z");
    }

    // RST-08
    #[test]
    fn the_time_of_day_can_go_back_and_the_monotonic_time_does_not() {
        let clock = FakeClock::new();
        clock.advance(Duration::from_secs(10));
        clock.set(Timestamp::from_micros(0));
        assert_eq!(clock.now(), Timestamp::from_micros(0));
        assert_eq!(clock.monotonic(), Duration::from_secs(10));
    }

    #[test]
    fn one_seed_gives_one_sequence_and_does_not_repeat_itself() {
        let drawn = |entropy: &SeededEntropy| {
            let mut bytes = [0; 12];
            entropy.fill(&mut bytes);
            bytes
        };
        let (one, again, other) = (SeededEntropy::new(7), SeededEntropy::new(7), SeededEntropy::new(8));
        let first = drawn(&one);
        assert_eq!(first, drawn(&again));
        assert_ne!(first, drawn(&other));
        assert_ne!(first, drawn(&one));
    }
}
