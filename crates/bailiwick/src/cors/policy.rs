//! Which origins may read what.
use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};

use super::OriginPattern;
use crate::origin::Origin;

/// Origins by name. More may be added, or [patterns](Cors::allow_matching), or [credentials](Cors::allow_credentials).
#[derive(Debug)]
pub enum Listed {}
/// Origins by pattern, and maybe by name.
#[derive(Debug)]
pub enum Matched {}
/// Origins whose pages may use cookies.
#[derive(Debug)]
pub enum WithCredentials {}
/// Every origin there is.
#[derive(Debug)]
pub enum AnyOrigin {}
/// Nothing about origins is to be decided any more.
#[derive(Debug)]
pub enum Decided {}

/// The stages of [`Cors`] in which it is known who is let in.
pub trait Named: sealed::Sealed {}
impl Named for Listed {}
impl Named for Matched {}
impl Named for WithCredentials {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Listed {}
    impl Sealed for super::Matched {}
    impl Sealed for super::WithCredentials {}
}

/// Which other origins may call from a browser, and what their pages may send and read. Nobody, by default.
///
/// The stage in its type keeps what is unsafe from being written: any origin has no way to credentials or to private
/// networks, and patterns have a loud one.
///
/// ```
/// use std::time::Duration;
///
/// use bailiwick::cors::Cors;
///
/// let cors = Cors::same_origin()
///     .allow("https://app.example.com".parse()?)
///     .allow_credentials()
///     .max_age(Duration::from_secs(60 * 60));
/// # let _ = cors;
/// # Ok::<(), bailiwick::origin::InvalidOrigin>(())
/// ```
///
/// ```compile_fail
/// # use bailiwick::cors::Cors;
/// // Every page on the web could act for, and read as, whoever is logged in.
/// let cors = Cors::insecure_any_origin().allow_credentials();
/// ```
pub struct Cors<Who = Listed> {
    pub(super) policy: Arc<Policy>,
    who: PhantomData<fn() -> Who>,
}

#[derive(Clone, Debug)]
pub(super) struct Policy {
    origins: Origins,
    credentials: bool,
    private_network: bool,
    except: Vec<Box<str>>,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    exposed: Option<HeaderValue>,
    max_age: HeaderValue,
}

#[derive(Clone, Debug)]
enum Origins {
    Any,
    These { exact: Vec<Origin>, patterns: Vec<OriginPattern> },
}

/// What a page may call with by default.
const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
const HEADERS: [&str; 7] = [
    "authorization",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "x-csrftoken",
    "x-request-id",
];
/// CORS-10.
const EXPOSED: [&str; 11] = [
    "etag",
    "link",
    "location",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "deprecation",
    "sunset",
    "x-request-id",
    "idempotent-replayed",
    "www-authenticate",
];

pub(super) const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");
const REQUEST_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-request-private-network");

impl Cors<Listed> {
    /// Nobody but this server's own pages, until origins are added.
    pub fn same_origin() -> Self {
        Self::new(Origins::These { exact: Vec::new(), patterns: Vec::new() })
    }

    /// Lets pages of these origins send cookies, and read what is answered to them. Any of them can read all that whoever
    /// is logged in can read; what they may write is decided by [`csrf`](crate::csrf).
    pub fn allow_credentials(self) -> Cors<WithCredentials> {
        self.with_credentials()
    }

    /// Lets in the origins that `pattern` matches.
    pub fn allow_matching(self, pattern: OriginPattern) -> Cors<Matched> {
        self.matching(pattern)
    }
}

impl Cors<Matched> {
    /// Lets in the origins that `pattern` matches, too.
    #[must_use]
    pub fn allow_matching(self, pattern: OriginPattern) -> Self {
        self.matching(pattern)
    }

    /// Lets pages of all these origins send cookies, and read what is answered to them.
    ///
    /// # Security
    /// One host below the domain that somebody else got hold of, such as a name that points to a service which was given
    /// up, reads all that whoever is logged in can read (DEP-01).
    pub fn insecure_allow_credentials(self) -> Cors<WithCredentials> {
        self.with_credentials()
    }
}

impl Cors<AnyOrigin> {
    /// Lets in every origin, `null` included, and never with cookies.
    ///
    /// # Security
    /// Every page on the web reads what anybody without a cookie can read. That is a lot where a firewall, and not a
    /// credential, keeps strangers away: the browser that opens such a page is inside.
    pub fn insecure_any_origin() -> Self {
        Self::new(Origins::Any)
    }
}

impl<Who: Named> Cors<Who> {
    /// Lets in one origin, compared byte for byte (CORS-01).
    #[must_use]
    pub fn allow(self, origin: Origin) -> Self {
        self.change(|policy| {
            if let Origins::These { exact, .. } = &mut policy.origins {
                exact.push(origin);
            }
        })
    }

    /// Lets pages of these origins, though they come from a public network, call a server in a private one. No page may
    /// by default.
    #[must_use]
    pub fn allow_private_network(self) -> Self {
        self.change(|policy| policy.private_network = true)
    }
}

impl<Who> Cors<Who> {
    /// Replaces the methods that pages may use. By default GET, HEAD, POST, PUT, PATCH and DELETE.
    ///
    /// No browser asks before GET, HEAD and POST, so leaving these out forbids nothing (CORS-06).
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.change(|policy| {
            policy.methods = list(methods.into_iter().filter(|method| method.as_str() != "*"));
        })
    }

    /// Replaces the header fields that pages may send. By default `Authorization`, `Content-Type`, `Idempotency-Key`,
    /// `If-Match`, `If-None-Match`, `X-CSRFToken` and `X-Request-ID`.
    ///
    /// `*` is left out: it would stand for nearly every field, and with credentials for none (CORS-02, CORS-07).
    #[must_use]
    pub fn headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.change(|policy| policy.headers = list(names.into_iter().filter(|name| name.as_str() != "*")))
    }

    /// Replaces the header fields of an answer that pages may read, besides those that every page may. By default what a
    /// client of this API needs: `ETag`, `Link`, `Location`, `Retry-After`, `RateLimit`, `RateLimit-Policy`,
    /// `Deprecation`, `Sunset`, `X-Request-ID`, `Idempotent-Replayed` and `WWW-Authenticate` (CORS-10).
    ///
    /// `*` is left out, as in [`headers`](Self::headers).
    #[must_use]
    pub fn exposed_headers(self, names: impl IntoIterator<Item = HeaderName>) -> Self {
        self.change(|policy| policy.exposed = list(names.into_iter().filter(|name| name.as_str() != "*")))
    }

    /// How long a browser may remember the answer to a preflight, in whole seconds. The default is 10 minutes; Chromium
    /// remembers none for more than two hours (CORS-08).
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        self.change(|policy| policy.max_age = max_age.as_secs().into())
    }

    /// Keeps these paths, each with and without its last slash, from pages of all other origins (CORS-43).
    #[must_use]
    pub fn except(self, paths: impl IntoIterator<Item = impl AsRef<str>>) -> Self {
        self.change(|policy| {
            policy.except.extend(paths.into_iter().map(|path| without_slash(path.as_ref()).into()));
        })
    }

    /// Forgets the stage, for whoever keeps what others decided.
    pub fn decide(self) -> Cors<Decided> {
        self.next()
    }

    fn new(origins: Origins) -> Self {
        let policy = Policy {
            origins,
            credentials: false,
            private_network: false,
            except: Vec::new(),
            methods: list(METHODS),
            headers: list(HEADERS),
            exposed: list(EXPOSED),
            max_age: HeaderValue::from_static("600"),
        };
        Self { policy: Arc::new(policy), who: PhantomData }
    }

    fn change(mut self, change: impl FnOnce(&mut Policy)) -> Self {
        change(Arc::make_mut(&mut self.policy));
        self
    }

    fn next<Next>(self) -> Cors<Next> {
        Cors { policy: self.policy, who: PhantomData }
    }

    fn matching(self, pattern: OriginPattern) -> Cors<Matched> {
        let matching = self.change(|policy| {
            if let Origins::These { patterns, .. } = &mut policy.origins {
                patterns.push(pattern);
            }
        });
        matching.next()
    }

    fn with_credentials(self) -> Cors<WithCredentials> {
        self.change(|policy| policy.credentials = true).next()
    }
}

impl<Who> Clone for Cors<Who> {
    fn clone(&self) -> Self {
        Self { policy: self.policy.clone(), who: PhantomData }
    }
}

impl<Who> fmt::Debug for Cors<Who> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cors").field(&self.policy).finish()
    }
}

/// What an answer says of who may read it.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    /// The value of `Access-Control-Allow-Origin`.
    origin: HeaderValue,
}

impl Policy {
    /// Whether the page that sent the request may read the answer.
    pub(super) fn grant<B>(&self, request: &Request<B>) -> Option<Grant> {
        let path = without_slash(request.uri().path());
        if self.except.iter().any(|except| **except == *path) {
            return None;
        }
        match &self.origins {
            // It does not depend on the request, so it is always the same, for caches (CORS-11).
            Origins::Any => Some(Grant { origin: HeaderValue::from_static("*") }),
            Origins::These { exact, patterns } => {
                let origin = only(request.headers(), &header::ORIGIN)?;
                let bytes = origin.as_bytes();
                let is_allowed = exact.iter().any(|exact| exact.as_str().as_bytes() == bytes)
                    || patterns.iter().any(|pattern| pattern.matches(bytes));
                is_allowed.then(|| Grant { origin: origin.clone() })
            }
        }
    }

    /// Says on an answer who may read it, and takes away what anybody else said of that.
    pub(super) fn stamp(&self, grant: Option<Grant>, headers: &mut HeaderMap) {
        if self.varies() {
            vary_by_origin(headers);
        }
        let (is_granted, with_credentials) = (grant.is_some(), grant.is_some() && self.credentials);
        put(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, grant.map(|Grant { origin }| origin));
        let credentials = with_credentials.then(|| HeaderValue::from_static("true"));
        put(headers, header::ACCESS_CONTROL_ALLOW_CREDENTIALS, credentials);
        put(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, self.exposed.clone().filter(|_| is_granted));
    }

    /// Says on the answer to a preflight what may be sent.
    pub(super) fn allow(&self, request: &HeaderMap, headers: &mut HeaderMap) {
        if let Some(methods) = &self.methods {
            headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods.clone());
        }
        if let Some(names) = &self.headers {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        if self.private_network
            && only(request, &REQUEST_PRIVATE_NETWORK).is_some_and(|value| value == "true")
        {
            headers.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
        }
    }

    /// Whether who may read an answer depends on who asks.
    fn varies(&self) -> bool {
        match &self.origins {
            Origins::Any => false,
            Origins::These { exact, patterns } => !exact.is_empty() || !patterns.is_empty(),
        }
    }
}

/// Makes this the value of the field, or takes the field out.
fn put(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => drop(headers.insert(name, value)),
        None => drop(headers.remove(name)),
    }
}

/// Adds to what others said of `Vary`, and does not say twice what they did (HDR-08).
fn vary_by_origin(headers: &mut HeaderMap) {
    let named = headers.get_all(header::VARY).iter().any(|field| {
        let mut names = field.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    });
    if !named {
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

/// The field, if it was sent once: of two nobody knows which is meant (CORS-42).
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut fields = headers.get_all(name).iter();
    fields.next().filter(|_| fields.next().is_none())
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// `a, b`; nothing of nothing.
fn list(names: impl IntoIterator<Item = impl AsRef<str>>) -> Option<HeaderValue> {
    let mut text = String::new();
    for name in names {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push_str(name.as_ref());
    }
    (!text.is_empty()).then(|| text.try_into().expect("methods and names of fields are tokens"))
}
