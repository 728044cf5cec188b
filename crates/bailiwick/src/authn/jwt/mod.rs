//! Access tokens: JSON Web Tokens that this server signs, and reads strictly (RFC 9068, RFC 8725).
//!
//! [`AccessTokens`] makes and verifies them with the keys of [`SigningKey`] and [`VerifyingKey`]. [`ExternalTokens`]
//! verifies those of another issuer with the keys of a [`KeySet`], by the same code in the same order. Nothing in here does
//! I/O. A token is read in one order: size, form, header, key, signature, and only then claims (JWT-01 to JWT-15).
//!
//! # Security
//! The signatures are AWS-LC's; everything around them is read here and not by a JWT library, because the ones there are
//! leave open what must not be: members that are named twice, `crit`, `typ`, claims that are missing or have another
//! type, and leeways of a minute (RST-01). What a token's header says chooses among the keys that are known, and a key
//! has one algorithm: nothing in a token names a key that is not, nor how to use one that is.
mod access;
mod algorithm;
mod external;
mod jws;
mod key_set;
#[cfg(test)]
mod tests;
mod verified;
#[cfg(test)]
mod wycheproof;

pub use self::{
    access::{AccessClaims, AccessTokens, Subject},
    algorithm::{Algorithm, KeyError, SigningKey, VerifyingKey, jwks},
    external::{ExternalClaims, ExternalTokens},
    jws::{Invalid, MAX_BYTES},
    key_set::{InvalidKeySet, KeySet},
};
pub(super) use self::{jws::claimed_issuer, verified::Verified};
