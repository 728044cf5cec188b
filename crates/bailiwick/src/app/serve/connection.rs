//! The life of one connection.
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bailiwick_core::request::{ClientAddr, Scheme, Unread};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Sleep, sleep, timeout},
};
use tower::ServiceExt;
use tower_service::Service;

use super::{
    BoxError, RequestBody, ServeOptions, Stop,
    answering::Answering,
    exchange::Exchange,
    service::{OfConnection, introduce},
    wire::Wire,
};
use crate::{
    limits::LimitsLayer,
    problem::{Problem, Refusal},
};

/// The bounds of one connection.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) header_timeout: Duration,
    write_timeout: Duration,
    scheme: Scheme,
}

impl Bounds {
    pub(super) fn new(options: &ServeOptions) -> Self {
        Self {
            header_timeout: options.header_timeout,
            write_timeout: options.write_timeout,
            scheme: if options.tls.is_some() { Scheme::Https } else { Scheme::Http },
        }
    }
}

/// The longest head of a request that is read at all: a target and headers as long as they may be, and the rest of
/// the request line.
const MAX_HEAD_BYTES: usize = LimitsLayer::MAX_TARGET_BYTES + LimitsLayer::MAX_HEADER_BYTES + 64;
/// How much hyper buffers, each way.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the end of a connection may take, once all was said.
const LINGER: Duration = Duration::from_secs(2);
/// How much a client may still send meanwhile.
const LINGER_BYTES: u64 = 8 << 20;

/// Why hyper was left.
enum End {
    /// hyper is done.
    Done(hyper::Result<()>),
    /// The next request, or the rest of its headers, did not come in time.
    Late,
    /// The server closes: nobody waits for an answer, or the time for answers is over.
    Closed,
}

/// Serves the requests that come on `io`, and sees the connection to its end.
pub(super) async fn drive<I, S, B>(io: I, peer: ClientAddr, service: S, bounds: Bounds, stop: &Stop)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let exchange = Arc::new(Exchange::new());
    let wire = Wire::new(io, exchange.clone(), bounds.write_timeout);
    let of_connection =
        OfConnection { inner: service.clone(), exchange: exchange.clone(), peer, scheme: bounds.scheme };
    let mut connection = http1::Builder::new()
        .header_read_timeout(None)
        .max_header_size(MAX_HEAD_BYTES)
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(wire, of_connection);

    let end = {
        let mut watch = pin!(Watch::new(bounds.header_timeout));
        // It takes note of every change from here on, even before it is first polled.
        let mut changed = pin!(stop.changed.notified());
        let mut registered = false;
        let mut draining = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(End::Done(result));
                }
                match stop.phase() {
                    // hyper has just read all there was, and there was no whole head.
                    Stop::DRAINING if exchange.is_idle() => return Poll::Ready(End::Closed),
                    Stop::DRAINING if !draining => {
                        draining = true;
                        changed.set(stop.changed.notified());
                        registered = false;
                        Pin::new(&mut connection).graceful_shutdown();
                        continue;
                    }
                    Stop::CLOSED => return Poll::Ready(End::Closed),
                    _ => {}
                }
                // Once is enough, since the task stays the same: to poll it at each turn would cost a lock.
                if !registered {
                    registered = true;
                    if changed.as_mut().poll(cx).is_ready() {
                        changed.set(stop.changed.notified());
                        registered = false;
                        continue;
                    }
                }
                return watch.as_mut().poll(cx, &exchange).map(|()| End::Late);
            }
        })
        .await
    };

    let parts = connection.into_parts();
    let (mut io, speaking) = parts.io.into_inner();
    let idle = exchange.is_idle();
    let mut unread = Unread::default();
    let problem = match end {
        End::Done(Ok(())) => None,
        End::Done(Err(error)) if idle => judge(&error, &parts.read_buf),
        End::Late if !parts.read_buf.is_empty() => {
            unread.waited = bounds.header_timeout;
            Some(Problem::request_timeout())
        }
        End::Done(Err(_)) | End::Late => None,
        End::Closed => return,
    };
    match problem {
        Some(problem) => refuse(io, peer, service, bounds, Refusal(problem), unread).await,
        // Such as the rest of a body that nobody wanted, or requests behind one that ended the connection.
        None if speaking || !parts.read_buf.is_empty() => linger(&mut io).await,
        // Over TLS the end is said, so that nobody takes an answer that was cut off for a whole one.
        None => drop(timeout(LINGER, io.shutdown()).await),
    }
}

/// What is wrong with a request that hyper could not read; `None` if nobody is there to be told.
fn judge(error: &hyper::Error, unread: &[u8]) -> Option<Problem> {
    if error.is_parse_too_large() {
        let line = memchr::memchr(b'\n', unread).unwrap_or(unread.len());
        // The method, the version and two spaces are at most 64 bytes of the line.
        let target_too_long = line > LimitsLayer::MAX_TARGET_BYTES + 64;
        return Some(if target_too_long { Problem::uri_too_long() } else { Problem::headers_too_large() });
    }
    if error.is_parse() {
        return Some(Problem::malformed_request(
            "the request line or a header breaks the syntax of HTTP/1.1",
        ));
    }
    // The client ended its side in the middle of the headers; it may still listen.
    if error.is_incomplete_message() && !unread.is_empty() {
        return Some(Problem::malformed_request("the request ended within its headers"));
    }
    None
}

/// Answers a connection whose request could not be read, through the service, and closes it.
pub(super) async fn refuse<I, S, B>(
    mut io: I,
    peer: ClientAddr,
    service: S,
    bounds: Bounds,
    refusal: Refusal,
    unread: Unread,
) where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
    B: Body<Data = Bytes> + 'static,
    B::Error: Into<BoxError>,
{
    let answer = hyper::service::service_fn(move |_| {
        let mut request = Request::new(RequestBody::default());
        introduce(&mut request, peer, bounds.scheme);
        request.extensions_mut().insert(unread);
        request.extensions_mut().insert(refusal.clone());
        service.clone().oneshot(request)
    });
    let connection =
        http1::Builder::new().header_read_timeout(None).serve_connection(Answering::new(&mut io), answer);
    // It failed, or the client does not read: there is nobody left to be told.
    if matches!(timeout(LINGER, connection).await, Ok(Ok(()))) {
        linger(&mut io).await;
    }
}

/// Ends our side, and reads on until the client has ended its own. If the connection were closed with something
/// unread, the client's system would throw away the answer that it has not read yet.
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(io: &mut I) {
    let ending = async {
        io.shutdown().await?;
        let mut rest = io.take(LINGER_BYTES);
        let mut scratch = [0; 1024];
        while rest.read(&mut scratch).await? > 0 {}
        std::io::Result::Ok(())
    };
    let _ = timeout(LINGER, ending).await;
}

pin_project_lite::pin_project! {
    /// Watches for a client that sends nothing.
    ///
    /// hyper's own timer is made anew for every request. This one looks four times in the time that is allowed, and
    /// costs a request nothing.
    struct Watch {
        #[pin]
        tick: Sleep,
        step: Duration,
        armed: bool,
        // How many looks in a row found nothing new.
        quiet: u32,
        // How many requests there had been at the last look.
        requests: u32,
    }
}

impl Watch {
    const LOOKS: u32 = 4;

    fn new(limit: Duration) -> Self {
        let step = limit / Self::LOOKS;
        Self { tick: sleep(step), step, armed: false, quiet: 0, requests: 0 }
    }

    /// Ready when the client has been silent for too long.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, exchange: &Exchange) -> Poll<()> {
        loop {
            let mut this = self.as_mut().project();
            if *this.armed && !this.tick.is_elapsed() {
                return Poll::Pending;
            }
            if this.tick.as_mut().poll(cx).is_pending() {
                *this.armed = true;
                return Poll::Pending;
            }
            let requests = exchange.requests();
            if exchange.is_idle() && requests == *this.requests {
                *this.quiet += 1;
            } else {
                *this.quiet = 0;
                *this.requests = requests;
            }
            if *this.quiet >= Self::LOOKS {
                return Poll::Ready(());
            }
            this.tick.set(sleep(*this.step));
            *this.armed = false;
        }
    }
}
