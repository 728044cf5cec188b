//! Writes the body of a problem.
use bailiwick_core::request::RequestId;
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::{FieldError, Problem};

/// The members, in the order in which they are written.
#[derive(Serialize)]
struct Members<'a> {
    r#type: &'a str,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    // The RateLimit draft spells it so (THR-24).
    #[serde(rename = "violated-policies", skip_serializing_if = "<[_]>::is_empty")]
    violated_policies: &'a [std::borrow::Cow<'static, str>],
}

impl Members<'_> {
    fn write(&self) -> Bytes {
        let mut body = Vec::with_capacity(320);
        serde_json::to_writer(&mut body, self).expect("strings and numbers can be written to memory");
        body.into()
    }
}

/// The body of `problem`, which answers the request with this id.
pub(super) fn problem(problem: &Problem, request_id: Option<&RequestId>) -> Bytes {
    let kind = problem.0.code.kind();
    Members {
        r#type: kind.type_uri,
        title: kind.title,
        status: kind.status,
        detail: problem.0.detail.as_deref(),
        code: kind.code,
        request_id: request_id.map(RequestId::as_str),
        errors: &problem.0.errors,
        violated_policies: &problem.0.violated_policies,
    }
    .write()
}

/// The body of an answer whose status is all that is known, and has no kind in the catalogue (ERR-05).
pub(super) fn unlisted(status: StatusCode, request_id: Option<&RequestId>) -> Bytes {
    let code = if status.is_server_error() { "server-error" } else { "client-error" };
    Members {
        r#type: "about:blank",
        title: status.canonical_reason().unwrap_or(code),
        status: status.as_u16(),
        detail: None,
        code,
        request_id: request_id.map(RequestId::as_str),
        errors: &[],
        violated_policies: &[],
    }
    .write()
}
