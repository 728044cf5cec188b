//! Finds out who is asking.
//!
//! [`AuthnLayer`] reads `Authorization`, or else the cookie of a session, and puts the [`Principal`](bailiwick_core::identity::Principal) it proves
//! into the extensions of the request, or a [`Rejected`] if it proves none; [`RefuseLayer`], further in, answers
//! what was rejected. Between the two stands whatever must see failures too, such as the throttle.
//!
//! | `Authorization` | outcome |
//! |---|---|
//! | absent, and a live session in the cookie | the session's user |
//! | absent, and a session that has ended | nobody: routes that need a principal answer 401 `invalid-token`, and the cookie is removed (SES-18) |
//! | absent, and no session | nobody: routes that need a principal answer 401 |
//! | `Token …` or `Bearer …`, a live token of an active user | the principal |
//! | `Bearer …`, an access token that a living key has signed, of a family that has not ended | its user |
//! | `Bearer …`, an access token of a [trusted issuer](issuers) for an active user | that user |
//! | anything else | 401 `invalid-token`, also on public routes (ERR-53) |
//! | two fields | 400 (ERR-40) |
//! | any, on a route that takes the credential in the body | ignored, and the cookie too (TOK-04) |
//!
//! # Security
//! A bad `Authorization` never falls back to the cookie (CSRF-05). One text for all failures (TOK-03). A token with a wrong
//! checksum is refused without a look-up (TOK-22). If the store cannot say whether a token is good, the request is answered 503, not let through (I9).
mod accounts;
mod api_tokens;
mod families;
mod guesses;
pub mod issuers;
pub(crate) mod jwks;
pub mod jwt;
pub mod keys;
mod layer;
mod login;
mod methods;
mod org_tokens;
pub mod password;
mod service;
mod session;
#[cfg(test)]
mod tests;
pub mod token;

pub(crate) use self::methods::{Built, Quotas};
pub use self::{
    accounts::{Accounts, PasswordReset},
    api_tokens::{ApiTokens, LeakedToken, NamedToken},
    families::{Families, FamilyLimits, Jwt, TokenPair},
    guesses::Guesses,
    layer::{AuthnLayer, RefuseLayer},
    login::{IssuedToken, LogIn},
    methods::Authn,
    org_tokens::NewOrgToken,
    service::{AuthnService, RefuseService, Rejected},
    session::{BegunSession, Browser, SessionLimits, Sessions},
};
