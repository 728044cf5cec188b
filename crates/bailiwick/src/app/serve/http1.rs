//! The life of a connection that speaks HTTP/1.1.
use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use bailiwick_core::request::{ClientAddr, Unread};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::server::conn::http1;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use tower::ServiceExt;
use tower_service::Service;

use super::{
    BoxError, RequestBody, Stop,
    answering::Answering,
    connection::{Bounds, LINGER, Phases, Watch, linger},
    exchange::Exchange,
    service::{OfConnection, introduce},
    wire::Wire,
};
use crate::{
    limits::LimitsLayer,
    problem::{Problem, Refusal},
};

/// The longest head of a request that is read at all: a target and headers as long as they may be, and the rest of
/// the request line.
const MAX_HEAD_BYTES: usize = LimitsLayer::MAX_TARGET_BYTES + LimitsLayer::MAX_HEADER_BYTES + 64;
/// How much hyper buffers, each way.
const BUFFER_BYTES: usize = 64 << 10;

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
        let mut phases = pin!(Phases::of(stop));
        let mut draining = false;
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                    return Poll::Ready(End::Done(result));
                }
                match phases.as_mut().now(cx) {
                    // hyper has just read all there was, and there was no whole head.
                    Stop::DRAINING if exchange.is_idle() => return Poll::Ready(End::Closed),
                    Stop::DRAINING if !draining => {
                        draining = true;
                        Pin::new(&mut connection).graceful_shutdown();
                        continue;
                    }
                    Stop::CLOSED => return Poll::Ready(End::Closed),
                    _ => {}
                }
                let (is_idle, requests) = (exchange.is_idle(), exchange.requests());
                return watch.as_mut().poll(cx, is_idle, requests).map(|()| End::Late);
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
