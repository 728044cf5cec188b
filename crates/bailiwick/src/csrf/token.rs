//! Tokens that only this site's own pages can know.
use std::{collections::HashSet, sync::Arc};

use bailiwick_core::{clock::Entropy, secret::Secret};
use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

use crate::{
    cookies::{Cookie, Reach},
    origin::Origin,
};

const RANDOM_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Makes and checks CSRF tokens, and knows which other origins may send requests with a cookie. Cheap to clone.
#[derive(Clone)]
pub struct Csrf {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    key: Secret<[u8; 32]>,
    entropy: Arc<dyn Entropy>,
    trusted: HashSet<Origin>,
    own: Option<Origin>,
}

impl Csrf {
    /// Tokens under `key`, which all servers of one site share, and which is used for nothing else (KEY-07).
    pub fn new(key: Secret<[u8; 32]>, entropy: Arc<dyn Entropy>) -> Self {
        Self { inner: Arc::new(Inner { key, entropy, trusted: HashSet::new(), own: None }) }
    }

    pub(crate) fn random_key(entropy: &dyn Entropy) -> Secret<[u8; 32]> {
        let mut key = [0; 32];
        entropy.fill(&mut key);
        Secret::new(key)
    }

    /// Other origins whose pages may send requests with a cookie. None by default.
    ///
    /// # Security
    /// Whatever runs in a page of such an origin acts for whoever is logged in. An origin that may read answers by CORS
    /// is not trusted here unless it is named here too (CSRF-06).
    #[must_use]
    pub fn trusted_origins(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        Arc::make_mut(&mut self.inner).trusted = origins.into_iter().collect();
        self
    }

    /// The origin of this site as browsers find it, besides what a request says of its host: a proxy may tell another one. None
    /// by default.
    #[must_use]
    pub fn own_origin(mut self, own: Option<Origin>) -> Self {
        Arc::make_mut(&mut self.inner).own = own;
        self
    }

    /// A token for requests with the cookie `cookie` whose value is `value`.
    pub fn token(&self, cookie: Cookie, value: &str) -> String {
        let mut random = [0; RANDOM_BYTES];
        self.inner.entropy.fill(&mut random);
        let tag = self.mac(cookie, value, &random).finalize().into_bytes();
        let mut token = [0; RANDOM_BYTES + TAG_BYTES];
        token[..RANDOM_BYTES].copy_from_slice(&random);
        token[RANDOM_BYTES..].copy_from_slice(&tag);
        BASE64URL_NOPAD.encode(&token)
    }

    /// A value for the cookie of a browser that has no session yet.
    pub fn new_cookie(&self) -> String {
        let mut random = [0; 32];
        self.inner.entropy.fill(&mut random);
        BASE64URL_NOPAD.encode(&random)
    }

    /// Whether `value` can be one of those.
    pub fn may_be_cookie(value: &str) -> bool {
        BASE64URL_NOPAD.decode(value.as_bytes()).is_ok_and(|bytes| bytes.len() == 32)
    }

    /// Whether `token` was made for the cookie that a request with these headers brings.
    pub(super) fn accepts(&self, token: &str, cookie: Cookie, reach: Reach, headers: &HeaderMap) -> bool {
        let Some(value) = cookie.read(reach, headers).filter(|value| !value.is_empty()) else { return false };
        let mut bytes = [0; RANDOM_BYTES + TAG_BYTES];
        let fits = BASE64URL_NOPAD.decode_len(token.len()).is_ok_and(|length| length == bytes.len());
        if !fits || BASE64URL_NOPAD.decode_mut(token.as_bytes(), &mut bytes).is_err() {
            return false;
        }
        let (random, tag) = bytes.split_at(RANDOM_BYTES);
        self.mac(cookie, value, random).verify_slice(tag).is_ok()
    }

    pub(super) fn trusts(&self, origin: &str) -> bool {
        self.inner.trusted.iter().any(|trusted| trusted.as_str() == origin)
    }

    pub(super) fn is_own(&self, origin: &str) -> bool {
        self.inner.own.as_ref().is_some_and(|own| own.as_str() == origin)
    }

    /// Of parts that cannot run into each other: the first two have fixed lengths.
    fn mac(&self, cookie: Cookie, value: &str, random: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.inner.key.expose()).expect("HMAC takes keys of any length");
        mac.update(match cookie {
            Cookie::Session => b"session",
            Cookie::Csrf => b"log-in ",
        });
        mac.update(random);
        mac.update(value.as_bytes());
        mac
    }
}

impl std::fmt::Debug for Csrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Csrf").field("trusted", &self.inner.trusted).finish_non_exhaustive()
    }
}
