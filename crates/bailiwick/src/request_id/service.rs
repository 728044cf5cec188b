//! The service behind [`RequestIdLayer`](super::RequestIdLayer).
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bailiwick_core::request::RequestId;
use http::{HeaderMap, HeaderValue, Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{X_REQUEST_ID, layer::Source};

/// See [`RequestIdLayer`](super::RequestIdLayer).
#[derive(Clone, Debug)]
pub struct RequestIdService<S> {
    inner: S,
    source: Source,
}

impl<S> RequestIdService<S> {
    pub(super) fn new(inner: S, source: Source) -> Self {
        Self { inner, source }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequestIdService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RequestIdFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let (id, value) = self.name(request.headers());
        request.extensions_mut().insert(id);
        RequestIdFuture { future: self.inner.call(request), value: Some(value) }
    }
}

impl<S> RequestIdService<S> {
    fn name(&self, headers: &HeaderMap) -> (RequestId, HeaderValue) {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        if let (Some(value), None) = (sent.next(), sent.next())
            && let Some(id) = RequestId::from_client(value.as_bytes())
        {
            // The value shares its bytes with the request: it is not copied.
            return (id, value.clone());
        }
        let id = self.source.next();
        let value = HeaderValue::from_str(id.as_str()).expect("a request id is visible ASCII");
        (id, value)
    }
}

pin_project! {
    /// The future of [`RequestIdService`].
    #[derive(Debug)]
    pub struct RequestIdFuture<F> {
        #[pin]
        future: F,
        value: Option<HeaderValue>,
    }
}

impl<F, B, E> Future for RequestIdFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        if let Some(value) = this.value.take() {
            response.headers_mut().insert(X_REQUEST_ID, value);
        }
        Poll::Ready(Ok(response))
    }
}
