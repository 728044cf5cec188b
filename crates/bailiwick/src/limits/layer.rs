//! The layer that bounds requests.
use std::time::Duration;

use bailiwick_core::units::ByteSize;
use tower_layer::Layer;

use super::LimitsService;

/// Refuses requests that are too large or too slow.
///
/// The services inside get the body as [`axum::body::Body`], already limited: extractors need no limit of their
/// own. (axum's has one of 2 MB, which `axum::extract::DefaultBodyLimit::disable` takes away where the limit here is
/// higher.)
///
/// ```
/// use bailiwick::limits::{ByteSize, LimitsLayer};
///
/// let layer = LimitsLayer::new().max_body(ByteSize::kib(64));
/// # let _ = layer;
/// ```
#[derive(Clone, Copy, Debug)]
pub struct LimitsLayer {
    pub(super) max_target_bytes: usize,
    pub(super) max_header_fields: usize,
    pub(super) max_header_bytes: usize,
    pub(super) max_query_parameters: usize,
    pub(super) max_body: ByteSize,
    pub(super) request_timeout: Duration,
}

impl LimitsLayer {
    /// The longest target by default, in bytes: 8 KiB.
    pub const MAX_TARGET_BYTES: usize = 8 << 10;
    /// The most header fields by default: 100.
    pub const MAX_HEADER_FIELDS: usize = 100;
    /// The most bytes of headers by default: 16 KiB.
    pub const MAX_HEADER_BYTES: usize = 16 << 10;

    /// The default limits.
    pub fn new() -> Self {
        Self {
            max_target_bytes: Self::MAX_TARGET_BYTES,
            max_header_fields: Self::MAX_HEADER_FIELDS,
            max_header_bytes: Self::MAX_HEADER_BYTES,
            max_query_parameters: 100,
            max_body: ByteSize::mib(1),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// Limits the body, in bytes as they arrive. The default is 1 MiB.
    #[must_use]
    pub fn max_body(mut self, limit: ByteSize) -> Self {
        self.max_body = limit;
        self
    }

    /// Limits the time from the end of the headers to the beginning of the answer. The default is 30 s.
    ///
    /// The time that a streamed answer takes is not limited here.
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        self.request_timeout = limit;
        self
    }

    /// How long a request may take.
    pub fn time(&self) -> Duration {
        self.request_timeout
    }

    /// Limits the number of query parameters. The default is 100.
    #[must_use]
    pub fn max_query_parameters(mut self, limit: usize) -> Self {
        self.max_query_parameters = limit;
        self
    }
}

impl Default for LimitsLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = LimitsService<S>;

    fn layer(&self, inner: S) -> LimitsService<S> {
        LimitsService::new(inner, *self)
    }
}
