//! Passwords: hashed with argon2id, on a pool that is bounded.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use bailiwick_core::{clock::Entropy, secret::Secret};
use tokio::sync::Semaphore;
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

/// The parameters are none that argon2id takes.
#[derive(Clone, Debug, thiserror::Error)]
#[error("argon2id does not take these parameters: {0}")]
pub struct InvalidCost(argon2::Error);

/// Hashes and verifies passwords on threads of their own, a few at a time (PWD-05).
///
/// Each hash takes its memory while it runs; more callers than [`QUEUE`](Self::QUEUE) are refused with 503.
#[derive(Clone)]
pub struct PasswordHasher {
    inner: Arc<Inner>,
}

struct Inner {
    argon2: Argon2<'static>,
    slots: Arc<Semaphore>,
    waiting: AtomicUsize,
    entropy: Arc<dyn Entropy>,
    /// A hash of nothing that anyone knows, with the present parameters: what an unknown user is verified
    /// against, so that the answer takes as long (PWD-12).
    decoy: String,
}

impl PasswordHasher {
    /// How many callers may wait for a hash.
    pub const QUEUE: usize = 256;

    /// A hasher of this cost that runs at most `threads` hashes at a time.
    ///
    /// # Errors
    /// If argon2id does not take the cost.
    pub fn new(cost: HashCost, threads: usize, entropy: Arc<dyn Entropy>) -> Result<Self, InvalidCost> {
        let params =
            Params::new(cost.memory_kib, cost.iterations, cost.parallelism, None).map_err(InvalidCost)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut unknown = [0; 32];
        entropy.fill(&mut unknown);
        let decoy = hash(&argon2, &unknown, &*entropy);
        let slots = Arc::new(Semaphore::new(threads.max(1)));
        Ok(Self { inner: Arc::new(Inner { argon2, slots, waiting: AtomicUsize::new(0), entropy, decoy }) })
    }

    /// The hash of `password`, as a PHC string with its parameters and a fresh salt (PWD-04).
    ///
    /// # Errors
    /// 503 if too many callers wait.
    pub async fn hash(&self, password: Secret<String>) -> Result<Secret<String>, Problem> {
        let inner = Arc::clone(&self.inner);
        self.run(move || {
            let password = normalised(&password);
            Secret::new(hash(&inner.argon2, password.expose().as_bytes(), &*inner.entropy))
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
        self.run(move || {
            let hash = stored.as_ref().map_or(inner.decoy.as_str(), |stored| stored.expose());
            let matches = verify(&inner.argon2, normalised(&password).expose().as_bytes(), hash);
            matches && stored.is_some()
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let _waiting = Waiting::join(&self.inner)?;
        let slots = Arc::clone(&self.inner.slots);
        let slot = slots.acquire_owned().await.expect("the semaphore is never closed");
        let done = tokio::task::spawn_blocking(move || {
            // The slot is held by the work, not by the caller: one who leaves does not make room for another.
            let _slot = slot;
            work()
        });
        done.await.map_err(|error| Problem::internal().because(error))
    }
}

impl std::fmt::Debug for PasswordHasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordHasher").finish_non_exhaustive()
    }
}

/// A caller who waits for a hash; leaves the queue when dropped.
struct Waiting<'a>(&'a Inner);

impl<'a> Waiting<'a> {
    fn join(inner: &'a Inner) -> Result<Self, Problem> {
        let before = inner.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Self(inner);
        if before < PasswordHasher::QUEUE {
            Ok(waiting)
        } else {
            Err(Problem::unavailable().with_retry_after(std::time::Duration::from_secs(1)))
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One form for what looks the same, however a keyboard made it: NFKC, when a password is set and when it is verified
/// (PWD-08).
fn normalised(password: &Secret<String>) -> Secret<String> {
    Secret::new(password.expose().nfkc().collect())
}

fn hash(argon2: &Argon2<'_>, password: &[u8], entropy: &dyn Entropy) -> String {
    let mut salt = [0; 16];
    entropy.fill(&mut salt);
    argon2
        .hash_password_with_salt(password, &salt)
        .expect("a password of bounded length and a salt of 16 bytes can be hashed")
        .to_string()
}

fn verify(argon2: &Argon2<'_>, password: &[u8], stored: &str) -> bool {
    PasswordHash::new(stored).is_ok_and(|stored| argon2.verify_password(password, &stored).is_ok())
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
