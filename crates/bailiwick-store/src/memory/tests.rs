use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use bailiwick_core::{clock::Timestamp, store::Caller, units::Rate};

use super::*;

struct Manual(AtomicU64);

impl Manual {
    fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU64::new(1)))
    }

    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for Manual {
    fn now(&self) -> Timestamp {
        unreachable!("counters go by the monotonic clock")
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }
}

fn charge(policy: &'static str, caller: u32, rate: Rate) -> Charge {
    let caller = Caller::Address(IpAddr::V4(Ipv4Addr::from_bits(caller)));
    Charge::new(CounterKey { policy, caller }, rate)
}

fn allowed(counters: &MemoryCounters, charges: &[Charge]) -> bool {
    counters.spend_now(charges).unwrap().iter().all(|verdict| verdict.allowed)
}

// PWD-17
#[test]
fn a_quota_that_is_refilled_is_whole_and_no_other_is() {
    let counters = MemoryCounters::new(Manual::new());
    let charges = [1, 2].map(|caller| charge("login_account", caller, Rate::per_minute(2)));
    for charge in &charges {
        while allowed(&counters, std::slice::from_ref(charge)) {}
    }
    let refill = counters.refill(&charges[0].key);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(refill).unwrap();
    assert!(allowed(&counters, &charges[..1]) && allowed(&counters, &charges[..1]));
    assert!(!allowed(&counters, &charges[..1]) && !allowed(&counters, &charges[1..]));
}

// THR-33
#[test]
fn exactly_the_quota_is_admitted_from_many_threads() {
    let counters = MemoryCounters::new(Manual::new());
    let admitted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..200 {
                    if allowed(&counters, &[charge("anon", 1, Rate::per_minute(1000))]) {
                        admitted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 1000);
}

// THR-33, THR-37
#[test]
fn exactly_the_quota_is_spent_from_many_threads_whatever_each_charge_costs() {
    let counters = MemoryCounters::new(Manual::new());
    let spent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..16_u32 {
            let (counters, spent) = (&counters, &spent);
            scope.spawn(move || {
                for at in 0..200 {
                    let cost = NonZeroU32::new((thread + at) % 6 + 1).unwrap();
                    let charge = charge("user", 1, Rate::per_minute(1000)).costing(cost);
                    if allowed(counters, &[charge]) {
                        spent.fetch_add(cost.get() as usize, Ordering::SeqCst);
                    }
                }
                // Last of all, one unit at a time, until there is none.
                while allowed(counters, &[charge("user", 1, Rate::per_minute(1000))]) {
                    spent.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(spent.into_inner(), 1000);
}

// THR-33
#[test]
fn several_quotas_are_spent_together_or_not_at_all_from_many_threads() {
    let counters = MemoryCounters::new(Manual::new());
    let admitted = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..8 {
            let (counters, admitted) = (&counters, &admitted);
            scope.spawn(move || {
                for at in 0..100 {
                    // In both orders: were the locks taken in the order of the charges, this would never end.
                    let mut charges: Vec<_> =
                        (0..8).map(|caller| charge("anon", caller, Rate::per_minute(500))).collect();
                    charges.push(charge("login", 1, Rate::per_minute(300)));
                    if (thread + at) % 2 == 0 {
                        charges.reverse();
                    }
                    if allowed(counters, &charges) {
                        admitted.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.into_inner(), 300);
    // What was refused by `login` was not taken from `anon`.
    let left = counters.spend_now(&[charge("anon", 1, Rate::per_minute(500))]).unwrap();
    assert_eq!(left[0].remaining, 199);
}

#[test]
fn a_refusal_says_what_is_left_of_each_quota_and_when_to_come_back() {
    let counters = MemoryCounters::new(Manual::new());
    let charges = [charge("login", 1, Rate::per_minute(5)), charge("anon", 1, Rate::per_minute(60))];
    for left in (0..5).rev() {
        let verdicts = counters.spend_now(&charges).unwrap();
        assert_eq!((verdicts[0].remaining, verdicts[1].remaining), (left, 55 + left));
    }
    for _ in 0..3 {
        let verdicts = counters.spend_now(&charges).unwrap();
        assert!(!verdicts[0].allowed);
        assert_eq!(verdicts[0].next, Duration::from_secs(12));
        assert_eq!((verdicts[1].allowed, verdicts[1].remaining), (true, 55));
    }
}

#[test]
fn one_quota_charged_twice_is_spent_twice_or_not_at_all() {
    let counters = MemoryCounters::new(Manual::new());
    let twice = [charge("anon", 1, Rate::per_minute(3)), charge("anon", 1, Rate::per_minute(3))];
    assert!(allowed(&counters, &twice));
    assert!(!allowed(&counters, &twice));
    assert!(allowed(&counters, &twice[..1]));
    assert!(!allowed(&counters, &twice[..1]));
}

// THR-34
#[test]
fn only_full_quotas_are_forgotten_and_without_room_nothing_is_decided() {
    let clock = Manual::new();
    let counters = MemoryCounters::with_max_keys(Arc::clone(&clock) as Arc<dyn Clock>, 10);
    let rate = Rate::per_minute(2);
    for caller in 0..10 {
        assert!(allowed(&counters, &[charge("anon", caller, rate)]));
    }
    let one_more = [charge("anon", 10, rate)];
    for _ in 0..3 {
        assert!(matches!(counters.spend_now(&one_more), Err(StoreError::Unavailable(_))));
    }
    // Whoever is known is still counted: their second unit is there, their third is not.
    assert!(allowed(&counters, &[charge("anon", 0, rate)]));
    assert!(!allowed(&counters, &[charge("anon", 0, rate)]));
    // Half a minute later nine quotas are full, and may go; the tenth is remembered.
    clock.advance(Duration::from_secs(30));
    assert!(allowed(&counters, &one_more));
    assert!(allowed(&counters, &[charge("anon", 0, rate)]));
    assert!(!allowed(&counters, &[charge("anon", 0, rate)]));
}

// THR-34
#[test]
fn a_new_caller_without_room_spends_nothing_of_a_known_quota() {
    let counters = MemoryCounters::with_max_keys(Manual::new(), 1);
    let known = charge("login", 1, Rate::per_minute(2));
    assert!(allowed(&counters, std::slice::from_ref(&known)));
    let both = [known.clone(), charge("anon", 1, Rate::per_minute(2))];
    assert!(matches!(counters.spend_now(&both), Err(StoreError::Unavailable(_))));
    assert!(allowed(&counters, &[known]));
}

// THR-34
#[test]
fn a_flood_of_callers_that_come_once_does_not_fill_the_memory() {
    let clock = Manual::new();
    let counters = MemoryCounters::new(Arc::clone(&clock) as Arc<dyn Clock>);
    for caller in 0..50_000 {
        assert!(allowed(&counters, &[charge("anon", caller, Rate::per_second(100))]));
        clock.advance(Duration::from_micros(100));
    }
    // A quota of these is full again after 10 ms, so 100 are remembered for a reason.
    let kept: usize = counters.shards.iter().map(|shard| shard.lock().unwrap().arrivals.len()).sum();
    assert!(kept <= 64 * MIN_SWEEP, "{kept}");
}

#[test]
fn a_store_has_room_for_all_the_keys_it_promises() {
    for max_keys in [1, 10, MIN_KEYS_OF_SHARD, 2 * MIN_KEYS_OF_SHARD, 1_000_000] {
        let counters = MemoryCounters::with_max_keys(Manual::new(), max_keys);
        assert!(counters.shards.len().is_power_of_two());
        assert!(counters.max_keys_of_shard * counters.shards.len() > max_keys - counters.shards.len());
        assert!(counters.max_keys_of_shard * counters.shards.len() <= max_keys);
    }
}
