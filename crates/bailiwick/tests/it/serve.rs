//! Raw bytes on real sockets: what is answered to requests that hyper, the router and the layers refuse, and how
//! connections end.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
use std::{
    convert::Infallible,
    io::{self, Write},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{get, post},
};
use bailiwick::{
    app::serve::{ServeOptions, serve},
    clock::{Clock, OsEntropy, SystemClock},
    headers::SecurityHeadersLayer,
    health,
    hosts::{AllowedHosts, HostsLayer},
    limits::{ByteSize, LimitsLayer},
    problem::{Problem, ProblemLayer},
    request_id::RequestIdLayer,
    trace::{Format, Log, TraceLayer},
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tower::ServiceBuilder;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) serving: JoinHandle<io::Result<()>>,
    log: Log,
    sink: Sink,
}

impl Server {
    async fn start() -> Self {
        Self::with(ServeOptions::new()).await
    }

    async fn with(options: ServeOptions) -> Self {
        Self::serving(options, app()).await
    }

    pub(crate) async fn serving(options: ServeOptions, app: Router) -> Self {
        let sink = Sink::default();
        let log =
            Log::new(sink.clone(), Format::Json, tracing::Level::INFO, Arc::new(SystemClock::new())).unwrap();
        let limits =
            LimitsLayer::new().max_body(ByteSize::kib(1)).request_timeout(Duration::from_millis(1500));
        let service = ServiceBuilder::new()
            .layer(RequestIdLayer::new(Arc::new(OsEntropy)))
            .layer(TraceLayer::new(log.clone()))
            .layer(SecurityHeadersLayer::new())
            .layer(ProblemLayer::new())
            .layer(HostsLayer::new(AllowedHosts::parse(["localhost"]).unwrap()))
            .layer(limits)
            .service(app);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { drop(stopped.await) };
        let serving = tokio::spawn(serve(listener, service, options, shutdown));
        Self { address, stop: Some(stop), serving, log, sink }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends `bytes` on a new connection; gives all that comes back until the server closes.
    async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut client = self.connect().await;
        // The server may answer and close before it has read everything.
        let _ = client.write_all(bytes.as_ref()).await;
        rest(&mut client).await
    }

    pub(crate) fn stop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
    }

    /// The access log so far.
    pub(crate) fn lines(&self) -> Vec<Value> {
        assert!(self.log.flush(Duration::from_secs(5)));
        let text = String::from_utf8(self.sink.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["event"] == "http_request").collect()
    }

    /// Waits for the access log to have this many lines.
    pub(crate) async fn lines_when(&self, count: usize) -> Vec<Value> {
        for _ in 0..200 {
            let lines = self.lines();
            if lines.len() >= count {
                return lines;
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!("the log has too few lines: {:?}", self.lines());
    }
}

fn app() -> Router {
    let big = || async {
        let piece = Bytes::from_static(&[b'x'; 1 << 16]);
        Body::from_stream(futures_util::stream::repeat_with(move || Ok::<_, Infallible>(piece.clone())))
    };
    Router::new()
        .route("/", get(|| async { "ok" }))
        .route("/echo", post(|body: Bytes| async move { format!("{} bytes", body.len()) }))
        .route("/ignore", post(|| async { "not read" }))
        .route("/slow", get(|| async { sleep(Duration::from_millis(300)).await }))
        .route("/stuck", get(std::future::pending::<()>))
        .route("/panic", get(panics))
        .route("/conflict", get(|| async { Problem::conflict("the slug is taken") }))
        .route("/endless", get(big))
        .merge(health::router())
}

async fn panics() -> &'static str {
    panic!("as planned")
}

/// All that comes until the server closes.
async fn rest(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), client.read_to_end(&mut answer)).await;
    let ended = read.expect("the server closes the connection");
    assert!(ended.is_ok(), "{ended:?} after {}", String::from_utf8_lossy(&answer));
    String::from_utf8(answer).unwrap()
}

/// One answer with a known length; the connection stays open.
async fn one_answer(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = header(head, "content-length").map_or(0, |length| length.parse().unwrap());
            if body.len() >= length {
                assert_eq!(body.len(), length, "more than one answer");
                return text;
            }
        }
        let mut piece = [0; 4096];
        let read = timeout(Duration::from_secs(20), client.read(&mut piece)).await.unwrap().unwrap();
        assert_ne!(read, 0, "the connection ended after {text:?}");
        answer.extend_from_slice(&piece[..read]);
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut found = head.lines().filter_map(|line| {
        let (field, value) = line.split_once(": ")?;
        (field == name).then_some(value)
    });
    let first = found.next();
    assert_eq!(found.next(), None, "{name} is sent once in {head}");
    first
}

/// Checks that `answer` is one whole problem with all that every answer carries (ERR-12); gives its body.
fn assert_problem(answer: &str, status: u16, code: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer in {answer:?}"));
    assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    assert_eq!(header(head, "content-type"), Some("application/problem+json"), "{answer}");
    assert_eq!(header(head, "content-length"), Some(body.len().to_string().as_str()), "{answer}");
    assert_eq!(header(head, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(head, "cache-control"), Some("no-store"));
    assert!(header(head, "date").is_some() && header(head, "content-security-policy").is_some());
    let body: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"));
    assert_eq!((&body["code"], &body["status"]), (&code.into(), &status.into()));
    assert_eq!(body["request_id"].as_str(), header(head, "x-request-id"));
    body
}

/// As [`assert_problem`], for one after which the server closed the connection, and said so.
fn assert_final_problem(answer: &str, status: u16, code: &str) -> Value {
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_problem(answer, status, code)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const LAST_GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn requests_are_answered_one_after_another_on_a_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        client.write_all(GET.as_bytes()).await.unwrap();
        assert!(one_answer(&mut client).await.ends_with("\r\n\r\nok"));
    }
    client.write_all([GET, GET, LAST_GET].concat().as_bytes()).await.unwrap();
    assert_eq!(rest(&mut client).await.matches("HTTP/1.1 200 OK").count(), 3);
    let lines = server.lines();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line["remote_addr"] == "127.0.0.1" && line["bytes_out"] == 2));
}

#[tokio::test]
async fn http_1_0_is_spoken() {
    let server = Server::start().await;
    let answer = server.exchange("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(header(&answer, "x-request-id").is_some());
}

// ERR-12
#[tokio::test]
async fn what_is_no_http_is_a_problem() {
    let server = Server::start().await;
    let requests: [&[u8]; 16] = [
        b"GARBAGE\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1 \r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"G\xffT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nNo colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nBad name: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nName : x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nName: x\x00y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nName: x\rInjected: y\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    for request in requests {
        let answer = server.exchange(request).await;
        assert_final_problem(&answer, 400, "malformed-request");
    }
    let lines = server.lines();
    assert_eq!(lines.len(), requests.len());
    for line in lines {
        assert_eq!(
            (&line["method"], &line["path"], &line["status"]),
            (&Value::Null, &Value::Null, &400.into())
        );
        assert_eq!(line["remote_addr"], "127.0.0.1");
    }
}

// LIM-06
#[tokio::test]
async fn headers_and_targets_that_are_too_long_are_told_apart() {
    let server = Server::start().await;
    let get =
        |target: &str, headers: &str| format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    let field = |bytes: usize| format!("X: {}\r\n", "a".repeat(bytes));
    let long = |bytes: usize| format!("/{}", "a".repeat(bytes));
    for bytes in [17 << 10, 64 << 10, 1 << 20] {
        let request = get("/", &(field(bytes) + "Connection: close\r\n"));
        assert_problem(&server.exchange(request).await, 431, "headers-too-large");
    }
    for fields in [101, 200, 2000] {
        let fields = field(1).repeat(fields);
        assert_problem(
            &server.exchange(get("/", &(fields + "Connection: close\r\n"))).await,
            431,
            "headers-too-large",
        );
    }
    for bytes in [9 << 10, 24 << 10, 64 << 10, 1 << 20] {
        let request = get(&long(bytes), "Connection: close\r\n");
        assert_problem(&server.exchange(request).await, 414, "uri-too-long");
    }
    let both = get(&long(20 << 10), &field(5 << 10));
    assert_final_problem(&server.exchange(both).await, 414, "uri-too-long");
    let neither = get(&long(8100), &(field(16_000) + "Connection: close\r\n"));
    assert_problem(&server.exchange(neither).await, 404, "not-found");
}

// LIM-10
#[tokio::test]
async fn framing_that_can_be_read_in_two_ways_ends_the_connection() {
    let server = Server::start().await;
    let smuggled = "5\r\nabcde\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "transfer-encoding: chunked\r\nX: y\r\ncontent-length: 0\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 000000000000000000005\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: identity, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: , chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip\r\nX: y\r\ntransfer-encoding: chunked\r\n",
        "Transfer-Encoding: \r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: y\r\n Transfer-Encoding: chunked\r\n",
        "X: y\r\n\tz\r\n",
        "X: y\nTransfer-Encoding: chunked\r\n",
        "X: y\n",
    ] {
        for before in ["", GET] {
            let request =
                format!("{before}POST /echo HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{smuggled}");
            let answer = server.exchange(request).await;
            let answers: Vec<_> = answer.split_inclusive("\r\n\r\nok").collect();
            let (last, first) = answers.split_last().unwrap();
            assert_eq!(first.len(), usize::from(!before.is_empty()), "{headers:?}: {answer}");
            assert_final_problem(last, 400, "malformed-request");
        }
    }
    let old = "POST /echo HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert_final_problem(&server.exchange(old).await, 400, "malformed-request");
    for request in [
        "GET / HTTP/1.1\nHost: localhost\n\n",
        "GET / HTTP/1.1\r\nHost: localhost\r\n\n",
        "\nGET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        assert_final_problem(&server.exchange(request).await, 400, "malformed-request");
    }
    // In the middle of a body, which ends there.
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "5\r\nabcde\r\n0\r\nX: a\n\n",
        "5\r\nabcde\r\n0\r\n\n",
        "5\nabcde\r\n0\r\n\r\n",
        "000000000000000000005\r\nabcde\r\n0\r\n\r\n",
    ] {
        for before in ["", GET] {
            let answer = server
                .exchange(format!("{before}{head}{body}GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"))
                .await;
            let last = answer.split_inclusive("\r\n\r\nok").last().unwrap();
            assert_problem(last, 400, "malformed-request");
        }
    }
    assert!(server.lines().iter().all(|line| line["path"] != "/smuggled"));
}

#[tokio::test]
async fn framing_that_is_merely_unusual_is_read() {
    let server = Server::start().await;
    for (headers, body) in [
        ("content-length:5\r\n", "a\nb\nc"),
        ("Transfer-Encoding: chunked\r\n", "2;x=y\r\nab\r\n03\r\n\ncd\r\n0\r\nTrailer: x\r\n\r\n"),
        ("TRANSFER-ENCODING: Chunked\r\n", "5\r\nabcde\r\n0\r\n\r\n"),
    ] {
        let post = format!("\r\nPOST /echo HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n{body}");
        let answer = server.exchange([post.as_str(), &post, LAST_GET].concat()).await;
        assert_eq!(answer.matches("5 bytes").count(), 2, "{headers}: {answer}");
        assert!(answer.ends_with("ok"), "{headers}: {answer}");
    }
}

#[tokio::test]
async fn a_good_request_is_answered_before_the_bad_one_behind_it() {
    let server = Server::start().await;
    let slow = "GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = server.exchange(format!("{GET}{slow}{GET}BAD\r\n\r\n{GET}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    let last = answer.rfind("HTTP/1.1 ").unwrap();
    assert_final_problem(&answer[last..], 400, "malformed-request");
}

// LIM-01, LIM-02
#[tokio::test]
async fn a_body_that_is_too_long_is_refused() {
    let server = Server::start().await;
    let post =
        |path: &str, headers: &str| format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    for path in ["/echo", "/ignore"] {
        let declared = server.exchange(post(path, "Content-Length: 1025\r\n")).await;
        assert_final_problem(&declared, 413, "payload-too-large");
        let expected = server.exchange(post(path, "Content-Length: 1025\r\nExpect: 100-continue\r\n")).await;
        assert_final_problem(&expected, 413, "payload-too-large");
    }
    // The client sends all of it before it reads the answer, and must still get that.
    let sent = post("/echo", "Content-Length: 4000000\r\n") + &"x".repeat(4_000_000);
    assert_final_problem(&server.exchange(sent).await, 413, "payload-too-large");
    let chunked =
        post("/echo", "Transfer-Encoding: chunked\r\n") + "401\r\n" + &"x".repeat(1025) + "\r\n0\r\n\r\n";
    let body = assert_final_problem(&server.exchange(chunked).await, 413, "payload-too-large");
    assert_eq!(body["detail"], "at most 1024 bytes");
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(one_answer(&mut client).await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").await.unwrap();
    assert!(one_answer(&mut client).await.ends_with("3 bytes"));
}

#[tokio::test]
async fn a_body_that_breaks_off_or_is_no_chunk_is_a_problem() {
    let server = Server::start().await;
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = server.exchange(format!("{head}xyz\r\n")).await;
    assert_problem(&answer, 400, "malformed-request");
    let mut client = server.connect().await;
    client.write_all(format!("{head}5\r\nab").as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    assert_problem(&rest(&mut client).await, 400, "malformed-request");
}

// ERR-25
#[tokio::test]
async fn unknown_methods_are_not_allowed() {
    let server = Server::start().await;
    for method in ["TRACE", "BREW", "PUT", "get"] {
        let answer = server
            .exchange(format!("{method} / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
            .await;
        assert_problem(&answer, 405, "method-not-allowed");
        assert_eq!(header(&answer, "allow"), Some("GET, HEAD"));
    }
    let connect = "CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\nConnection: close\r\n\r\n";
    let answer = server.exchange(connect).await;
    assert_problem(&answer, 405, "method-not-allowed");
    assert_eq!(header(&answer, "allow"), Some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
}

// ERR-24
#[tokio::test]
async fn head_gets_headers_only() {
    let server = Server::start().await;
    for (path, status) in [("/", 200), ("/none", 404)] {
        let request = format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = server.exchange(request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        assert_ne!(header(&answer, "content-length"), Some("0"));
    }
}

#[tokio::test]
async fn the_problem_of_a_handler_arrives_whole() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(b"GET /conflict HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let body = assert_problem(&one_answer(&mut client).await, 409, "conflict");
        assert_eq!(body["detail"], "the slug is taken");
    }
}

// RST-10
#[tokio::test]
async fn a_panic_costs_one_request_and_not_the_connection() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.write_all(b"GET /panic HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    assert_problem(&one_answer(&mut client).await, 500, "internal-error");
    client.write_all(GET.as_bytes()).await.unwrap();
    assert!(one_answer(&mut client).await.ends_with("ok"));
}

#[tokio::test]
async fn health_says_only_that_it_is() {
    let server = Server::start().await;
    let answer = server.exchange(LAST_GET.replace("GET /", "GET /healthz")).await;
    assert!(answer.ends_with("\r\n\r\n{\"status\":\"ok\"}"), "{answer}");
}

// LIM-11
#[tokio::test]
async fn headers_that_drip_are_cut_off() {
    let server = Server::with(ServeOptions::new().header_timeout(Duration::from_secs(1))).await;
    for before in ["", GET] {
        let mut client = server.connect().await;
        if !before.is_empty() {
            client.write_all(before.as_bytes()).await.unwrap();
            one_answer(&mut client).await;
        }
        let since = SystemClock::new();
        let (mut read, mut write) = client.into_split();
        let dripping = tokio::spawn(async move {
            for byte in GET.bytes() {
                if write.write_all(&[byte]).await.is_err() {
                    break;
                }
                sleep(Duration::from_millis(100)).await;
            }
        });
        let mut answer = String::new();
        timeout(Duration::from_secs(5), read.read_to_string(&mut answer)).await.unwrap().unwrap();
        dripping.abort();
        assert_final_problem(&answer, 408, "request-timeout");
        let waited = since.monotonic();
        // A quarter more at most, and then the farewell, during which the client goes on sending.
        assert!(waited >= Duration::from_millis(950) && waited < Duration::from_millis(3900), "{waited:?}");
        let lines = server.lines();
        let late = lines.iter().find(|line| line["status"] == 408).unwrap();
        let logged = late["duration_ms"].as_f64().unwrap();
        assert!((1000.0..1300.0).contains(&logged), "the client was waited for: {late}");
    }
}

// LIM-11
#[tokio::test]
async fn an_idle_connection_is_closed_in_silence() {
    let server = Server::with(ServeOptions::new().header_timeout(Duration::from_millis(200))).await;
    let mut client = server.connect().await;
    assert_eq!(rest(&mut client).await, "");
    let mut client = server.connect().await;
    client.write_all(GET.as_bytes()).await.unwrap();
    one_answer(&mut client).await;
    assert_eq!(rest(&mut client).await, "");
    assert_eq!(server.lines().len(), 1, "silence is not logged");
}

// LIM-11
#[tokio::test]
async fn a_body_that_drips_is_cut_off_and_a_long_answer_is_not() {
    let server = Server::with(ServeOptions::new().header_timeout(Duration::from_millis(100))).await;
    let slow = LAST_GET.replace("GET /", "GET /slow");
    assert!(
        server.exchange(slow).await.starts_with("HTTP/1.1 200"),
        "the header timeout is not for handlers"
    );
    let head = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nabc";
    assert_final_problem(&server.exchange(head).await, 408, "request-timeout");
    let stuck = LAST_GET.replace("GET /", "GET /stuck");
    assert_problem(&server.exchange(stuck).await, 503, "unavailable");
}

// LIM-11
#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_given_up() {
    let server = Server::with(ServeOptions::new().write_timeout(Duration::from_millis(300))).await;
    let mut client = server.connect().await;
    client.write_all(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let lines = server.lines_when(1).await;
    assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/endless".into(), &200.into()));
}

#[tokio::test]
async fn a_client_that_closes_its_side_still_gets_its_answer() {
    let server = Server::start().await;
    for path in ["/", "/slow"] {
        let since = SystemClock::new();
        let mut client = server.connect().await;
        client.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        assert!(rest(&mut client).await.starts_with("HTTP/1.1 200"), "{path}");
        assert!(since.monotonic() < Duration::from_secs(2), "the connection ends with the answer");
    }
    let mut client = server.connect().await;
    client.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    client.shutdown().await.unwrap();
    assert_final_problem(&rest(&mut client).await, 400, "malformed-request");
}

#[tokio::test]
async fn the_request_of_a_client_that_is_gone_is_dropped_and_logged() {
    let server = Server::start().await;
    let mut client = server.connect().await;
    client.write_all(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let lines = server.lines_when(1).await;
    assert_eq!((&lines[0]["path"], &lines[0]["status"]), (&"/stuck".into(), &499.into()));
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let server = Server::with(ServeOptions::new().max_connections(2)).await;
    let mut first = server.connect().await;
    let mut second = server.connect().await;
    for client in [&mut first, &mut second] {
        client.write_all(GET.as_bytes()).await.unwrap();
        one_answer(client).await;
    }
    let answer = server.exchange("").await;
    assert_final_problem(&answer, 503, "unavailable");
    assert_eq!(header(&answer, "retry-after"), Some("1"));
    drop(first);
    for _ in 0..100 {
        if server.exchange(LAST_GET).await.ends_with("ok") {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the place was not given back");
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_nothing_else() {
    let mut server = Server::start().await;
    let mut idle = server.connect().await;
    let mut used = server.connect().await;
    used.write_all(GET.as_bytes()).await.unwrap();
    one_answer(&mut used).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;

    let since = SystemClock::new();
    server.stop();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(rest(&mut idle).await + &rest(&mut used).await, "");
    timeout(Duration::from_secs(5), &mut server.serving).await.unwrap().unwrap().unwrap();
    assert!(since.monotonic() < Duration::from_secs(2));
    assert!(TcpStream::connect(server.address).await.is_err());
}

// Contract §6: what is in flight is a request whose head has come whole.
#[tokio::test]
async fn stopping_does_not_wait_for_a_head_that_is_not_there() {
    let mut server = Server::start().await;
    let mut half = server.connect().await;
    half.write_all(b"GET / HTTP/1.1\r\nHost: loc").await.unwrap();
    let mut second = server.connect().await;
    second.write_all(GET.as_bytes()).await.unwrap();
    one_answer(&mut second).await;
    second.write_all(b"GET / HT").await.unwrap();
    let mut uploading = server.connect().await;
    let head = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nab";
    uploading.write_all(head).await.unwrap();
    sleep(Duration::from_millis(100)).await;

    let since = SystemClock::new();
    server.stop();
    assert_eq!(rest(&mut half).await + &rest(&mut second).await, "");
    assert!(since.monotonic() < Duration::from_millis(500), "they are closed at once");
    uploading.write_all(b"cde").await.unwrap();
    let answer = rest(&mut uploading).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("5 bytes"), "{answer}");
    timeout(Duration::from_secs(5), &mut server.serving).await.unwrap().unwrap().unwrap();
    assert!(since.monotonic() < Duration::from_secs(1), "nobody is waited for any more");
}

#[tokio::test]
async fn stopping_waits_no_longer_than_it_may() {
    let mut server = Server::with(ServeOptions::new().drain(Duration::from_millis(300))).await;
    let mut stuck = server.connect().await;
    stuck.write_all(b"GET /stuck HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    sleep(Duration::from_millis(100)).await;
    server.stop();
    timeout(Duration::from_secs(1), &mut server.serving).await.unwrap().unwrap().unwrap();
    let mut answer = Vec::new();
    let _ = stuck.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
    assert_eq!(server.lines_when(1).await[0]["status"], 499);
}

#[tokio::test]
async fn random_bytes_are_answered_or_closed_and_never_served() {
    let server = Server::with(ServeOptions::new().header_timeout(Duration::from_millis(60))).await;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let pieces: [&[u8]; 14] = [
        b"GET ",
        b"/",
        b" HTTP/1.1",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: localhost",
        b"\r\n\r\n",
        b": ",
        b"\x00",
        b"\xff",
        b"Content-Length: 3",
        b"Transfer-Encoding: chunked",
        b"aaaaaaaa",
    ];
    for _ in 0..60 {
        let length = next() % 30;
        let bytes: Vec<u8> =
            (0..length).flat_map(|_| pieces[next() as usize % pieces.len()].iter().copied()).collect();
        let answer = server.exchange(&bytes).await;
        for head in answer.split("HTTP/1.1 ").skip(1) {
            let ours = header(head.split("\r\n\r\n").next().unwrap(), "x-request-id").is_some();
            assert!(ours, "{:?} is answered with {answer:?}", String::from_utf8_lossy(&bytes));
        }
    }
    assert!(server.exchange(LAST_GET).await.ends_with("ok"), "the server lives");
}

// A problem that a handler makes leaves by the same door.
#[test]
fn a_problem_is_small_enough_to_be_an_error() {
    assert!(size_of::<Problem>() <= 16);
}
