//! The keys of a ring, decrypted, and the tokens that were verified with them.
use std::{collections::HashMap, fmt, sync::Arc};

use bailiwick_core::{
    clock::Timestamp,
    store::{KeyRingRecord, KeyState},
};

use super::{MasterKeys, RingError};
use crate::authn::jwt::{
    AccessClaims, AccessTokens, Algorithm, Invalid, KeyError, SigningKey, Verified, VerifyingKey, jwks,
};

/// The keys, as they were at one version of the ring.
pub struct Keys {
    pub(super) record: KeyRingRecord,
    pub(super) signing: Option<SigningKey>,
    verifying: HashMap<String, Verifier>,
    jwks: String,
    verified: Verified<AccessClaims>,
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
        Ok(Self { signing, verifying, jwks, verified: Verified::new(), record })
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
        let living = |kid: &str| {
            let verifier = self.verifying.get(kid)?;
            verifier.ends_at.is_none_or(|end| now < end).then_some(&verifier.key)
        };
        self.verified.read(text, |claims| claims.in_time(now), || tokens.verify(text, now, living))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("version", &self.record.version).finish_non_exhaustive()
    }
}
