//! The service behind [`LimitsLayer`](super::LimitsLayer).
use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bailiwick_core::{
    request::{ClientAddr, DeniedBy, Facts, ShedReason, Tally},
    units::ByteSize,
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower_service::Service;

use super::{
    LimitsLayer,
    body::{LimitedBody, Size},
    progress::{Event, Progress, Times},
};
use crate::problem::{Code, Problem, RefusedOr};

/// The handler did not answer in time.
#[derive(Debug, thiserror::Error)]
#[error("the handler did not answer within {0:?}")]
struct TooSlow(Duration);

/// See [`LimitsLayer`](super::LimitsLayer).
#[derive(Clone, Debug)]
pub struct LimitsService<S> {
    inner: S,
    limits: LimitsLayer,
}

impl<S> LimitsService<S> {
    pub(super) fn new(inner: S, limits: LimitsLayer) -> Self {
        Self { inner, limits }
    }
}

impl LimitsLayer {
    /// Judges all that is known before the body is read.
    fn check<B>(&self, request: &Request<B>, longest: u64) -> Result<(), Problem> {
        // Its target is no resource of this server, and an answer of 2xx would turn the connection into a tunnel.
        if request.method() == Method::CONNECT {
            let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            return Err(Problem::method_not_allowed(allow));
        }
        let uri = request.uri();
        let target = uri.path_and_query().map_or("", |target| target.as_str());
        let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
        if target.len() + authority > self.max_target_bytes {
            return Err(Problem::uri_too_long());
        }
        let headers = request.headers();
        // Each field also costs the colon, a space and the end of its line.
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if headers.len() > self.max_header_fields || bytes > self.max_header_bytes {
            return Err(Problem::headers_too_large());
        }
        if let Some(query) = uri.query()
            && memchr::memchr_iter(b'&', query.as_bytes()).count() >= self.max_query_parameters
        {
            let detail = format!("at most {} query parameters", self.max_query_parameters);
            return Err(Problem::malformed_request(detail));
        }
        if let Some(length) = declared_length(headers)?
            && length > longest
        {
            return Err(too_large(longest));
        }
        Ok(())
    }
}

fn too_large(longest: u64) -> Problem {
    ByteSize::new(longest).map_or_else(|_| Problem::new(Code::PayloadTooLarge), Problem::payload_too_large)
}

/// The length that the request declares.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut declared = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = declared.next() else { return Ok(None) };
    if declared.next().is_some() {
        return Err(Problem::malformed_request("Content-Length is sent twice"));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Problem::malformed_request("both Content-Length and Transfer-Encoding"));
    }
    let digits = first.as_bytes();
    let length = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    match length.and_then(|text| text.parse().ok()) {
        Some(length) => Ok(Some(length)),
        None => Err(Problem::malformed_request("Content-Length is no number")),
    }
}

fn is_encoded(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .any(|coding| !coding.is_empty() && !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for LimitsService<S>
where
    S: Service<Request<Body>, Response = Response<ResBody>>,
    ReqBody: http_body::Body<Data = Bytes> + Send + 'static,
    ReqBody::Error: Into<Box<dyn Error + Send + Sync>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = LimitsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let may_close = request.version() <= Version::HTTP_11;
        let size = self.limits.size_for(request.method(), request.uri().path());
        let times = self.limits.times();
        if let Err(problem) = self.limits.check(&request, size.longest) {
            let answer = RefusedOr::refused(problem);
            return LimitsFuture { answer, deadline: None, size, times, of_body: None, may_close };
        }
        let (parts, body) = request.into_parts();
        // Most requests have no body, and an empty one costs nothing.
        let (body, of_body) = if body.is_end_stream() {
            (Body::empty(), None)
        } else {
            let client = parts.extensions.get::<ClientAddr>().copied();
            let progress = Progress::new(self.limits.memory.nothing(client, size.held));
            let body = LimitedBody::new(body, size, is_encoded(&parts.headers), progress.clone());
            (Body::new(body), Some(OfBody { progress, facts: parts.extensions.get().cloned() }))
        };
        let answer = RefusedOr::passed(self.inner.call(Request::from_parts(parts, body)));
        LimitsFuture { answer, deadline: None, size, times, of_body, may_close }
    }
}

/// What is known of a request that has a body.
#[derive(Debug)]
struct OfBody {
    progress: Progress,
    facts: Option<Facts>,
}

impl OfBody {
    /// There is no memory for it.
    fn no_room(&self) -> Problem {
        if let Some(facts) = &self.facts {
            facts.set_denied_by(DeniedBy::Overload);
            facts.tally(Tally::Shed { reason: ShedReason::BodyMemory });
        }
        Problem::unavailable()
            .with_detail("the server holds as many request bodies as it can")
            .with_retry_after(Duration::from_secs(1))
    }
}

pin_project! {
    /// The future of [`LimitsService`].
    #[derive(Debug)]
    pub struct LimitsFuture<F> {
        #[pin]
        answer: RefusedOr<F>,
        // When to look next whether the time is over.
        #[pin]
        deadline: Option<Sleep>,
        size: Size,
        times: Times,
        of_body: Option<OfBody>,
        may_close: bool,
    }
}

impl<F, B, E> Future for LimitsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let event = |body: &Option<OfBody>| body.as_ref().map_or(Event::Calm, |body| body.progress.last());

        let mut response = match this.answer.poll(cx) {
            Poll::Ready(response) => match (event(this.of_body), &*this.of_body) {
                (Event::TooLarge, _) => too_large(this.size.longest).answer(),
                (Event::Encoded, _) => Problem::unsupported_content_encoding().answer(),
                (Event::NoRoom, Some(body)) => body.no_room().answer(),
                _ => response?,
            },
            Poll::Pending => {
                if !is_late(this.deadline.as_mut(), cx, this.of_body.as_ref(), *this.times) {
                    return Poll::Pending;
                }
                match event(this.of_body) {
                    Event::Awaited => Problem::request_timeout().answer(),
                    _ => Problem::unavailable().because(TooSlow(this.times.request)).answer(),
                }
            }
        };
        if *this.may_close && is_last(&response, event(this.of_body)) {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // With the answer, what the body held is free.
        *this.of_body = None;
        Poll::Ready(Ok(response))
    }
}

/// Whether the time of a request is over.
///
/// The time until then moves while a body comes. The timer does not move with it, which would cost each piece something: it
/// looks once in so long that nothing can be over before the next look.
fn is_late(
    mut deadline: Pin<&mut Option<Sleep>>,
    cx: &mut Context<'_>,
    body: Option<&OfBody>,
    times: Times,
) -> bool {
    let step = times.request.min(times.pause).max(Duration::from_millis(1));
    let next = |progress: &Progress, now: Instant| progress.due(&times).min(now + step);
    // The clock starts only now: most requests are answered at once and never need it.
    if deadline.is_none() {
        deadline.set(Some(match body {
            Some(body) => sleep_until(next(&body.progress, body.progress.began())),
            None => sleep(times.request),
        }));
    }
    loop {
        let mut timer = deadline.as_mut().as_pin_mut().expect("the deadline was just set");
        if timer.as_mut().poll(cx).is_pending() {
            return false;
        }
        let Some(body) = body else { return true };
        let now = timer.deadline();
        if body.progress.due(&times) <= now {
            return true;
        }
        timer.reset(next(&body.progress, now));
    }
}

/// After these the rest of the body may still be on its way, and nobody will read it (LIM-01).
fn is_last<B>(response: &Response<B>, body: Event) -> bool {
    body == Event::NoRoom || matches!(response.status().as_u16(), 408 | 413)
}
