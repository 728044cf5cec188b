//! A request body that keeps to its limits, and lets the layer know how it fares.
use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use pin_project_lite::pin_project;

use super::progress::{Event, Progress};

type BoxError = Box<dyn Error + Send + Sync>;

/// The body has a content coding.
#[derive(Debug, thiserror::Error)]
#[error("the body is compressed")]
struct Compressed;

/// How much of a body may be read, and held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// The longest body, in bytes.
    pub(super) longest: u64,
    /// How much of it is in memory at most.
    pub(super) held: u64,
}

pin_project! {
    /// A body of at most so many bytes.
    #[derive(Debug)]
    pub(super) struct LimitedBody<B> {
        #[pin]
        inner: Limited<B>,
        encoded: bool,
        held: u64,
        // What the memory for bodies was asked for so far.
        asked: u64,
        progress: Progress,
    }

    impl<B> PinnedDrop for LimitedBody<B> {
        fn drop(this: Pin<&mut Self>) {
            this.project().progress.let_go();
        }
    }
}

impl<B: Body> LimitedBody<B> {
    pub(super) fn new(inner: B, size: Size, encoded: bool, progress: Progress) -> Self {
        let inner = Limited::new(inner, usize::try_from(size.longest).unwrap_or(usize::MAX));
        Self { inner, encoded, held: size.held, asked: 0, progress }
    }
}

impl<B> Body for LimitedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        if *this.encoded {
            this.progress.set(Event::Encoded);
            return Poll::Ready(Some(Err(Compressed.into())));
        }
        // The limit stays broken, however often somebody polls again.
        if matches!(this.progress.last(), Event::TooLarge | Event::NoRoom) {
            return Poll::Ready(None);
        }
        let polled = this.inner.as_mut().poll_frame(cx);
        if polled.is_pending() {
            this.progress.wait();
        }
        let frame = ready!(polled);
        match &frame {
            Some(Err(error)) if error.is::<LengthLimitError>() => this.progress.set(Event::TooLarge),
            Some(Err(_)) => this.progress.set(Event::Calm),
            None => this.progress.whole(),
            Some(Ok(frame)) => {
                let received = this.progress.receive(frame.data_ref().map_or(0, Bytes::len));
                let to_come = this.inner.size_hint().upper().unwrap_or(u64::MAX);
                // Ahead, so that of many at once some are refused while there is little to lose, and not all of them near their
                // ends; but not all, since what a client promises to send it could promise for nothing.
                let wanted = received.saturating_add(to_come.min(received)).min(*this.held);
                let more = wanted.saturating_sub(*this.asked);
                *this.asked += more;
                if let Err(used_up) = this.progress.held().take(more) {
                    this.progress.set(Event::NoRoom);
                    return Poll::Ready(Some(Err(used_up.into())));
                }
                if this.inner.is_end_stream() {
                    this.progress.whole();
                } else {
                    this.progress.set(Event::Calm);
                }
            }
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
