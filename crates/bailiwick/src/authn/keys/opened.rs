//! The keys of a ring, decrypted, and the tokens that were verified with them.
use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use bailiwick_core::{
    clock::Timestamp,
    store::{KeyRingRecord, KeyState},
};
use moka::sync::Cache;
use sha2::{Digest, Sha256};

use super::{MasterKeys, RingError};
use crate::authn::jwt::{
    AccessClaims, AccessTokens, Algorithm, Invalid, KeyError, MAX_BYTES, SigningKey, VerifyingKey, jwks,
};

/// How many verified tokens are remembered at most; each takes about half a KiB.
const REMEMBERED: u64 = 10_000;

/// The keys, as they were at one version of the ring.
pub struct Keys {
    pub(super) record: KeyRingRecord,
    pub(super) signing: Option<SigningKey>,
    verifying: HashMap<String, Verifier>,
    jwks: String,
    /// Tokens that were verified with these keys, by the digest of their text: what verifying costs is spent once. When
    /// a key ends, there are other `Keys`, which remember nothing.
    remembered: Cache<[u8; 32], Arc<AccessClaims>>,
}

struct Verifier {
    key: VerifyingKey,
    ends_at: Option<Timestamp>,
}

impl Keys {
    pub(super) fn open(record: KeyRingRecord, master: &MasterKeys) -> Result<Self, RingError> {
        let mut opened = Vec::new();
        for key in record.keys.iter().filter(|key| key.state.verifies()) {
            let sealed = |source| RingError::Sealed { kid: key.kid.clone(), source };
            let private = master.open(key).map_err(sealed)?;
            let algorithm = Algorithm::parse(&key.algorithm).ok_or(KeyError::Malformed)?;
            opened.push((SigningKey::read(&key.kid, algorithm, &private)?, key));
        }
        let verifying = opened.iter().map(|(opened, key)| {
            let verifier = Verifier { key: opened.verifying()?, ends_at: key.ends_at };
            Ok::<_, KeyError>((key.kid.clone(), verifier))
        });
        let verifying = verifying.collect::<Result<_, _>>()?;
        let jwks = jwks(opened.iter().map(|(key, _)| key))?;
        // KEY-05: of all of them, only the active one is kept to sign with.
        let signing = opened.into_iter().find(|(_, key)| key.state == KeyState::Active).map(|(key, _)| key);
        let remembered =
            Cache::builder().max_capacity(REMEMBERED).time_to_idle(Duration::from_secs(600)).build();
        Ok(Self { signing, verifying, jwks, remembered, record })
    }

    /// The key that signs.
    ///
    /// # Panics
    /// Never: a ring gives out only keys of which one signs.
    pub fn signing(&self) -> &SigningKey {
        self.signing.as_ref().expect("keys that are given out have one that signs")
    }

    /// The JWKS document of the public keys: next, active and retiring (JWT-30).
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// Reads a token that one of these keys has signed, and remembers it.
    ///
    /// # Errors
    /// As [`AccessTokens::verify`].
    pub fn verify(
        &self,
        tokens: &AccessTokens,
        text: &str,
        now: Timestamp,
    ) -> Result<Arc<AccessClaims>, Invalid> {
        if text.len() > MAX_BYTES {
            return Err(Invalid::TooLong);
        }
        let digest: [u8; 32] = Sha256::digest(text).into();
        if let Some(claims) = self.remembered.get(&digest) {
            claims.in_time(now)?;
            return Ok(claims);
        }
        let living = |kid: &str| {
            let verifier = self.verifying.get(kid)?;
            verifier.ends_at.is_none_or(|end| now < end).then_some(&verifier.key)
        };
        let claims = Arc::new(tokens.verify(text, now, living)?);
        self.remembered.insert(digest, Arc::clone(&claims));
        Ok(claims)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("version", &self.record.version).finish_non_exhaustive()
    }
}
