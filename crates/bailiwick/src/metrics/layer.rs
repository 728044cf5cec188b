//! The layer that counts requests.
use std::sync::Arc;

use bailiwick_core::audit::Witness;
use tower_layer::Layer;

use super::{Metrics, MetricsService};

/// Counts every request that passes, and what was noted of it in its [`Facts`](bailiwick_core::request::Facts).
///
/// Put it inside [`TraceLayer`](crate::trace::TraceLayer), which begins the facts that both go by, and outside all that
/// answers. The label `http_route` is the route of the facts: whoever sets it sets a template.
///
/// ```
/// use std::sync::Arc;
///
/// use bailiwick::{clock::SystemClock, metrics::{Metrics, MetricsLayer}};
///
/// let metrics = Metrics::new(Arc::new(SystemClock::new()));
/// let layer = MetricsLayer::new(metrics.clone());
/// assert!(metrics.render().contains("# TYPE process_start_time_seconds gauge"));
/// # let _ = layer;
/// ```
#[derive(Clone, Debug)]
pub struct MetricsLayer {
    metrics: Metrics,
    /// The same metrics, as whoever has security events knows them.
    witness: Arc<dyn Witness>,
}

impl MetricsLayer {
    /// A layer that counts into `metrics`.
    pub fn new(metrics: Metrics) -> Self {
        Self { witness: Arc::new(metrics.clone()), metrics }
    }
}

impl<S> Layer<S> for MetricsLayer {
    type Service = MetricsService<S>;

    fn layer(&self, inner: S) -> MetricsService<S> {
        MetricsService::new(inner, self.metrics.clone(), Arc::clone(&self.witness))
    }
}
