//! The life of a connection that speaks HTTP/2, over `h2` itself.
//!
//! hyper's own HTTP/2 hands a whole answer to `h2`, which holds it for as long as the client grants no room
//! for it, and tells nobody. Here it is handed over as the client takes it, so that a client that does not is
//! noticed, stream by stream.
//!
//! Each request is a task of its own: one that computes holds up neither the frames of its connection nor the
//! requests beside it, and a connection may use all cores. They end with their connection.
//!
//! # What one connection may cost
//! | what | limit | beyond it |
//! |---|---|---|
//! | requests at once | [`MAX_STREAMS`] | REFUSED_STREAM; of those that are being answered too, whatever became of their streams |
//! | headers of a request | [`MAX_HEADER_LIST_BYTES`], as RFC 9113 §6.5.2 counts | 431 without a body by `h2`; at four times as much ENHANCE_YOUR_CALM |
//! | CONTINUATIONs of a request | five | ENHANCE_YOUR_CALM |
//! | a frame | [`MAX_FRAME_BYTES`] | FRAME_SIZE_ERROR |
//! | unread bodies | [`STREAM_WINDOW_BYTES`] each, [`CONNECTION_WINDOW_BYTES`] in all | FLOW_CONTROL_ERROR |
//! | unsent answers | [`SEND_BUFFER_BYTES`] each | the handler waits, and is given up after the write timeout |
//! | requests that the client gives up | [`MAX_ABANDONED`] more than it lets be answered | ENHANCE_YOUR_CALM |
//! | the same, before they are begun | [`MAX_UNBEGUN_RESETS`] at once | ENHANCE_YOUR_CALM |
//! | streams that break the protocol, or are too many | [`MAX_ERROR_RESETS`] | ENHANCE_YOUR_CALM |
//! | frames that ask for nothing | a thousand that nothing pays for, see [`frames`] | ENHANCE_YOUR_CALM |
//!
//! That is 7.5 MiB at the most: a hundred heads of 32 KiB, a MiB of bodies, a hundred times 32 KiB of
//! answers, and some buffers. An idle connection has the buffers.
mod frames;
mod request;
mod stream;
mod wire;

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, atomic::AtomicBool},
    task::{Context, Poll},
};

use bailiwick_core::request::ClientAddr;
use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    server::{Builder, Connection, SendResponse},
};
use http::{HeaderMap, Request, Response, header};
use http_body::Body;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{sleep, timeout},
};
use tower_service::Service;

use self::{
    frames::Cost,
    stream::{Answering, Outcome},
    wire::Wire,
};
use super::{
    BoxError, RequestBody, Stop,
    connection::{Bounds, LINGER, Phases, Watch, linger},
    service::introduce,
};
use crate::problem::Refusal;

/// How many requests there may be at once, as RFC 9113 §6.5.2 recommends at the least.
const MAX_STREAMS: usize = 100;
/// How long the headers of a request may be that `h2` hands on. What
/// [`LimitsLayer`](crate::limits::LimitsLayer) allows fits in, with the 32 bytes a field that HTTP/2 counts,
/// and some of what it refuses, so that it can say so.
const MAX_HEADER_LIST_BYTES: u32 = 32 << 10;
/// The least that RFC 9113 §6.5.2 allows.
const MAX_FRAME_BYTES: u32 = 16 << 10;
/// How much of one body may come before somebody reads it: what RFC 9113 §6.9.2 says before settings are
/// agreed on, and so from the first frame on.
const STREAM_WINDOW_BYTES: u32 = 65_535;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// How much of one answer may wait for the socket.
const SEND_BUFFER_BYTES: usize = 32 << 10;
/// How many requests a client may give up, once they have begun, for each that it lets be answered another
/// one. All that it may have open, twice.
///
/// To ask and take it back costs a client nothing, and the server a request (CVE-2023-44487).
const MAX_ABANDONED: usize = 2 * MAX_STREAMS;
/// How many requests a client may have taken back before the server came to them.
const MAX_UNBEGUN_RESETS: usize = 20;
/// How many streams may break the protocol while a connection lives. A client that does not wait for the
/// server's settings may well open too many at its beginning.
const MAX_ERROR_RESETS: usize = 256;

type Of<'a, I> = Connection<Wire<'a, I>, Bytes>;

/// Serves the requests that come on `io`, and sees the connection to its end.
pub(super) async fn drive<I, S, B>(mut io: I, peer: ClientAddr, service: S, bounds: Bounds, stop: &Stop)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let cost = Arc::new(Cost::default());
    let wire = Wire::new(&mut io, Arc::clone(&cost), bounds.write_timeout);
    let handshake = timeout(bounds.header_timeout, settings().handshake(wire));
    // Whoever agrees on HTTP/2 and speaks something else would not understand what is said to it either.
    let Some(Ok(Ok(connection))) = stop.unless_stopped(handshake).await else { return };
    let tasks = JoinSet::new();
    let serving = Serving { connection, service, peer, bounds, tasks, cost, abandoned: 0, begun: 0 };
    if serving.run(stop).await.is_some() {
        linger(&mut io).await;
    }
}

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(u32::try_from(MAX_STREAMS).expect("it is a small number"))
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(MAX_UNBEGUN_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS));
    builder
}

/// A connection after its handshake.
struct Serving<'a, I, S> {
    connection: Of<'a, I>,
    service: S,
    peer: ClientAddr,
    bounds: Bounds,
    tasks: JoinSet<Outcome>,
    cost: Arc<Cost>,
    /// How many more requests were given up by the client than answered.
    abandoned: usize,
    begun: u32,
}

/// The connection is over, and may be ended in the orderly way.
struct Over;

impl<I, S, B> Serving<'_, I, S>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    /// Serves until the connection is over; `None` if it is to be closed at once.
    async fn run(mut self, stop: &Stop) -> Option<Over> {
        let mut watch = pin!(Watch::new(self.bounds.header_timeout));
        let mut phases = pin!(Phases::of(stop));
        // How long a client may take to say that it has heard of the end.
        let mut grace = pin!(sleep(LINGER));
        let mut draining = false;
        let reason = poll_fn(|cx| {
            loop {
                self.reap(cx);
                match self.poll_next(cx) {
                    Poll::Ready(Some((request, respond))) => {
                        self.begin(request, respond);
                        continue;
                    }
                    Poll::Ready(None) => return Poll::Ready(End::Over),
                    Poll::Pending => {}
                }
                if self.abandoned > MAX_ABANDONED || self.cost.is_too_high() {
                    return Poll::Ready(End::Closing(Reason::ENHANCE_YOUR_CALM));
                }
                match phases.as_mut().now(cx) {
                    Stop::DRAINING if !draining => {
                        draining = true;
                        grace.set(sleep(LINGER));
                        self.connection.graceful_shutdown();
                        continue;
                    }
                    Stop::CLOSED => return Poll::Ready(End::Closed),
                    _ => {}
                }
                let is_idle = self.tasks.is_empty() && !self.connection.has_streams();
                if draining && grace.as_mut().poll(cx).is_ready() && is_idle {
                    return Poll::Ready(End::Closing(Reason::NO_ERROR));
                }
                let late = watch.as_mut().poll(cx, is_idle, self.begun);
                return late.map(|()| End::Closing(Reason::NO_ERROR));
            }
        });
        match reason.await {
            End::Over => {}
            End::Closed => return None,
            End::Closing(reason) => self.close(reason).await,
        }
        Some(Over)
    }

    /// Takes note of requests that are done.
    fn reap(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(Some(ended)) = self.tasks.poll_join_next(cx) {
            match ended {
                Ok(Outcome::Abandoned) => self.abandoned += 1,
                Ok(Outcome::Answered) => self.abandoned = self.abandoned.saturating_sub(1),
                // One that panicked has taken its stream with it, which `h2` resets.
                Ok(Outcome::GivenUp) | Err(_) => {}
            }
        }
    }

    /// Moves the connection on; gives the next request, if one more may begin, and `None` at its end.
    ///
    /// A stream that the client resets makes room for another at once, while its request may not have ended
    /// yet.
    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<(Request<RecvStream>, SendResponse<Bytes>)>> {
        if self.tasks.len() >= MAX_STREAMS {
            return self.connection.poll_closed(cx).map(|_| None);
        }
        // What went wrong, the client has been told with GOAWAY.
        self.connection.poll_accept(cx).map(|accepted| accepted?.ok())
    }

    fn begin(&mut self, request: Request<RecvStream>, respond: SendResponse<Bytes>) {
        self.begun = self.begun.wrapping_add(1);
        let expects = expects(request.headers()).then(|| Arc::new(AtomicBool::new(false)));
        let length = declared_length(request.headers());
        let mut request = request.map(|stream| RequestBody::http2(stream, length, expects.clone()));
        introduce(&mut request, self.peer, self.bounds.scheme);
        if let Err(problem) = request::settle(&mut request) {
            request.extensions_mut().insert(Refusal(problem));
        }
        let cost = Arc::clone(&self.cost);
        let to = Answering { respond, write_timeout: self.bounds.write_timeout, cost, expects };
        self.tasks.spawn(stream::answer(self.service.clone(), request, to));
    }

    /// Says why the connection ends, and gives up what is in flight.
    async fn close(mut self, reason: Reason) {
        self.connection.abrupt_shutdown(reason);
        let _ = timeout(LINGER, poll_fn(|cx| self.connection.poll_closed(cx))).await;
    }
}

/// Why a connection is not served any more.
enum End {
    /// All was said.
    Over,
    /// The client is to be told why.
    Closing(Reason),
    /// The time for answers is over.
    Closed,
}

fn expects(headers: &HeaderMap) -> bool {
    headers.get(header::EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// How long the body will be: `h2` has seen that the client says so once, or the same, and holds it to that.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
