//! Answers with one object, for the handlers of resources and for your own.
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{ETag, etag};
use crate::problem::Problem;

/// 200 with the object, or 304 if `If-None-Match` says that the client has it already (CND-02).
///
/// # Errors
/// 412 if `If-Match` names other versions only (CND-01); 400 if one of the two is no list of entity tags.
pub fn found<V: Serialize>(
    headers: &HeaderMap,
    tag: Option<ETag>,
    view: impl FnOnce() -> V,
) -> Result<Response, Problem> {
    match unchanged(headers, tag)? {
        Some(unchanged) => Ok(unchanged),
        None => changed(tag, &view()),
    }
}

/// 304 if `If-None-Match` says that the client has the object already (CND-02): for answers that are no JSON.
///
/// # Errors
/// As [`found`].
pub fn unchanged(headers: &HeaderMap, tag: Option<ETag>) -> Result<Option<Response>, Problem> {
    if !etag::client_expects(headers, tag)? {
        return Err(Problem::precondition_failed());
    }
    let has = etag::client_has(headers, tag)?;
    Ok(has.then(|| tagged(StatusCode::NOT_MODIFIED.into_response(), tag)))
}

/// 200 with the object as it is now.
///
/// # Errors
/// 500 if the view cannot be written as JSON.
pub fn changed<V: Serialize>(tag: Option<ETag>, view: &V) -> Result<Response, Problem> {
    Ok(tagged(json(StatusCode::OK, view, OBJECT_BYTES)?, tag))
}

/// 201 with the new object, and where it is.
///
/// # Errors
/// 500 if the view cannot be written as JSON.
pub fn created<V: Serialize>(location: &str, tag: Option<ETag>, view: &V) -> Result<Response, Problem> {
    let mut response = tagged(json(StatusCode::CREATED, view, OBJECT_BYTES)?, tag);
    let location = HeaderValue::try_from(location).map_err(|error| Problem::internal().because(error))?;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// About how many bytes an object has as JSON: what to reserve, so that its buffer seldom grows.
pub(super) const OBJECT_BYTES: usize = 640;

/// An answer of about `about_bytes` bytes.
pub(super) fn json<T: Serialize>(
    status: StatusCode,
    body: &T,
    about_bytes: usize,
) -> Result<Response, Problem> {
    let mut bytes = Vec::with_capacity(about_bytes);
    serde_json::to_writer(&mut bytes, body).map_err(|error| Problem::internal().because(error))?;
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok((status, [content_type], bytes).into_response())
}

fn tagged(mut response: Response, tag: Option<ETag>) -> Response {
    if let Some(tag) = tag {
        let headers = response.headers_mut();
        headers.insert(header::ETAG, tag.to_value());
        // Not `no-store`: a client must be able to keep what it asks to be told the change of (CND-11).
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    }
    response
}
