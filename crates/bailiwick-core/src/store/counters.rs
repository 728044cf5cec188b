//! Counters for rate limits: the generic cell rate algorithm, once for all stores.
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    time::Duration,
};

use sha2::{Digest, Sha256};

use super::Answer;
use crate::{identity::UserId, units::Rate};

/// Counts what callers spend. The count is exact under any concurrency (THR-33).
pub trait CounterStore: Send + Sync + 'static {
    /// Spends all charges, or none: if one quota is used up, nothing is spent of the others, and the verdicts say
    /// what each quota has left.
    ///
    /// # Errors
    /// If the counters are out of reach: nothing can be decided then (I9).
    fn spend<'a>(&'a self, charges: &'a [Charge]) -> Answer<'a, Vec<Verdict>>;

    /// Fills a quota again, as if nothing had been spent of it.
    ///
    /// # Errors
    /// If the counters are out of reach: the quota is as it was.
    fn refill<'a>(&'a self, key: &'a CounterKey) -> Answer<'a, ()>;

    /// Takes back one charge that was spent a moment ago and came to nothing: its quota has as many units more as it cost, and
    /// is whole at most.
    ///
    /// # Errors
    /// If the counters are out of reach: it was taken back, or stays spent. It must not be tried again: nobody gets more
    /// back than they have spent.
    fn give_back<'a>(&'a self, charge: &'a Charge) -> Answer<'a, ()>;
}

/// Units to spend of one quota: all of them, or none.
#[derive(Clone, Debug)]
pub struct Charge {
    /// Whose quota of what.
    pub key: CounterKey,
    /// How large the quota is.
    pub rate: Rate,
    /// How many units (THR-37). What costs more than a whole quota needs the whole quota.
    pub cost: NonZeroU32,
}

impl Charge {
    /// One unit of a quota as large as `rate`.
    pub const fn new(key: CounterKey, rate: Rate) -> Self {
        Self { key, rate, cost: NonZeroU32::MIN }
    }

    /// The same of `cost` units.
    #[must_use]
    pub const fn costing(self, cost: NonZeroU32) -> Self {
        Self { cost, ..self }
    }
}

/// Names one caller's quota under one policy, for example `anon` of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CounterKey {
    /// The policy.
    pub policy: &'static str,
    /// Whose quota it is.
    pub caller: Caller,
}

/// Whose quota is counted. Making one costs no allocation: it happens on every request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// Whoever comes from this address.
    Address(IpAddr),
    /// This user, wherever they come from.
    User(UserId),
    /// Whoever tries this account, wherever they come from: half of the SHA-256 of its name in lower case, so that the
    /// counters hold no names (THR-36).
    Account([u8; 16]),
}

/// The key as text, for stores that are shared: `anon:192.0.2.1`, `user:0192…`, `login_account:` and 32 hex digits.
impl fmt::Display for CounterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.policy)?;
        match &self.caller {
            Caller::Address(address) => address.fmt(f),
            Caller::User(user) => user.as_uuid().fmt(f),
            Caller::Account(digest) => digest.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl Caller {
    /// Whoever tries the account called `name`, without regard to case, whether there is one or not.
    pub fn from_account(name: &str) -> Self {
        let digest: [u8; 32] = Sha256::digest(name.to_lowercase()).into();
        Self::Account(std::array::from_fn(|at| digest[at]))
    }

    /// Whoever comes from `address`: an IPv4 address whole, also where it is written as IPv6, and an IPv6 address
    /// by its /64, since every host has one to itself (THR-11).
    pub fn from_address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        })
    }
}

/// What a quota says to a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the quota had all units that the charge costs.
    pub allowed: bool,
    /// Units left now. A refused charge that costs several may leave some, which a smaller one can spend.
    pub remaining: u32,
    /// Until a further unit is there: for a refused charge, until all are that it costs, the earliest time a retry can pass.
    pub next: Duration,
}

/// The generic cell rate algorithm (THR-30) on nanoseconds: one number a quota, the theoretical arrival time.
#[derive(Clone, Copy, Debug)]
pub struct Gcra {
    interval: u64,
    tolerance: u64,
}

impl Gcra {
    /// The algorithm for `rate`, with the whole quota as its burst.
    pub fn new(rate: Rate) -> Self {
        let window = u64::try_from(rate.window().as_nanos()).unwrap_or(u64::MAX);
        let limit = u64::from(rate.limit().get());
        // Rounded up: a quota never gives more than it says.
        let interval = window.div_ceil(limit).max(1);
        Self { interval, tolerance: interval.saturating_mul(limit) }
    }

    /// The same in whole microseconds: every number that it gives and is given is a multiple of 1000 nanoseconds. For
    /// stores whose clock has no finer step, or that count in floating point, which is exact to 2^53.
    pub fn in_micros(rate: Rate) -> Self {
        let exact = Self::new(rate);
        let interval = exact.interval.div_ceil(1000).saturating_mul(1000);
        Self { interval, tolerance: interval.saturating_mul(u64::from(rate.limit().get())) }
    }

    /// The time between two units, in nanoseconds.
    pub const fn interval(self) -> u64 {
        self.interval
    }

    /// The time that an empty quota takes to be full, in nanoseconds.
    pub const fn tolerance(self) -> u64 {
        self.tolerance
    }

    /// The time in which a quota gets `cost` units, in nanoseconds: the whole of its tolerance at most. So what costs more
    /// than a whole quota needs the whole quota, and no charge is impossible (THR-37).
    pub fn price(self, cost: NonZeroU32) -> u64 {
        self.interval.saturating_mul(cost.get().into()).min(self.tolerance)
    }

    /// The arrival time that counts at `now`: no earlier, and no later than that of a quota just used up. A later one was
    /// left behind by a clock that went back or by a larger rate; it must lock nobody out for longer than a caller who
    /// has used up all, and mints nothing (THR-32).
    pub fn held(self, arrival: u64, now: u64) -> u64 {
        arrival.clamp(now, now.saturating_add(self.tolerance))
    }

    /// What a quota whose arrival time is `arrival` says at `now` to whoever wants `cost` units, and its arrival time after
    /// that. All times are nanoseconds on one clock; an unknown quota has arrival 0.
    pub fn decide(self, arrival: u64, now: u64, cost: NonZeroU32) -> (Verdict, u64) {
        let arrival = self.held(arrival, now);
        let spent = arrival.saturating_add(self.price(cost));
        let earliest = spent.saturating_sub(self.tolerance);
        if now < earliest {
            let next = Duration::from_nanos(earliest - now);
            return (Verdict { allowed: false, next, ..self.look(arrival, now) }, arrival);
        }
        (Verdict { allowed: true, ..self.look(spent, now) }, spent)
    }

    /// What a quota whose arrival time is `arrival` has left at `now`, without spending.
    pub fn look(self, arrival: u64, now: u64) -> Verdict {
        let used = arrival.saturating_sub(now);
        let left = self.tolerance.saturating_sub(used);
        let remaining = u32::try_from(left / self.interval).unwrap_or(u32::MAX);
        // The next unit comes when `used` falls by what is missing to a whole interval.
        let next = if used == 0 { 0 } else { self.interval - left % self.interval };
        Verdict { allowed: remaining > 0, remaining, next: Duration::from_nanos(next) }
    }

    /// The arrival time of a quota whose arrival time is `arrival`, once `cost` units come back that were spent of it. It is
    /// never before `now`, so a quota is whole at most.
    pub fn given_back(self, arrival: u64, now: u64, cost: NonZeroU32) -> u64 {
        self.held(arrival, now).saturating_sub(self.price(cost)).max(now)
    }

    /// When a quota is full again and may be forgotten.
    pub const fn is_full(arrival: u64, now: u64) -> bool {
        arrival <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn units(count: u32) -> NonZeroU32 {
        NonZeroU32::new(count).unwrap()
    }

    // THR-11
    #[test]
    fn an_address_counts_by_what_one_host_has_to_itself() {
        let caller = |text: &str| Caller::from_address(text.parse().unwrap());
        assert_eq!(caller("192.0.2.1"), caller("::ffff:192.0.2.1"));
        assert_ne!(caller("192.0.2.1"), caller("192.0.2.2"));
        assert_eq!(caller("2001:db8:1:2::1"), caller("2001:db8:1:2:ffff::9"));
        assert_ne!(caller("2001:db8:1:2::1"), caller("2001:db8:1:3::1"));
    }

    // THR-36
    #[test]
    fn an_account_counts_without_regard_to_case() {
        assert_eq!(Caller::from_account("Ann"), Caller::from_account("aNN"));
        assert_ne!(Caller::from_account("ann"), Caller::from_account("ann "));
    }

    // THR-31
    #[test]
    fn ten_a_minute_is_exactly_that() {
        let quota = Gcra::new(Rate::per_minute(10));
        let start = 1_000 * SECOND;
        let mut arrival = 0;
        for left in (0..10).rev() {
            let (verdict, spent) = quota.decide(arrival, start, ONE);
            assert_eq!((verdict.allowed, verdict.remaining), (true, left));
            arrival = spent;
        }
        let (refused, kept) = quota.decide(arrival, start, ONE);
        assert_eq!((refused.allowed, refused.next), (false, Duration::from_secs(6)));
        assert_eq!(kept, arrival);

        let (verdict, arrival) = quota.decide(arrival, start + 6 * SECOND, ONE);
        assert!(verdict.allowed);
        let (refused, _) = quota.decide(arrival, start + 6 * SECOND, ONE);
        assert_eq!((refused.allowed, refused.next), (false, Duration::from_secs(6)));

        let mut arrival = arrival;
        for left in (0..8).rev() {
            let (verdict, spent) = quota.decide(arrival, start + 59 * SECOND, ONE);
            assert_eq!((verdict.allowed, verdict.remaining), (true, left));
            arrival = spent;
        }
        let (refused, _) = quota.decide(arrival, start + 59 * SECOND, ONE);
        assert_eq!((refused.allowed, refused.next), (false, Duration::from_secs(1)));
    }

    // THR-31, THR-37
    #[test]
    fn what_costs_several_units_waits_until_all_are_there_and_spends_none_until_then() {
        let quota = Gcra::new(Rate::per_minute(10));
        let start = 1_000 * SECOND;
        let mut arrival = 0;
        for left in [6, 2] {
            let (verdict, spent) = quota.decide(arrival, start, units(4));
            assert_eq!((verdict.allowed, verdict.remaining), (true, left));
            assert_eq!(verdict.next, Duration::from_secs(6), "a further unit, not four");
            arrival = spent;
        }
        // Two are left: four are there in two times six seconds, and what costs less passes meanwhile.
        let (refused, kept) = quota.decide(arrival, start, units(4));
        assert_eq!(refused, Verdict { allowed: false, remaining: 2, next: Duration::from_secs(12) });
        assert_eq!(kept, arrival);
        assert!(quota.decide(arrival, start, units(2)).0.allowed);
        assert!(!quota.decide(arrival, start + 12 * SECOND - 1, units(4)).0.allowed);
        let (verdict, arrival) = quota.decide(arrival, start + 12 * SECOND, units(4));
        assert_eq!((verdict.allowed, verdict.remaining), (true, 0));
        let (refused, _) = quota.decide(arrival, start + 12 * SECOND, units(4));
        assert_eq!((refused.remaining, refused.next), (0, Duration::from_secs(24)));
        let (refused, _) = quota.decide(arrival, start + 12 * SECOND, ONE);
        assert_eq!((refused.remaining, refused.next), (0, Duration::from_secs(6)));
        // Ten seconds later one is there, and four are in fourteen more.
        let (refused, _) = quota.decide(arrival, start + 22 * SECOND, units(4));
        assert_eq!((refused.remaining, refused.next), (1, Duration::from_secs(14)));
    }

    // THR-37
    #[test]
    fn units_are_spent_together_as_they_would_be_one_by_one() {
        for rate in [Rate::per_minute(10), Rate::per_hour(1000), Rate::per_second(7)] {
            for quota in [Gcra::new(rate), Gcra::in_micros(rate)] {
                for cost in 1..=7 {
                    let (together, at_once) = quota.decide(0, SECOND, units(cost));
                    let mut one_by_one = 0;
                    for _ in 0..cost {
                        let (last, spent) = quota.decide(one_by_one, SECOND, ONE);
                        one_by_one = spent;
                        assert!(last.allowed);
                    }
                    assert_eq!(at_once, one_by_one);
                    assert_eq!(together, Verdict { allowed: true, ..quota.look(one_by_one, SECOND) });
                    assert_eq!(quota.given_back(at_once, SECOND, units(cost)), SECOND);
                }
            }
        }
    }

    // THR-33, THR-37: against a bucket that is filled and emptied in whole nanoseconds.
    #[test]
    fn whatever_is_asked_when_no_more_is_spent_than_there_was_and_nothing_is_refused_that_was_there() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for rate in [Rate::per_minute(10), Rate::per_second(7), Rate::per_hour(1000)] {
            let quota = Gcra::new(rate);
            let (mut now, mut arrival, mut filled) = (SECOND, 0, quota.tolerance());
            let mut passed = [0; 2];
            for _ in 0..20_000 {
                let passes = random(3 * quota.interval());
                now += passes;
                filled = (filled + passes).min(quota.tolerance());
                let cost = units(u32::try_from(random(14)).unwrap() + 1);
                let (verdict, after) = quota.decide(arrival, now, cost);
                let price = quota.price(cost);
                assert_eq!(verdict.allowed, filled >= price);
                if verdict.allowed {
                    filled -= price;
                } else {
                    let next = u64::try_from(verdict.next.as_nanos()).unwrap();
                    assert_eq!(next, price - filled);
                }
                assert_eq!(u64::from(verdict.remaining), filled / quota.interval());
                passed[usize::from(verdict.allowed)] += 1;
                arrival = after;
            }
            assert!(passed.iter().all(|count| *count > 1000), "both were tried: {passed:?}");
        }
    }

    // THR-37
    #[test]
    fn what_costs_more_than_the_whole_quota_needs_the_whole_quota() {
        for cost in [10, 11, 1000, u32::MAX].map(units) {
            let quota = Gcra::new(Rate::per_minute(10));
            assert_eq!(quota.price(cost), quota.tolerance());
            let (verdict, arrival) = quota.decide(0, SECOND, cost);
            assert_eq!((verdict.allowed, verdict.remaining), (true, 0));
            let (refused, _) = quota.decide(arrival, SECOND, cost);
            assert_eq!((refused.allowed, refused.next), (false, Duration::from_secs(60)));
            assert!(!quota.decide(arrival, 61 * SECOND - 1, cost).0.allowed);
            assert!(quota.decide(arrival, 61 * SECOND, cost).0.allowed);
            assert_eq!(quota.given_back(arrival, SECOND, cost), SECOND);
        }
        // Nothing runs over, whatever the rate.
        let year = Gcra::new(Rate::new(u32::MAX, Rate::MAX_WINDOW).unwrap());
        let (verdict, arrival) = year.decide(0, SECOND, units(u32::MAX));
        assert_eq!((verdict.allowed, verdict.remaining, arrival), (true, 0, SECOND + year.tolerance()));
    }

    #[test]
    fn a_unit_that_comes_back_is_as_if_it_had_not_been_spent() {
        let quota = Gcra::new(Rate::per_minute(10));
        let (_, once) = quota.decide(0, SECOND, ONE);
        let (_, twice) = quota.decide(once, 2 * SECOND, ONE);
        assert_eq!(quota.given_back(twice, 2 * SECOND, ONE), once);
        // What is whole stays so, and what a clock left behind comes back to one unit.
        assert_eq!(quota.given_back(once, 5 * SECOND, ONE), 5 * SECOND);
        assert_eq!(quota.given_back(0, 5 * SECOND, ONE), 5 * SECOND);
        let ahead = quota.given_back(100_000 * SECOND, SECOND, ONE);
        let (verdict, ahead) = quota.decide(ahead, SECOND, ONE);
        assert!(verdict.allowed && !quota.decide(ahead, SECOND, ONE).0.allowed);
    }

    #[test]
    fn a_retry_at_the_instant_named_passes_and_a_nanosecond_earlier_does_not() {
        for rate in [Rate::per_minute(7), Rate::per_hour(1000), Rate::per_second(3)] {
            let quota = Gcra::new(rate);
            let mut arrival = 0;
            while let (Verdict { allowed: true, .. }, spent) = quota.decide(arrival, SECOND, ONE) {
                arrival = spent;
            }
            let (refused, _) = quota.decide(arrival, SECOND, ONE);
            let next = u64::try_from(refused.next.as_nanos()).unwrap();
            assert!(!quota.decide(arrival, SECOND + next - 1, ONE).0.allowed);
            assert!(quota.decide(arrival, SECOND + next, ONE).0.allowed);
        }
    }

    // THR-32
    #[test]
    fn a_clock_that_goes_back_mints_no_quota() {
        let quota = Gcra::new(Rate::per_minute(2));
        let (_, arrival) = quota.decide(0, 100 * SECOND, ONE);
        let (_, arrival) = quota.decide(arrival, 100 * SECOND, ONE);
        assert!(!quota.decide(arrival, 50 * SECOND, ONE).0.allowed);
    }

    // THR-32
    #[test]
    fn an_arrival_from_a_clock_that_was_ahead_locks_nobody_out_for_long() {
        let quota = Gcra::new(Rate::per_minute(2));
        let (refused, kept) = quota.decide(100_000 * SECOND, 100 * SECOND, ONE);
        assert_eq!((refused.allowed, refused.next), (false, Duration::from_secs(30)));
        assert_eq!(quota.look(100_000 * SECOND, 100 * SECOND).next, Duration::from_secs(30));
        assert!(!quota.decide(kept, 130 * SECOND - 1, ONE).0.allowed);
        let (verdict, kept) = quota.decide(kept, 130 * SECOND, ONE);
        assert!(verdict.allowed && !quota.decide(kept, 130 * SECOND, ONE).0.allowed);
    }

    #[test]
    fn in_microseconds_a_quota_is_never_larger_and_hardly_smaller() {
        for rate in
            [Rate::per_minute(7), Rate::per_hour(1000), Rate::per_second(1_000_000), Rate::per_second(3)]
        {
            let (exact, coarse) = (Gcra::new(rate), Gcra::in_micros(rate));
            assert!(coarse.interval().is_multiple_of(1000) && coarse.tolerance().is_multiple_of(1000));
            assert!((exact.interval()..exact.interval() + 1000).contains(&coarse.interval()), "{rate:?}");
            let (verdict, arrival) = coarse.decide(0, 5000 * SECOND, ONE);
            assert_eq!((verdict.allowed, verdict.remaining), (true, rate.limit().get() - 1));
            assert!(arrival.is_multiple_of(1000));
        }
    }

    #[test]
    fn no_two_keys_have_one_text() {
        let user = UserId::from_uuid(uuid::Uuid::from_u128(7));
        let key = |caller| CounterKey { policy: "anon", caller }.to_string();
        let address = |text: &str| Caller::from_address(text.parse().unwrap());
        assert_eq!(key(address("192.0.2.1")), "anon:192.0.2.1");
        assert_eq!(key(address("2001:db8:1:2::1")), "anon:2001:db8:1:2::");
        assert_eq!(key(Caller::User(user)), "anon:00000000-0000-0000-0000-000000000007");
        let account = key(Caller::from_account("ann"));
        assert_eq!((account.len(), &account[..5]), (5 + 32, "anon:"));
        assert!(!account.contains("ann"), "the counters hold no names (THR-36)");
    }
}
