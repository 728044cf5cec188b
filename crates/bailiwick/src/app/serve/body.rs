//! The bodies of requests and answers on a connection.
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;

use super::exchange::Exchange;

/// The body of a request, as it comes from the connection. One that could not be read has an empty one.
#[derive(Debug, Default)]
pub struct RequestBody(Source);

#[derive(Debug, Default)]
enum Source {
    #[default]
    Empty,
    Http1(Incoming),
    Http2 {
        stream: RecvStream,
        /// What is still to come, if the client said how much.
        left: Option<u64>,
        /// Set at the first look, if the client waits for it.
        expects: Option<Expectation>,
    },
}

/// Set when somebody reads the body that a client waits to be asked for.
pub(super) type Expectation = Arc<AtomicBool>;

/// Why a body did not come whole: the client is gone, has reset the stream, or broke the syntax.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BodyError(Cause);

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error(transparent)]
    Http1(hyper::Error),
    #[error(transparent)]
    Http2(h2::Error),
}

impl RequestBody {
    pub(super) fn http1(body: Incoming) -> Self {
        Self(Source::Http1(body))
    }

    pub(super) fn http2(stream: RecvStream, left: Option<u64>, expects: Option<Expectation>) -> Self {
        Self(Source::Http2 { stream, left, expects })
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().0 {
            Source::Http1(body) => {
                Pin::new(body).poll_frame(cx).map_err(|error| BodyError(Cause::Http1(error)))
            }
            Source::Http2 { stream, left, expects } => {
                if let Some(expects) = expects.take() {
                    expects.store(true, Ordering::Relaxed);
                }
                poll_stream(stream, left, cx).map_err(|error| BodyError(Cause::Http2(error)))
            }
            Source::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2 { stream, .. } => stream.is_end_stream(),
            Source::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Http1(body) => body.size_hint(),
            Source::Http2 { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
            Source::Empty => SizeHint::with_exact(0),
        }
    }
}

/// The next frame of a stream. Room for as much again is granted to the client only now.
fn poll_stream(
    stream: &mut RecvStream,
    left: &mut Option<u64>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
    match ready!(stream.poll_data(cx)) {
        Some(Ok(data)) => {
            // It fails if the stream is no more, and then nothing needs to be granted.
            let _ = stream.flow_control().release_capacity(data.len());
            let length = u64::try_from(data.len()).unwrap_or(u64::MAX);
            *left = left.map(|left| left.saturating_sub(length));
            Poll::Ready(Some(Ok(Frame::data(data))))
        }
        // The answer was given before the body had come, which is no error.
        Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => Poll::Ready(None),
        Some(Err(error)) => Poll::Ready(Some(Err(error))),
        None => {
            stream.poll_trailers(cx).map(|trailers| trailers.map(|all| all.map(Frame::trailers)).transpose())
        }
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
