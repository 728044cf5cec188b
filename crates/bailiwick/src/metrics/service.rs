//! The service behind [`MetricsLayer`](super::MetricsLayer).
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bailiwick_core::{
    audit::Witness,
    request::{Facts, Scheme, Unread},
};
use http::{Request, Response};
use pin_project_lite::pin_project;
use prometheus_client::metrics::gauge::Gauge;
use tower_service::Service;

use super::{
    Metrics, MetricsBody,
    labels::{self, Active, Answered, CLIENT_GONE, OTHER_METHOD},
};

/// See [`MetricsLayer`](super::MetricsLayer).
#[derive(Clone, Debug)]
pub struct MetricsService<S> {
    inner: S,
    metrics: Metrics,
    witness: Arc<dyn Witness>,
}

impl<S> MetricsService<S> {
    pub(super) fn new(inner: S, metrics: Metrics, witness: Arc<dyn Witness>) -> Self {
        Self { inner, metrics, witness }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for MetricsService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<MetricsBody<ResBody>>;
    type Error = S::Error;
    type Future = MetricsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let counted = Counted::begin(self.metrics.clone(), Arc::clone(&self.witness), &mut request);
        MetricsFuture { future: self.inner.call(request), counted: Some(counted) }
    }
}

/// A request that is counted when this is dropped: at the end of the answer, or where the request was given up.
#[derive(Debug)]
pub(super) struct Counted {
    metrics: Metrics,
    started: Duration,
    /// How long the request was waited for before that, if it did not come.
    waited: Duration,
    active: Gauge,
    labels: Active,
    version: &'static str,
    facts: Facts,
    status: u16,
}

impl Counted {
    fn begin<B>(metrics: Metrics, witness: Arc<dyn Witness>, request: &mut Request<B>) -> Self {
        let facts = match request.extensions().get::<Facts>() {
            Some(facts) => facts.clone(),
            // There is no log around this layer.
            None => {
                let facts = Facts::new();
                request.extensions_mut().insert(facts.clone());
                facts
            }
        };
        facts.add_witness(witness);
        let extensions = request.extensions();
        let unread = extensions.get::<Unread>();
        let labels = Active {
            // Of a request that could not be read, the method stands for nothing.
            method: if unread.is_some() { OTHER_METHOD } else { labels::method(request.method()) },
            scheme: labels::scheme(extensions.get::<Scheme>()),
        };
        Self {
            started: metrics.clock().monotonic(),
            waited: unread.map_or(Duration::ZERO, |unread| unread.waited),
            active: metrics.begin(&labels),
            labels,
            version: labels::version(request.version()),
            facts,
            status: CLIENT_GONE,
            metrics,
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.active.dec();
        let answered = Answered {
            active: self.labels.clone(),
            version: self.version,
            route: self.facts.shared_route(),
            status: self.status,
        };
        let answering = self.metrics.clock().monotonic().saturating_sub(self.started);
        self.metrics.end(&answered, self.waited + answering, &self.facts);
    }
}

pin_project! {
    /// The future of [`MetricsService`].
    #[derive(Debug)]
    pub struct MetricsFuture<F> {
        #[pin]
        future: F,
        counted: Option<Counted>,
    }
}

impl<F, B, E> Future for MetricsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<MetricsBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.future.poll(cx))?;
        let mut counted = this.counted.take().expect("a future is not polled after it was ready");
        counted.status = response.status().as_u16();
        Poll::Ready(Ok(response.map(|body| MetricsBody::new(body, counted))))
    }
}
