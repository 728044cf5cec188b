//! Takes connections from a listener and speaks HTTP/1.1 on them; over TLS also HTTP/2, with clients that
//! offer it by ALPN.
//!
//! What this adds to hyper, and to `h2` for HTTP/2, is what an exposed server needs:
//!
//! - **Every answer looks alike** (ERR-12). hyper answers what it cannot parse by itself, with an empty body,
//!   and closes in silence when headers do not come in time. Here such errors are handed to the service as a
//!   [`Refusal`], and so leave as `application/problem+json` with a request id, security headers and a line
//!   in the access log. Over HTTP/2, what breaks the protocol itself has no request to answer: its stream is
//!   reset, or the connection ends with GOAWAY.
//! - **Strict framing** (LIM-10). hyper lets `Transfer-Encoding` win over `Content-Length`, reads no coding
//!   of it but the last, and takes a bare line feed for the end of a line. A proxy in front may see the same
//!   bytes otherwise, so each is 400 here, and the connection ends. HTTP/2 is framed by itself; a field of
//!   HTTP/1.1's framing in it resets the stream. In the clear there is none: neither `Upgrade: h2c`, which is
//!   ignored, nor its preface, which is 400.
//! - **One view of a request**. Over HTTP/2, `:authority` is the `Host` (two that differ are 400, HST-03),
//!   the target is without it, and cookies are one field, so that nobody inside has to know of the
//!   difference.
//! - **Bounds on what one connection may cost** over HTTP/2: a hundred requests at once, 7.5 MiB in all, and
//!   the attacks on the protocol end with ENHANCE_YOUR_CALM. The module `http2` has the table.
//! - **Bounds on time** (LIM-11): for the headers and between requests, for a client that does not read its
//!   answer (of HTTP/2, stream by stream), and for the end of the server. They need no keep-alive pings.
//! - **TLS** by a certificate in files, which is served anew when they change ([`Tls`]).
//! - **A bound on connections**, of all and of one address. One above it gets a 503 and is closed, rather
//!   than left to wait: the caller learns at once, and a health check sees it. Over https, where to say so
//!   would take a handshake, and past 64 such farewells at a time, connections are just closed.
//! - **Half-closed connections**. A client that has sent its request over HTTP/1.1 and closed its side still
//!   gets the answer. One that resets the connection is gone: its request is dropped.
mod answering;
mod body;
mod connection;
mod exchange;
mod framing;
mod http1;
mod http2;
mod places;
mod service;
mod stall;
mod tls;
mod wire;

use std::{
    error::Error,
    future::Future,
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bailiwick_core::request::{ClientAddr, Unread};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, Semaphore},
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

pub use self::{
    body::{BodyError, RequestBody},
    tls::{Tls, TlsError},
};
use self::{connection::Bounds, places::Places};
use crate::{
    problem::{Problem, Refusal},
    proxies::TrustedProxies,
};

type BoxError = Box<dyn Error + Send + Sync>;

/// The bounds that [`serve`] keeps.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    header_timeout: Duration,
    write_timeout: Duration,
    max_connections: usize,
    max_connections_per_address: usize,
    proxies: TrustedProxies,
    drain: Duration,
    tls: Option<Tls>,
}

impl ServeOptions {
    /// The default bounds.
    pub fn new() -> Self {
        Self {
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            max_connections: 10_000,
            max_connections_per_address: 256,
            proxies: TrustedProxies::default(),
            drain: Duration::from_secs(30),
            tls: None,
        }
    }

    /// How long a client may take to send the headers of a request, and how long a connection may be idle
    /// between requests. The default is 10 s.
    ///
    /// Headers that are late are answered with 408; an idle connection is closed in silence. Over HTTP/2 a
    /// connection without a request is closed with GOAWAY, half a request or pings notwithstanding. After the
    /// first request of a connection the time may be exceeded by a quarter.
    #[must_use]
    pub fn header_timeout(mut self, limit: Duration) -> Self {
        self.header_timeout = limit;
        self
    }

    /// How long a client may take to read some of its answer, once no more can be sent. The default is 30 s.
    ///
    /// Then the connection is closed; over HTTP/2, where a client grants room for each answer by itself, the
    /// stream is reset.
    #[must_use]
    pub fn write_timeout(mut self, limit: Duration) -> Self {
        self.write_timeout = limit;
        self
    }

    /// How many connections there may be at once, at least one. The default is 10,000.
    #[must_use]
    pub fn max_connections(mut self, limit: usize) -> Self {
        self.max_connections = limit.clamp(1, MOST_CONNECTIONS as usize);
        self
    }

    /// How many connections one address may have at once, at least one. The default is 256.
    ///
    /// IPv6 counts by its /64. A connection of HTTP/2 counts as one, and may carry a hundred requests at
    /// once. This machine itself is exempt, and so are `proxies`, which speak for many clients.
    #[must_use]
    pub fn max_connections_per_address(mut self, limit: usize, proxies: TrustedProxies) -> Self {
        self.max_connections_per_address = limit.max(1);
        self.proxies = proxies;
        self
    }

    /// How long requests in flight may take to finish once the server is stopped. The default is 30 s.
    #[must_use]
    pub fn drain(mut self, limit: Duration) -> Self {
        self.drain = limit;
        self
    }

    /// Serves https, and nothing in the clear: HTTP/2 with clients that offer it, and else HTTP/1.1. Without
    /// it, the listener speaks plain HTTP/1.1.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// More than any machine has.
const MOST_CONNECTIONS: u32 = 1 << 24;
/// How many connections above the limit are told so at one time.
const FAREWELLS: usize = 64;

/// How far the end of the server has come.
#[derive(Debug)]
struct Stop {
    phase: AtomicU8,
    changed: Notify,
}

impl Stop {
    const SERVING: u8 = 0;
    /// Finish what is in flight.
    const DRAINING: u8 = 1;
    /// Close at once.
    const CLOSED: u8 = 2;

    fn phase(&self) -> u8 {
        self.phase.load(Ordering::Acquire)
    }

    fn advance(&self, phase: u8) {
        self.phase.store(phase, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// What `future` answers, unless the server begins to stop first.
    async fn unless_stopped<F: Future>(&self, future: F) -> Option<F::Output> {
        let changed = self.changed.notified();
        if self.phase() != Self::SERVING {
            return None;
        }
        tokio::select! {
            answer = future => Some(answer),
            () = changed => None,
        }
    }
}

/// Closes what is left when `serve` returns or is dropped.
struct CloseOnDrop(Arc<Stop>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.advance(Stop::CLOSED);
    }
}

/// Serves `service` on `listener` until `shutdown` is ready; then takes no more connections, finishes the
/// requests in flight, and returns once they are done, or after the time that [`ServeOptions::drain`] allows.
/// In flight is what has sent its whole head; other connections are closed at once. Those of HTTP/2 are told
/// by GOAWAY, and have two seconds to agree.
///
/// Requests carry the address of the peer as [`ClientAddr`] and, over https, the
/// [`Scheme`](bailiwick_core::request::Scheme) in their extensions. The service must pass requests through
/// [`ProblemLayer`](crate::problem::ProblemLayer) early on, or refusals reach the router as requests for `/`.
///
/// # Errors
/// None at present: failing to accept a connection is logged, and tried again after a pause.
///
/// # Cancel safety
/// When the future is dropped, the listener and all connections are closed at once.
pub async fn serve<S, B>(
    listener: TcpListener,
    service: S,
    options: ServeOptions,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let stop = Arc::new(Stop { phase: AtomicU8::new(Stop::SERVING), changed: Notify::new() });
    let _close = CloseOnDrop(stop.clone());
    let places =
        Places::new(options.max_connections, options.max_connections_per_address, options.proxies.clone());
    let farewells = Arc::new(Semaphore::new(FAREWELLS));
    let bounds = Bounds::new(&options);
    let acceptor = options.tls.as_ref().map(Tls::acceptor);
    let keep_certificate = async {
        match &options.tls {
            Some(tls) => tls.keep().await,
            None => std::future::pending().await,
        }
    };

    let (mut shutdown, mut keep_certificate) = (pin!(shutdown), pin!(keep_certificate));
    loop {
        let (stream, peer) = tokio::select! {
            biased;
            () = &mut shutdown => break,
            () = &mut keep_certificate => continue,
            accepted = accept(&listener) => accepted,
        };
        // Answers are written whole: waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        if let Some(place) = places.take(peer.0) {
            let (service, stop, acceptor) = (service.clone(), stop.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => http1::drive(stream, peer, service, bounds, &stop).await,
                    Some(acceptor) => drive_tls(stream, peer, service, bounds, &stop, acceptor).await,
                }
                drop(place);
            });
        } else if acceptor.is_some() {
            // To say so would take a handshake, which is dear.
            drop(stream);
        } else if let Ok(farewell) = farewells.clone().try_acquire_owned() {
            let service = service.clone();
            tokio::spawn(async move {
                let problem = Problem::unavailable()
                    .with_detail("too many connections")
                    .with_retry_after(Duration::from_secs(1));
                let unread = Unread::default();
                http1::refuse(stream, peer, service, bounds, Refusal(problem), unread).await;
                drop(farewell);
            });
        }
    }

    drop(listener);
    stop.advance(Stop::DRAINING);
    if tokio::time::timeout(options.drain, places.all_back()).await.is_err() {
        tracing::warn!(
            connections = places.taken(),
            "closing connections whose requests did not finish in time"
        );
    }
    Ok(())
}

/// Serves a connection over TLS, in the version of HTTP that both ends know.
async fn drive_tls<S, B>(
    stream: TcpStream,
    peer: ClientAddr,
    service: S,
    bounds: Bounds,
    stop: &Stop,
    acceptor: TlsAcceptor,
) where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let accepted = tokio::time::timeout(bounds.header_timeout, acceptor.accept(stream));
    // What never speaks TLS, or not to its end, is closed without a word: there is nobody to talk to.
    let Some(Ok(Ok(stream))) = stop.unless_stopped(accepted).await else { return };
    if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP_2) {
        // Connections in the clear are not to be as large as this.
        Box::pin(http2::drive(stream, peer, service, bounds, stop)).await;
    } else {
        http1::drive(stream, peer, service, bounds, stop).await;
    }
}

/// Waits for the next connection, however often that fails.
async fn accept(listener: &TcpListener) -> (TcpStream, ClientAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => return (stream, ClientAddr(peer.ip())),
            // The client gave up while it waited in the queue.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::Interrupted
                ) => {}
            // Out of file descriptors or memory, most likely: trying again at once would spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection; trying again in 100 ms");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
