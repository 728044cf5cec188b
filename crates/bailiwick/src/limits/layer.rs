//! The layer that bounds requests.
use std::{sync::Arc, time::Duration};

use bailiwick_core::units::ByteSize;
use http::Method;
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
#[derive(Clone, Debug)]
pub struct LimitsLayer {
    pub(super) max_target_bytes: usize,
    pub(super) max_header_fields: usize,
    pub(super) max_header_bytes: usize,
    pub(super) max_query_parameters: usize,
    pub(super) max_body: ByteSize,
    pub(super) routes: Arc<[RouteBody]>,
    pub(super) request_timeout: Duration,
}

/// How long the bodies of one route may be.
#[derive(Clone, Debug)]
pub(super) struct RouteBody {
    method: Method,
    template: Box<str>,
    limit: ByteSize,
}

impl RouteBody {
    /// Whether a request is one of the route. It stands outside of the router, so it compares the path by itself: one that it
    /// does not know keeps to the limit of all.
    fn is_of(&self, method: &Method, path: &str) -> bool {
        let mut segments = path.trim_end_matches('/').split('/');
        let mut fits = self.template.split('/').map(|expected| {
            let segment = segments.next();
            segment.is_some_and(|segment| segment == expected || expected.starts_with('{'))
        });
        self.method == *method && fits.all(|fits| fits) && segments.next().is_none()
    }
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
            routes: Arc::default(),
            request_timeout: Duration::from_secs(30),
        }
    }

    /// Limits the body, in bytes as they arrive. The default is 1 MiB.
    #[must_use]
    pub fn max_body(mut self, limit: ByteSize) -> Self {
        self.max_body = limit;
        self
    }

    /// Limits the body of requests of one route, in the place of [`max_body`](Self::max_body). Its template has parameters in
    /// braces: `/orgs/{org}/files/`.
    #[must_use]
    pub fn max_body_of(mut self, method: Method, template: &str, limit: ByteSize) -> Self {
        let route = RouteBody { method, template: template.trim_end_matches('/').into(), limit };
        self.routes = self.routes.iter().cloned().chain([route]).collect();
        self
    }

    /// How long the body of a request may be.
    pub(super) fn max_body_for(&self, method: &Method, path: &str) -> ByteSize {
        let route = self.routes.iter().find(|route| route.is_of(method, path));
        route.map_or(self.max_body, |route| route.limit)
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
        LimitsService::new(inner, self.clone())
    }
}
