//! The public keys of another issuer, as it publishes them (RFC 7517).
use std::{borrow::Cow, collections::HashMap, fmt};

use aws_lc_rs::{
    rsa::PublicKeyComponents,
    signature::{self, ParsedPublicKey, RsaParameters, VerificationAlgorithm},
};
use bailiwick_core::model::json::{self, Json};
use data_encoding::BASE64URL_NOPAD;

use super::jws::KnownKey;

/// How deep a document may nest.
const DEPTH: usize = 8;
/// The bits of an RSA modulus (JWT-10).
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// What a public key does not have (JWT-30).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// The bytes are no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeySet {
    /// They are no JSON, or name a member twice.
    #[error("it is no JSON that can be accepted")]
    Json,
    /// There is no list of objects under `keys`.
    #[error("it has no list `keys` of objects")]
    NoKeys,
}

/// The keys of another issuer by which its tokens can be verified.
///
/// Entries that are of no use for that are left out (RFC 7517 §5): of another type or curve, with another `use` than `sig`,
/// `key_ops` without `verify`, no `kid`, RSA of less than 2048 bits, and secrets. So are an entry that gives its private half
/// away, and all entries that share a `kid`: which of them signed, nobody could tell.
///
/// # Security
/// Each key has one algorithm: the one that its `alg` names, or else the one that its type has by custom, `EdDSA`, `ES256`,
/// `ES384` or `RS256` (JWT-04). There is no HMAC.
pub struct KeySet {
    keys: HashMap<String, PublicKey>,
    left_out: usize,
}

impl KeySet {
    /// Reads a document.
    ///
    /// # Errors
    /// If it is none.
    pub fn parse(document: &[u8]) -> Result<Self, InvalidKeySet> {
        let Ok(Json::Object(members)) = json::parse(document, DEPTH) else { return Err(InvalidKeySet::Json) };
        let Some(Json::Array(entries)) = member(&members, "keys") else { return Err(InvalidKeySet::NoKeys) };
        let mut keys: HashMap<String, Option<PublicKey>> = HashMap::new();
        for entry in entries {
            let Json::Object(entry) = entry else { return Err(InvalidKeySet::NoKeys) };
            let Some(Json::String(kid)) = member(entry, "kid") else { continue };
            if !is_for_signatures(entry) {
                continue;
            }
            let key = PublicKey::read(entry);
            keys.entry(kid.clone().into_owned()).and_modify(|other| *other = None).or_insert(key);
        }
        let keys: HashMap<_, _> = keys.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect();
        Ok(Self { left_out: entries.len() - keys.len(), keys })
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many entries were left out.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The key that is called so.
    pub(super) fn key(&self, kid: &str) -> Option<&PublicKey> {
        self.keys.get(kid)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.keys.keys()).finish()
    }
}

type Members<'a> = [(Cow<'a, str>, Json<'a>)];

fn member<'m, 'a>(members: &'m Members<'a>, name: &str) -> Option<&'m Json<'a>> {
    members.iter().find(|(other, _)| other == name).map(|(_, value)| value)
}

fn text<'m>(members: &'m Members<'_>, name: &str) -> Option<&'m str> {
    match member(members, name) {
        Some(Json::String(text)) => Some(text),
        _ => None,
    }
}

fn bytes(members: &Members<'_>, name: &str) -> Option<Vec<u8>> {
    BASE64URL_NOPAD.decode(text(members, name)?.as_bytes()).ok()
}

/// RFC 7517 §4.2, §4.3: what is for something else is not even compared by its `kid`.
fn is_for_signatures(entry: &Members<'_>) -> bool {
    let is_sig = member(entry, "use").is_none() || text(entry, "use") == Some("sig");
    let may_verify = match member(entry, "key_ops") {
        None => true,
        Some(Json::Array(operations)) => {
            operations.iter().any(|operation| matches!(operation, Json::String(name) if name == "verify"))
        }
        Some(_) => false,
    };
    is_sig && may_verify
}

/// How a key of one algorithm is made of its entry.
enum Kind {
    /// 32 bytes.
    Ed25519,
    /// Two coordinates of so many bytes on this curve.
    Curve(&'static str, usize, &'static dyn VerificationAlgorithm),
    Rsa(&'static RsaParameters),
}

const P256: Kind = Kind::Curve("P-256", 32, &signature::ECDSA_P256_SHA256_FIXED);
const P384: Kind = Kind::Curve("P-384", 48, &signature::ECDSA_P384_SHA384_FIXED);

/// What can be verified (JWT-03). The first of a type is the one that a key without `alg` has. `Ed25519` is the name that
/// RFC 9864 gives `EdDSA` with that curve (JWT-11).
const ALGORITHMS: &[(&str, Kind)] = &[
    ("EdDSA", Kind::Ed25519),
    ("Ed25519", Kind::Ed25519),
    ("ES256", P256),
    ("ES384", P384),
    ("RS256", Kind::Rsa(&signature::RSA_PKCS1_2048_8192_SHA256)),
    ("RS384", Kind::Rsa(&signature::RSA_PKCS1_2048_8192_SHA384)),
    ("RS512", Kind::Rsa(&signature::RSA_PKCS1_2048_8192_SHA512)),
    ("PS256", Kind::Rsa(&signature::RSA_PSS_2048_8192_SHA256)),
    ("PS384", Kind::Rsa(&signature::RSA_PSS_2048_8192_SHA384)),
    ("PS512", Kind::Rsa(&signature::RSA_PSS_2048_8192_SHA512)),
];

impl Kind {
    /// Whether the entry says that it is such a key.
    fn fits(&self, entry: &Members<'_>) -> bool {
        let (kty, crv) = match self {
            Self::Ed25519 => ("OKP", Some("Ed25519")),
            Self::Curve(curve, ..) => ("EC", Some(*curve)),
            Self::Rsa(_) => ("RSA", None),
        };
        text(entry, "kty") == Some(kty) && text(entry, "crv") == crv
    }

    fn read(&self, entry: &Members<'_>) -> Option<ParsedPublicKey> {
        match self {
            Self::Ed25519 => ParsedPublicKey::new(&signature::ED25519, bytes(entry, "x")?).ok(),
            Self::Curve(_, size, algorithm) => {
                let (x, y) = (bytes(entry, "x")?, bytes(entry, "y")?);
                // RFC 7518 §6.2.1.2: of full length.
                if x.len() != *size || y.len() != *size {
                    return None;
                }
                ParsedPublicKey::new(*algorithm, [&[4][..], &x, &y].concat()).ok()
            }
            Self::Rsa(parameters) => {
                let (n, e) = (bytes(entry, "n")?, bytes(entry, "e")?);
                // Some write the sign in front, though RFC 7518 §6.3.1.1 says not to.
                let n = n.strip_prefix(&[0]).unwrap_or(&n);
                let bits = n.len() * 8 - n.first()?.leading_zeros() as usize;
                // What is parsed here is held against its length only when it verifies.
                if !RSA_BITS.contains(&bits) {
                    return None;
                }
                PublicKeyComponents { n, e: &e }.to_parsed_public_key(parameters).ok()
            }
        }
    }
}

/// A public key of another issuer.
pub(super) struct PublicKey {
    algorithm: &'static str,
    key: ParsedPublicKey,
}

impl PublicKey {
    fn read(entry: &Members<'_>) -> Option<Self> {
        if PRIVATE.iter().any(|name| member(entry, name).is_some()) {
            return None;
        }
        let alg = match member(entry, "alg") {
            None => None,
            Some(Json::String(alg)) => Some(alg.as_ref()),
            Some(_) => return None,
        };
        let (algorithm, kind) =
            ALGORITHMS.iter().find(|(name, kind)| kind.fits(entry) && alg.is_none_or(|alg| alg == *name))?;
        Some(Self { algorithm, key: kind.read(entry)? })
    }
}

impl KnownKey for PublicKey {
    /// Digests of a certificate, which some issuers give beside `kid`. There is nothing in them to be misled by.
    const IGNORED: &'static [&'static str] = &["x5t", "x5t#S256"];

    fn is_algorithm(name: &str) -> bool {
        ALGORITHMS.iter().any(|(known, _)| *known == name)
    }

    fn algorithm_name(&self) -> &str {
        self.algorithm
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.key.verify_sig(message, signature).is_ok()
    }
}
