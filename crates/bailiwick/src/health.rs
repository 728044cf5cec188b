//! `GET /healthz`: whether the process answers at all. It says nothing else (MET-05).
//!
//! It stands outside of authentication and throttling, and so ignores any `Authorization`: to look up a credential or to
//! count a quota could fail, and whoever watches the process would end one that lives.
use axum::{Extension, Router, response::IntoResponse, routing::get};
use bailiwick_core::request::Facts;
use http::{HeaderValue, header};

/// Where it answers.
pub(crate) const PATH: &str = "/healthz/";

/// Answers `{"status":"ok"}` at `/healthz`, to anyone.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/healthz", get(healthz)).route("/healthz/", get(healthz))
}

async fn healthz(facts: Option<Extension<Facts>>) -> impl IntoResponse {
    if let Some(Extension(facts)) = facts {
        facts.set_route(PATH);
    }
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], r#"{"status":"ok"}"#)
}
