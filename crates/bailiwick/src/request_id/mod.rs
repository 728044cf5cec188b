//! Gives every request an id, and every answer the header `X-Request-ID`.
//!
//! A client's own `X-Request-ID` is kept where it is 8 to 128 characters of `A-Za-z0-9_-` and sent once (LOG-08);
//! everything else gets a random id. Layers and handlers find it as a
//! [`RequestId`](bailiwick_core::request::RequestId) in the extensions of the request.
mod layer;
mod service;
#[cfg(test)]
mod tests;

use http::HeaderName;

pub use self::{
    layer::RequestIdLayer,
    service::{RequestIdFuture, RequestIdService},
};

/// The header that carries the id, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
