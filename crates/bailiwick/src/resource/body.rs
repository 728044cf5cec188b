//! Bodies of requests.
use axum::{
    body::Body,
    extract::{FromRef, FromRequest, OptionalFromRequest},
};
use bailiwick_core::model::{FromJson, json};
use http::{HeaderMap, HeaderValue, Method, Request, header};
use http_body::Body as _;

use super::Settings;
use crate::problem::Problem;

/// A JSON body, as the last argument of a handler: read strictly, with all that is wrong named at once.
///
/// It is read after the gate has passed, since that is the first argument. Its rejections are 415 (400 for two types),
/// 413, 400 and 422, in this order.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: FromJson, S: Send + Sync> FromRequest<S> for JsonBody<T>
where
    Settings: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Self, Problem> {
        let bytes = bytes(request).await?;
        let body = json::parse(&bytes, Settings::from_ref(state).json_depth).map_err(malformed)?;
        T::from_json(body).map(Self).map_err(Problem::validation)
    }
}

/// A body that need not be there: `Option<JsonBody<T>>` is none for a request without a body and without a type.
impl<T: FromJson, S: Send + Sync> OptionalFromRequest<S> for JsonBody<T>
where
    Settings: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, state: &S) -> Result<Option<Self>, Problem> {
        if request.body().is_end_stream() && !request.headers().contains_key(header::CONTENT_TYPE) {
            return Ok(None);
        }
        <Self as FromRequest<S>>::from_request(request, state).await.map(Some)
    }
}

/// How long a JSON body may be at most, whatever the limits layer lets through, and also without one.
const MAX_JSON_BYTES: usize = 16 << 20;

/// Reads the bytes of a JSON body.
async fn bytes(request: Request<Body>) -> Result<bytes::Bytes, Problem> {
    check_content_type(request.method(), request.headers())?;
    axum::body::to_bytes(request.into_body(), MAX_JSON_BYTES)
        .await
        .map_err(|error| Problem::from_body_error(&error))
}

/// The message says where the syntax breaks, and repeats nothing of the body.
#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn malformed(error: json::Malformed) -> Problem {
    Problem::malformed_request(error.to_string())
}

fn check_content_type(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let patch = method == Method::PATCH;
    let mut fields = headers.get_all(header::CONTENT_TYPE).iter();
    let first = fields.next();
    if fields.next().is_some() {
        return Err(Problem::malformed_request("Content-Type may be sent once"));
    }
    if first.is_some_and(|field| field.to_str().is_ok_and(|text| is_json(text, patch))) {
        return Ok(());
    }
    Err(Problem::unsupported_media_type(HeaderValue::from_static(if patch {
        "application/json, application/merge-patch+json"
    } else {
        "application/json"
    })))
}

/// JSON in UTF-8: any other charset is another type (LIM-07, LIM-08).
fn is_json(content_type: &str, patch: bool) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or_default();
    let known = media_type.eq_ignore_ascii_case("application/json")
        || patch && media_type.eq_ignore_ascii_case("application/merge-patch+json");
    known
        && parts.all(|parameter| {
            let utf8 = ["charset=utf-8", "charset=\"utf-8\""];
            parameter.is_empty() || utf8.iter().any(|utf8| parameter.eq_ignore_ascii_case(utf8))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_json() {
        for right in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(is_json(right, false), "{right}");
        }
        for wrong in [
            "",
            "text/plain",
            "text/json",
            "application/jsonx",
            "application/json; charset=utf-16",
            "application/json; charset=bz2_codec",
            "application/merge-patch+json",
            "application/problem+json",
        ] {
            assert!(!is_json(wrong, false), "{wrong}");
        }
        assert!(is_json("application/merge-patch+json", true));
    }
}
