//! `GET /.well-known/jwks.json`: the keys by which others verify our access tokens.
use axum::{
    Router,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderValue, header};

use super::Families;
use crate::problem::Problem;

/// Where it is.
pub(crate) const PATH: &str = "/.well-known/jwks.json/";

/// Answers with the document to anyone. It is the one answer about credentials that may be kept (JWT-31).
pub(crate) fn router<S: Clone + Send + Sync + 'static>(families: Families) -> Router<S> {
    let show = get(async move || show(&families).await);
    Router::new().route(PATH.trim_end_matches('/'), show.clone()).route(PATH, show)
}

async fn show(families: &Families) -> Result<Response, Problem> {
    let (document, cache) = families.jwks().await?;
    let control = format!("public, max-age={}", cache.as_secs());
    let control = HeaderValue::try_from(control).map_err(|error| Problem::internal().because(error))?;
    // Many clients expect this and not application/jwk-set+json.
    let kind = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, control)], document).into_response())
}
