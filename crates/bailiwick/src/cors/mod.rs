//! Lets pages of other origins read answers, and nobody else's (CORS-01 to CORS-44).
//!
//! A browser lets a page read an answer of another origin only if the answer names that origin, and asks by a *preflight*
//! before it sends what no form could send. [`Cors`] says whom to name. Without it nobody is named, and browsers keep to
//! pages of this server's own origin.
//!
//! | request | answer |
//! |---|---|
//! | of an allowed origin | `Access-Control-Allow-Origin` with it, and what its page may read; on errors too |
//! | of another origin | runs, without any of that: the browser keeps the answer from the page |
//! | preflight of an allowed origin | 204 with the methods and header fields that may be sent |
//! | preflight of another origin | 403 `forbidden` |
//!
//! A preflight is `OPTIONS` with `Origin` and `Access-Control-Request-Method`; any other `OPTIONS` is an ordinary request.
//! It has no credential, is answered before anybody is asked for one, spends no quota, and tells nothing of what is there.
//!
//! There are two layers: [`CorsLayer`] names the origin on whatever leaves, so it is outside all that answers;
//! [`PreflightLayer`] answers preflights, inside what refuses any request. Without the second, preflights are answered as
//! other requests are, which lets no page through.
//!
//! ```
//! use axum::{Router, routing::get};
//! use bailiwick::cors::{Cors, CorsLayer, PreflightLayer};
//!
//! let cors = Cors::same_origin().allow("https://app.example.com".parse()?).allow_matching(
//!     // Anchored, with its dots escaped, and of one owner: anything else is an error here.
//!     r"^https://pr-[0-9]+\.preview\.example\.com$".parse()?,
//! );
//! let app: Router = Router::new()
//!     .route("/", get(async || "hello"))
//!     .layer(PreflightLayer::new(&cors))
//!     .layer(CorsLayer::new(&cors));
//! # let _ = app;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Security
//! CORS keeps answers from pages. It keeps no request from being sent, and what may be written with a cookie is decided
//! by [`csrf`](crate::csrf), by a list of its own (CORS-13, CSRF-06).
//!
//! What would be unsafe cannot be written: any origin together with cookies or with private networks, `null`, a pattern
//! that lets in whoever registers a domain. What a handler says of who may read its answer is taken away.
mod layer;
mod pattern;
mod policy;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    layer::{CorsLayer, PreflightLayer},
    pattern::{InvalidPattern, OriginPattern},
    policy::{AnyOrigin, Cors, Decided, Listed, Matched, Named, WithCredentials},
    service::{CorsFuture, CorsService, PreflightService},
};
