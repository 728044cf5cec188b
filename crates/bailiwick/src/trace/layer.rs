//! The layer that writes the access log.
use tower_layer::Layer;

use super::{Log, TraceService};

/// Writes a line to the log for every request that passes.
///
/// Put it just inside [`RequestIdLayer`](crate::request_id::RequestIdLayer), and outside everything else.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    log: Log,
}

impl TraceLayer {
    /// A layer that writes to `log`.
    pub fn new(log: Log) -> Self {
        Self { log }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService::new(inner, self.log.clone())
    }
}
