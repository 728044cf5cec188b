//! The whole server over HTTP/2: what a browser does there, and a crowd of requests on few connections.
#![cfg(unix)]
use std::{
    collections::HashMap,
    io::{Read, Write},
    process::Command,
    sync::Arc,
};

use http::Request;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    version::TLS13,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::{
    site::{Connection, PASSWORD, Server, Site},
    tls::{certificate, connect_by, site},
};

const TASKS: &str = "/api/v1/orgs/acme/tasks/";

/// An answer that `curl` printed.
struct Answer {
    status: u16,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{}: {}", self.status, self.body))
    }
}

/// Asks by `curl`, which keeps cookies as a browser does; over HTTP/2, or the test fails.
fn curl(site: &Site, server: &Server, path: &str, arguments: &[&str]) -> Answer {
    let port = server.address.port();
    let output = Command::new("curl")
        .args(["--http2", "--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(site.path("cert.pem"))
        .args([
            "--resolve",
            &format!("localhost:{port}:127.0.0.1"),
            "--write-out",
            "\n%{http_version} %{http_code}",
        ])
        .args(["--cookie", "jar", "--cookie-jar", "jar"])
        .args(arguments)
        .arg(format!("https://localhost:{port}{path}"))
        .current_dir(site.path(""))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, told) = text.rsplit_once('\n').unwrap();
    let (version, status) = told.split_once(' ').unwrap();
    assert_eq!(version, "2", "{text} {}", String::from_utf8_lossy(&output.stderr));
    Answer { status: status.parse().unwrap(), body: body.to_owned() }
}

fn write<'a>(token: &'a str, origin: &'a str, body: &'a str) -> Vec<&'a str> {
    vec!["--header", "Content-Type: application/json", "--header", token, "--header", origin, "--data", body]
}

// HST-03, SES-01
#[test]
fn a_browser_logs_in_and_writes_over_http_2() {
    let pair = certificate();
    let site = site(&pair);
    let server = site.serve();
    let origin = format!("Origin: https://localhost:{}", server.address.port());
    let token_of =
        |answer: &Answer| format!("X-CSRFToken: {}", answer.json()["csrf_token"].as_str().unwrap());
    let log_in = json!({ "username": "ann", "password": PASSWORD }).to_string();
    let task = r#"{"title":"written over HTTP/2"}"#;

    let token = token_of(&curl(&site, &server, "/api/v1/auth/csrf/", &[]));
    let forged = curl(&site, &server, "/api/v1/auth/session/", &write("X-Other: x", &origin, &log_in));
    assert_eq!((forged.status, &forged.json()["code"]), (403, &"csrf-failed".into()));
    let logged_in = curl(&site, &server, "/api/v1/auth/session/", &write(&token, &origin, &log_in));
    assert_eq!(logged_in.status, 200, "{}", logged_in.body);
    let token = token_of(&logged_in);

    let created = curl(&site, &server, TASKS, &write(&token, &origin, task));
    assert_eq!(created.status, 201, "{}", created.body);
    let elsewhere = curl(&site, &server, TASKS, &write(&token, "Origin: https://evil.test", task));
    assert_eq!((elsewhere.status, &elsewhere.json()["code"]), (403, &"csrf-failed".into()));
    let without = curl(&site, &server, TASKS, &write("X-Other: x", &origin, task));
    assert_eq!(without.status, 403);
    let list = curl(&site, &server, TASKS, &[]).json();
    assert_eq!(list["count"], 1, "{list}");
    let other = curl(&site, &server, "/api/v1/me/", &["--header", "Host: evil.test"]);
    assert_eq!((other.status, &other.json()["code"]), (400, &"bad-host".into()));

    let jar = std::fs::read_to_string(site.path("jar")).unwrap();
    let cookies: HashMap<_, _> = jar
        .lines()
        .filter_map(|line| line.split_once("__Host-"))
        .filter_map(|(_, pair)| pair.split_once('\t'))
        .collect();
    let session = format!("__Host-bailiwick_session={}", cookies["bailiwick_session"]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(crumbs_are_one_cookie(&server, &pair.0, &session));
    // MET-02
    let mut operations = Connection::to(server.operations);
    operations.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let metrics = String::from_utf8(operations.answer(false).unwrap().body).unwrap();
    assert!(metrics.contains("network_protocol_version=\"2\""), "{metrics}");
    let output = server.stop();
    assert!(!output.out.contains("\"status\":500"), "{}", output.out);
}

/// A client may send each cookie in a field of its own (RFC 9113 §8.2.3); two credentials stay two.
async fn crumbs_are_one_cookie(server: &Server, trusted: &str, session: &str) {
    let mut client = connect(server, trusted).await;
    let me = || Request::get("https://localhost/api/v1/me/");
    let crumbs = me().header("cookie", "theme=dark").header("cookie", session).header("cookie", "a=b");
    assert_eq!(ask(&mut client, crumbs.body(()).unwrap(), None).await.0, 200);
    let doubled = me().header("cookie", session).header("cookie", session);
    assert_eq!(ask(&mut client, doubled.body(()).unwrap(), None).await.0, 401, "nobody knows which is whose");
    let two = me().header("authorization", "Token a").header("authorization", "Token b");
    let (status, problem) = ask(&mut client, two.body(()).unwrap(), None).await;
    assert_eq!(status, 400, "{problem}");
}

type Send = h2::client::SendRequest<bytes::Bytes>;

async fn connect(server: &Server, trusted: &str) -> Send {
    connect_as(server, trusted, &h2::client::Builder::new()).await
}

async fn connect_as(server: &Server, trusted: &str, client: &h2::client::Builder) -> Send {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let socket = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = tls.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    let (send, connection) = client.handshake(stream).await.unwrap();
    tokio::spawn(connection);
    send
}

async fn ask(client: &mut Send, request: Request<()>, body: Option<Value>) -> (u16, Value) {
    let mut ready = client.clone().ready().await.unwrap();
    let (response, mut stream) = ready.send_request(request, body.is_none()).unwrap();
    if let Some(body) = body {
        stream.send_data(body.to_string().into(), true).unwrap();
    }
    let (head, mut body) = response.await.unwrap().into_parts();
    let mut bytes = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        bytes.extend_from_slice(&piece);
    }
    (head.status.as_u16(), serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[test]
fn three_hundred_tasks_on_three_connections_are_created_once_each() {
    const CONNECTIONS: usize = 3;
    const STREAMS: usize = 100;
    let pair = certificate();
    let site = site(&pair);
    let server = site.serve();
    let authorization = format!("Token {}", site.token);
    Runtime::new().unwrap().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for connection in 0..CONNECTIONS {
            let client = connect(&server, &pair.0).await;
            for stream in 0..STREAMS {
                let (mut client, authorization) = (client.clone(), authorization.clone());
                tasks.spawn(async move {
                    let request = Request::post(format!("https://localhost{TASKS}"))
                        .header("authorization", authorization)
                        .header("content-type", "application/json");
                    let title = format!("task {connection} {stream}");
                    ask(&mut client, request.body(()).unwrap(), Some(json!({ "title": title }))).await
                });
            }
        }
        let answers = tasks.join_all().await;
        assert_eq!(answers.len(), CONNECTIONS * STREAMS);
        assert!(answers.iter().all(|(status, _)| *status == 201), "{answers:?}");

        let mut client = connect(&server, &pair.0).await;
        let mut titles = HashMap::new();
        let mut path = Some(format!("{TASKS}?page_size=100"));
        while let Some(page) = path {
            let request =
                Request::get(format!("https://localhost{page}")).header("authorization", &authorization);
            let (status, list) = ask(&mut client, request.body(()).unwrap(), None).await;
            assert_eq!((status, &list["count"]), (200, &(CONNECTIONS * STREAMS).into()), "{list}");
            for task in list["results"].as_array().unwrap() {
                *titles.entry(task["title"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
            path = list["next"].as_str().map(|next| next.replacen("https://localhost", "", 1));
        }
        assert_eq!(titles.len(), CONNECTIONS * STREAMS);
        assert!(titles.values().all(|count| *count == 1), "each exactly once");
    });
    let output = server.stop();
    assert_eq!(output.out.matches("\"status\":201").count(), CONNECTIONS * STREAMS);
}

// LOG-04, LOG-05: what costs a client nothing writes no log.
#[test]
fn frames_that_nobody_asked_for_leave_no_line_each_in_the_log() {
    let pair = certificate();
    let server = site(&pair).serve();
    let mut stream = connect_by(&server, &pair.0, &[&TLS13], b"h2");
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for _ in 0..500 {
        // PING with ACK, which the server never sent.
        sent.extend(b"\0\0\x08\x06\x01\0\0\0\0\0\0\0\0\0\0\0\0");
    }
    stream.write_all(&sent).unwrap();
    // One of the client's own is answered behind them all.
    stream.write_all(b"\0\0\x08\x06\0\0\0\0\0bailiwic").unwrap();
    let mut seen: Vec<u8> = Vec::new();
    let mut some = [0; 1024];
    while !seen.windows(8).any(|bytes: &[u8]| bytes == b"bailiwic") {
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "the connection ended");
        seen.extend(&some[..count]);
    }
    let log = server.stop();
    for text in [log.out, log.err] {
        assert!(!text.contains("PING"), "{text}");
        assert!(text.lines().count() < 50, "{} lines", text.lines().count());
    }
}

// LIM-11: who does not read answers keeps nobody else from theirs.
#[test]
fn answers_that_nobody_reads_take_no_place_of_requests_in_flight() {
    let pair = certificate();
    let mut site = site(&pair);
    site.set("BAILIWICK_LIMITS__MAX_IN_FLIGHT", "3");
    let server = site.serve();
    Runtime::new().unwrap().block_on(async {
        let mut unread = h2::client::Builder::new();
        unread.initial_window_size(0);
        let mut unread = connect_as(&server, &pair.0, &unread).await;
        let me = || {
            let request = Request::get("https://localhost/api/v1/me/");
            request.header("authorization", format!("Token {}", site.token)).body(()).unwrap()
        };
        let mut held = Vec::new();
        for _ in 0..20 {
            let mut ready = unread.clone().ready().await.unwrap();
            let (response, _) = ready.send_request(me(), true).unwrap();
            let response = response.await.unwrap();
            assert_eq!(response.status(), 200);
            held.push(response);
        }
        let mut other = connect(&server, &pair.0).await;
        assert_eq!(ask(&mut other, me(), None).await.0, 200);
        drop((held, &mut unread));
    });
    server.stop();
}
