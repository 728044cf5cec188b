//! The layer that counts requests.
use std::sync::Arc;

use bailiwick_core::{
    clock::SystemClock,
    store::{CounterStore, Uncounted},
};
use tower_layer::Layer;

use super::{Throttle, ThrottleService};

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

    /// Counts the requests that pass uncounted in `uncounted`, which whoever gives it can read.
    #[must_use]
    pub fn count_outages(mut self, uncounted: Uncounted) -> Self {
        self.uncounted = uncounted;
        self
    }

    /// The requests that passed uncounted, because the counters were out of reach.
    pub fn uncounted(&self) -> &Uncounted {
        &self.uncounted
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
        ThrottleService::new(inner, self.clone())
    }
}
