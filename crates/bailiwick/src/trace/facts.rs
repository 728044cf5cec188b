//! The record of a request, as an argument of handlers.
use std::convert::Infallible;

use axum::extract::FromRequestParts;
use bailiwick_core::request::Facts;
use http::request::Parts;

/// The [`Facts`] of the request: where a handler, or what it calls, notes what the log is to tell.
#[derive(Clone, Debug)]
pub struct RequestFacts(pub Facts);

impl<S: Send + Sync> FromRequestParts<S> for RequestFacts {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // Without the layer that writes the log, nobody asks what is noted.
        Ok(Self(parts.extensions.get().cloned().unwrap_or_default()))
    }
}
