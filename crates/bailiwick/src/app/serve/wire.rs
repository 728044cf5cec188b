//! The socket, as hyper sees it.
use std::{
    cell::RefCell,
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    exchange::Exchange,
    framing::{Finding, Framing},
    stall::Stall,
};

/// A socket that watches what passes.
///
/// - What is read is checked for framing that could be understood in two ways.
/// - What hyper writes while the service has nothing to answer can only be an answer of its own to what it could
///   not parse. It is kept back: [`drive`](super::http1::drive) sends a better one.
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
    stall: Stall,
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
            stall: Stall::new(write_timeout),
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
            let trusted = match this.framing.feed(bytes) {
                Some(Finding::Body(at)) => {
                    // To hyper the client is gone in the middle of its body, which is a problem, and the last of this connection.
                    this.ended = true;
                    &bytes[..at]
                }
                Some(Finding::Head(request)) => {
                    this.exchange.distrust(request);
                    bytes
                }
                None => bytes,
            };
            cursor.put_slice(trusted);
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
        this.stall.unless(cx, written)
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
        this.stall.unless(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.stall.unless(cx, flushed))?;
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

#[cfg(test)]
mod tests {
    use hyper::rt::Write;

    use super::*;

    /// A socket as TLS makes it: it takes the end of an answer, and cannot pass it on.
    struct Full;

    impl AsyncRead for Full {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Full {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    // LIM-11
    #[tokio::test(start_paused = true)]
    async fn a_client_that_leaves_the_end_of_its_answer_in_the_buffer_is_given_up() {
        let exchange = Arc::new(Exchange::new());
        exchange.begin();
        let mut wire = Wire::new(Full, exchange, Duration::from_secs(30));
        let mut wire = Pin::new(&mut wire);
        std::future::poll_fn(|cx| wire.as_mut().poll_write(cx, b"HTTP/1.1 200 OK")).await.unwrap();
        let flushing = std::future::poll_fn(|cx| wire.as_mut().poll_flush(cx));
        let flushed = tokio::time::timeout(Duration::from_secs(31), flushing).await.unwrap();
        assert_eq!(flushed.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
