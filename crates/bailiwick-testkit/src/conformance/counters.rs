//! Counters: the generic cell rate algorithm, and that nobody gets more than a quota, however many ask at once and wherever.
use std::{
    any::Any,
    fmt,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bailiwick_core::{
    clock::{Clock, Timestamp},
    store::{Caller, Charge, CounterKey, CounterStore, Verdict},
    units::Rate,
};
use bailiwick_store::{
    MemoryCounters, OpenOptions, PostgresOptions, PostgresStore, RedisCounters, RedisOptions, SqliteOptions,
    SqliteStore, refinery::Runner,
};
use tokio::task::JoinSet;

use crate::{FakeClock, audit_keys, databases};

/// Counters to be tested, twice, as two processes have them, on one store that holds nothing, and the clock that they go by.
pub struct CounterSubject {
    one: Arc<dyn CounterStore>,
    other: Arc<dyn CounterStore>,
    clock: FakeClock,
    /// What must stay until the test is over.
    _keep: Box<dyn Any + Send + Sync>,
}

impl CounterSubject {
    /// Two hands on one store.
    pub fn new(
        one: Arc<dyn CounterStore>,
        other: Arc<dyn CounterStore>,
        clock: FakeClock,
        keep: impl Any + Send + Sync,
    ) -> Self {
        Self { one, other, clock, _keep: Box::new(keep) }
    }
}

impl fmt::Debug for CounterSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CounterSubject")
    }
}

/// In memory: one process only, so both hands are one.
#[expect(clippy::unused_async, reason = "as the others")]
pub async fn memory_counters() -> Option<CounterSubject> {
    let clock = FakeClock::new();
    let counters: Arc<dyn CounterStore> = Arc::new(MemoryCounters::new(Arc::new(clock.clone())));
    Some(CounterSubject::new(Arc::clone(&counters), counters, clock, ()))
}

/// In a fresh file of SQLite that is opened twice.
///
/// # Panics
/// If it cannot be made.
pub async fn sqlite_counters() -> Option<CounterSubject> {
    let (database, clock) = (databases::fresh_sqlite(), FakeClock::new());
    migrate(&database.url()).await;
    let open = || {
        let opened = SqliteStore::open(database.path(), &SqliteOptions::default(), audit_keys());
        opened.expect("a fresh database opens")
    };
    let stores = [open(), open()];
    let [one, other] = stores.each_ref().map(|store| Arc::new(store.counters(Arc::new(clock.clone()))));
    Some(CounterSubject::new(one, other, clock, (stores, database)))
}

/// In a fresh database of PostgreSQL that is opened twice; nothing where no server is named (see
/// [`postgres_url`](databases::postgres_url)).
///
/// # Panics
/// If it cannot be made, or as [`postgres_url`](databases::postgres_url).
pub async fn postgres_counters() -> Option<CounterSubject> {
    let (database, clock) = (databases::fresh_postgres().await?, FakeClock::new());
    let url = database.url();
    migrate(&url).await;
    let mut counters = Vec::new();
    for _ in 0..2 {
        let store = PostgresStore::connect(&url, &PostgresOptions::default(), audit_keys()).await;
        let store = store.unwrap_or_else(|error| panic!("a fresh database opens: {error}"));
        counters.push(Arc::new(store.counters_by(Arc::new(clock.clone()))));
    }
    let [one, other] = <[_; 2]>::try_from(counters).ok()?;
    Some(CounterSubject::new(one, other, clock, database))
}

/// On a Redis server under a prefix that nobody else has, by two connections; nothing where no server is named (see
/// [`redis_url`](databases::redis_url)).
///
/// # Panics
/// If it cannot be reached, or as [`redis_url`](databases::redis_url).
pub async fn redis_counters() -> Option<CounterSubject> {
    let (url, clock) = (databases::redis_url()?, FakeClock::new());
    let prefix = databases::random_name("test-");
    let mut counters = Vec::new();
    for _ in 0..2 {
        let connected = RedisCounters::connect(&url, &prefix, &RedisOptions::default()).await;
        let connected = connected.unwrap_or_else(|error| panic!("{error}"));
        counters.push(Arc::new(connected.by_clock(Arc::new(clock.clone()))));
    }
    let [one, other] = <[_; 2]>::try_from(counters).ok()?;
    Some(CounterSubject::new(one, other, clock, ()))
}

async fn migrate(url: &str) {
    let migrated = bailiwick_store::migrate(url, &OpenOptions::default(), &Runner::new(&[]), &[]).await;
    migrated.unwrap_or_else(|error| panic!("cannot migrate: {error}"));
}

/// Runs one test of the counters in a runtime of its own.
#[doc(hidden)]
pub fn run_counters<F: Future<Output = ()>>(
    subject: impl Future<Output = Option<CounterSubject>>,
    test: impl FnOnce(CounterSubject) -> F,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build();
    runtime.expect("a test can start threads").block_on(async {
        if let Some(subject) = subject.await {
            test(subject).await;
        }
    });
}

/// Writes the tests of counters for those that the expression gives: a future of `Option<CounterSubject>`, where nothing
/// means that the store is not there and the test is skipped.
#[macro_export]
macro_rules! counter_conformance_tests {
    ($subject:expr) => {
        $crate::counter_conformance_tests! { @ $subject;
            ten_a_minute_is_exactly_that
            of_five_hundred_at_once_exactly_the_quota_passes
            what_costs_several_units_waits_until_all_are_there
            what_costs_more_than_a_whole_quota_needs_the_whole_quota
            of_five_hundred_at_once_that_cost_four_each_a_quarter_of_the_quota_passes
            of_many_at_once_that_cost_more_and_less_exactly_the_quota_is_spent
            what_one_charge_cannot_have_whole_no_other_of_its_request_spends
            what_cost_several_units_comes_back_whole
            several_quotas_are_spent_together_or_not_at_all_in_any_order
            a_refusal_says_what_is_left_of_each_quota_and_when_to_come_back
            one_quota_charged_twice_is_spent_twice_or_not_at_all
            a_quota_that_is_refilled_is_whole_and_no_other_is
            a_charge_that_is_given_back_can_be_spent_again_and_never_more_than_that
            of_many_who_give_back_at_once_nobody_gets_more_than_was_spent
            quotas_are_told_apart_by_policy_and_by_caller
            a_clock_that_goes_back_mints_nothing_and_locks_nobody_out_for_long
            a_rate_that_was_lowered_is_in_force_at_once
            the_smallest_and_the_largest_rates_are_kept
            nothing_is_charged_for_nothing
            a_charge_that_nobody_waits_for_is_made_once_or_not_at_all
        }
    };
    (@ $subject:expr; $($test:ident)+) => {
        $(
            #[test]
            fn $test() {
                $crate::conformance::run_counters($subject, $crate::conformance::$test);
            }
        )+
    };
}

fn key(policy: &'static str, caller: u32) -> CounterKey {
    CounterKey { policy, caller: Caller::Address(IpAddr::V4(Ipv4Addr::from_bits(caller))) }
}

fn charge(policy: &'static str, caller: u32, rate: Rate) -> Charge {
    Charge::new(key(policy, caller), rate)
}

fn costing(cost: u32, charge: Charge) -> Charge {
    charge.costing(NonZeroU32::new(cost).expect("a charge costs something"))
}

impl CounterSubject {
    async fn spend(&self, charges: &[Charge]) -> Vec<Verdict> {
        self.one.spend(charges).await.unwrap()
    }

    async fn allowed(&self, charges: &[Charge]) -> bool {
        self.spend(charges).await.iter().all(|verdict| verdict.allowed)
    }

    /// How many of `count` requests pass that are made at once through both hands.
    async fn admitted(&self, count: usize, charges: impl Fn(usize) -> Vec<Charge>) -> usize {
        self.passing(count, charges).await.len()
    }

    /// Which of them.
    async fn passing(&self, count: usize, charges: impl Fn(usize) -> Vec<Charge>) -> Vec<usize> {
        let mut callers = JoinSet::new();
        for number in 0..count {
            let counters = Arc::clone(if number % 2 == 0 { &self.one } else { &self.other });
            let charges = charges(number);
            callers.spawn(async move {
                let verdicts = counters.spend(&charges).await.unwrap();
                verdicts.iter().all(|verdict| verdict.allowed).then_some(number)
            });
        }
        callers.join_all().await.into_iter().flatten().collect()
    }
}

// THR-31
pub async fn ten_a_minute_is_exactly_that(subject: CounterSubject) {
    let charges = [charge("anon", 1, Rate::per_minute(10))];
    let spend = async || subject.spend(&charges).await[0];
    let refused = |wait| Verdict { allowed: false, remaining: 0, next: Duration::from_secs(wait) };
    for left in (0..10).rev() {
        let verdict = spend().await;
        assert_eq!((verdict.allowed, verdict.remaining, verdict.next), (true, left, Duration::from_secs(6)));
    }
    assert_eq!(spend().await, refused(6));
    subject.clock.advance(Duration::from_secs(6) - Duration::from_micros(1));
    assert_eq!(spend().await, Verdict { next: Duration::from_micros(1), ..refused(0) });
    subject.clock.advance(Duration::from_micros(1));
    assert!(spend().await.allowed);
    assert_eq!(spend().await, refused(6));
    subject.clock.advance(Duration::from_secs(53));
    for left in (0..8).rev() {
        let verdict = spend().await;
        assert_eq!((verdict.allowed, verdict.remaining), (true, left));
    }
    assert_eq!(spend().await, refused(1));
}

// THR-33
pub async fn of_five_hundred_at_once_exactly_the_quota_passes(subject: CounterSubject) {
    let charges = || vec![charge("anon", 1, Rate::per_hour(60))];
    assert_eq!(subject.admitted(500, |_| charges()).await, 60);
    assert_eq!(subject.admitted(100, |_| charges()).await, 0);
    subject.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(subject.admitted(200, |_| charges()).await, 30);
}

// THR-31, THR-37
pub async fn what_costs_several_units_waits_until_all_are_there(subject: CounterSubject) {
    let four = [costing(4, charge("user", 1, Rate::per_minute(10)))];
    let one = [charge("user", 1, Rate::per_minute(10))];
    let spend = async || subject.spend(&four).await[0];
    let allowed = |left| Verdict { allowed: true, remaining: left, next: Duration::from_secs(6) };
    assert_eq!(spend().await, allowed(6));
    assert_eq!(spend().await, allowed(2));
    let refused = Verdict { allowed: false, remaining: 2, next: Duration::from_secs(12) };
    assert_eq!(spend().await, refused);
    assert_eq!(spend().await, refused, "what is refused spends nothing");
    subject.clock.advance(Duration::from_secs(12) - Duration::from_micros(1));
    assert_eq!(spend().await, Verdict { remaining: 3, next: Duration::from_micros(1), ..refused });
    subject.clock.advance(Duration::from_micros(1));
    assert_eq!(spend().await, allowed(0));
    assert_eq!(spend().await, Verdict { remaining: 0, next: Duration::from_secs(24), ..refused });
    // Whoever wants less need not wait for as much.
    subject.clock.advance(Duration::from_secs(14));
    assert_eq!(spend().await, Verdict { next: Duration::from_secs(10), ..refused });
    let verdict = subject.spend(&one).await[0];
    assert_eq!(verdict, Verdict { allowed: true, remaining: 1, next: Duration::from_secs(4) });
}

// THR-37
pub async fn what_costs_more_than_a_whole_quota_needs_the_whole_quota(subject: CounterSubject) {
    for (caller, cost) in [(1, 10), (2, 11), (3, 1000), (4, u32::MAX)] {
        let all = [costing(cost, charge("user", caller, Rate::per_minute(10)))];
        let verdict = subject.spend(&all).await[0];
        assert_eq!(verdict, Verdict { allowed: true, remaining: 0, next: Duration::from_secs(6) }, "{cost}");
        let refused = Verdict { allowed: false, remaining: 0, next: Duration::from_secs(60) };
        assert_eq!(subject.spend(&all).await, [refused], "{cost}");
        subject.clock.advance(Duration::from_secs(60) - Duration::from_micros(1));
        let refused = Verdict { allowed: false, remaining: 9, next: Duration::from_micros(1) };
        assert_eq!(subject.spend(&all).await, [refused], "{cost}");
        subject.clock.advance(Duration::from_micros(1));
        assert!(subject.allowed(&all).await, "{cost}");
    }
    // The largest numbers there are.
    let year = charge("exports", 1, Rate::new(u32::MAX, Rate::MAX_WINDOW).unwrap());
    let verdict = subject.spend(&[costing(u32::MAX, year.clone())]).await[0];
    assert_eq!((verdict.allowed, verdict.remaining), (true, 0));
    assert!(!subject.allowed(std::slice::from_ref(&year)).await);
    // A server that is not ours alone need not keep it for a year.
    subject.one.refill(&year.key).await.unwrap();
}

// THR-33, THR-37
pub async fn of_five_hundred_at_once_that_cost_four_each_a_quarter_of_the_quota_passes(
    subject: CounterSubject,
) {
    let charges = |caller| vec![costing(4, charge("user", caller, Rate::per_hour(60)))];
    assert_eq!(subject.admitted(500, |_| charges(1)).await, 15);
    assert_eq!(subject.admitted(100, |_| charges(1)).await, 0);
    // Thirty units come in half an hour: seven times four, and two that a smaller one can have.
    subject.clock.advance(Duration::from_secs(30 * 60));
    assert_eq!(subject.admitted(200, |_| charges(1)).await, 7);
    assert_eq!(subject.admitted(100, |_| vec![charge("user", 1, Rate::per_hour(60))]).await, 2);
}

// THR-33, THR-37
pub async fn of_many_at_once_that_cost_more_and_less_exactly_the_quota_is_spent(subject: CounterSubject) {
    const COSTS: [u32; 5] = [5, 1, 3, 7, 2];
    let cost = |number: usize| COSTS[number / 2 % COSTS.len()];
    for caller in 1..=4 {
        let charges = |number| vec![costing(cost(number), charge("user", caller, Rate::per_hour(61)))];
        let passed = subject.passing(500, charges).await;
        // A hundred wanted one unit, which is more than there are: one of them found none, so none is left over.
        assert_eq!(passed.iter().map(|number| cost(*number)).sum::<u32>(), 61);
        assert_eq!(subject.admitted(50, |_| charges(2)).await, 0);
    }
    // Where nobody wants one unit alone, no more are left over than the smallest wish lacks.
    let charges = |number| vec![costing(cost(number) + 2, charge("user", 9, Rate::per_hour(61)))];
    let passed = subject.passing(500, charges).await;
    let spent = passed.iter().map(|number| cost(*number) + 2).sum::<u32>();
    assert!((59..=61).contains(&spent), "{spent}");
    let left = subject.admitted(50, |_| vec![charge("user", 9, Rate::per_hour(61))]).await;
    assert_eq!(left, usize::try_from(61 - spent).unwrap());
}

// THR-33, THR-37
pub async fn what_one_charge_cannot_have_whole_no_other_of_its_request_spends(subject: CounterSubject) {
    let user = charge("user", 1, Rate::per_hour(100));
    let uploads = charge("uploads", 1, Rate::per_hour(12));
    let charges = |number: usize| {
        let mut charges = vec![costing(5, user.clone()), uploads.clone()];
        if number % 4 < 2 {
            charges.reverse();
        }
        charges
    };
    assert_eq!(subject.admitted(200, charges).await, 12);
    let verdicts = subject.spend(&charges(2)).await;
    assert_eq!((verdicts[0].allowed, verdicts[0].remaining), (true, 40), "what is still there");
    assert_eq!((verdicts[1].allowed, verdicts[1].remaining), (false, 0));
    // The other way round: 40 units are no 41, and nothing is taken for it elsewhere.
    let scope = charge("exports", 1, Rate::per_hour(3));
    let verdicts = subject.spend(&[costing(41, user.clone()), scope.clone()]).await;
    assert_eq!((verdicts[0].allowed, verdicts[0].remaining), (false, 40));
    assert_eq!((verdicts[1].allowed, verdicts[1].remaining), (true, 3));
    // One quota twice in one request is spent by both.
    let twice = [costing(30, user.clone()), costing(11, user.clone())];
    assert!(!subject.allowed(&twice).await);
    let twice = [costing(30, user.clone()), costing(10, user)];
    let verdicts = subject.spend(&twice).await;
    assert_eq!((verdicts[0].remaining, verdicts[1].remaining), (10, 0));
}

// THR-37
pub async fn what_cost_several_units_comes_back_whole(subject: CounterSubject) {
    let rate = Rate::per_hour(20);
    let four = costing(4, charge("user", 1, rate));
    let spend = async |charge: &Charge| subject.spend(std::slice::from_ref(charge)).await[0];
    for left in [16, 12] {
        assert_eq!(spend(&four).await.remaining, left);
    }
    // By another process than the one that counted.
    subject.other.give_back(&four).await.unwrap();
    assert_eq!(spend(&charge("user", 1, rate)).await.remaining, 15);
    // Whatever was spent as the whole quota comes back as that, and a quota is whole at most.
    let all = costing(1000, charge("user", 2, rate));
    assert_eq!(spend(&all).await.remaining, 0);
    for _ in 0..2 {
        subject.other.give_back(&all).await.unwrap();
        assert_eq!(spend(&charge("user", 2, rate)).await.remaining, 19);
    }
}

// THR-33
pub async fn several_quotas_are_spent_together_or_not_at_all_in_any_order(subject: CounterSubject) {
    let charges = |number: usize| {
        let mut charges: Vec<_> = (0..4).map(|caller| charge("anon", caller, Rate::per_hour(100))).collect();
        charges.push(charge("login", 1, Rate::per_hour(60)));
        // In both orders: were locks taken in the order of the charges, this would never end.
        if number % 4 < 2 {
            charges.reverse();
        }
        charges
    };
    assert_eq!(subject.admitted(300, charges).await, 60);
    // What was refused by `login` was not taken from `anon`.
    for caller in 0..4 {
        let left = subject.spend(&[charge("anon", caller, Rate::per_hour(100))]).await;
        assert_eq!((left[0].allowed, left[0].remaining), (true, 39));
    }
}

pub async fn a_refusal_says_what_is_left_of_each_quota_and_when_to_come_back(subject: CounterSubject) {
    let charges = [charge("login", 1, Rate::per_minute(5)), charge("anon", 1, Rate::per_minute(60))];
    for left in (0..5).rev() {
        let verdicts = subject.spend(&charges).await;
        assert_eq!((verdicts[0].remaining, verdicts[1].remaining), (left, 55 + left));
    }
    for _ in 0..3 {
        let verdicts = subject.spend(&charges).await;
        assert_eq!((verdicts[0].allowed, verdicts[0].next), (false, Duration::from_secs(12)));
        assert_eq!((verdicts[1].allowed, verdicts[1].remaining), (true, 55));
    }
}

pub async fn one_quota_charged_twice_is_spent_twice_or_not_at_all(subject: CounterSubject) {
    let twice = [charge("anon", 1, Rate::per_minute(3)), charge("anon", 1, Rate::per_minute(3))];
    let left = |verdicts: Vec<Verdict>| verdicts.iter().map(|v| (v.allowed, v.remaining)).collect::<Vec<_>>();
    assert_eq!(left(subject.spend(&twice).await), [(true, 2), (true, 1)]);
    assert_eq!(left(subject.spend(&twice).await), [(true, 1), (false, 0)]);
    assert!(subject.allowed(&twice[..1]).await);
    assert!(!subject.allowed(&twice[..1]).await);
}

// PWD-17
pub async fn a_quota_that_is_refilled_is_whole_and_no_other_is(subject: CounterSubject) {
    let account = |name| {
        let key = CounterKey { policy: "login_account", caller: Caller::from_account(name) };
        Charge::new(key, Rate::per_minute(2))
    };
    let (ann, bob) = ([account("ann")], [account("bob")]);
    for charges in [&ann, &bob] {
        while subject.allowed(charges).await {}
    }
    // By another process than the one that counted.
    subject.other.refill(&ann[0].key).await.unwrap();
    subject.other.refill(&key("anon", 9)).await.unwrap();
    assert!(subject.allowed(&ann).await && subject.allowed(&ann).await);
    assert!(!subject.allowed(&ann).await && !subject.allowed(&bob).await);
}

pub async fn a_charge_that_is_given_back_can_be_spent_again_and_never_more_than_that(
    subject: CounterSubject,
) {
    let [ann, bob, carol] = [1, 2, 3].map(|caller| [charge("login_account", caller, Rate::per_minute(3))]);
    for charges in [&ann, &bob] {
        while subject.allowed(charges).await {}
    }
    // By another process than the one that counted.
    let give_back = async |charges: &[Charge; 1]| subject.other.give_back(&charges[0]).await.unwrap();
    give_back(&ann).await;
    assert!(subject.allowed(&ann).await);
    let refused = Verdict { allowed: false, remaining: 0, next: Duration::from_secs(20) };
    assert_eq!(subject.spend(&ann).await, [refused]);
    assert_eq!(subject.spend(&bob).await, [refused]);
    // What comes with time comes besides: a half of one, and another half.
    subject.clock.advance(Duration::from_secs(10));
    give_back(&ann).await;
    assert_eq!(
        subject.spend(&ann).await,
        [Verdict { allowed: true, remaining: 0, next: Duration::from_secs(10) }]
    );
    assert_eq!(subject.spend(&ann).await, [Verdict { next: Duration::from_secs(10), ..refused }]);
    // A quota is whole at most, whether anything was spent of it or not.
    for charges in [&ann, &carol] {
        for _ in 0..5 {
            give_back(charges).await;
        }
        for left in (0..3).rev() {
            let verdict = subject.spend(charges).await[0];
            assert_eq!((verdict.allowed, verdict.remaining), (true, left));
        }
        assert_eq!(subject.spend(charges).await, [refused]);
    }
    // THR-32: what a clock left behind that was ahead comes back to one unit too.
    subject.clock.set(Timestamp::from_micros(subject.clock.now().as_micros() - 3_600_000_000));
    give_back(&ann).await;
    assert!(subject.allowed(&ann).await && !subject.allowed(&ann).await);
}

// THR-33
pub async fn of_many_who_give_back_at_once_nobody_gets_more_than_was_spent(subject: CounterSubject) {
    let charge = charge("login_account", 1, Rate::per_hour(20));
    let under_way = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for number in 0..200 {
        let counters = Arc::clone(if number % 2 == 0 { &subject.one } else { &subject.other });
        let (charge, under_way) = (charge.clone(), Arc::clone(&under_way));
        callers.spawn(async move {
            if !counters.spend(std::slice::from_ref(&charge)).await.unwrap()[0].allowed {
                return true;
            }
            let others = under_way.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            // Before it is given back: until then it is spent.
            under_way.fetch_sub(1, Ordering::SeqCst);
            counters.give_back(&charge).await.unwrap();
            others < 20
        });
    }
    assert!(callers.join_all().await.into_iter().all(|held| held));
    assert_eq!(subject.admitted(50, |_| vec![charge.clone()]).await, 20);
}

pub async fn quotas_are_told_apart_by_policy_and_by_caller(subject: CounterSubject) {
    let rate = Rate::per_minute(1);
    let callers = [
        Caller::Address(Ipv4Addr::LOCALHOST.into()),
        Caller::from_address("2001:db8::1".parse().unwrap()),
        Caller::User(bailiwick_core::id::Id::from_uuid(uuid::Uuid::from_u128(7))),
        Caller::Account(7_u128.to_be_bytes()),
    ];
    for policy in ["anon", "user"] {
        for caller in &callers {
            let charges = [Charge::new(CounterKey { policy, caller: caller.clone() }, rate)];
            assert!(subject.allowed(&charges).await, "{policy} {caller:?}");
            assert!(!subject.allowed(&charges).await, "{policy} {caller:?}");
        }
    }
}

// THR-32
pub async fn a_clock_that_goes_back_mints_nothing_and_locks_nobody_out_for_long(subject: CounterSubject) {
    let charges = [charge("anon", 1, Rate::per_minute(2))];
    assert!(subject.allowed(&charges).await && subject.allowed(&charges).await);
    let back = subject.clock.now().as_micros() - 3_600_000_000;
    subject.clock.set(Timestamp::from_micros(back));
    assert!(!subject.allowed(&charges).await);
    subject.clock.advance(Duration::from_secs(29));
    assert!(!subject.allowed(&charges).await);
    subject.clock.advance(Duration::from_secs(1));
    assert!(subject.allowed(&charges).await);
    assert!(!subject.allowed(&charges).await);
}

pub async fn a_rate_that_was_lowered_is_in_force_at_once(subject: CounterSubject) {
    for _ in 0..100 {
        assert!(subject.allowed(&[charge("anon", 1, Rate::per_hour(100))]).await);
    }
    let lower = [charge("anon", 1, Rate::per_minute(1))];
    assert!(!subject.allowed(&lower).await);
    subject.clock.advance(Duration::from_secs(60));
    // An hour was promised to nobody: in memory, where rates change with the process only, it is waited for.
    if !Arc::ptr_eq(&subject.one, &subject.other) {
        assert!(subject.allowed(&lower).await);
    }
}

pub async fn the_smallest_and_the_largest_rates_are_kept(subject: CounterSubject) {
    let year = Rate::new(1, Rate::MAX_WINDOW).unwrap();
    let yearly = [charge("exports", 1, year)];
    assert_eq!(
        subject.spend(&yearly).await[0],
        Verdict { allowed: true, remaining: 0, next: Rate::MAX_WINDOW }
    );
    assert_eq!(
        subject.spend(&yearly).await[0],
        Verdict { allowed: false, remaining: 0, next: Rate::MAX_WINDOW }
    );
    subject.clock.advance(Rate::MAX_WINDOW);
    assert!(subject.allowed(&yearly).await);
    // A server that is not ours alone need not keep it for a year.
    subject.one.refill(&yearly[0].key).await.unwrap();
    let fast = [charge("user", 1, Rate::per_second(Rate::MAX_PER_SECOND))];
    for left in (Rate::MAX_PER_SECOND - 5..Rate::MAX_PER_SECOND).rev() {
        assert_eq!(subject.spend(&fast).await[0].remaining, left);
    }
    subject.clock.advance(Duration::from_micros(2));
    assert_eq!(subject.spend(&fast).await[0].remaining, Rate::MAX_PER_SECOND - 4);
}

pub async fn nothing_is_charged_for_nothing(subject: CounterSubject) {
    assert_eq!(subject.spend(&[]).await, []);
}

// RST-12
pub async fn a_charge_that_nobody_waits_for_is_made_once_or_not_at_all(subject: CounterSubject) {
    let charges = Arc::new([charge("anon", 1, Rate::per_hour(1000))]);
    for number in 0..100_u64 {
        let (counters, charges) = (Arc::clone(&subject.one), Arc::clone(&charges));
        let task = tokio::spawn(async move { counters.spend(&*charges).await.map(drop) });
        tokio::time::sleep(Duration::from_micros(number * 10)).await;
        task.abort();
        let _ = task.await;
    }
    let left = subject.spend(&*charges).await[0].remaining;
    assert!((899..1000).contains(&left), "{left}");
    // The store is as good as new.
    let charges = |_| vec![charge("anon", 2, Rate::per_hour(60))];
    assert_eq!(subject.admitted(100, charges).await, 60);
}
