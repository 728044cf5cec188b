//! The service behind [`TraceLayer`](super::TraceLayer).
use std::{
    error::Error,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bailiwick_core::{
    access::Permission,
    audit::Witness,
    request::{ClientAddr, Facts, RequestId, Unread},
};
use http::{Method, Request, Response, Uri};
use pin_project_lite::pin_project;
use tower_service::Service;
use tracing::Level;

use super::{Log, TraceBody, line::MAX_TEXT};
use crate::problem::Cause;

/// See [`TraceLayer`](super::TraceLayer).
#[derive(Clone, Debug)]
pub struct TraceService<S> {
    inner: S,
    log: Log,
    witness: Arc<dyn Witness>,
}

impl<S> TraceService<S> {
    pub(super) fn new(inner: S, log: Log, witness: Arc<dyn Witness>) -> Self {
        Self { inner, log, witness }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for TraceService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<TraceBody<ResBody>>;
    type Error = S::Error;
    type Future = TraceFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let entry = Entry::begin(self.log.clone(), Arc::clone(&self.witness), &mut request);
        TraceFuture { future: self.inner.call(request), entry: Some(entry) }
    }
}

/// What goes into a request's line. The line is written when the entry is dropped: at the end of the answer, or
/// where the request was given up.
#[derive(Debug)]
pub(super) struct Entry {
    log: Log,
    started: Duration,
    /// How long the request was waited for before that, if it did not come.
    waited: Duration,
    request_id: Option<RequestId>,
    line: Option<(Method, Uri)>,
    remote: Option<IpAddr>,
    facts: Facts,
    status: u16,
    bytes_out: u64,
}

/// The client went away before the answer began. Never sent.
const CLIENT_GONE: u16 = 499;

/// How much of a method is written, in bytes; every method there is is shorter.
const MAX_METHOD: usize = 32;

impl Entry {
    fn begin<B>(log: Log, witness: Arc<dyn Witness>, request: &mut Request<B>) -> Self {
        let facts = Facts::new();
        facts.add_witness(witness);
        request.extensions_mut().insert(facts.clone());
        let extensions = request.extensions();
        let request_id = extensions.get::<RequestId>().cloned();
        let remote = extensions.get::<ClientAddr>().map(|client| client.0);
        facts.set_origin(request_id.clone(), remote);
        let unread = extensions.get::<Unread>();
        let waited = unread.map_or(Duration::ZERO, |unread| unread.waited);
        Self {
            started: log.clock().monotonic(),
            waited,
            request_id,
            line: match unread {
                Some(_) => None,
                None => Some((request.method().clone(), request.uri().clone())),
            },
            remote,
            facts,
            status: CLIENT_GONE,
            bytes_out: 0,
            log,
        }
    }

    /// A client may choose it, and so may send a token in it.
    fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref().map(RequestId::as_str)
    }

    pub(super) fn count(&mut self, bytes: usize) {
        self.bytes_out += bytes as u64;
    }

    /// Writes the cause of a failure. What is wrong with the request and not with the server is worth a line only
    /// when somebody looks closely.
    fn explain(&self, Cause(cause): &Cause) {
        let level = if self.status >= 500 { Level::ERROR } else { Level::DEBUG };
        if !self.log.takes(level) {
            return;
        }
        let mut text = cause.to_string();
        let mut next = cause.source();
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        self.log.line(level, "request_failed", |line| {
            line.of_client("request_id", self.request_id(), MAX_TEXT);
            line.number("status", self.status.into());
            line.text("cause", Some(&text));
        });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let level = if self.status >= 500 { Level::ERROR } else { Level::INFO };
        self.log.line(level, "http_request", |line| {
            line.of_client("request_id", self.request_id(), MAX_TEXT);
            line.of_client("method", self.line.as_ref().map(|(method, _)| method.as_str()), MAX_METHOD);
            line.text("route", self.facts.route());
            line.of_client("path", self.line.as_ref().map(|(_, uri)| uri.path()), MAX_TEXT);
            line.number("status", self.status.into());
            let answering = self.log.clock().monotonic().saturating_sub(self.started);
            line.millis("duration_ms", self.waited + answering);
            line.plain("user_id", self.facts.user_id());
            line.text("org", self.facts.org());
            line.plain("remote_addr", self.remote);
            line.number("bytes_out", self.bytes_out);
            line.text("throttled", self.facts.throttled());
            line.text("denied_by", self.facts.denied_by());
        });
    }
}

pin_project! {
    /// The future of [`TraceService`].
    #[derive(Debug)]
    pub struct TraceFuture<F> {
        #[pin]
        future: F,
        entry: Option<Entry>,
    }
}

impl<F, B, E> Future for TraceFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<TraceBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        let mut entry = this.entry.take().expect("a future is not polled after it was ready");
        entry.status = response.status().as_u16();
        if let Some(permission) = response.extensions_mut().remove::<Permission>() {
            entry.facts.set_denied_by(permission.to_string());
        }
        if let Some(cause) = response.extensions_mut().remove::<Cause>() {
            entry.explain(&cause);
        }
        Poll::Ready(Ok(response.map(|body| TraceBody::new(body, entry))))
    }
}
