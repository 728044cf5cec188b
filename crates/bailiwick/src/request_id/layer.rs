//! The layer that names requests.
use std::{fmt, sync::Arc};

use bailiwick_core::{clock::Entropy, request::RequestId};
use tower_layer::Layer;

use super::RequestIdService;

/// Names every request. Put it outermost, so that no answer leaves without its id.
#[derive(Clone, Debug)]
pub struct RequestIdLayer {
    source: Source,
}

impl RequestIdLayer {
    /// A layer whose ids are made of `entropy`.
    pub fn new(entropy: Arc<dyn Entropy>) -> Self {
        Self { source: Source(entropy) }
    }
}

impl<S> Layer<S> for RequestIdLayer {
    type Service = RequestIdService<S>;

    fn layer(&self, inner: S) -> RequestIdService<S> {
        RequestIdService::new(inner, self.source.clone())
    }
}

/// Where new ids come from.
#[derive(Clone)]
pub(super) struct Source(Arc<dyn Entropy>);

impl Source {
    pub(super) fn next(&self) -> RequestId {
        let mut random = [0; RequestId::RANDOM_BYTES];
        self.0.fill_public(&mut random);
        RequestId::from_random(random)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}
