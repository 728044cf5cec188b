//! The layer that refuses forged requests.
use http::Method;
use tower_layer::Layer;

use super::{Csrf, CsrfService};
use crate::route_set::RouteSet;

/// Passes on only requests that another site cannot have forged.
///
/// It reads the [`Principal`](bailiwick_core::identity::Principal) of the request: inside the layer that authenticates.
#[derive(Clone, Debug)]
pub struct CsrfLayer {
    pub(super) csrf: Csrf,
    pub(super) log_ins: RouteSet,
}

impl CsrfLayer {
    /// Checks requests whose credential came by cookie.
    pub fn new(csrf: Csrf) -> Self {
        Self { csrf, log_ins: RouteSet::default() }
    }

    /// Checks requests to these routes too, which log a browser in (CSRF-03). Each is a method and a route template,
    /// both with and without the trailing slash.
    #[must_use]
    pub fn log_ins(mut self, routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        self.log_ins = routes.into_iter().collect();
        self
    }
}

impl<S> Layer<S> for CsrfLayer {
    type Service = CsrfService<S>;

    fn layer(&self, inner: S) -> CsrfService<S> {
        CsrfService::new(inner, self.clone())
    }
}
