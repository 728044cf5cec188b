//! A response body that counts its bytes and carries the log entry to its end.
use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::service::Entry;

pin_project! {
    /// The body of a response that is being logged: the line is written when it is dropped.
    #[derive(Debug)]
    pub struct TraceBody<B> {
        #[pin]
        inner: B,
        entry: Entry,
    }
}

impl<B> TraceBody<B> {
    pub(super) fn new(inner: B, entry: Entry) -> Self {
        Self { inner, entry }
    }
}

impl<B: Body<Data = Bytes>> Body for TraceBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            this.entry.count(data.remaining());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
