//! A request body that keeps to its limits, and lets the layer know how it fares.
use std::{
    error::Error,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{LengthLimitError, Limited};
use pin_project_lite::pin_project;

type BoxError = Box<dyn Error + Send + Sync>;

/// How a body fares, as the layer sees it from outside.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<AtomicU8>);

/// The last thing that happened to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing that matters: it was not read, or it was read as far as it came.
    Calm = 0,
    /// Somebody waits for the client to send more.
    Awaited = 1,
    /// It is longer than its limit.
    TooLarge = 2,
    /// It is compressed, and somebody wanted to read it.
    Encoded = 3,
}

impl Progress {
    fn new() -> Self {
        Self(Arc::new(AtomicU8::new(Event::Calm as u8)))
    }

    fn set(&self, event: Event) {
        // Only a flag: no other memory is published by it.
        self.0.store(event as u8, Ordering::Relaxed);
    }

    pub(super) fn last(&self) -> Event {
        match self.0.load(Ordering::Relaxed) {
            0 => Event::Calm,
            1 => Event::Awaited,
            2 => Event::TooLarge,
            _ => Event::Encoded,
        }
    }
}

/// The body has a content coding.
#[derive(Debug, thiserror::Error)]
#[error("the body is compressed")]
struct Compressed;

pin_project! {
    /// A body of at most so many bytes.
    #[derive(Debug)]
    pub(super) struct LimitedBody<B> {
        #[pin]
        inner: Limited<B>,
        encoded: bool,
        progress: Progress,
    }
}

impl<B> LimitedBody<B> {
    pub(super) fn new(inner: B, max_bytes: u64, encoded: bool) -> (Self, Progress) {
        let progress = Progress::new();
        let inner = Limited::new(inner, usize::try_from(max_bytes).unwrap_or(usize::MAX));
        (Self { inner, encoded, progress: progress.clone() }, progress)
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
        let this = self.project();
        if *this.encoded {
            this.progress.set(Event::Encoded);
            return Poll::Ready(Some(Err(Compressed.into())));
        }
        // The limit stays broken, however often somebody polls again.
        if this.progress.last() == Event::TooLarge {
            return Poll::Ready(None);
        }
        this.progress.set(Event::Awaited);
        let frame = ready!(this.inner.poll_frame(cx));
        let too_large = matches!(&frame, Some(Err(error)) if error.is::<LengthLimitError>());
        this.progress.set(if too_large { Event::TooLarge } else { Event::Calm });
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
