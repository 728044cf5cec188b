//! Tokens whose signature was verified: what that costs is spent once.
use std::{fmt, sync::Arc, time::Duration};

use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::{Invalid, MAX_BYTES};

/// How many tokens are remembered at most; each takes about half a KiB.
const MOST: u64 = 10_000;
/// How long one is remembered that nobody shows. This goes by a clock of the cache's own, and may: it decides only how much is
/// held, since a token that is remembered is good no longer than the clock of the application lets it be (I10).
const UNUSED: Duration = Duration::from_secs(600);

/// What tokens say that were verified with one set of keys, by the digest of their text. When a key ends there is another set,
/// which remembers nothing.
pub(in crate::authn) struct Verified<C>(Cache<[u8; 32], Arc<C>>);

impl<C: Send + Sync + 'static> Verified<C> {
    pub(in crate::authn) fn new() -> Self {
        Self(Cache::builder().max_capacity(MOST).time_to_idle(UNUSED).build())
    }

    /// What a token says: what `verify` reads of it, or has read before. That what was remembered is still good is for
    /// `in_time` to say, at each use.
    pub(in crate::authn) fn read(
        &self,
        text: &str,
        in_time: impl FnOnce(&C) -> Result<(), Invalid>,
        verify: impl FnOnce() -> Result<C, Invalid>,
    ) -> Result<Arc<C>, Invalid> {
        // Before it is digested: whoever sends much pays for it (JWT-02).
        if text.len() > MAX_BYTES {
            return Err(Invalid::TooLong);
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        if let Some(claims) = self.0.get(&digest) {
            in_time(&claims)?;
            return Ok(claims);
        }
        let claims = Arc::new(verify()?);
        self.0.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }
}

impl<C> fmt::Debug for Verified<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // JWT-13, I10
    #[test]
    fn a_token_is_verified_once_and_its_times_are_looked_at_each_time() {
        let verified = Verified::new();
        let read = |in_time| verified.read("token", |_: &u8| in_time, || Ok(7)).map(|claims| *claims);
        assert_eq!(verified.read("token", |_| Ok(()), || Err(Invalid::Signature)), Err(Invalid::Signature));
        assert_eq!(read(Ok(())), Ok(7));
        let again = verified.read("token", |_| Ok(()), || unreachable!("it is remembered"));
        assert_eq!(again, Ok(Arc::new(7)));
        assert_eq!(read(Err(Invalid::Expired)), Err(Invalid::Expired));
        let long = "x".repeat(MAX_BYTES + 1);
        assert_eq!(verified.read(&long, |_| Ok(()), || Ok(7)), Err(Invalid::TooLong));
    }
}
