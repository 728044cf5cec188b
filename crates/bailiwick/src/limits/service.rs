//! The service behind [`LimitsLayer`](super::LimitsLayer).
use std::{
    error::Error,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bailiwick_core::units::ByteSize;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Version, header};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tower_service::Service;

use super::{
    LimitsLayer,
    body::{Event, LimitedBody, Progress},
};
use crate::problem::{Problem, RefusedOr};

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
    fn check<B>(&self, request: &Request<B>, max_body: ByteSize) -> Result<(), Problem> {
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
            && length > max_body.as_u64()
        {
            return Err(Problem::payload_too_large(max_body));
        }
        Ok(())
    }
}

/// The length that the request declares.
fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let mut declared = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = declared.next() else { return Ok(None) };
    if declared.any(|other| other != first) {
        return Err(Problem::malformed_request("Content-Length is sent twice and differs"));
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
        let max_body = self.limits.max_body_for(request.method(), request.uri().path());
        let request_timeout = self.limits.request_timeout;
        if let Err(problem) = self.limits.check(&request, max_body) {
            let answer = RefusedOr::refused(problem);
            return LimitsFuture {
                answer,
                deadline: None,
                max_body,
                request_timeout,
                progress: None,
                may_close,
            };
        }
        let (parts, body) = request.into_parts();
        // Most requests have no body, and an empty one costs nothing.
        let (body, progress) = if body.is_end_stream() {
            (Body::empty(), None)
        } else {
            let encoded = is_encoded(&parts.headers);
            let (body, progress) = LimitedBody::new(body, max_body.as_u64(), encoded);
            (Body::new(body), Some(progress))
        };
        let answer = RefusedOr::passed(self.inner.call(Request::from_parts(parts, body)));
        LimitsFuture { answer, deadline: None, max_body, request_timeout, progress, may_close }
    }
}

pin_project! {
    /// The future of [`LimitsService`].
    #[derive(Debug)]
    pub struct LimitsFuture<F> {
        #[pin]
        answer: RefusedOr<F>,
        #[pin]
        deadline: Option<Sleep>,
        max_body: ByteSize,
        request_timeout: Duration,
        progress: Option<Progress>,
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
        let event = |progress: &Option<Progress>| progress.as_ref().map_or(Event::Calm, Progress::last);

        let response = match this.answer.poll(cx) {
            Poll::Ready(response) => match event(this.progress) {
                Event::TooLarge => Problem::payload_too_large(*this.max_body).answer(),
                Event::Encoded => Problem::unsupported_content_encoding().answer(),
                Event::Calm | Event::Awaited => response?,
            },
            Poll::Pending => {
                // The clock starts only now: most requests are answered at once and never need it.
                if this.deadline.is_none() {
                    this.deadline.set(Some(tokio::time::sleep(*this.request_timeout)));
                }
                let deadline = this.deadline.as_mut().as_pin_mut().expect("the deadline was just set");
                if deadline.poll(cx).is_pending() {
                    return Poll::Pending;
                }
                match event(this.progress) {
                    Event::Awaited => Problem::request_timeout().answer(),
                    _ => Problem::unavailable().because(TooSlow(*this.request_timeout)).answer(),
                }
            }
        };
        Poll::Ready(Ok(self_closing(response, *this.may_close)))
    }
}

/// After these the rest of the body may still be on its way, and nobody will read it (LIM-01).
fn self_closing<B>(mut response: Response<B>, may_close: bool) -> Response<B> {
    if may_close && matches!(response.status().as_u16(), 408 | 413) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
