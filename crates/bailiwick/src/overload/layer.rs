//! The layer that refuses while the server is busy.
use std::{sync::Arc, time::Duration};

use tower_layer::Layer;

use super::{Load, OverloadService};

/// Refuses requests with 503 while the server has too much to do.
///
/// Put it inside [`ProblemLayer`](crate::problem::ProblemLayer), which gives the refusal its body, and outside all that
/// does work.
///
/// ```
/// use std::sync::Arc;
///
/// use bailiwick::{clock::SystemClock, overload::OverloadLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let layer = OverloadLayer::new().max_in_flight(200).except(["/healthz"]);
/// let watching = layer.load().watch(Arc::new(SystemClock::new()))?;
/// # let _ = layer;
/// # drop(watching);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct OverloadLayer {
    max_in_flight: u32,
    max_wait: Duration,
    load: Load,
    excepted: Arc<[Box<str>]>,
}

impl OverloadLayer {
    /// How many requests may be in flight by default: 1,024.
    pub const MAX_IN_FLIGHT: u32 = 1_024;
    /// How long a turn may be waited for by default: half a second.
    pub const MAX_WAIT: Duration = Duration::from_millis(500);

    /// The default bounds.
    pub fn new() -> Self {
        let (max_in_flight, max_wait) = (Self::MAX_IN_FLIGHT, Self::MAX_WAIT);
        Self { max_in_flight, max_wait, load: Load::new(max_in_flight, max_wait), excepted: Arc::default() }
    }

    /// How many requests may be in flight at once, at least one. The default is 1,024.
    #[must_use]
    pub fn max_in_flight(mut self, limit: u32) -> Self {
        self.max_in_flight = limit.max(1);
        self.anew()
    }

    /// How long a turn of a thread may be waited for, before a share of requests is refused. The default is half a second.
    ///
    /// Every request waits about as long under a load that stays. A burst that is over within half a second is never refused for.
    #[must_use]
    pub fn max_wait(mut self, limit: Duration) -> Self {
        self.max_wait = limit.max(Duration::from_millis(1));
        self.anew()
    }

    /// Never refuses what goes to these paths, with or without a last slash: for probes, which would end a server that
    /// is merely busy.
    #[must_use]
    pub fn except(mut self, paths: impl IntoIterator<Item = impl Into<Box<str>>>) -> Self {
        let paths = paths.into_iter().map(Into::into);
        self.excepted = paths.map(|path| path.trim_end_matches('/').into()).collect();
        self
    }

    /// How busy the server is, as this layer and its services see it: for whoever [watches](Load::watch). To be taken
    /// once the bounds are set: another bound makes another load.
    pub fn load(&self) -> Load {
        self.load.clone()
    }

    fn anew(mut self) -> Self {
        self.load = Load::new(self.max_in_flight, self.max_wait);
        self
    }
}

impl Default for OverloadLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for OverloadLayer {
    type Service = OverloadService<S>;

    fn layer(&self, inner: S) -> OverloadService<S> {
        OverloadService::new(inner, self.load(), Arc::clone(&self.excepted))
    }
}
