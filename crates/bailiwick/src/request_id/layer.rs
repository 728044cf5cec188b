//! The layer that names requests.
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

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
        let stock = Stock { bytes: [0; STOCK_BYTES], left: 0 };
        Self { source: Source(Arc::new(Shared { entropy, stock: Mutex::new(stock) })) }
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
pub(super) struct Source(Arc<Shared>);

struct Shared {
    entropy: Arc<dyn Entropy>,
    stock: Mutex<Stock>,
}

/// Randomness in stock: asking the operating system costs as much as the rest of this layer, so it is asked once
/// for many ids.
struct Stock {
    bytes: [u8; STOCK_BYTES],
    left: usize,
}

const STOCK_BYTES: usize = 64 * RequestId::RANDOM_BYTES;

impl Source {
    pub(super) fn next(&self) -> RequestId {
        let mut random = [0; RequestId::RANDOM_BYTES];
        // A panic of the entropy source leaves nothing half-done here: `left` changes last.
        let mut stock = self.0.stock.lock().unwrap_or_else(PoisonError::into_inner);
        if stock.left == 0 {
            self.0.entropy.fill(&mut stock.bytes);
            stock.left = STOCK_BYTES;
        }
        let end = stock.left;
        let start = end - RequestId::RANDOM_BYTES;
        random.copy_from_slice(&stock.bytes[start..end]);
        stock.left = start;
        RequestId::from_random(random)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}
