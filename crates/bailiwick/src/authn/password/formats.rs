//! Reads stored hashes: our own PHC strings, and those that Django makes.
//!
//! | stored | verified as |
//! |---|---|
//! | `$argon2id$v=19$m=…,t=…,p=…$salt$hash` | ours: the password in NFKC (PWD-08) |
//! | `argon2$argon2id$v=19$…` | the same, of the password as it was typed |
//! | `pbkdf2_sha256$iterations$salt$hash` | PBKDF2-HMAC-SHA256, as typed |
//! | `bcrypt_sha256$$2b$cost$…` | bcrypt of the hexadecimal SHA-256, as typed |
//! | `scrypt$N$salt$r$p$hash` | scrypt, as typed |
//!
//! # Security
//! Whoever can write a hash into the database, say by an import, must not be able to take the memory or the time of the
//! server with it: parameters beyond the bounds below match nothing.
use argon2::{Algorithm, Argon2, Params, Version, password_hash::phc::PasswordHash};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::hasher::Memory;

/// The longest stored hash that is read, in bytes.
const MAX_TEXT: usize = 512;
/// The most memory that one hash may take, in KiB: 128 MiB. Django's argon2 takes 100, OWASP's scrypt 128.
const MAX_KIB: u64 = 128 * 1024;
/// The most work of one argon2 hash, in KiB times passes: 1 GiB.
const MAX_ARGON2: u64 = 1024 * 1024;
/// The most iterations of PBKDF2. Django makes a million, more with each version.
const MAX_ITERATIONS: u32 = 5_000_000;
/// The highest cost of bcrypt, of which each step doubles the work. Django's is 12.
const MAX_BCRYPT_COST: u32 = 15;
/// The most work of one scrypt hash, `N · r · p`. Django's is 2¹⁴ · 8 · 5, OWASP's 2¹⁷ · 8.
const MAX_SCRYPT: u64 = 1 << 21;

/// A stored hash that is worth verifying against.
pub(super) enum Stored<'a> {
    Argon2(PhcHash),
    /// What Django keeps of argon2: the same, made of the password as it was typed.
    DjangoArgon2(PhcHash),
    Pbkdf2 {
        iterations: u32,
        salt: &'a str,
        expected: [u8; 32],
    },
    Bcrypt(&'a str),
    Scrypt {
        params: scrypt::Params,
        salt: &'a str,
        expected: [u8; 64],
    },
}

/// An argon2id hash with its parameters.
pub(super) struct PhcHash {
    params: Params,
    salt: Vec<u8>,
    expected: Vec<u8>,
}

impl<'a> Stored<'a> {
    /// Reads a stored hash. None if its format is unknown, or it costs more than the bounds allow; what costs no more
    /// than a `present` hash is always within them.
    pub(super) fn parse(text: &'a str, present: &Params) -> Option<Self> {
        if text.len() > MAX_TEXT {
            return None;
        }
        if text.starts_with('$') {
            return PhcHash::parse(text, present).map(Self::Argon2);
        }
        let (algorithm, rest) = text.split_once('$')?;
        match algorithm {
            // The `$` that was split off belongs to the PHC string.
            "argon2" => PhcHash::parse(&text[algorithm.len()..], present).map(Self::DjangoArgon2),
            "pbkdf2_sha256" => pbkdf2_of(rest),
            "bcrypt_sha256" => bcrypt_of(rest),
            "scrypt" => scrypt_of(rest),
            _ => None,
        }
    }

    /// Whether this is a hash of the password, given `as_typed` and in its `plain` form (NFKC).
    pub(super) fn matches(&self, memory: &mut Memory, as_typed: &[u8], plain: &[u8]) -> bool {
        match self {
            Self::Argon2(hash) => hash.matches(memory, plain),
            Self::DjangoArgon2(hash) => hash.matches(memory, as_typed),
            Self::Pbkdf2 { iterations, salt, expected } => {
                let mut output = [0; 32];
                pbkdf2::pbkdf2_hmac::<Sha256>(as_typed, salt.as_bytes(), *iterations, &mut output);
                output.ct_eq(expected).into()
            }
            Self::Bcrypt(hash) => {
                // bcrypt reads 72 bytes at most, so Django gives it a digest.
                let digest = HEXLOWER.encode(&Sha256::digest(as_typed));
                bcrypt::verify(digest, hash).unwrap_or(false)
            }
            Self::Scrypt { params, salt, expected } => {
                let mut output = [0; 64];
                let made = scrypt::scrypt(as_typed, salt.as_bytes(), params, &mut output);
                made.is_ok() && output.ct_eq(expected).into()
            }
        }
    }

    /// The work of an argon2 hash, in KiB times passes; none of another's.
    pub(super) fn argon2_cost(&self) -> u64 {
        match self {
            Self::Argon2(hash) | Self::DjangoArgon2(hash) => cost(&hash.params),
            Self::Pbkdf2 { .. } | Self::Bcrypt(_) | Self::Scrypt { .. } => 0,
        }
    }

    /// Whether it is one of ours, and none of its parameters is below these. A server whose settings demand less than
    /// another's does not weaken what that one has made.
    pub(super) fn is_as_good_as(&self, present: &Params) -> bool {
        let Self::Argon2(PhcHash { params, .. }) = self else { return false };
        params.m_cost() >= present.m_cost()
            && params.t_cost() >= present.t_cost()
            && params.p_cost() >= present.p_cost()
    }
}

impl PhcHash {
    fn parse(text: &str, present: &Params) -> Option<Self> {
        let hash = PasswordHash::new(text).ok()?;
        let is_argon2id =
            hash.algorithm == Algorithm::Argon2id.ident() && hash.version == Some(Version::V0x13.into());
        let params = Params::try_from(&hash).ok()?;
        let within =
            |memory_kib: u64, work: u64| u64::from(params.m_cost()) <= memory_kib && cost(&params) <= work;
        let affordable = within(MAX_KIB, MAX_ARGON2) || within(u64::from(present.m_cost()), cost(present));
        let (salt, expected) = (hash.salt?.to_vec(), hash.hash?.as_bytes().to_vec());
        (is_argon2id && affordable).then_some(Self { params, salt, expected })
    }

    fn matches(&self, memory: &mut Memory, password: &[u8]) -> bool {
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, self.params.clone());
        let mut output = vec![0; self.expected.len()];
        let made = memory.fill(&argon2, password, &self.salt, &mut output);
        made.is_ok() && output.ct_eq(&self.expected).into()
    }
}

fn cost(params: &Params) -> u64 {
    u64::from(params.m_cost()) * u64::from(params.t_cost())
}

fn pbkdf2_of(rest: &str) -> Option<Stored<'_>> {
    let [iterations, salt, hash] = parts(rest)?;
    let iterations = number(iterations)?;
    let expected = bytes(hash)?;
    (1..=MAX_ITERATIONS).contains(&iterations).then_some(Stored::Pbkdf2 { iterations, salt, expected })
}

fn bcrypt_of(rest: &str) -> Option<Stored<'_>> {
    let hash: bcrypt::HashParts = rest.parse().ok()?;
    (hash.get_cost() <= MAX_BCRYPT_COST).then_some(Stored::Bcrypt(rest))
}

fn scrypt_of(rest: &str) -> Option<Stored<'_>> {
    let [n, salt, r, p, hash] = parts(rest)?;
    let [n, r, p]: [u32; 3] = [number(n)?, number(r)?, number(p)?];
    let kib = (u64::from(n) * u64::from(r)).checked_mul(128)? / 1024;
    let work = (u64::from(n) * u64::from(r)).checked_mul(u64::from(p))?;
    if !n.is_power_of_two() || kib > MAX_KIB || work > MAX_SCRYPT {
        return None;
    }
    let params = scrypt::Params::new(u8::try_from(n.ilog2()).ok()?, r, p).ok()?;
    Some(Stored::Scrypt { params, salt, expected: bytes(hash)? })
}

/// The parts between `$`, if there are exactly so many.
fn parts<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('$').collect::<Vec<_>>().try_into().ok()
}

fn number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_plain { text.parse().ok() } else { None }
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64.decode(text.as_bytes()).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests;
