//! Keys, each of one algorithm.
use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize, PublicKeyComponents},
    signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey,
        RSA_PKCS1_SHA256,
    },
};
use bailiwick_core::{clock::Entropy, secret::Secret};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::jws::KnownKey;

/// What a key signs with. There is no `none` (JWT-03).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519: the default.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA PKCS#1 v1.5 with SHA-256, 3072 bits.
    Rs256,
    /// HMAC-SHA256 with 32 random bytes: whoever verifies can sign.
    Hs256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::EdDsa, Self::Es256, Self::Rs256, Self::Hs256];

    /// The name in a header, `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
            Self::Hs256 => "HS256",
        }
    }

    /// The algorithm that is called so, in exactly this case (JWT-03).
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why there is no such key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The library could not make one.
    #[error("a key could not be made")]
    NotMade,
    /// The bytes are no key of this algorithm.
    #[error("the bytes are no key of this algorithm")]
    Malformed,
    /// The key is not the one that its `kid` names.
    #[error("the key is not the one that its kid names")]
    OtherKid,
}

/// A key that signs.
pub struct SigningKey {
    kid: String,
    private: Private,
}

enum Private {
    EdDsa(Box<Ed25519KeyPair>),
    Es256(Box<EcdsaKeyPair>),
    Rs256(Box<RsaKeyPair>),
    Hs256(Box<hmac::Key>),
}

impl SigningKey {
    /// Makes a key, and gives it with its bytes, which [`SigningKey::read`] reads.
    ///
    /// Keys of Ed25519 and HMAC come from `entropy`; those of P-256 and RSA from the generator of AWS-LC, which takes no
    /// other.
    ///
    /// # Errors
    /// If the library could not make one.
    pub fn generate(
        algorithm: Algorithm,
        entropy: &dyn Entropy,
    ) -> Result<(Self, Secret<Vec<u8>>), KeyError> {
        let bytes = match algorithm {
            Algorithm::EdDsa | Algorithm::Hs256 => {
                let mut bytes = vec![0; 32];
                entropy.fill(&mut bytes);
                bytes
            }
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .and_then(|pair| pair.to_pkcs8v1())
                .map_err(|_| KeyError::NotMade)?
                .as_ref()
                .to_vec(),
            Algorithm::Rs256 => RsaKeyPair::generate(KeySize::Rsa3072)
                .and_then(|pair| pair.as_der())
                .map_err(|_| KeyError::NotMade)?
                .as_ref()
                .to_vec(),
        };
        let bytes = Secret::new(bytes);
        let private = Private::read(algorithm, bytes.expose())?;
        let kid = match private.thumbprint()? {
            Some(kid) => kid,
            // JWT-33: what is made of a shared secret must not be public.
            None => {
                let mut random = [0; 32];
                entropy.fill_public(&mut random);
                BASE64URL_NOPAD.encode(&random)
            }
        };
        Ok((Self { kid, private }, bytes))
    }

    /// Reads what [`SigningKey::generate`] gave.
    ///
    /// # Errors
    /// If the bytes are no such key, or one that is not called `kid`.
    pub fn read(kid: &str, algorithm: Algorithm, bytes: &Secret<Vec<u8>>) -> Result<Self, KeyError> {
        let private = Private::read(algorithm, bytes.expose())?;
        if private.thumbprint()?.is_some_and(|named| named != kid) {
            return Err(KeyError::OtherKid);
        }
        Ok(Self { kid: kid.to_owned(), private })
    }

    /// The key's name: its thumbprint (RFC 7638), or, of a shared secret, something random (JWT-32, JWT-33).
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self.private {
            Private::EdDsa(_) => Algorithm::EdDsa,
            Private::Es256(_) => Algorithm::Es256,
            Private::Rs256(_) => Algorithm::Rs256,
            Private::Hs256(_) => Algorithm::Hs256,
        }
    }

    /// Signs `message`.
    ///
    /// # Errors
    /// If the library refuses.
    pub(in crate::authn) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let failed = |_| KeyError::NotMade;
        match &self.private {
            Private::EdDsa(pair) => Ok(pair.sign(message).as_ref().to_vec()),
            // Raw R and S, not DER (JWT-10).
            Private::Es256(pair) => {
                pair.sign(&SystemRandom::new(), message).map(|made| made.as_ref().to_vec()).map_err(failed)
            }
            Private::Rs256(pair) => {
                let mut made = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut made).map_err(failed)?;
                Ok(made)
            }
            Private::Hs256(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// The key that verifies what this one signs.
    ///
    /// # Errors
    /// If the library refuses.
    pub fn verifying(&self) -> Result<VerifyingKey, KeyError> {
        match &self.private {
            Private::EdDsa(pair) => VerifyingKey::public(Algorithm::EdDsa, pair.public_key().as_ref()),
            Private::Es256(pair) => VerifyingKey::public(Algorithm::Es256, pair.public_key().as_ref()),
            Private::Rs256(pair) => VerifyingKey::public(Algorithm::Rs256, pair.public_key().as_ref()),
            Private::Hs256(key) => Ok(VerifyingKey(Verifier::Shared(key.clone()))),
        }
    }

    /// The public key as a JWK; none of a shared secret (JWT-30).
    ///
    /// # Errors
    /// If the library refuses.
    pub fn public_jwk(&self) -> Result<Option<Value>, KeyError> {
        let Some(members) = self.private.members()? else { return Ok(None) };
        let mut jwk: Map<String, Value> =
            members.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        jwk.insert("kid".to_owned(), self.kid.as_str().into());
        jwk.insert("use".to_owned(), "sig".into());
        jwk.insert("alg".to_owned(), self.algorithm().as_str().into());
        Ok(Some(Value::Object(jwk)))
    }
}

/// Does not show the key.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm())
            .finish_non_exhaustive()
    }
}

impl Private {
    fn read(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let malformed = |_| KeyError::Malformed;
        match algorithm {
            Algorithm::EdDsa => {
                Ed25519KeyPair::from_seed_unchecked(bytes).map(Box::new).map(Self::EdDsa).map_err(malformed)
            }
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, bytes)
                .map(Box::new)
                .map(Self::Es256)
                .map_err(malformed),
            Algorithm::Rs256 => {
                RsaKeyPair::from_pkcs8(bytes).map(Box::new).map(Self::Rs256).map_err(malformed)
            }
            // JWT-10: an empty or short secret is none.
            Algorithm::Hs256 if bytes.len() < 32 => Err(KeyError::Malformed),
            Algorithm::Hs256 => Ok(Self::Hs256(Box::new(hmac::Key::new(hmac::HMAC_SHA256, bytes)))),
        }
    }

    /// The members that a thumbprint is made of, in the order of their names; none of a shared secret.
    fn members(&self) -> Result<Option<Vec<(&'static str, String)>>, KeyError> {
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        Ok(Some(match self {
            Self::EdDsa(pair) => vec![
                ("crv", "Ed25519".to_owned()),
                ("kty", "OKP".to_owned()),
                ("x", text(pair.public_key().as_ref())),
            ],
            Self::Es256(pair) => {
                // 4, then x, then y.
                let point = pair.public_key().as_ref();
                let (x, y) = point.get(1..65).ok_or(KeyError::Malformed)?.split_at(32);
                vec![("crv", "P-256".to_owned()), ("kty", "EC".to_owned()), ("x", text(x)), ("y", text(y))]
            }
            Self::Rs256(pair) => {
                let parts = PublicKeyComponents::<Vec<u8>>::from(pair.public_key());
                vec![("e", text(&parts.e)), ("kty", "RSA".to_owned()), ("n", text(&parts.n))]
            }
            Self::Hs256(_) => return Ok(None),
        }))
    }

    /// RFC 7638: the SHA-256 of the required members, in order and without white space (JWT-32).
    fn thumbprint(&self) -> Result<Option<String>, KeyError> {
        let Some(members) = self.members()? else { return Ok(None) };
        // Names and values are ASCII that needs no escaping.
        let members: Vec<_> =
            members.into_iter().map(|(name, value)| format!("\"{name}\":\"{value}\"")).collect();
        let digest = Sha256::digest(format!("{{{}}}", members.join(",")));
        Ok(Some(BASE64URL_NOPAD.encode(&digest)))
    }
}

/// A key that verifies. Of a shared secret, it is the secret.
#[derive(Clone)]
pub struct VerifyingKey(Verifier);

#[derive(Clone)]
enum Verifier {
    Public(Algorithm, ParsedPublicKey),
    Shared(Box<hmac::Key>),
}

impl VerifyingKey {
    /// The public key in `bytes`: 32 bytes of Ed25519, an uncompressed point of P-256, or `RSAPublicKey` in DER with at
    /// least 2048 bits.
    ///
    /// # Errors
    /// If the bytes are none.
    pub(super) fn public(algorithm: Algorithm, bytes: &[u8]) -> Result<Self, KeyError> {
        let parse = |verification: &'static dyn signature::VerificationAlgorithm| {
            ParsedPublicKey::new(verification, bytes)
                .map(|key| Self(Verifier::Public(algorithm, key)))
                .map_err(|_| KeyError::Malformed)
        };
        match algorithm {
            Algorithm::EdDsa => parse(&signature::ED25519),
            Algorithm::Es256 => parse(&signature::ECDSA_P256_SHA256_FIXED),
            Algorithm::Rs256 => parse(&signature::RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Hs256 => Err(KeyError::Malformed),
        }
    }

    /// The one algorithm that it verifies (JWT-04).
    pub const fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Verifier::Public(algorithm, _) => *algorithm,
            Verifier::Shared(_) => Algorithm::Hs256,
        }
    }
}

impl KnownKey for VerifyingKey {
    const IGNORED: &'static [&'static str] = &[];

    fn is_algorithm(name: &str) -> bool {
        Algorithm::parse(name).is_some()
    }

    fn algorithm_name(&self) -> &str {
        self.algorithm().as_str()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.0 {
            Verifier::Public(_, key) => key.verify_sig(message, signature).is_ok(),
            // In constant time, and of the full length only.
            Verifier::Shared(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// Does not show the key, which may be a secret.
impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyingKey").field(&self.algorithm()).finish()
    }
}

/// The JWKS document of these keys: the public ones, and nothing else (JWT-30).
///
/// # Errors
/// If the library refuses.
pub fn jwks<'k>(keys: impl IntoIterator<Item = &'k SigningKey>) -> Result<String, KeyError> {
    let public = keys.into_iter().filter_map(|key| key.public_jwk().transpose());
    Ok(json!({ "keys": public.collect::<Result<Vec<_>, _>>()? }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailiwick_core::clock::OsEntropy;

    // JWT-32: the key of RFC 8037 A.3.
    #[test]
    fn a_kid_is_the_thumbprint_that_others_compute() {
        let seed = [
            0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4,
            0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
        ];
        let bytes = Secret::new(seed.to_vec());
        let kid = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
        let key = SigningKey::read(kid, Algorithm::EdDsa, &bytes).unwrap();
        assert_eq!(
            key.public_jwk().unwrap().unwrap(),
            json!({ "alg": "EdDSA", "crv": "Ed25519", "kid": kid, "kty": "OKP", "use": "sig",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" })
        );
        assert_eq!(SigningKey::read("other", Algorithm::EdDsa, &bytes).unwrap_err(), KeyError::OtherKid);
    }

    // JWT-10, JWT-30, JWT-33
    #[test]
    fn a_key_reads_back_signs_and_shows_its_public_half_only() {
        for algorithm in Algorithm::ALL {
            let (made, bytes) = SigningKey::generate(algorithm, &OsEntropy).unwrap();
            let read = SigningKey::read(made.kid(), algorithm, &bytes).unwrap();
            assert_eq!((read.algorithm(), read.kid().len()), (algorithm, 43));
            let verifying = made.verifying().unwrap();
            assert_eq!(verifying.algorithm(), algorithm);
            let signature = read.sign(b"message").unwrap();
            assert!(verifying.verifies(b"message", &signature), "{algorithm}");
            assert!(!verifying.verifies(b"massage", &signature), "{algorithm}");
            assert!(!verifying.verifies(b"message", &[]), "{algorithm}");
            assert!(!verifying.verifies(b"message", &signature[..signature.len() - 1]), "{algorithm}");
            if algorithm == Algorithm::Es256 {
                assert_eq!(signature.len(), 64, "raw R and S");
            }
            let document: Value = serde_json::from_str(&jwks([&made]).unwrap()).unwrap();
            let keys = document["keys"].as_array().unwrap();
            assert_eq!(keys.len(), usize::from(algorithm != Algorithm::Hs256));
            for key in keys {
                let names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
                let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
                assert!(!names.iter().any(|name| private.contains(name)), "{names:?}");
                assert!(["kid", "kty", "use", "alg"].iter().all(|name| names.contains(name)), "{names:?}");
            }
            let shown = format!("{made:?} {verifying:?}");
            assert!(!shown.contains("key_value") && shown.len() < 200, "{shown}");
        }
    }

    // JWT-10
    #[test]
    fn what_is_no_key_is_refused() {
        for algorithm in Algorithm::ALL {
            for bytes in [vec![], vec![7; 31], vec![0x30; 500]] {
                let short = bytes.len() < 32;
                let read = SigningKey::read("kid", algorithm, &Secret::new(bytes));
                assert!(read.is_err() || (algorithm == Algorithm::Hs256 && !short), "{algorithm}");
            }
        }
        for name in ["none", "None", "nOnE", "eddsa", "Ed25519", "HS512", "RS256 ", ""] {
            assert_eq!(Algorithm::parse(name), None, "{name}");
        }
    }
}
