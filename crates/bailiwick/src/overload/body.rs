//! The bodies of requests that are counted, and of their answers.
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::load::Place;

pin_project! {
    /// The body of a request, which is not counted while its client is waited for.
    #[derive(Debug)]
    pub struct AskedBody<B> {
        #[pin]
        inner: B,
        // None where the request is not counted.
        place: Option<Arc<Place>>,
    }

    impl<B> PinnedDrop for AskedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            // Nobody waits for the client any more.
            if let Some(place) = this.project().place {
                place.resume();
            }
        }
    }
}

impl<B> AskedBody<B> {
    pub(super) fn new(inner: B, place: Option<Arc<Place>>) -> Self {
        Self { inner, place }
    }
}

impl<B: Body<Data = Bytes>> Body for AskedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        match this.place {
            Some(place) if polled.is_pending() => place.pause(),
            Some(place) => place.resume(),
            None => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

pin_project! {
    /// The body of an answer, with whose end the request is in flight no longer. While the client takes what it was handed, nobody
    /// works for it: a client that reads slowly takes no place from others.
    #[derive(Debug)]
    pub struct AnswerBody<B> {
        #[pin]
        inner: B,
        place: Option<Arc<Place>>,
    }
}

impl<B> AnswerBody<B> {
    pub(super) fn new(inner: B, place: Option<Arc<Place>>) -> Self {
        Self { inner, place }
    }
}

/// An empty one, of a request that is not in flight.
impl<B: Default> Default for AnswerBody<B> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}

impl<B: Body<Data = Bytes>> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        if let Some(place) = this.place {
            place.resume();
        }
        let polled = this.inner.poll_frame(cx);
        if let Some(place) = this.place
            && polled.is_ready()
        {
            place.pause();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
