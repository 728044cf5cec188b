//! The service of a connection that speaks HTTP/1.1.
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bailiwick_core::request::{ClientAddr, Scheme};
use http::{HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower::{ServiceExt, util::Oneshot};
use tower_service::Service;

use super::{
    body::{AnswerBody, RequestBody},
    exchange::Exchange,
};
use crate::problem::{Problem, Refusal};

/// Adds to requests what is known of the connection.
pub(super) struct OfConnection<S> {
    pub(super) inner: S,
    pub(super) exchange: Arc<Exchange>,
    pub(super) peer: ClientAddr,
    pub(super) scheme: Scheme,
}

/// Puts what is known of a connection into a request.
pub(super) fn introduce<B>(request: &mut Request<B>, peer: ClientAddr, scheme: Scheme) {
    let extensions = request.extensions_mut();
    extensions.insert(peer);
    // Plain http is what its absence means.
    if scheme == Scheme::Https {
        extensions.insert(scheme);
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for OfConnection<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answer<Oneshot<S, Request<RequestBody>>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let number = self.exchange.begin();
        let mut request = request.map(RequestBody::http1);
        introduce(&mut request, self.peer, self.scheme);
        let untrusted = self.exchange.is_untrusted(number);
        if untrusted {
            let detail = "the end of the request can be read in two ways: send Content-Length or \
                          Transfer-Encoding: chunked, one of them and once, and end each line with CR LF";
            request.extensions_mut().insert(Refusal(Problem::malformed_request(detail)));
        }
        Answer {
            future: self.inner.clone().oneshot(request),
            exchange: self.exchange.clone(),
            last: untrusted,
        }
    }
}

pin_project! {
    pub(super) struct Answer<F> {
        #[pin]
        future: F,
        exchange: Arc<Exchange>,
        // What follows on the connection cannot be trusted either.
        last: bool,
    }
}

impl<F, B, E> Future for Answer<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.future.poll(cx))?;
        if *this.last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(Ok(response.map(|body| AnswerBody::new(body, this.exchange.clone()))))
    }
}
