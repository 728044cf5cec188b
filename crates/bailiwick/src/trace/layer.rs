//! The layer that writes the access log.
use std::sync::Arc;

use bailiwick_core::audit::Witness;
use tower_layer::Layer;

use super::{Log, TraceService};

/// Writes a line to the log for every request that passes.
///
/// Put it just inside [`RequestIdLayer`](crate::request_id::RequestIdLayer), and outside everything else.
#[derive(Clone, Debug)]
pub struct TraceLayer {
    log: Log,
    /// The same log, as whoever has security events knows it.
    witness: Arc<dyn Witness>,
}

impl TraceLayer {
    /// A layer that writes to `log`.
    pub fn new(log: Log) -> Self {
        Self { witness: Arc::new(log.clone()), log }
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = TraceService<S>;

    fn layer(&self, inner: S) -> TraceService<S> {
        TraceService::new(inner, self.log.clone(), Arc::clone(&self.witness))
    }
}
