//! What whoever operates an application asks of it: `/metrics`, `/healthz` and `/readyz`, on a listener of their own.
use std::{
    convert::Infallible,
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use bailiwick_core::{
    clock::{Clock, Entropy},
    store::{KeyPurpose, Store},
};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use tokio::{net::TcpListener, sync::Mutex};
use tower::{ServiceBuilder, util::MapResponse};
use tower_service::Service;

use super::serve::{self, RequestBody, ServeOptions};
use crate::{
    authn::keys::KeyRing,
    headers::SecurityHeadersLayer,
    health,
    hosts::{AllowedHosts, HostsLayer},
    limits::LimitsLayer,
    metrics::Metrics,
    problem::{Problem, ProblemLayer},
    request_id::RequestIdLayer,
};

type BoxError = Box<dyn Error + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;
type Check = Arc<dyn Fn() -> Answer + Send + Sync>;

/// The operations of an application: what Prometheus, a load balancer and whoever keeps the process alive ask.
///
/// | path | answer |
/// |---|---|
/// | `/metrics` | [`Metrics`], in the text format of Prometheus |
/// | `/healthz` | 200 while the process answers at all; it looks at nothing |
/// | `/readyz` | 200 if requests can be answered: the server is not about to stop, the database answers, there is a key to sign with, and whatever [`ready_if`](Self::ready_if) added; else 503 `unavailable`, which names what is missing |
///
/// Requests to it are neither counted nor logged. Cheap to clone.
///
/// # Security
/// It answers anyone: bind it to the loopback or to a private network (MET-05). On the loopback it answers to the names of
/// the loopback alone, so that no web page reaches it by a name of its own. However often `/readyz` is asked, the database
/// is asked once a second; and what fails is told by name, its cause goes to the log.
#[derive(Clone)]
pub struct Operations {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    stopping: Arc<AtomicBool>,
    checks: Vec<(&'static str, Check)>,
    /// What was found last. Who asks while somebody looks waits for what that brings.
    last: Arc<Mutex<Option<Found>>>,
}

struct Found {
    at: Duration,
    failing: Vec<&'static str>,
}

/// How long what was found is good for.
const GOOD_FOR: Duration = Duration::from_secs(1);
/// How long a check may take. What takes longer is as good as out of reach.
const PATIENCE: Duration = Duration::from_secs(2);
/// Enough for whoever scrapes and probes; more are a mistake.
const MAX_CONNECTIONS: usize = 64;
/// How long an answer that is under way at the end may take.
const DRAIN: Duration = Duration::from_secs(5);

impl Operations {
    pub(super) fn new(
        metrics: Metrics,
        store: Arc<dyn Store>,
        ring: Option<KeyRing>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let operations = Self {
            metrics,
            clock,
            entropy,
            stopping: Arc::default(),
            checks: Vec::new(),
            last: Arc::default(),
        };
        // The cheapest question there is that goes all the way.
        let operations = operations.ready_if("database", move || {
            let store = Arc::clone(&store);
            async move { Ok(store.key_ring_version(KeyPurpose::AccessTokens).await.map(drop)?) }
        });
        match ring {
            Some(ring) => operations.ready_if("signing_key", move || {
                let ring = ring.clone();
                async move { Ok(ring.keys().await.map(drop)?) }
            }),
            None => operations,
        }
    }

    /// Is ready only if this is so too: `name` is what `/readyz` says when it is not. It is asked at most once a second, and
    /// has two seconds.
    #[must_use]
    pub fn ready_if<F>(mut self, name: &'static str, check: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        self.checks.push((name, Arc::new(move || Box::pin(check()))));
        self
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The hand by which whoever stops the application says so: from then on it is not ready.
    pub fn readiness(&self) -> Readiness {
        Readiness(Arc::clone(&self.stopping))
    }

    /// The operations as a service, for tests and for servers of your own, which answers to any host name.
    pub fn into_service(
        self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        MapResponse::new(self.service::<Body>(any_host()), |response: Response<_>| response.map(Body::new))
    }

    /// Serves them until `shutdown` is ready.
    ///
    /// # Errors
    /// As [`serve::serve`].
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let hosts = if listener.local_addr()?.ip().is_loopback() { loopback() } else { any_host() };
        let options = ServeOptions::new().max_connections(MAX_CONNECTIONS).drain(DRAIN);
        serve::serve(listener, self.service::<RequestBody>(hosts), options, shutdown).await
    }

    fn service<B>(
        self,
        hosts: AllowedHosts,
    ) -> impl Service<
        Request<B>,
        Response = Response<impl http_body::Body<Data = Bytes, Error = axum::Error> + Send + 'static>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let entropy = Arc::clone(&self.entropy);
        let router = self.metrics.router().merge(health::router()).fallback(not_found);
        let ready = get(move || {
            let operations = self.clone();
            async move { operations.ready().await }
        });
        let router: Router = router.route("/readyz", ready.clone()).route("/readyz/", ready);
        ServiceBuilder::new()
            .layer(RequestIdLayer::new(entropy))
            .layer(SecurityHeadersLayer::new())
            .layer(ProblemLayer::new())
            .layer(HostsLayer::new(hosts))
            .layer(LimitsLayer::new())
            .service(router)
    }

    /// The answer of `/readyz`.
    async fn ready(&self) -> Response<Body> {
        let mut failing = self.failing().await;
        if self.stopping.load(Ordering::Relaxed) {
            failing.insert(0, "stopping");
        }
        if failing.is_empty() {
            let content_type = HeaderValue::from_static("application/json");
            return ([(header::CONTENT_TYPE, content_type)], r#"{"status":"ready"}"#).into_response();
        }
        let detail = format!("not ready: {}", failing.join(", "));
        Problem::unavailable().with_detail(detail).into_response()
    }

    /// The checks that fail, as they were less than a second ago.
    async fn failing(&self) -> Vec<&'static str> {
        let mut last = self.last.lock().await;
        let now = self.clock.monotonic();
        if let Some(found) = &*last
            && now.saturating_sub(found.at) < GOOD_FOR
        {
            return found.failing.clone();
        }
        let mut failing = Vec::new();
        for (name, check) in &self.checks {
            let checked = tokio::time::timeout(PATIENCE, check()).await;
            let checked = checked.unwrap_or_else(|late| Err(late.into()));
            let failed_before = last.as_ref().is_some_and(|found| found.failing.contains(name));
            if let Err(error) = checked {
                failing.push(*name);
                // Said once, not at each probe.
                if !failed_before {
                    let error: &dyn Error = &*error;
                    tracing::error!(error, check = name, "the server is not ready");
                }
            } else if failed_before {
                tracing::warn!(check = name, "the server is ready again, as far as this goes");
            }
        }
        *last = Some(Found { at: now, failing: failing.clone() });
        failing
    }
}

async fn not_found() -> Problem {
    Problem::not_found()
}

/// The only names by which a listener on the loopback is meant: a web page that gives the loopback a name of its own, to read
/// what is there, comes by that name.
fn loopback() -> AllowedHosts {
    AllowedHosts::parse(["localhost", "127.0.0.1", "[::1]"]).expect("the names of the loopback are hosts")
}

fn any_host() -> AllowedHosts {
    AllowedHosts::parse(["*"]).expect("it stands for every name")
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks: Vec<_> = self.checks.iter().map(|(name, _)| name).collect();
        f.debug_struct("Operations").field("checks", &checks).finish_non_exhaustive()
    }
}

/// See [`Operations::readiness`].
#[derive(Clone, Debug)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    /// The application is about to stop: whoever balances load is to send nothing more.
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
