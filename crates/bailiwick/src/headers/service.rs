//! The service behind [`SecurityHeadersLayer`](super::SecurityHeadersLayer).
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bailiwick_core::request::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use tower_service::Service;

const CORP: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const COOP: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const X_POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");

const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const DENY: HeaderValue = HeaderValue::from_static("DENY");
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");
const CSP: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_FEATURES: HeaderValue = HeaderValue::from_static(
    "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()",
);

/// See [`SecurityHeadersLayer`](super::SecurityHeadersLayer).
#[derive(Clone, Debug)]
pub struct SecurityHeadersService<S> {
    inner: S,
}

impl<S> SecurityHeadersService<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SecurityHeadersService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = SecurityHeadersFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let scheme = request.extensions().get::<Scheme>().copied().unwrap_or_default();
        SecurityHeadersFuture { future: self.inner.call(request), scheme }
    }
}

pin_project! {
    /// The future of [`SecurityHeadersService`].
    #[derive(Debug)]
    pub struct SecurityHeadersFuture<F> {
        #[pin]
        future: F,
        scheme: Scheme,
    }
}

impl<F, B, E> Future for SecurityHeadersFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        protect(response.headers_mut(), *this.scheme);
        Poll::Ready(Ok(response))
    }
}

fn protect(headers: &mut HeaderMap, scheme: Scheme) {
    headers.reserve(8);
    // `insert` also removes what a handler set twice or weaker; `or_insert` keeps what it chose (HDR-08).
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::X_FRAME_OPTIONS, DENY);
    match scheme {
        Scheme::Https => headers.insert(header::STRICT_TRANSPORT_SECURITY, HSTS),
        // A sender must not promise https over plain http (RFC 6797 §7.2).
        Scheme::Http => headers.remove(header::STRICT_TRANSPORT_SECURITY),
    };
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(CSP);
    headers.entry(header::REFERRER_POLICY).or_insert(NO_REFERRER);
    headers.entry(CORP).or_insert(SAME_ORIGIN);
    headers.entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"text/html")) {
        headers.entry(COOP).or_insert(SAME_ORIGIN);
        headers.entry(PERMISSIONS_POLICY).or_insert(NO_FEATURES);
    }
    headers.remove(header::SERVER);
    headers.remove(X_POWERED_BY);
}
