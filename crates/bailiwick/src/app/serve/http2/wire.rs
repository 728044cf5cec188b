//! The socket, as `h2` sees it.
use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::stall::Stall,
    frames::{Cost, Frames},
};

/// A socket that watches what passes.
///
/// - Frames that ask for nothing are counted; when they are too many, nothing more is read.
/// - A client that takes nothing at all of what is sent is given up.
/// - Shutting down is left to the one who drives the connection, who reads on for a moment.
pub(super) struct Wire<'a, I> {
    io: &'a mut I,
    frames: Frames,
    cost: Arc<Cost>,
    stall: Stall,
}

impl<'a, I> Wire<'a, I> {
    pub(super) fn new(io: &'a mut I, cost: Arc<Cost>, write_timeout: Duration) -> Self {
        Self { io, frames: Frames::new(), cost, stall: Stall::new(write_timeout) }
    }

    /// What became of a write; the bytes that were taken pay for frames.
    fn written(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let written = self.stall.unless(cx, written);
        if let Poll::Ready(Ok(bytes)) = written {
            self.cost.pay(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        written
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Wire<'_, I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.cost.is_too_high() {
            // Whoever drives the connection looks whenever `h2` has to wait. Something may be paid until
            // then.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut *this.io).poll_read(cx, buffer))?;
        this.frames.feed(&buffer.filled()[before..], &this.cost);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Wire<'_, I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut *this.io).poll_write(cx, bytes);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut *this.io).poll_write_vectored(cx, bytes);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut *this.io).poll_flush(cx);
        this.stall.unless(cx, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
