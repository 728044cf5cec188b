//! Whom a credential speaks for.
use std::time::Duration;

use super::Answer;
use crate::{
    clock::Timestamp,
    identity::{Credential, FamilyId, FoldedUsername, Membership, Principal},
};

/// The SHA-256 of a credential's whole text: all that is kept of it (TOK-24, SES-15).
pub type CredentialDigest = [u8; 32];

/// What a caller showed, as a store looks it up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Proof {
    /// An API token.
    ApiToken(CredentialDigest),
    /// The cookie of a session.
    Session(CredentialDigest),
    /// An access token, whose signature was verified, of this family.
    Family(FamilyId),
    /// An access token of a trusted issuer, whose signature was verified, for the user who is called so. When it expires
    /// and what it may be used for is for whoever verified it to say: a store answers with no end and all scopes.
    External(FoldedUsername),
}

/// Knows whom credentials speak for, however they came.
pub trait PrincipalStore {
    /// Whom `proof` speaks for: nobody if there is no such credential, it was ended, it has expired, or its owner is
    /// disabled. One look-up, by index.
    fn principal_of(&self, proof: Proof, now: Timestamp) -> Answer<'_, Option<Principal>>;

    /// The same, together with the principal's place in the organisation that is called `slug`: still one look-up.
    /// The place is none if the principal is no member or there is no such organisation.
    fn principal_in<'a>(
        &'a self,
        proof: Proof,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>>;

    /// Notes that a credential was used at `now`. A session then works for `idle` from now, but not beyond the end it
    /// was given when it began. Answers until when the credential works now: none if it was ended meanwhile, which it
    /// stays (SES-27).
    fn note_use(
        &self,
        credential: Credential,
        now: Timestamp,
        idle: Duration,
    ) -> Answer<'_, Option<Timestamp>>;
}
