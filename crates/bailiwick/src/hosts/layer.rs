//! The layer that checks the host.
use std::sync::Arc;

use tower_layer::Layer;

use super::{AllowedHosts, HostsService};

/// Passes on only requests for a host that is allowed.
///
/// A target in absolute form overrides the `Host` header (HST-03); the header is then rewritten, so that whoever
/// reads it later sees the host that was checked. In HTTP/2 the two must not differ.
#[derive(Clone, Debug)]
pub struct HostsLayer {
    allowed: Arc<AllowedHosts>,
}

impl HostsLayer {
    /// A layer that answers to `allowed`.
    pub fn new(allowed: AllowedHosts) -> Self {
        Self { allowed: Arc::new(allowed) }
    }
}

impl<S> Layer<S> for HostsLayer {
    type Service = HostsService<S>;

    fn layer(&self, inner: S) -> HostsService<S> {
        HostsService::new(inner, self.allowed.clone())
    }
}
