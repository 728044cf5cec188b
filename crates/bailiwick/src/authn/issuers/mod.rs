//! Other issuers whose access tokens are accepted, for users that exist here.
//!
//! Each [`TrustedIssuer`] has a set of keys in a file or behind a URL. It is held in memory, read again when it is old, and
//! replaced as a whole: a key that is gone from the set is gone here (JWT-34).
//!
//! | the set | is read again |
//! |---|---|
//! | in a file | every second |
//! | behind a URL | when its `Cache-Control: max-age` is over: 5 minutes without one, never less than 1 minute nor more than 1 hour |
//! | that cannot be read | after 10 seconds, and so on |
//! | that lacks the key of a token | at once, but for such tokens at most once in 30 seconds, however many come |
//!
//! Whoever asks while a set is being read waits for that one reading; a token whose key is known never waits, and no issuer
//! waits for another. While a set cannot be read the last one is used, for one hour after it should have been read again.
//!
//! # Security
//! The `iss` of a token only chooses among the issuers that are known, and then their keys alone are tried: no issuer signs for
//! another, and none for this server. What is signed by a key that is not known is 401 if the set was read, and 503 if it
//! could not be (I9). URLs are the operator's; no redirect is followed, no proxy is asked, and an answer that is slow, long or
//! no key set changes nothing.
mod held;
mod source;
#[cfg(test)]
mod tests;

use std::{collections::HashSet, fmt, future, path::PathBuf, sync::Arc};

use bailiwick_core::{clock::Clock, store::Proof};
use futures_util::future::join_all;
use http::Uri;

use self::held::{Held, Refused};
pub use self::source::SourceError;
use super::{
    families::rejected,
    jwt::{ExternalClaims, ExternalTokens, claimed_issuer},
};
use crate::problem::Problem;

/// Another issuer whose access tokens are accepted.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// What its tokens are.
    pub tokens: ExternalTokens,
    /// Where its keys are.
    pub keys: KeySource,
}

/// Where the keys of an issuer are: a JWKS document (RFC 7517 §5) of at most 256 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file. It must be there when the application is built.
    File(PathBuf),
    /// Behind a URL, `https` or `http`. Until it answers, tokens of the issuer are refused with 503.
    Url(Uri),
}

/// Why there are no such issuers.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidIssuers {
    /// The name is this server's own.
    #[error("{0} is the issuer of this server's own access tokens")]
    Own(String),
    /// There are two of one name.
    #[error("the issuer {0} is there twice")]
    Twice(String),
    /// It accepts no type of token, and so no token.
    #[error("no type of tokens of the issuer {0} is accepted")]
    NoTypes(String),
    /// The keys cannot be read, now or ever.
    #[error("the keys of the issuer {issuer} cannot be read: {source}")]
    Keys {
        /// Whose they are.
        issuer: String,
        /// Why.
        source: SourceError,
    },
}

/// The issuers that are trusted, with their keys. Cheap to clone.
#[derive(Clone)]
pub struct TrustedIssuers(Arc<[Arc<Held>]>);

impl TrustedIssuers {
    /// These issuers, beside the `own` one. Keys in files are read at once.
    ///
    /// # Errors
    /// If they cannot be told from each other or from `own`, or a file has no key set.
    pub fn new(
        issuers: Vec<TrustedIssuer>,
        own: Option<&str>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, InvalidIssuers> {
        let mut names = HashSet::new();
        for TrustedIssuer { tokens, .. } in &issuers {
            let name = &tokens.issuer;
            if own == Some(name) {
                return Err(InvalidIssuers::Own(name.clone()));
            }
            if !names.insert(name) {
                return Err(InvalidIssuers::Twice(name.clone()));
            }
            if tokens.types.is_empty() {
                return Err(InvalidIssuers::NoTypes(name.clone()));
            }
        }
        let held = issuers.into_iter().map(|TrustedIssuer { tokens, keys }| {
            let issuer = tokens.issuer.clone();
            let held = Held::new(tokens, keys, Arc::clone(clock));
            held.map(Arc::new).map_err(|source| InvalidIssuers::Keys { issuer, source })
        });
        Ok(Self(held.collect::<Result<_, _>>()?))
    }

    /// Whom an access token of one of these issuers claims to speak for, once its signature and times are right; none, if it
    /// says that it is of none of them.
    pub(super) async fn prove(&self, text: &str) -> Option<Result<(Proof, Arc<ExternalClaims>), Problem>> {
        let name = claimed_issuer(text)?;
        let held = self.0.iter().find(|held| held.issuer() == name)?;
        Some(match held.verify(text).await {
            Ok(claims) => Ok((Proof::External(claims.username), claims)),
            Err(Refused::Invalid(invalid)) => Err(rejected(invalid)),
            Err(Refused::NoKeys(error)) => Err(Problem::unavailable().because(error)),
        })
    }

    /// Reads keys again before anybody has to wait for that, for as long as it is polled.
    pub async fn keep(&self) {
        join_all(self.0.iter().map(Held::keep)).await;
        // Of no issuer there is nothing to keep.
        future::pending::<()>().await;
    }
}

impl fmt::Debug for TrustedIssuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|held| held.issuer())).finish()
    }
}
