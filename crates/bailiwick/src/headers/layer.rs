//! The layer that sets security headers.
use tower_layer::Layer;

use super::SecurityHeadersService;

/// Sets the security headers on every answer of the services inside.
///
/// Whether the request came over https is read from the [`Scheme`](bailiwick_core::request::Scheme) in its
/// extensions. Put this layer outside [`ProblemLayer`](crate::problem::ProblemLayer), so that answers to panics
/// carry the headers too.
#[derive(Clone, Copy, Debug, Default)]
pub struct SecurityHeadersLayer(());

impl SecurityHeadersLayer {
    /// The layer. There is nothing to set: weaker headers are set by the handler that needs them.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for SecurityHeadersLayer {
    type Service = SecurityHeadersService<S>;

    fn layer(&self, inner: S) -> SecurityHeadersService<S> {
        SecurityHeadersService::new(inner)
    }
}
