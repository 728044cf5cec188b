//! Every kind of problem, in one table.
use http::StatusCode;

/// What is said about one kind of problem, on its page and in every answer of that kind.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct ProblemKind {
    /// The stable name that programs decide by.
    pub code: &'static str,
    /// The status of every answer of this kind.
    pub status: u16,
    /// The kind in one line; the same for every occurrence (ERR-04).
    pub title: &'static str,
    /// What happened.
    pub explanation: &'static str,
    /// What the caller can do about it.
    pub fix: &'static str,
    /// The `type` member: where the page about this kind is. A full path, so that it does not change its meaning
    /// with the URL of the request (ERR-03).
    #[serde(skip)]
    pub type_uri: &'static str,
}

macro_rules! catalogue {
    ($($variant:ident $code:literal $status:ident $title:literal, $explanation:literal, $fix:literal;)*) => {
        /// The name of a kind of problem. Codes are permanent: clients decide by them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!("`", $code, "`: ", $title, ".")] $variant,)*
        }

        /// Every kind of problem, in the order of [`Code`].
        pub static CATALOGUE: &[ProblemKind] = &[
            $(ProblemKind {
                code: $code,
                status: StatusCode::$status.as_u16(),
                title: $title,
                explanation: $explanation,
                fix: $fix,
                type_uri: concat!("/problems/", $code),
            },)*
        ];

        impl Code {
            /// The status of every answer with this code.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)*
                }
            }
        }
    };
}

catalogue! {
    MalformedRequest "malformed-request" BAD_REQUEST "The request cannot be read",
        "The request breaks the syntax of HTTP, of JSON or of a header, so the server cannot tell what it asks for.",
        "Read the detail, and send JSON in UTF-8 without duplicate keys, and each header once.";
    BadHost "bad-host" BAD_REQUEST "The host name is not served here",
        "The Host of the request is missing, sent twice, malformed or none of the names this server answers to.",
        "Use the published address of the service. Operators add names to server.allowed_hosts.";
    Unauthenticated "unauthenticated" UNAUTHORIZED "Credentials are needed",
        "This address answers only to callers who prove who they are, and the request carries no credential.",
        "Get a token and send it as \"Authorization: Token …\".";
    InvalidCredentials "invalid-credentials" UNAUTHORIZED "The user name or the password is wrong",
        "Log-in failed. The answer is the same for an unknown user, a wrong password and a disabled user.",
        "Check the user name and the password, or reset the password.";
    InvalidToken "invalid-token" UNAUTHORIZED "The credential is not valid",
        "The request carries a credential that is malformed, expired, revoked or of the wrong kind.",
        "Get a new token, and send it as \"Authorization: Token …\".";
    CsrfFailed "csrf-failed" FORBIDDEN "The request does not prove that it comes from this site",
        "A request that is authenticated by a cookie must carry a CSRF token and come from a trusted origin.",
        "Fetch a token from auth/csrf/ and send it as X-CSRFToken, or authenticate by an API token.";
    HttpsRequired "https-required" FORBIDDEN "The request came in the clear",
        "This site is reached over https alone. It never redirects, or clients would go on sending credentials in the clear.",
        "Use https. What was sent may have been read on the way: replace the credential. Behind a proxy, it must say how its \
         client came, and be among server.trusted_proxies.";
    Forbidden "forbidden" FORBIDDEN "Not allowed",
        "The caller is known, and may not do this.",
        "Ask an administrator of the organisation for a role that may.";
    NotFound "not-found" NOT_FOUND "Not found",
        "There is nothing at this address, or nothing the caller may know of.",
        "Check the address, and that the credential belongs to a member of the organisation.";
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "The method does not apply here",
        "The address exists, and does not answer to this method.",
        "Use one of the methods in the Allow header.";
    NotAcceptable "not-acceptable" NOT_ACCEPTABLE "No representation fits the Accept header",
        "The answer exists, but in none of the media types that the request accepts.",
        "Accept application/json.";
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The request took too long to arrive",
        "The server waited for the rest of the request and gave up. Over HTTP/1.1 the connection is closed.",
        "Send the request again, on a new connection and without pauses.";
    Conflict "conflict" CONFLICT "The request contradicts the present state",
        "Something in the present state, for example a name that is taken, does not let the change happen.",
        "Read the detail, fetch the present state, and decide again.";
    IdempotencyInProgress "idempotency-in-progress" CONFLICT "The first request with this key still runs",
        "A request with the same Idempotency-Key has not been answered yet.",
        "Wait as long as Retry-After says, and send the same request again.";
    SecretNotReplayable "secret-not-replayable" CONFLICT "The answer held a secret that is shown once",
        "The request with this Idempotency-Key has succeeded, and its answer held a secret that cannot be shown again.",
        "Revoke what it made if the secret is lost, and make a new one under a new key.";
    VersionRetired "version-retired" GONE "This version of the API has ended",
        "The sunset date of this version has passed.",
        "Move to the version that the Link header with rel=\"successor-version\" names.";
    PreconditionFailed "precondition-failed" PRECONDITION_FAILED "The object has changed",
        "The If-Match of the request names another version of the object than the present one.",
        "Fetch the object, apply the change to what it is now, and send its new ETag.";
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE "The body is too large",
        "The body of the request is longer than this address accepts.",
        "Send less at a time.";
    QuotaExceeded "quota-exceeded" PAYLOAD_TOO_LARGE "The storage quota is used up",
        "Storing this would exceed the quota of the user or of the organisation.",
        "Delete what is no longer needed, or ask for a larger quota.";
    UriTooLong "uri-too-long" URI_TOO_LONG "The address is too long",
        "The target of the request is longer than 8 KiB.",
        "Shorten the query, for example by asking for fewer values at a time.";
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "The body is of a type that is not read here",
        "The Content-Type or the Content-Encoding of the request is missing or is none that this address reads.",
        "Send a type that the Accept header of this answer names, without a content coding.";
    RangeNotSatisfiable "range-not-satisfiable" RANGE_NOT_SATISFIABLE "There is nothing in the range that was asked for",
        "The Range of the request begins past the end of the file.",
        "Read the length from Content-Range, and ask for a range within it, or for the whole.";
    ValidationFailed "validation-failed" UNPROCESSABLE_ENTITY "The request is not valid",
        "The request can be read, but some of its values cannot be accepted. Nothing was changed.",
        "Correct each value that errors points to.";
    IdempotencyKeyReused "idempotency-key-reused" UNPROCESSABLE_ENTITY "The key belongs to another request",
        "The Idempotency-Key was used before for a request that differs from this one.",
        "Use a fresh key for every new request.";
    UnsupportedFile "unsupported-file" UNPROCESSABLE_ENTITY "The file is not accepted",
        "The content of the file is of a kind that is not accepted, or does not agree with its name and type.",
        "Upload a file of an accepted kind.";
    PreconditionRequired "precondition-required" PRECONDITION_REQUIRED "The change must say what it is based on",
        "Changes need an If-Match header here, so that nobody overwrites what they have not seen.",
        "Fetch the object and send its ETag as If-Match.";
    Throttled "throttled" TOO_MANY_REQUESTS "Too many requests",
        "The caller has used up a quota of requests. The answer names it in violated-policies.",
        "Wait as long as Retry-After says.";
    HeadersTooLarge "headers-too-large" REQUEST_HEADER_FIELDS_TOO_LARGE "The headers are too large",
        "The request has more than 100 header fields, or more than 16 KiB of them.",
        "Send fewer and shorter headers; clear the cookies of this site.";
    InternalError "internal-error" INTERNAL_SERVER_ERROR "Something went wrong",
        "The server failed. The cause is in its log under the request_id of this answer.",
        "Try again later, and tell the operator the request_id.";
    Unavailable "unavailable" SERVICE_UNAVAILABLE "Not available at the moment",
        "The server is too busy, or something it depends on does not answer.",
        "Try again after a pause, as long as Retry-After says if it is there.";
}

impl Code {
    /// What is said about this kind of problem.
    pub fn kind(self) -> &'static ProblemKind {
        &CATALOGUE[self as usize]
    }

    /// The code's text.
    pub fn as_str(self) -> &'static str {
        self.kind().code
    }

    /// The kind that an answer with nothing but this status means, if there is one.
    pub(super) fn of_bare_status(status: StatusCode) -> Option<Self> {
        Some(match status {
            StatusCode::BAD_REQUEST => Self::MalformedRequest,
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::NOT_ACCEPTABLE => Self::NotAcceptable,
            StatusCode::REQUEST_TIMEOUT => Self::RequestTimeout,
            StatusCode::CONFLICT => Self::Conflict,
            StatusCode::PRECONDITION_FAILED => Self::PreconditionFailed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::URI_TOO_LONG => Self::UriTooLong,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedMediaType,
            StatusCode::RANGE_NOT_SATISFIABLE => Self::RangeNotSatisfiable,
            StatusCode::UNPROCESSABLE_ENTITY => Self::ValidationFailed,
            StatusCode::PRECONDITION_REQUIRED => Self::PreconditionRequired,
            StatusCode::TOO_MANY_REQUESTS => Self::Throttled,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => Self::HeadersTooLarge,
            StatusCode::INTERNAL_SERVER_ERROR => Self::InternalError,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            _ => return None,
        })
    }
}
