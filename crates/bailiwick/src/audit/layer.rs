//! The layer that has refusals in the audit trail.
use std::{fmt, sync::Arc, time::Duration};

use bailiwick_core::{clock::Clock, store::Store};
use tokio::sync::Semaphore;
use tower_layer::Layer;

use super::AuditService;

/// Appends to the audit trail what a request was refused for.
///
/// Put it inside the layer that finds the principal, and outside all that refuses because of who asks. It reads the
/// [`Principal`](bailiwick_core::identity::Principal), the place in the organisation
/// ([`FoundMembership`](bailiwick_core::identity::FoundMembership)) and the [`Facts`](bailiwick_core::request::Facts) of the
/// request; without facts it does nothing.
#[derive(Clone)]
pub struct AuditLayer {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) patience: Duration,
    pub(super) under_way: Arc<Semaphore>,
}

impl AuditLayer {
    /// How many requests may have entries appended at once. It takes a trail that does not answer to get there.
    pub const MOST: usize = 256;

    /// How long an answer waits for its entries, where nothing else is said.
    pub const PATIENCE: Duration = Duration::from_secs(5);

    /// Appends to the trail of `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        let under_way = Arc::new(Semaphore::new(Self::MOST));
        Self { store, clock, patience: Self::PATIENCE, under_way }
    }

    /// How long an answer waits for its entries at most. The default is [`PATIENCE`](Self::PATIENCE). It should be less than
    /// a request may take, so that a refusal that cannot be recorded stays what it is.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }
}

impl fmt::Debug for AuditLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLayer").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AuditLayer {
    type Service = AuditService<S>;

    fn layer(&self, inner: S) -> AuditService<S> {
        AuditService::new(inner, self.clone())
    }
}
