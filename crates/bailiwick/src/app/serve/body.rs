//! The bodies of requests and answers on a connection.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::exchange::Exchange;

/// The body of a request, as it comes from the connection. One that could not be read has an empty one.
#[derive(Debug, Default)]
pub struct RequestBody(Option<Incoming>);

impl RequestBody {
    pub(super) fn incoming(body: Incoming) -> Self {
        Self(Some(body))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.get_mut().0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

pin_project! {
    /// The body of an answer, that tells the wire when hyper has all of it.
    pub(super) struct AnswerBody<B> {
        #[pin]
        inner: B,
        // Dropped with the body, at its end or where it was given up.
        done: Done,
    }
}

struct Done(Arc<Exchange>);

impl Drop for Done {
    fn drop(&mut self) {
        self.0.answered();
    }
}

impl<B> AnswerBody<B> {
    pub(super) fn new(inner: B, exchange: Arc<Exchange>) -> Self {
        Self { inner, done: Done(exchange) }
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
