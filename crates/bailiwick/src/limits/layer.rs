//! The layer that bounds requests.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    meter::{Meter, Metered, Value},
    units::ByteSize,
};
use http::Method;
use tower_layer::Layer;

use super::{LimitsService, body::Size, memory::Memory, progress::Times};

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
    body_pause: Duration,
    min_body_rate: ByteSize,
    pub(super) memory: Memory,
}

/// How long the bodies of one route may be.
#[derive(Clone, Debug)]
pub(super) struct RouteBody {
    method: Method,
    template: Box<str>,
    limit: ByteSize,
    held: ByteSize,
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
            body_pause: Duration::from_secs(10),
            min_body_rate: ByteSize::kib(8),
            memory: Memory::new(ByteSize::mib(256)),
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
    pub fn max_body_of(self, method: Method, template: &str, limit: ByteSize) -> Self {
        self.spooled_body_of(method, template, limit, limit)
    }

    /// As [`max_body_of`](Self::max_body_of), where the handler passes the body on while it comes, and has at most `held` of it in
    /// memory: only that much counts towards [`body_memory`](Self::body_memory).
    #[must_use]
    pub fn spooled_body_of(
        mut self,
        method: Method,
        template: &str,
        limit: ByteSize,
        held: ByteSize,
    ) -> Self {
        let route = RouteBody { method, template: template.trim_end_matches('/').into(), limit, held };
        self.routes = self.routes.iter().cloned().chain([route]).collect();
        self
    }

    /// How long the body of a request may be, and how much of it is in memory.
    pub(super) fn size_for(&self, method: &Method, path: &str) -> Size {
        let route = self.routes.iter().find(|route| route.is_of(method, path));
        let (limit, held) = route.map_or((self.max_body, self.max_body), |route| (route.limit, route.held));
        Size { longest: limit.as_u64(), held: held.as_u64() }
    }

    /// Limits what the bodies of all requests take together, in bytes as they arrive. The default is 256 MiB: as many as
    /// 256 requests at once with the longest body, or 65,536 of 4 KiB.
    ///
    /// A body takes its memory while it is read, for twice as much as has come but no more than can come, and gives it back when
    /// the answer begins. What is declared and not sent takes none. When nothing is left it is answered with 503, and the connection ends. One address, IPv6 by its
    /// /64, has an eighth, and room for one body in any case; this machine itself may have all.
    ///
    /// All services of this layer and its clones share the memory.
    ///
    /// # Security
    /// What a handler makes of a body, such as the values in its JSON, is not counted: it can be a few times as much.
    #[must_use]
    pub fn body_memory(mut self, limit: ByteSize) -> Self {
        self.memory = Memory::new(limit);
        self
    }

    /// Limits the time from the end of the headers, or of the body if there is one, to the beginning of the answer. The
    /// default is 30 s.
    ///
    /// A body that is still coming then may go on as long as it has come at the [least rate](Self::min_body_rate). The time that a
    /// streamed answer takes is not limited here.
    #[must_use]
    pub fn request_timeout(mut self, limit: Duration) -> Self {
        // A moment that far away can still be reckoned with.
        self.request_timeout = limit.min(Duration::from_secs(365 * 24 * 60 * 60));
        self
    }

    /// How long a request may take.
    pub fn time(&self) -> Duration {
        self.request_timeout
    }

    /// Limits how long a client may send nothing while somebody waits for its body. The default is 10 s.
    #[must_use]
    pub fn body_pause(mut self, limit: Duration) -> Self {
        self.body_pause = limit;
        self
    }

    /// How many bytes a second a body must bring on average, once it has taken longer than
    /// [`request_timeout`](Self::request_timeout). The default is 8 KiB, which the slowest of mobile networks has: so a body of 1 MiB
    /// takes 158 s at most.
    #[must_use]
    pub fn min_body_rate(mut self, rate: ByteSize) -> Self {
        self.min_body_rate = rate;
        self
    }

    pub(super) fn times(&self) -> Times {
        Times { request: self.request_timeout, pause: self.body_pause, rate: self.min_body_rate.as_u64() }
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

impl Metered for LimitsLayer {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        each(Meter {
            name: "bailiwick_body_memory_bytes",
            help: "What the bodies of requests take of the memory for them",
            value: Value::Gauge(self.memory.held()),
        });
    }
}

impl<S> Layer<S> for LimitsLayer {
    type Service = LimitsService<S>;

    fn layer(&self, inner: S) -> LimitsService<S> {
        LimitsService::new(inner, self.clone())
    }
}
