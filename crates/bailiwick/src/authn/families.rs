//! Log-in for a pair of tokens: an access token, and a refresh token of a family that follow each other.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bailiwick_core::{
    audit::{Actor, Noted},
    clock::{Clock, Entropy, Timestamp},
    id::Id,
    identity::UserId,
    request::Facts,
    secret::Secret,
    store::{AccessNote, NewFamily, Proof, Refresh, Refreshed, Store},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::{
    LogIn,
    jwt::{AccessClaims, AccessTokens, Algorithm, Invalid, Subject},
    keys::{KeyRing, Keys, MasterKeys, RingError, Schedule},
    login::{refused, unavailable},
    token::{self, TokenKind, TokenText},
};
use crate::problem::Problem;

/// How long refresh tokens work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyLimits {
    /// How long a refresh token works. The default is 14 days.
    pub refresh_lifetime: Duration,
    /// For how long the parent of the live token gets the same successor again. The default is 10 s.
    pub reuse_grace: Duration,
}

impl FamilyLimits {
    /// How many lifetimes of a refresh token a family lives, however much it is used (JWT-42): 12 weeks, where a token
    /// has 14 days.
    pub const LIFETIMES: u32 = 6;

    /// How long a family works at all.
    #[must_use]
    pub const fn absolute(&self) -> Duration {
        self.refresh_lifetime.saturating_mul(Self::LIFETIMES)
    }
}

impl Default for FamilyLimits {
    fn default() -> Self {
        let day = 24 * 60 * 60;
        Self { refresh_lifetime: Duration::from_secs(14 * day), reuse_grace: Duration::from_secs(10) }
    }
}

/// How callers prove who they are by access tokens, as the application says it.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// What the private keys are encrypted under.
    pub master: MasterKeys,
    /// What new keys sign with.
    pub algorithm: Algorithm,
    /// How old a key that signs becomes.
    pub rotate_every: Duration,
    /// Who issues the tokens, for whom.
    pub tokens: AccessTokens,
    /// How long they can be refreshed.
    pub limits: FamilyLimits,
}

impl Jwt {
    /// How long others may keep the JWKS document. It is also how long they accept what a revoked key signs (KEY-04).
    pub const JWKS_CACHE: Duration = Duration::from_secs(300);

    /// The times that keys go by.
    #[must_use]
    pub fn schedule(&self) -> Schedule {
        Schedule {
            cache: Self::JWKS_CACHE,
            access_lifetime: self.tokens.lifetime,
            rotate_every: self.rotate_every,
        }
    }

    /// The keys in `store`.
    #[must_use]
    pub fn ring(&self, store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> KeyRing {
        KeyRing::new(store, clock, entropy, self.master.clone(), self.algorithm, self.schedule())
    }
}

/// Exchanges a user name and a password for a pair of tokens, and a refresh token for the next pair. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Families(Option<Arc<Parts>>);

struct Parts {
    store: Arc<dyn Store>,
    log_in: LogIn,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ring: KeyRing,
    jwt: Jwt,
}

/// A pair of tokens.
#[derive(Clone, Debug)]
pub struct TokenPair {
    /// What is sent with requests.
    pub access: Secret<String>,
    /// What is exchanged for the next pair, once.
    pub refresh: TokenText,
    /// How long the access token works.
    pub expires_in: Duration,
}

impl Families {
    /// How many live families a user may have: one more ends the one that was used longest ago.
    pub const MAX_PER_USER: u32 = 50;

    /// None, if the application has no keys: every call is answered like one of a route that is not there. What becomes of
    /// the keys is told in `noted`.
    pub(crate) fn new(
        store: Arc<dyn Store>,
        log_in: LogIn,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        jwt: Option<Jwt>,
        noted: Noted,
    ) -> Self {
        let with_keys = |jwt: Jwt| {
            let ring = jwt.ring(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy)).noted_in(noted);
            Arc::new(Parts { store, log_in, clock, entropy, ring, jwt })
        };
        Self(jwt.map(with_keys))
    }

    /// The keys that sign, if there are any.
    pub(crate) fn ring(&self) -> Option<KeyRing> {
        self.0.as_ref().map(|parts| parts.ring.clone())
    }

    fn parts(&self) -> Result<&Parts, Problem> {
        self.0.as_deref().ok_or_else(Problem::not_found)
    }

    /// Logs in.
    ///
    /// # Errors
    /// 404 without keys; 401 `invalid-credentials`; 429 if the account was tried too often; 503 if the store or the hasher cannot decide, or there is no key to sign with.
    pub async fn log_in(
        &self,
        username: &str,
        password: Secret<String>,
        facts: &Facts,
    ) -> Result<TokenPair, Problem> {
        let parts = self.parts()?;
        // Asked before too: who is refused for want of a key must not learn whether the password was right.
        parts.keys().await?;
        let login = parts.log_in.prove(username, password, facts).await?;
        let (keys, now) = (parts.keys().await?, parts.clock.now());
        let refresh = TokenText::generate(TokenKind::Refresh, &*parts.entropy);
        let limits = parts.jwt.limits;
        let actor = Actor::user(login.user_id, &login.username);
        let subject = Subject { user: login.user_id, family: Id::new(&*parts.clock, &*parts.entropy) };
        let family = NewFamily {
            id: subject.family,
            user_id: subject.user,
            password_hash: login.password_hash,
            digest: refresh.digest(),
            created_at: now,
            lifetime: limits.refresh_lifetime,
            absolute: limits.absolute(),
            access: parts.note(&keys, now),
            max_per_user: Self::MAX_PER_USER,
        };
        // Since the password was checked the user may have been disabled, or been given another one: the store decides
        // in one transaction.
        if !parts.store.create_family(family, facts.act(now).by(actor)).await.map_err(unavailable)? {
            return Err(refused(Some(subject.user), facts));
        }
        parts.pair(&keys, subject, refresh, now)
    }

    /// Exchanges a refresh token for the next pair.
    ///
    /// # Errors
    /// 401 `invalid-token`, whatever is wrong with it; 503 if the store cannot decide, or there is no key to sign with.
    ///
    /// # Security
    /// A token that was used before ends its family, for whoever has stolen it and for whoever has not (JWT-41). Only
    /// the parent of the live token gets the same successor again for a moment: a client that lost the answer, or asked
    /// twice at once, is not logged out.
    pub async fn refresh(&self, text: &str, facts: &Facts) -> Result<TokenPair, Problem> {
        let parts = self.parts()?;
        let digest =
            token::digest_if_plausible(TokenKind::Refresh, text).ok_or_else(Problem::invalid_token)?;
        let (keys, now) = (parts.keys().await?, parts.clock.now());
        let mut successors: Vec<_> =
            parts.ring.master().successors().map(|key| successor(key, text)).collect();
        let refresh = Refresh {
            digest,
            successors: successors.iter().map(TokenText::digest).collect(),
            now,
            lifetime: parts.jwt.limits.refresh_lifetime,
            grace: parts.jwt.limits.reuse_grace,
            access: parts.note(&keys, now),
        };
        let (grant, index) =
            match parts.store.refresh_family(refresh, facts.act(now)).await.map_err(unavailable)? {
                Refreshed::Rotated(grant) => (grant, 0),
                Refreshed::Repeated(grant, index) => (grant, index),
                Refreshed::Reused(_) | Refreshed::Refused => return Err(Problem::invalid_token()),
            };
        if index >= successors.len() {
            return Err(Problem::internal());
        }
        let subject = Subject { user: grant.user, family: grant.family };
        parts.pair(&keys, subject, successors.swap_remove(index), now)
    }

    /// Ends the family of a refresh token, and so its access tokens. A text that is none, or one of a family that has
    /// ended, is no error (RFC 7009 §2.2).
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn revoke(&self, text: &str, facts: &Facts) -> Result<(), Problem> {
        let parts = self.parts()?;
        let Some(digest) = token::digest_if_plausible(TokenKind::Refresh, text) else { return Ok(()) };
        let act = facts.act(parts.clock.now());
        parts.store.revoke_family(digest, act).await.map_err(unavailable)?;
        Ok(())
    }

    /// Ends the family of a refresh token that was found in the open, as [`revoke`](Self::revoke) does; where there are no
    /// families, there is nothing to end.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn report_leak(&self, text: &str, facts: &Facts) -> Result<(), Problem> {
        match &self.0 {
            // Who finds a token copies white space with it.
            Some(_) => self.revoke(text.trim(), facts).await,
            None => Ok(()),
        }
    }

    /// What an access token says, if it is good now: signed by a living key, in time, of a family that has not ended,
    /// for a user who may come in.
    ///
    /// # Errors
    /// 401 `invalid-token`; 503 if that cannot be decided.
    pub async fn verify(&self, text: &str) -> Result<Arc<AccessClaims>, Problem> {
        let parts = self.parts()?;
        let claims = parts.claims(text).await?;
        let proof = Proof::Family(claims.sid);
        let found = parts.store.principal_of(proof, parts.clock.now()).await.map_err(unavailable)?;
        match found {
            Some(principal) if principal.user_id() == claims.sub => Ok(claims),
            _ => Err(Problem::invalid_token()),
        }
    }

    /// Whom an access token claims to speak for, once its signature and times are right.
    pub(super) async fn prove(&self, text: &str) -> Result<(Proof, UserId), Problem> {
        let Some(parts) = &self.0 else { return Err(Problem::invalid_token()) };
        let claims = parts.claims(text).await?;
        Ok((Proof::Family(claims.sid), claims.sub))
    }

    /// The JWKS document, and how long it may be kept.
    ///
    /// # Errors
    /// 404 without keys; 503 if the ring cannot be looked at.
    pub async fn jwks(&self) -> Result<(String, Duration), Problem> {
        let parts = self.parts()?;
        let keys = parts.keys().await?;
        Ok((keys.jwks().to_owned(), parts.ring.schedule().cache))
    }
}

impl Parts {
    async fn keys(&self) -> Result<Arc<Keys>, Problem> {
        self.ring.keys().await.map_err(no_keys)
    }

    async fn claims(&self, text: &str) -> Result<Arc<AccessClaims>, Problem> {
        let read = self.ring.verify(&self.jwt.tokens, text).await.map_err(no_keys)?;
        read.map_err(rejected)
    }

    fn note(&self, keys: &Keys, now: Timestamp) -> AccessNote {
        AccessNote { kid: keys.signing().kid().to_owned(), expires_at: self.jwt.tokens.expiry(now) }
    }

    fn pair(
        &self,
        keys: &Keys,
        subject: Subject,
        refresh: TokenText,
        now: Timestamp,
    ) -> Result<TokenPair, Problem> {
        let jti = AccessTokens::name(&*self.clock, &*self.entropy);
        let access = self.jwt.tokens.issue(keys.signing(), subject, now, jti);
        let access = access.map_err(|error| Problem::internal().because(error))?;
        Ok(TokenPair { access: Secret::new(access), refresh, expires_in: self.jwt.tokens.lifetime })
    }
}

/// 401 for an access token that is not accepted, whoever has issued it.
pub(super) fn rejected(invalid: Invalid) -> Problem {
    match invalid {
        // JWT-15: the one thing that a client must know, so that it refreshes.
        Invalid::Expired => Problem::invalid_token().with_detail("the token has expired").because(invalid),
        _ => Problem::invalid_token().because(invalid),
    }
}

/// Without keys nobody can be let in (I9).
fn no_keys(error: RingError) -> Problem {
    Problem::unavailable().because(error)
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("jwt", &self.jwt).finish_non_exhaustive()
    }
}

/// The one successor that a refresh token can have. Whoever asks twice gets the same, and nothing of it has to be kept;
/// without the key nobody can tell it from chance, and with the key alone, without the token, neither.
fn successor(key: &Secret<[u8; 32]>, parent: &str) -> TokenText {
    let seed = Hmac::<Sha256>::new_from_slice(key.expose()).expect("HMAC takes keys of any length");
    let seed = seed.chain_update(parent.as_bytes()).finalize().into_bytes();
    TokenText::generate(
        TokenKind::Refresh,
        &Derived { seed: Secret::new(seed.into()), blocks: AtomicU32::new(0) },
    )
}

/// Bytes that follow from a seed.
struct Derived {
    seed: Secret<[u8; 32]>,
    blocks: AtomicU32,
}

impl Entropy for Derived {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let block = self.blocks.fetch_add(1, Ordering::Relaxed);
            let digest =
                Sha256::new().chain_update(self.seed.expose()).chain_update(block.to_be_bytes()).finalize();
            chunk.copy_from_slice(&digest[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailiwick_core::clock::OsEntropy;

    // JWT-47.3
    #[test]
    fn a_successor_follows_from_key_and_parent_together() {
        let keys = [1, 2].map(|byte| Secret::new([byte; 32]));
        let parents = [0, 1].map(|_| TokenText::generate(TokenKind::Refresh, &OsEntropy));
        let of =
            |key: usize, parent: usize| successor(&keys[key], parents[parent].expose()).expose().to_owned();
        assert_eq!(of(0, 0), of(0, 0));
        let all = [of(0, 0), of(0, 1), of(1, 0), of(1, 1)];
        for (at, text) in all.iter().enumerate() {
            assert!(token::digest_if_plausible(TokenKind::Refresh, text).is_some(), "{text}");
            assert!(!all[..at].contains(text));
        }
    }
}
