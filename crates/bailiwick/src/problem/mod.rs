//! The one way an error leaves: as `application/problem+json` (RFC 9457).
//!
//! A handler or a layer answers with a [`Problem`]. The [`ProblemLayer`], near the outside, gives it its body and
//! the id of the request; it also catches panics, and turns answers that carry an error status and no body, such
//! as those of the router and of axum's extractors, into problems of the right kind. What clients may read and
//! what the log should say are different things: [`Problem::because`] keeps the cause, and only the log layer
//! gets it, as a [`Cause`].
//!
//! Every kind of problem stands in the [`CATALOGUE`], which `GET /problems/{code}` serves ([`router`]).
//!
//! # Security
//! Two problems of one kind without a detail have the same bytes, apart from the request id. So a row that the
//! caller may not know of answers like one that does not exist (I8, ERR-22).
mod body;
mod catalogue;
mod explain;
mod layer;
mod refused;
mod render;
mod service;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use axum::response::IntoResponse;
pub use bailiwick_core::model::FieldError;
use bailiwick_core::{
    access::Permission, db::DbError, error::StoreError, model::ObjectReader, units::ByteSize,
};
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

pub(crate) use self::explain::PATH;
pub use self::{
    body::ProblemBody,
    catalogue::{CATALOGUE, Code, ProblemKind},
    explain::router,
    layer::ProblemLayer,
    refused::RefusedOr,
    service::{ProblemFuture, ProblemService},
};

/// The media type of every error body.
pub const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/problem+json");

/// Why a request was not carried out, in words the client may read.
///
/// ```
/// use bailiwick::problem::{FieldError, Problem};
///
/// let problem = Problem::validation(vec![FieldError::body("#/title", "too-long", "at most 200 characters")]);
/// assert_eq!(problem.status(), 422);
/// ```
///
/// As a response it has its status and headers, and an empty body: [`ProblemLayer`] writes the body, once, when the
/// id of the request is at hand.
#[derive(Clone)]
pub struct Problem(Box<Parts>);

#[derive(Clone)]
struct Parts {
    code: Code,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    violated_policies: Vec<Cow<'static, str>>,
    headers: Vec<(HeaderName, HeaderValue)>,
    denied_by: Option<Permission>,
    cause: Option<Cause>,
}

/// The private cause of a problem, in the extensions of its response. Only the log layer reads it.
#[derive(Clone, Debug)]
pub struct Cause(pub Arc<dyn Error + Send + Sync>);

/// A request that must not be carried out, in the extensions of the request: [`ProblemLayer`] answers it with this
/// problem instead of passing it on.
///
/// That is how errors that arise below HTTP, such as a header that cannot be parsed, leave through the same layers
/// as every other answer (ERR-12).
#[derive(Clone, Debug)]
pub struct Refusal(pub Problem);

impl Problem {
    /// A problem of the kind `code`, without a detail.
    pub fn new(code: Code) -> Self {
        Self(Box::new(Parts {
            code,
            detail: None,
            errors: Vec::new(),
            violated_policies: Vec::new(),
            headers: Vec::new(),
            denied_by: None,
            cause: None,
        }))
    }

    /// 400: the request cannot be read. The detail says where it went wrong.
    pub fn malformed_request(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::MalformedRequest).with_detail(detail)
    }

    /// 400: the host is not served here (HST-01 to HST-03).
    pub fn bad_host() -> Self {
        Self::new(Code::BadHost)
    }

    /// 401: no credential. The challenges carry no error information (ERR-30).
    pub fn unauthenticated() -> Self {
        Self::new(Code::Unauthenticated)
    }

    /// 401: wrong user name or password, alike.
    pub fn invalid_credentials() -> Self {
        Self::new(Code::InvalidCredentials)
    }

    /// 401: a credential that is malformed, expired, revoked or of the wrong kind (ERR-32).
    pub fn invalid_token() -> Self {
        Self::new(Code::InvalidToken)
    }

    /// 403: known, and not allowed.
    pub fn forbidden() -> Self {
        Self::new(Code::Forbidden)
    }

    /// 403: the request came in the clear to a site that is reached over https alone (TLS-01).
    pub fn https_required() -> Self {
        Self::new(Code::HttpsRequired)
    }

    /// 404: missing, or hidden. It takes no detail on purpose: both must look alike (I8).
    pub fn not_found() -> Self {
        Self::new(Code::NotFound)
    }

    /// 405: the address does not answer to this method. `allow` lists those it does, separated by commas.
    pub fn method_not_allowed(allow: HeaderValue) -> Self {
        Self::new(Code::MethodNotAllowed).with_header(header::ALLOW, allow)
    }

    /// 406: no representation fits the `Accept` header. The detail lists those that exist.
    pub fn not_acceptable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotAcceptable).with_detail(detail)
    }

    /// 408: the rest of the request did not come in time.
    pub fn request_timeout() -> Self {
        Self::new(Code::RequestTimeout)
    }

    /// 409: the present state does not let the change happen. The detail says what conflicts.
    pub fn conflict(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Conflict).with_detail(detail)
    }

    /// 412: the object is not in the state that the request was based on.
    pub fn precondition_failed() -> Self {
        Self::new(Code::PreconditionFailed)
    }

    /// 413: the body is longer than `limit`.
    pub fn payload_too_large(limit: ByteSize) -> Self {
        Self::new(Code::PayloadTooLarge).with_detail(format!("at most {} bytes", limit.as_u64()))
    }

    /// 414: the target of the request is too long.
    pub fn uri_too_long() -> Self {
        Self::new(Code::UriTooLong)
    }

    /// 415: the body is of a type that is not read here. `accepted` lists the media types that are, separated by
    /// commas; it is sent as `Accept`, and on PATCH as `Accept-Patch` too (ERR-21).
    pub fn unsupported_media_type(accepted: HeaderValue) -> Self {
        Self::new(Code::UnsupportedMediaType).with_header(header::ACCEPT, accepted)
    }

    /// 415: the body is compressed, which is not read here (LIM-09).
    pub fn unsupported_content_encoding() -> Self {
        Self::new(Code::UnsupportedMediaType)
            .with_detail("the body must not be compressed")
            .with_header(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// 422: the values that `errors` names cannot be accepted.
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(Code::ValidationFailed);
        problem.0.detail = Some(match errors.len() {
            1 => Cow::Borrowed("1 field is not valid"),
            // Of many unknown members only some are named.
            count if count >= ObjectReader::MAX_UNKNOWN => {
                Cow::Owned(format!("at least {count} fields are not valid"))
            }
            count => Cow::Owned(format!("{count} fields are not valid")),
        });
        problem.0.errors = errors;
        problem
    }

    /// 416: the range that was asked for is past the end of what has `length` bytes.
    pub fn range_not_satisfiable(length: u64) -> Self {
        let range = HeaderValue::try_from(format!("bytes */{length}")).expect("digits are ASCII");
        Self::new(Code::RangeNotSatisfiable).with_header(header::CONTENT_RANGE, range)
    }

    /// 422: the file is not one that is accepted. The detail says why.
    pub fn unsupported_file(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::UnsupportedFile).with_detail(detail)
    }

    /// 428: the change needs an `If-Match`.
    pub fn precondition_required() -> Self {
        Self::new(Code::PreconditionRequired)
    }

    /// 429: the quotas named `policies` are used up; one of them has room again after `retry_after`, which is
    /// rounded up to whole seconds, at least one (THR-26).
    pub fn throttled(
        retry_after: Duration,
        policies: impl IntoIterator<Item = impl Into<Cow<'static, str>>>,
    ) -> Self {
        let mut problem = Self::new(Code::Throttled).with_retry_after(retry_after);
        problem.0.violated_policies = policies.into_iter().map(Into::into).collect();
        problem
    }

    /// 431: the headers are too many or too long.
    pub fn headers_too_large() -> Self {
        Self::new(Code::HeadersTooLarge)
    }

    /// 500: the server failed.
    pub fn internal() -> Self {
        Self::new(Code::InternalError)
    }

    /// 503: the server is too busy, or something it depends on does not answer.
    pub fn unavailable() -> Self {
        Self::new(Code::Unavailable)
    }

    /// What went wrong while a request body was read: longer than its limit (413), or cut off or malformed (400).
    ///
    /// Give it the error of a body that [`LimitsLayer`](crate::limits::LimitsLayer) has wrapped.
    pub fn from_body_error(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if error.is::<http_body_util::LengthLimitError>() {
                return Self::new(Code::PayloadTooLarge);
            }
            next = error.source();
        }
        Self::malformed_request("the body ended early or is not framed as HTTP asks")
    }

    /// Adds what is special about this occurrence. It must not hold a secret, nor input that was not validated.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds `Retry-After`, rounded up to whole seconds, at least one (THR-26).
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Names for the access log the permission that was refused (ACL-20). It has no path to the client.
    #[must_use]
    pub fn denied_by(mut self, permission: Permission) -> Self {
        self.0.denied_by = Some(permission);
        self
    }

    /// The permission that was refused, if that is what it is.
    pub(crate) fn permission(&self) -> Option<&Permission> {
        self.0.denied_by.as_ref()
    }

    /// Keeps the private cause for the log. It has no path to the client (I7).
    #[must_use]
    pub fn because(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.cause = Some(Cause(Arc::new(source)));
        self
    }

    /// The kind of problem.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        self.0.code.status()
    }

    /// What is special about this occurrence, if anything was said.
    pub fn detail(&self) -> Option<&str> {
        self.0.detail.as_deref()
    }

    /// The values that cannot be accepted.
    pub fn errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The answer, with any type of body, still to be given its bytes by [`ProblemLayer`].
    pub fn answer<B: Default>(mut self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            challenge(headers, self.code());
        }
        for (name, value) in std::mem::take(&mut self.0.headers) {
            headers.insert(name, value);
        }
        response.extensions_mut().insert(self);
        response
    }
}

/// One challenge for each scheme by which a token is accepted, each in a field of its own (ERR-39).
fn challenge(headers: &mut http::HeaderMap, code: Code) {
    let bearer = match code {
        Code::InvalidToken => r#"Bearer realm="api", error="invalid_token""#,
        _ => r#"Bearer realm="api""#,
    };
    headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Token realm="api""#));
    headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static(bearer));
}

/// Whether trying again may help decides between 503 and 500; the rest is for the log.
impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_) | StoreError::NotWritable(_) => Self::unavailable().because(error),
            _ => Self::internal().because(error),
        }
    }
}

/// What the client reads when rows cannot be had.
impl From<DbError> for Problem {
    fn from(error: DbError) -> Self {
        match error {
            DbError::NotFound => Self::not_found(),
            DbError::Forbidden(permission) => Self::forbidden().denied_by(permission),
            DbError::Stale => Self::precondition_failed(),
            DbError::Conflict => Self::conflict("a value is taken, or other objects depend on this one"),
            DbError::Dangling(errors) => Self::validation(errors),
            DbError::OverQuota(_) => Self::new(Code::QuotaExceeded),
            DbError::Store(error) => error.into(),
            other => Self::internal().because(other),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        self.answer()
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("code", &self.0.code.as_str())
            .field("detail", &self.0.detail)
            .field("errors", &self.0.errors)
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}
