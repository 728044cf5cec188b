//! Counters in the memory of one process.
//!
//! Exact under any concurrency (THR-33), and bounded: what cannot be remembered is refused, never let pass (THR-34).
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bailiwick_core::{
    clock::Clock,
    error::StoreError,
    store::{Answer, Charge, CounterKey, CounterStore, Gcra, Verdict},
};
use smallvec::SmallVec;

/// Counts what callers spend, in one process. A restart forgets it all.
///
/// ```
/// use std::sync::Arc;
///
/// use bailiwick_core::clock::SystemClock;
/// use bailiwick_store::MemoryCounters;
///
/// let counters = MemoryCounters::new(Arc::new(SystemClock::new()));
/// # let _ = counters;
/// ```
pub struct MemoryCounters {
    clock: Arc<dyn Clock>,
    /// Chooses the shard of a key. Its seed is random: nobody can aim all their keys at one shard.
    hasher: RandomState,
    /// A power of two of them.
    shards: Box<[Mutex<Shard>]>,
    max_keys_of_shard: usize,
}

/// Some of the counters, behind one lock.
#[derive(Default)]
struct Shard {
    /// When each quota will be full again, in nanoseconds of the clock; one that is full is as good as forgotten.
    arrivals: HashMap<CounterKey, u64>,
    /// At how many keys to look for those that may be forgotten.
    sweep_at: usize,
    /// When that was done last with no room left, in nanoseconds of the clock.
    last_sweep: u64,
}

/// How many keys one shard has at least, so that a small store is not split into shards that fill unevenly.
const MIN_KEYS_OF_SHARD: usize = 4096;
const MAX_SHARDS: usize = 64;
/// Below this many keys, forgetting is not worth a look.
const MIN_SWEEP: usize = 256;
/// How often a shard without room is looked through: each time costs a millisecond, and whoever floods it pays none.
const SWEEP_EVERY: u64 = 100_000_000;

impl MemoryCounters {
    /// How many keys are remembered at most, unless [`with_max_keys`](Self::with_max_keys) says otherwise. Each takes
    /// about 60 bytes.
    pub const DEFAULT_MAX_KEYS: usize = 1_000_000;

    /// Counters that go by `clock`, which must not go backwards: [`Clock::monotonic`] is asked.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_max_keys(clock, Self::DEFAULT_MAX_KEYS)
    }

    /// Counters that remember at most `max_keys` quotas that are not full; with more, nothing can be decided on a
    /// quota that is not among them, and the store says that it is out of reach.
    pub fn with_max_keys(clock: Arc<dyn Clock>, max_keys: usize) -> Self {
        let shards = (max_keys / MIN_KEYS_OF_SHARD).clamp(1, MAX_SHARDS);
        let shards = 1 << shards.ilog2();
        Self {
            clock,
            hasher: RandomState::new(),
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            max_keys_of_shard: max_keys / shards,
        }
    }

    fn spend_now(&self, charges: &[Charge]) -> Result<Vec<Verdict>, StoreError> {
        let mut locked = Locked::of(self, charges);
        // After the locks: what another has spent is never later than now.
        let now = self.now();

        let mut verdicts = Vec::with_capacity(charges.len());
        let mut spent: SmallVec<[(&CounterKey, u64); 4]> = SmallVec::new();
        for Charge { key, rate, cost } in charges {
            let (verdict, after) = Gcra::new(*rate).decide(locked.arrival(key, &spent), now, *cost);
            verdicts.push(verdict);
            spent.push((key, after));
        }
        if verdicts.iter().any(|verdict| !verdict.allowed) {
            // All or none: what the others would have had left is what they still have.
            for (verdict, Charge { key, rate, .. }) in verdicts.iter_mut().zip(charges) {
                if verdict.allowed {
                    *verdict = Gcra::new(*rate).look(locked.arrival(key, &[]), now);
                }
            }
            return Ok(verdicts);
        }
        locked.make_room(charges, self.max_keys_of_shard, now)?;
        for (key, after) in spent {
            locked.shard(key).arrivals.insert(key.clone(), after);
        }
        Ok(verdicts)
    }

    /// In nanoseconds.
    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }

    fn lock(&self, shard: usize) -> MutexGuard<'_, Shard> {
        // A panic cannot leave a shard half changed: each change is one insertion.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard_of(&self, key: &CounterKey) -> usize {
        // The length is a power of two.
        usize::try_from(self.hasher.hash_one(key)).unwrap_or(0) & (self.shards.len() - 1)
    }
}

impl CounterStore for MemoryCounters {
    fn spend<'a>(&'a self, charges: &'a [Charge]) -> Answer<'a, Vec<Verdict>> {
        Box::pin(async move { self.spend_now(charges) })
    }

    fn refill<'a>(&'a self, key: &'a CounterKey) -> Answer<'a, ()> {
        Box::pin(async move {
            self.lock(self.shard_of(key)).arrivals.remove(key);
            Ok(())
        })
    }

    fn give_back<'a>(&'a self, charge: &'a Charge) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut shard = self.lock(self.shard_of(&charge.key));
            let now = self.now();
            // What is not known is whole.
            if let Some(arrival) = shard.arrivals.get_mut(&charge.key) {
                *arrival = Gcra::new(charge.rate).given_back(*arrival, now, charge.cost);
            }
            Ok(())
        })
    }
}

impl std::fmt::Debug for MemoryCounters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryCounters")
            .field("max_keys_of_shard", &self.max_keys_of_shard)
            .finish_non_exhaustive()
    }
}

/// The shards of some charges, all locked.
struct Locked<'s> {
    counters: &'s MemoryCounters,
    shards: SmallVec<[(usize, MutexGuard<'s, Shard>); 4]>,
}

impl<'s> Locked<'s> {
    /// Locks each shard once, in their order: two calls never wait for each other.
    fn of(counters: &'s MemoryCounters, charges: &[Charge]) -> Self {
        let mut numbers: SmallVec<[usize; 4]> =
            charges.iter().map(|charge| counters.shard_of(&charge.key)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let lock = |number: usize| (number, counters.lock(number));
        Self { counters, shards: numbers.into_iter().map(lock).collect() }
    }

    fn shard(&mut self, key: &CounterKey) -> &mut Shard {
        let number = self.counters.shard_of(key);
        let shard = self.shards.iter_mut().find(|(locked, _)| *locked == number);
        &mut shard.expect("the shards of all charges are locked").1
    }

    /// When the quota of `key` is full again, as `spent` leaves it.
    fn arrival(&mut self, key: &CounterKey, spent: &[(&CounterKey, u64)]) -> u64 {
        match spent.iter().rev().find(|(other, _)| *other == key) {
            Some((_, arrival)) => *arrival,
            None => self.shard(key).arrivals.get(key).copied().unwrap_or(0),
        }
    }

    /// Makes sure that each new key fits, before any is inserted.
    fn make_room(&mut self, charges: &[Charge], max_keys: usize, now: u64) -> Result<(), StoreError> {
        let counters = self.counters;
        for (number, shard) in &mut self.shards {
            let new = charges.iter().enumerate().filter(|(at, Charge { key, .. })| {
                counters.shard_of(key) == *number
                    && !shard.arrivals.contains_key(key)
                    && !charges[..*at].iter().any(|earlier| earlier.key == *key)
            });
            let new = new.count();
            if new > 0 && !shard.make_room(new, max_keys, now) {
                return Err(StoreError::Unavailable("too many callers to count".into()));
            }
        }
        Ok(())
    }
}

impl Shard {
    /// Forgets quotas that are full, now and then: a look through all keys is paid for by as many that came before.
    fn make_room(&mut self, new: usize, max_keys: usize, now: u64) -> bool {
        let wanted = self.arrivals.len() + new;
        let has_room = wanted <= max_keys;
        let is_due = if has_room {
            wanted > self.sweep_at.max(MIN_SWEEP)
        } else {
            self.last_sweep == 0 || now.saturating_sub(self.last_sweep) >= SWEEP_EVERY
        };
        if !is_due {
            return has_room;
        }
        self.arrivals.retain(|_, arrival| !Gcra::is_full(*arrival, now));
        self.sweep_at = self.arrivals.len() * 2;
        if !has_room {
            self.last_sweep = now;
        }
        self.arrivals.len() + new <= max_keys
    }
}
