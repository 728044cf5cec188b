//! Lets hyper write an answer to a request that it could not read.
use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use hyper::rt::ReadBufCursor;
use tokio::io::AsyncWrite;

/// A socket on which a request seems to come that any answer may be given to. Nothing is read from the real one.
pub(super) struct Answering<'a, I> {
    io: &'a mut I,
    unread: &'static [u8],
}

impl<'a, I> Answering<'a, I> {
    pub(super) fn new(io: &'a mut I) -> Self {
        Self { io, unread: b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n" }
    }
}

impl<I: Unpin> hyper::rt::Read for Answering<'_, I> {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.unread.is_empty() {
            // The end would look like a client that is gone.
            return Poll::Pending;
        }
        let (now, later) = this.unread.split_at(this.unread.len().min(cursor.remaining()));
        cursor.put_slice(now);
        this.unread = later;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> hyper::rt::Write for Answering<'_, I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.get_mut().io).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
