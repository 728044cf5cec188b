//! Passwords: hashed with argon2id, on a pool that is bounded.
use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::phc::{Output, PasswordHash, Salt},
};
use bailiwick_core::{clock::Entropy, secret::Secret};
use subtle::ConstantTimeEq as _;
use tokio::sync::oneshot;
use unicode_normalization::UnicodeNormalization as _;

use crate::problem::Problem;

/// The longest password that is accepted, in characters (contract §2).
pub const MAX_CHARS: usize = 256;

/// How much work a hash is. The default is OWASP's first choice: 19 MiB, 2 passes, 1 lane (PWD-01).
#[derive(Clone, Copy, Debug)]
pub struct HashCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over the memory.
    pub iterations: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for HashCost {
    fn default() -> Self {
        Self { memory_kib: 19_456, iterations: 2, parallelism: 1 }
    }
}

/// Why there is no hasher.
#[derive(Debug, thiserror::Error)]
pub enum HasherError {
    /// The parameters are none that argon2id takes.
    #[error("argon2id does not take these parameters: {0}")]
    Cost(argon2::Error),
    /// The system gives no threads to hash on.
    #[error("a thread to hash passwords on cannot be started")]
    Threads(#[source] io::Error),
}

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
    /// A hash of nothing that anyone knows, with the present parameters: what an unknown user is verified
    /// against, so that the answer takes as long (PWD-12).
    decoy: String,
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
        // What no password leads to need not be made of one, which would take as long and as much memory as a log-in.
        let mut unknown = [0; OUTPUT_BYTES];
        entropy.fill(&mut unknown);
        let decoy = phc(&argon2, &salt(&*entropy), &unknown);
        let (jobs, queue) = mpsc::sync_channel(Self::QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            let thread = thread::Builder::new().name("bailiwick-hash".to_owned());
            thread.spawn(move || work_off(&queue)).map_err(HasherError::Threads)?;
        }
        Ok(Self { inner: Arc::new(Inner { argon2, jobs, entropy, decoy }) })
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
    /// out takes as long.
    ///
    /// # Errors
    /// 503 if too many callers wait.
    pub async fn verify(
        &self,
        password: Secret<String>,
        stored: Option<Secret<String>>,
    ) -> Result<bool, Problem> {
        let inner = Arc::clone(&self.inner);
        self.run(move |memory| {
            let hash = stored.as_ref().map_or(inner.decoy.as_str(), |stored| stored.expose());
            let matches = verify(memory, normalised(&password).expose().as_bytes(), hash);
            matches && stored.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |memory| {
            // Whoever has left meanwhile is not worked for.
            if !reply.is_closed() {
                let _ = reply.send(work(memory));
            }
        });
        if self.inner.jobs.try_send(job).is_err() {
            return Err(Problem::unavailable().with_retry_after(Duration::from_secs(1)));
        }
        answer.await.map_err(|error| Problem::internal().because(error))
    }
}

impl std::fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHasher").finish_non_exhaustive()
    }
}

/// Does one job after the other, until the hasher is gone.
fn work_off(queue: &Mutex<Receiver<Job>>) {
    let mut memory = Memory::default();
    loop {
        let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = next else { return };
        // A job that panics answers nobody, which its caller sees as a 500; the thread goes on.
        let _ = catch_unwind(AssertUnwindSafe(|| job(&mut memory)));
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
struct Memory(Vec<Block>);

impl Memory {
    /// The bytes that argon2id makes of `password` and `salt`.
    fn fill(
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

/// What is no hash of argon2id matches nothing. The cost is that of the stored hash.
fn verify(memory: &mut Memory, password: &[u8], stored: &str) -> bool {
    let Ok(stored) = PasswordHash::new(stored) else { return false };
    let (Some(salt), Some(expected)) = (&stored.salt, &stored.hash) else { return false };
    let is_ours =
        stored.algorithm == Algorithm::Argon2id.ident() && stored.version == Some(Version::V0x13.into());
    let Ok(params) = Params::try_from(&stored) else { return false };
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut output = vec![0; expected.len()];
    let made = memory.fill(&argon2, password, salt.as_ref(), &mut output);
    is_ours && made.is_ok() && output.ct_eq(expected.as_bytes()).into()
}

/// Why a password cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPassword {
    /// Too short to withstand guessing.
    #[error("a password has at least {0} characters")]
    TooShort(usize),
    /// Longer than is accepted.
    #[error("a password has at most {MAX_CHARS} characters")]
    TooLong,
    /// It is, or holds, the user's name.
    #[error("a password must not contain the user name")]
    ContainsUsername,
    /// A control character, which cannot be typed again.
    #[error("a password must not contain control characters")]
    ControlCharacter,
}

/// Checks that `password` may be set for the user called `username`: at least `min_chars` characters (Unicode code
/// points), at most [`MAX_CHARS`]. No rules of composition (PWD-07).
///
/// # Errors
/// Why it may not.
pub fn check(password: &str, username: &str, min_chars: usize) -> Result<(), UnfitPassword> {
    let chars = password.chars().count();
    if chars < min_chars {
        return Err(UnfitPassword::TooShort(min_chars));
    }
    if chars > MAX_CHARS {
        return Err(UnfitPassword::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(UnfitPassword::ControlCharacter);
    }
    if password.to_lowercase().contains(&username.to_lowercase()) {
        return Err(UnfitPassword::ContainsUsername);
    }
    Ok(())
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

    #[test]
    fn a_password_is_checked_by_length_and_name_only() {
        assert_eq!(check("ééééééé", "bob", 8), Err(UnfitPassword::TooShort(8)));
        assert_eq!(check("éééééééé", "bob", 8), Ok(()));
        assert_eq!(check(&"a".repeat(257), "bob", 8), Err(UnfitPassword::TooLong));
        assert_eq!(check("I am BOB the great", "bob", 8), Err(UnfitPassword::ContainsUsername));
        assert_eq!(check("tab\tin the middle", "bob", 8), Err(UnfitPassword::ControlCharacter));
    }
}
