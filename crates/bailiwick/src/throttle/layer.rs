//! The layer that counts requests.
use std::sync::Arc;

use bailiwick_core::{clock::SystemClock, store::CounterStore};
use tower_layer::Layer;

use super::{Throttle, ThrottleService, uncounted::Uncounted};

/// Counts requests and refuses those beyond their quota.
///
/// Put it inside the layer that finds the principal, and inside the router's matching, so that the route template
/// is known. Without a principal in the extensions of the request, the address counts.
#[derive(Clone)]
pub struct ThrottleLayer {
    pub(super) throttle: Throttle,
    pub(super) counters: Arc<dyn CounterStore>,
    pub(super) uncounted: Uncounted,
}

impl ThrottleLayer {
    /// Counts in `counters`.
    pub fn new(throttle: Throttle, counters: Arc<dyn CounterStore>) -> Self {
        // Only how often an outage is told depends on this clock.
        Self { throttle, counters, uncounted: Uncounted::new(Arc::new(SystemClock::new())) }
    }
}

impl std::fmt::Debug for ThrottleLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThrottleLayer").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for ThrottleLayer {
    type Service = ThrottleService<S>;

    fn layer(&self, inner: S) -> ThrottleService<S> {
        ThrottleService::new(inner, Arc::new(self.clone()))
    }
}
