//! Makes and verifies hashes on a pool that is bounded.
use std::{
    hint::black_box,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash, Salt},
};
use bailiwick_core::{
    clock::{Clock, Entropy, SystemClock},
    meter::{Distribution, Meter, Metered, Value, WAIT_BOUNDS},
    secret::Secret,
};
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization as _;

use super::{HashCost, HasherError, formats::Stored};
use crate::problem::Problem;

/// Hashes and verifies passwords on threads of their own (PWD-05). Cheap to clone.
///
/// There are as many threads as hashes may run at a time, and no others ever hash: so the memory of a hash is taken once
/// a thread, however many callers come. More callers than [`QUEUE`](Self::QUEUE) are refused with 503.
#[derive(Clone)]
pub struct PasswordHasher {
    inner: Arc<Inner>,
}

struct Inner {
    argon2: Argon2<'static>,
    jobs: SyncSender<Job>,
    entropy: Arc<dyn Entropy>,
    measured: Arc<Measured>,
}

/// What the hasher measures.
struct Measured {
    /// The time of the machine: what a hash takes has nothing to do with the clock of the application.
    clock: SystemClock,
    /// Callers that wait for a thread.
    queued: AtomicU64,
    /// Callers that found too many before them.
    refused: AtomicU64,
    /// From being asked to the begin of the work.
    waits: Distribution,
    /// How long the work took.
    works: Distribution,
}

impl Measured {
    fn new() -> Self {
        Self {
            clock: SystemClock::new(),
            queued: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            waits: Distribution::new(WAIT_BOUNDS),
            works: Distribution::new(WAIT_BOUNDS),
        }
    }
}

type Job = Box<dyn FnOnce(&mut Memory) + Send>;

impl PasswordHasher {
    /// How many callers may wait for a thread.
    pub const QUEUE: usize = 256;

    /// A hasher of this cost that runs at most `threads` hashes at a time.
    ///
    /// # Errors
    /// If argon2id does not take the cost, or the system gives no threads.
    pub fn new(cost: HashCost, threads: usize, entropy: Arc<dyn Entropy>) -> Result<Self, HasherError> {
        let params = Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(HasherError::Cost)?);
        let (jobs, queue) = mpsc::sync_channel(Self::QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        let blocks = argon2.params().block_count();
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("bailiwick-hash".to_owned());
            thread.spawn(move || work_off(&queue, blocks)).map_err(HasherError::Threads)?;
        }
        let measured = Arc::new(Measured::new());
        Ok(Self { inner: Arc::new(Inner { argon2, jobs, entropy, measured }) })
    }

    /// The hash of `password`, as a PHC string with its parameters and a fresh salt (PWD-04).
    ///
    /// # Errors
    /// 503 if too many callers wait.
    pub async fn hash(&self, password: Secret<String>) -> Result<Secret<String>, Problem> {
        let inner = Arc::clone(&self.inner);
        self.run(move |memory| {
            let password = normalised(&password);
            Secret::new(hash(memory, &inner.argon2, password.expose().as_bytes(), &*inner.entropy))
        })
        .await
    }

    /// Whether `password` is the one that `stored` is a hash of. Without a `stored` hash it is not, and finding that
    /// out takes as long. What is no hash of a known format, or one that would cost too much, matches nothing.
    ///
    /// # Errors
    /// 503 if too many callers wait.
    ///
    /// # Security
    /// However little a stored hash costs, the answer costs at least what a hash costs now: else users whose hash is
    /// from before a rise of the parameters would be told from unknown names by time (PWD-12). A hash of another
    /// format has its own cost, which cannot be weighed in passes, and the present one besides; its user answers
    /// slower than an unknown name, until the first log-in replaces it.
    pub async fn verify(
        &self,
        password: Secret<String>,
        stored: Option<Secret<String>>,
    ) -> Result<bool, Problem> {
        let inner = Arc::clone(&self.inner);
        self.run(move |memory| {
            let plain = normalised(&password);
            let present = inner.argon2.params();
            let stored = stored.as_ref().and_then(|stored| Stored::parse(stored.expose(), present));
            let matches = match &stored {
                Some(stored) => {
                    stored.matches(memory, password.expose().as_bytes(), plain.expose().as_bytes())
                }
                None => false,
            };
            let spent = stored.as_ref().map_or(0, Stored::argon2_cost);
            if let Some(rest) = rest_of(present, spent) {
                spend(memory, rest, plain.expose().as_bytes());
            }
            matches
        })
        .await
    }

    /// Whether `stored` is as good as what [`hash`](Self::hash) makes now: argon2id, with no parameter below the present
    /// ones (PWD-04).
    pub fn is_current(&self, stored: &Secret<String>) -> bool {
        Stored::parse(stored.expose(), self.inner.argon2.params())
            .is_some_and(|stored| stored.is_as_good_as(self.inner.argon2.params()))
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let measured = Arc::clone(&self.inner.measured);
        let asked = measured.clock.monotonic();
        let job: Job = Box::new(move |memory| {
            let begun = measured.clock.monotonic();
            measured.queued.fetch_sub(1, Ordering::Relaxed);
            measured.waits.record(begun.saturating_sub(asked));
            // Whoever has left meanwhile is not worked for.
            if !reply.is_closed() {
                let done = work(memory);
                measured.works.record(measured.clock.monotonic().saturating_sub(begun));
                let _ = reply.send(done);
            }
        });
        let measured = &self.inner.measured;
        // Before the job is in the queue: a thread may take it at once.
        measured.queued.fetch_add(1, Ordering::Relaxed);
        if self.inner.jobs.try_send(job).is_err() {
            measured.queued.fetch_sub(1, Ordering::Relaxed);
            measured.refused.fetch_add(1, Ordering::Relaxed);
            return Err(Problem::unavailable().with_retry_after(Duration::from_secs(1)));
        }
        answer.await.map_err(|error| Problem::internal().because(error))
    }
}

impl Metered for PasswordHasher {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        let measured = &self.inner.measured;
        each(Meter {
            name: "bailiwick_password_hash_waiting",
            help: "How many wait for a thread that hashes passwords",
            value: Value::Gauge(measured.queued.load(Ordering::Relaxed)),
        });
        each(Meter {
            name: "bailiwick_password_hash_wait_seconds",
            help: "How long was waited for a thread that hashes passwords",
            value: Value::Distribution(measured.waits.reading()),
        });
        each(Meter {
            name: "bailiwick_password_hash_seconds",
            help: "How long it took to make or verify the hash of a password",
            value: Value::Distribution(measured.works.reading()),
        });
        each(Meter {
            name: "bailiwick_password_hash_refused_total",
            help: "Callers that were answered 503 since too many waited for a thread that hashes passwords",
            value: Value::Counter(measured.refused.load(Ordering::Relaxed)),
        });
    }
}

impl std::fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHasher").finish_non_exhaustive()
    }
}

/// Does one job after the other, until the hasher is gone.
fn work_off(queue: &Mutex<Receiver<Job>>, blocks: usize) {
    let mut memory = Memory::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A job that panics answers nobody, which its caller sees as a 500; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut memory)));
        memory.keep(blocks);
    }
}

/// One form for what looks the same, however a keyboard made it: NFKC, when a password is set and when it is verified
/// (PWD-08).
fn normalised(password: &Secret<String>) -> Secret<String> {
    Secret::new(password.expose().nfkc().collect())
}

/// The memory that one thread hashes in. It is kept from hash to hash: fresh memory would cost page faults, and so
/// time that depends on which thread a caller meets.
#[derive(Default)]
pub(super) struct Memory(Vec<Block>);

impl Memory {
    /// Gives back what a hash took that needs more than the present ones.
    fn keep(&mut self, blocks: usize) {
        if self.0.len() > blocks {
            self.0.truncate(blocks);
            self.0.shrink_to_fit();
        }
    }

    /// The bytes that argon2id makes of `password` and `salt`.
    pub(super) fn fill(
        &mut self,
        argon2: &Argon2<'_>,
        password: &[u8],
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<(), argon2::Error> {
        let blocks = argon2.params().block_count();
        if self.0.len() < blocks {
            self.0.resize(blocks, Block::new());
        }
        argon2.hash_password_into_with_memory(password, salt, output, &mut self.0[..blocks])
    }
}

const SALT_BYTES: usize = 16;
const OUTPUT_BYTES: usize = 32;
const FITS: &str = "a password of bounded length, a salt of 16 bytes and 32 bytes of output fit argon2id";

fn hash(memory: &mut Memory, argon2: &Argon2<'_>, password: &[u8], entropy: &dyn Entropy) -> String {
    let salt = salt(entropy);
    let mut output = [0; OUTPUT_BYTES];
    memory.fill(argon2, password, &salt, &mut output).expect(FITS);
    phc(argon2, &salt, &output)
}

fn salt(entropy: &dyn Entropy) -> [u8; SALT_BYTES] {
    let mut salt = [0; SALT_BYTES];
    entropy.fill(&mut salt);
    salt
}

/// The PHC string of a hash.
fn phc(argon2: &Argon2<'_>, salt: &[u8], output: &[u8]) -> String {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: argon2.params().try_into().expect(FITS),
        salt: Some(Salt::new(salt).expect(FITS)),
        hash: Some(Output::new(output).expect(FITS)),
    };
    hash.to_string()
}

/// The work that is left to reach the cost of a present hash, when `spent` of it (blocks times passes) is done.
fn rest_of(present: &Params, spent: u64) -> Option<Params> {
    let passes = present.t_cost();
    let left = (u64::from(present.m_cost()) * u64::from(passes)).saturating_sub(spent);
    let memory_kib = u32::try_from(left / u64::from(passes)).ok()?;
    if memory_kib == 0 {
        return None;
    }
    // Less memory than argon2id takes is as good as that.
    let least = Params::MIN_M_COST.max(8 * present.p_cost());
    Params::new(memory_kib.max(least), passes, present.p_cost(), None).ok()
}

/// Works as long as a hash of these parameters takes.
fn spend(memory: &mut Memory, params: Params, password: &[u8]) {
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = [0; OUTPUT_BYTES];
    memory.fill(&argon2, password, &[0; SALT_BYTES], &mut output).expect(FITS);
    black_box(output);
}

#[cfg(test)]
mod tests {
    use bailiwick_core::clock::OsEntropy;

    use super::*;

    fn cheap() -> PasswordHasher {
        let cost = HashCost { memory_kib: 64, iterations: 1, parallelism: 1 };
        PasswordHasher::new(cost, 2, Arc::new(OsEntropy)).unwrap()
    }

    fn secret(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[tokio::test]
    async fn the_right_password_verifies_and_no_other_does() {
        let hasher = cheap();
        let stored = hasher.hash(secret("correct horse")).await.unwrap();
        assert!(stored.expose().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        assert!(hasher.verify(secret("correct horse"), Some(stored.clone())).await.unwrap());
        assert!(!hasher.verify(secret("correct horsf"), Some(stored.clone())).await.unwrap());
        assert!(!hasher.verify(secret(""), Some(stored)).await.unwrap());
        assert!(!hasher.verify(secret("correct horse"), None).await.unwrap());
        assert!(!hasher.verify(secret("x"), Some(secret("no hash"))).await.unwrap());
    }

    #[tokio::test]
    async fn a_job_that_panics_is_a_500_and_the_next_is_served() {
        let hasher = PasswordHasher::new(
            HashCost { memory_kib: 64, iterations: 1, parallelism: 1 },
            1,
            Arc::new(OsEntropy),
        );
        let hasher = hasher.unwrap();
        let failed: Result<(), Problem> = hasher.run(|_| panic!("on purpose")).await;
        assert_eq!(failed.unwrap_err().status(), 500);
        assert_eq!(hasher.run(|_| 7).await.unwrap(), 7);
    }

    /// A meter of a hasher: a count, or how many values a distribution has seen.
    fn measured(hasher: &PasswordHasher, name: &str) -> u64 {
        let mut found = None;
        hasher.meters(&mut |meter| {
            if meter.name == name {
                found = Some(match meter.value {
                    Value::Distribution(reading) => reading.counts.iter().sum(),
                    Value::Counter(count) | Value::Gauge(count) => count,
                    other => panic!("{other:?}"),
                });
            }
        });
        found.unwrap_or_else(|| panic!("there is no {name}"))
    }

    #[tokio::test]
    async fn who_waits_and_who_is_refused_is_counted_until_it_is_over() {
        let cost = HashCost { memory_kib: 64, iterations: 1, parallelism: 1 };
        let hasher = PasswordHasher::new(cost, 1, Arc::new(OsEntropy)).unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let working = tokio::spawn({
            let hasher = hasher.clone();
            async move {
                let work = move |_: &mut Memory| {
                    begun.send(()).unwrap();
                    let _ = released.recv();
                };
                hasher.run(work).await.unwrap();
            }
        });
        while has_begun.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        let waiting: Vec<_> = (0..PasswordHasher::QUEUE)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.run(|_| ()).await.is_ok() })
            })
            .collect();
        let queued = || measured(&hasher, "bailiwick_password_hash_waiting");
        while queued() < PasswordHasher::QUEUE as u64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(hasher.run(|_| ()).await.unwrap_err().status(), 503);
        assert_eq!(queued(), PasswordHasher::QUEUE as u64, "who is refused does not wait");
        drop(release);
        working.await.unwrap();
        for waiting in waiting {
            assert!(waiting.await.unwrap());
        }
        assert_eq!((queued(), measured(&hasher, "bailiwick_password_hash_refused_total")), (0, 1));
        let all = PasswordHasher::QUEUE as u64 + 1;
        assert_eq!(measured(&hasher, "bailiwick_password_hash_wait_seconds"), all);
        assert_eq!(measured(&hasher, "bailiwick_password_hash_seconds"), all);
    }

    // PWD-04: what is stored can be verified by whoever knows PHC strings, and the other way round.
    #[tokio::test]
    async fn a_hash_is_the_one_that_others_make() {
        use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
        let hasher = cheap();
        let ours = hasher.hash(secret("correct horse")).await.unwrap();
        let parsed = PasswordHash::new(ours.expose()).unwrap();
        assert!(Argon2::default().verify_password(b"correct horse", &parsed).is_ok());
        assert!(Argon2::default().verify_password(b"correct horsf", &parsed).is_err());
        let theirs =
            Argon2::default().hash_password_with_salt(b"correct horse", b"sixteen bytes ok").unwrap();
        assert!(hasher.verify(secret("correct horse"), Some(secret(&theirs.to_string()))).await.unwrap());
    }

    // PWD-08
    #[tokio::test]
    async fn a_password_is_the_same_however_a_keyboard_makes_it() {
        let hasher = cheap();
        let stored = hasher.hash(secret("caf\u{e9} \u{2460}")).await.unwrap();
        assert!(hasher.verify(secret("cafe\u{301} 1"), Some(stored)).await.unwrap());
    }

    #[tokio::test]
    async fn two_hashes_of_one_password_differ() {
        let hasher = cheap();
        assert_ne!(hasher.hash(secret("same")).await.unwrap(), hasher.hash(secret("same")).await.unwrap());
    }

    // PWD-12: blocks times passes, which is what takes the time.
    #[test]
    fn a_hash_that_costs_less_is_made_up_for() {
        let work = |params: &Params| u64::from(params.m_cost()) * u64::from(params.t_cost());
        let present = Params::new(19_456, 2, 1, None).unwrap();
        let in_all = |spent: u64| spent + rest_of(&present, spent).as_ref().map_or(0, work);
        for spent in [0, 1, 64, 7168, 19_456, 38_000, 38_910] {
            assert!(in_all(spent).abs_diff(work(&present)) <= 16, "{spent}");
        }
        for enough in [work(&present), work(&present) + 1, u64::MAX] {
            assert!(rest_of(&present, enough).is_none(), "{enough}");
        }
    }

    #[tokio::test]
    async fn what_is_as_good_as_a_present_hash_is_current() {
        let hasher = cheap();
        let stored = hasher.hash(secret("correct horse")).await.unwrap();
        assert!(hasher.is_current(&stored));
        let of_django = format!("argon2{}", stored.expose());
        // A server whose settings demand less does not weaken what another has made.
        assert!(hasher.is_current(&secret(&stored.expose().replace("m=64,t=1", "m=72,t=2"))));
        let other = stored.expose().replace("m=64,t=1", "m=56,t=2");
        for stored in [of_django.as_str(), other.as_str(), "", "pbkdf2_sha256$1000$s$x"] {
            assert!(!hasher.is_current(&secret(stored)), "{stored}");
        }
    }

    // PWD-04: lanes are a parameter like any other.
    #[tokio::test]
    async fn a_hash_of_fewer_lanes_than_present_ones_is_not_current_and_one_of_more_is() {
        let of = |parallelism| {
            let cost = HashCost { memory_kib: 64, iterations: 1, parallelism };
            PasswordHasher::new(cost, 1, Arc::new(OsEntropy)).unwrap()
        };
        let (one, four) = (of(1), of(4));
        let narrow = one.hash(secret("correct horse")).await.unwrap();
        let wide = four.hash(secret("correct horse")).await.unwrap();
        assert!(!four.is_current(&narrow) && four.is_current(&wide));
        assert!(one.is_current(&narrow) && one.is_current(&wide));
    }

    #[test]
    fn a_thread_keeps_the_memory_of_a_present_hash_and_no_more() {
        let mut memory = Memory::default();
        spend(&mut memory, Params::new(1024, 1, 1, None).unwrap(), b"x");
        memory.keep(64);
        assert_eq!(memory.0.len(), 64);
        assert!(memory.0.capacity() < 1024);
    }
}
