//! The socket, as hyper sees it.
use std::{
    cell::RefCell,
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::rt::ReadBufCursor;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

use super::{exchange::Exchange, framing::Framing};

/// A socket that watches what passes.
///
/// - What is read is checked for framing that could be understood in two ways.
/// - What hyper writes while the service has nothing to answer can only be an answer of its own to what it could
///   not parse. It is kept back: [`drive`](super::connection::drive) sends a better one.
/// - The end of what the client sends is kept from hyper while a request is being answered: it would give up the
///   request.
/// - Shutting down is left to the one who drives the connection, who may have more to say.
pub(super) struct Wire<I> {
    io: I,
    exchange: Arc<Exchange>,
    framing: Framing,
    ended: bool,
    /// To be woken when hyper may learn that the client has ended.
    waiting: Option<Waker>,
    write_timeout: Duration,
    /// Runs while the client takes none of its answer.
    stalled: Option<Pin<Box<Sleep>>>,
}

thread_local! {
    /// What is read passes through here, because hyper's own buffer cannot be looked into.
    static SCRATCH: RefCell<[u8; 16 << 10]> = const { RefCell::new([0; 16 << 10]) };
}

impl<I> Wire<I> {
    pub(super) fn new(io: I, exchange: Arc<Exchange>, write_timeout: Duration) -> Self {
        Self {
            io,
            exchange,
            framing: Framing::new(),
            ended: false,
            waiting: None,
            write_timeout,
            stalled: None,
        }
    }

    /// The socket, and whether the client has more to say: it stands in the middle of a request.
    pub(super) fn into_inner(self) -> (I, bool) {
        let speaking = !self.ended && !self.framing.is_between_requests();
        (self.io, speaking)
    }

    /// The client will send no more.
    fn end(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        if !self.exchange.is_idle() && self.framing.is_between_requests() {
            self.waiting = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Gives up on a client that takes none of its answer.
    fn unless_stalled(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let limit = self.write_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> hyper::rt::Read for Wire<I> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended {
            return this.end(cx);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let room = cursor.remaining().min(scratch.len());
            let mut read = ReadBuf::new(&mut scratch[..room]);
            ready!(Pin::new(&mut this.io).poll_read(cx, &mut read))?;
            let bytes = read.filled();
            if bytes.is_empty() && room > 0 {
                this.ended = true;
                return this.end(cx);
            }
            if let Some(request) = this.framing.feed(bytes) {
                this.exchange.distrust(request);
            }
            cursor.put_slice(bytes);
            Poll::Ready(Ok(()))
        })
    }
}

impl<I: AsyncWrite + Unpin> hyper::rt::Write for Wire<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.exchange.is_idle() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.unless_stalled(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.exchange.is_idle() {
            return Poll::Ready(Ok(bytes.iter().map(|part| part.len()).sum()));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, bytes);
        this.unless_stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.io).poll_flush(cx))?;
        // hyper flushes the socket only once its own buffer is empty.
        if this.exchange.flushed()
            && let Some(waker) = this.waiting.take()
        {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
