//! What passes while the counters are out of reach.
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bailiwick_core::clock::Clock;

/// Counts the requests that passed although nobody could count them: reads, while the counters were out of reach (THR-35).
/// Clones count together.
#[derive(Clone)]
pub(super) struct Uncounted(Arc<Reads>);

struct Reads {
    clock: Arc<dyn Clock>,
    total: AtomicU64,
    /// When it was told last, in milliseconds of the clock, and one more: zero if never.
    told: AtomicU64,
}

impl Uncounted {
    /// How often an outage is told at most.
    const TELL_EVERY: Duration = Duration::from_secs(10);

    /// None yet. When to tell is decided by `clock`.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Reads { clock, total: AtomicU64::new(0), told: AtomicU64::new(0) }))
    }

    /// Counts one. Answers whether it is to be told, which is so for the first and then every
    /// [`TELL_EVERY`](Self::TELL_EVERY) at most.
    pub(super) fn note(&self) -> bool {
        self.0.total.fetch_add(1, Ordering::Relaxed);
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let now = millis(self.0.clock.monotonic()).saturating_add(1);
        let told = self.0.told.load(Ordering::Relaxed);
        let is_due = told == 0 || now.saturating_sub(told) >= millis(Self::TELL_EVERY);
        // Of many at once, one tells.
        is_due && self.0.told.compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// How many there were.
    pub(super) fn total(&self) -> u64 {
        self.0.total.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Uncounted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Uncounted").field(&self.total()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // THR-35
    #[test]
    fn an_outage_is_told_at_once_and_then_now_and_then() {
        struct Manual(AtomicU64);
        impl Clock for Manual {
            fn now(&self) -> bailiwick_core::clock::Timestamp {
                unreachable!("only the time that passes is asked")
            }
            fn monotonic(&self) -> Duration {
                Duration::from_millis(self.0.load(Ordering::Relaxed))
            }
        }
        let clock = Arc::new(Manual(AtomicU64::new(0)));
        let uncounted = Uncounted::new(clock.clone());
        let told = || (0..100).filter(|_| uncounted.note()).count();
        assert_eq!(told(), 1);
        clock.0.store(9_999, Ordering::Relaxed);
        assert_eq!(told(), 0);
        clock.0.store(10_000, Ordering::Relaxed);
        assert_eq!((told(), uncounted.total()), (1, 300));
    }
}
