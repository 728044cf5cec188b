//! HTTP/2 over real TLS connections: what is spoken, and what an attacker gets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod attacks;
mod bounds;
mod raw;
mod requests;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    routing::{get, post},
};
use bailiwick::app::serve::{ServeOptions, Tls};
use h2::{Reason, RecvStream, client::SendRequest};
use http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::serve::Server;

/// How long anything may take before the test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// How many handlers there are at present, and the most that there were.
#[derive(Clone, Default)]
struct Crowd(Arc<(AtomicUsize, AtomicUsize)>);

struct Present(Crowd);

impl Crowd {
    fn enter(&self) -> Present {
        let now = self.0.0.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.1.fetch_max(now, Ordering::SeqCst);
        Present(self.clone())
    }

    fn now(&self) -> usize {
        self.0.0.load(Ordering::SeqCst)
    }

    fn most(&self) -> usize {
        self.0.1.load(Ordering::SeqCst)
    }

    async fn is_gone(&self) {
        for _ in 0..400 {
            if self.now() == 0 {
                return;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("{} handlers are still there", self.now());
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn app(crowd: Crowd) -> Router {
    let seen = |method: http::Method, uri: Uri, version: http::Version, headers: HeaderMap| async move {
        let all = |name| headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        let (hosts, cookies) = (all(header::HOST), all(header::COOKIE));
        axum::Json(serde_json::json!({
            "method": method.as_str(), "uri": uri.to_string(), "version": format!("{version:?}"),
            "hosts": hosts, "cookies": cookies,
        }))
    };
    let slow = |State(crowd): State<Crowd>| async move {
        let _present = crowd.enter();
        sleep(Duration::from_millis(300)).await;
        "slow"
    };
    let stuck = |State(crowd): State<Crowd>| async move {
        let _present = crowd.enter();
        std::future::pending::<()>().await;
    };
    // As much as the client takes. The guard goes with the body.
    let endless = |State(crowd): State<Crowd>| async move {
        let present = crowd.enter();
        let piece = Bytes::from_static(&[b'x'; 1 << 16]);
        Body::from_stream(futures_util::stream::repeat_with(move || {
            let _ = &present;
            Ok::<_, Infallible>(piece.clone())
        }))
    };
    // Ten pieces, one in 100 ms.
    let drips = || async {
        Body::from_stream(futures_util::stream::unfold(0, |count| async move {
            sleep(Duration::from_millis(100)).await;
            (count < 10).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"drop")), count + 1))
        }))
    };
    // So many pieces that each is a frame.
    let crumbs = || async {
        Body::from_stream(futures_util::stream::unfold(0, |count| async move {
            sleep(Duration::from_millis(1)).await;
            (count < 1500).then(|| (Ok::<_, Infallible>(Bytes::from_static(b"crumb")), count + 1))
        }))
    };
    Router::new()
        .route("/", get(|| async { "ok" }))
        .route("/seen", get(seen).post(seen).options(seen))
        .route("/slow", get(slow))
        .route("/stuck", get(stuck))
        .route("/endless", get(endless))
        .route("/drips", get(drips))
        .route("/crumbs", get(crumbs))
        .route("/large", get(|| async { vec![b'x'; 3 << 20] }))
        .route("/none", get(|| async { StatusCode::NO_CONTENT }))
        .route("/echo", post(|body: Bytes| async move { format!("{} bytes", body.len()) }))
        .route("/close", get(|| async { ([("connection", "close, x-gone"), ("x-gone", "1")], "closing") }))
        .with_state(crowd)
}

/// A server over https.
struct Secure {
    server: Server,
    crowd: Crowd,
    roots: RootCertStore,
    _files: TempDir,
}

impl Secure {
    async fn start() -> Self {
        Self::with(ServeOptions::new()).await
    }

    async fn with(options: ServeOptions) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        let (cert, key) = (files.path().join("cert.pem"), files.path().join("key.pem"));
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(made.cert.pem().as_bytes()).unwrap()).unwrap();
        let crowd = Crowd::default();
        let tls = Tls::from_files(cert, key).unwrap();
        let server = Server::serving(options.tls(tls), app(crowd.clone())).await;
        Self { server, crowd, roots, _files: files }
    }

    /// A connection over TLS, for which these protocols are offered.
    async fn connect(&self, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
        let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let socket = TcpStream::connect(self.server.address).await.unwrap();
        socket.set_nodelay(true).unwrap();
        let connecting =
            TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), socket);
        timeout(PATIENCE, connecting).await.unwrap().unwrap()
    }

    async fn client(&self) -> Client {
        Client::by(h2::client::Builder::new(), self.connect(&[b"h2"]).await).await
    }

    /// A client of the plain kind is served at once, whatever else happens.
    async fn assert_serves(&self) {
        let mut client = self.client().await;
        let answer = client.get("/").await;
        assert_eq!((answer.0.status(), &answer.1[..]), (StatusCode::OK, &b"ok"[..]));
    }
}

/// A client that behaves.
struct Client {
    send: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

type Whole = (Response<()>, Bytes);

impl Client {
    async fn by(builder: h2::client::Builder, stream: TlsStream<TcpStream>) -> Self {
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (send, connection) = builder.handshake(stream).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Sends a request, which has no body.
    async fn send(&mut self, request: Request<()>) -> h2::client::ResponseFuture {
        let mut ready = timeout(PATIENCE, self.send.clone().ready()).await.unwrap().unwrap();
        ready.send_request(request, true).unwrap().0
    }

    async fn ask(&mut self, request: Request<()>) -> Result<Whole, h2::Error> {
        let response = self.send(request).await;
        whole(timeout(PATIENCE, response).await.unwrap()?).await
    }

    async fn get(&mut self, path: &str) -> Whole {
        self.ask(get_request(path)).await.unwrap()
    }

    /// Waits for the server to end the connection.
    async fn ended(self) -> Result<(), h2::Error> {
        drop(self.send);
        timeout(PATIENCE, self.connection).await.unwrap().unwrap()
    }
}

fn get_request(path: &str) -> Request<()> {
    Request::get(format!("https://localhost{path}")).body(()).unwrap()
}

async fn whole(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (head, mut body) = response.into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = timeout(PATIENCE, body.data()).await.unwrap() {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    Ok((Response::from_parts(head, ()), bytes.into()))
}

/// Checks that an answer is one whole problem with all that every answer carries (ERR-12).
fn assert_problem((answer, body): &Whole, status: u16, code: &str) -> Value {
    let headers = answer.headers();
    let field = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
    let body_json: Value = serde_json::from_slice(body).unwrap_or_else(|_| panic!("{answer:?} {body:?}"));
    assert_eq!((answer.status().as_u16(), &body_json["code"]), (status, &code.into()), "{answer:?}");
    assert_eq!(field("content-type"), Some("application/problem+json"));
    assert_eq!(field("content-length"), Some(body.len().to_string().as_str()));
    assert_eq!(field("x-content-type-options"), Some("nosniff"));
    assert_eq!(field("connection"), None, "HTTP/2 has no such field");
    assert!(field("date").is_some() && field("content-security-policy").is_some());
    assert_eq!(body_json["request_id"].as_str(), field("x-request-id"));
    body_json
}

fn is_calm(error: &h2::Error) -> bool {
    error.is_go_away() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM)
}
