//! What is answered to requests over HTTP/2, the good and the bad.
use std::time::Duration;

use bailiwick::{
    app::serve::ServeOptions,
    clock::{Clock, SystemClock},
};
use bytes::Bytes;
use h2::{Reason, client::ResponseFuture};
use http::{Method, Request, StatusCode, Version};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::{
    Client, PATIENCE, Secure, assert_problem, get_request,
    raw::{self, END_HEADERS, END_STREAM, Raw},
    whole,
};

#[tokio::test]
async fn the_version_is_agreed_on_by_alpn_and_http_2_comes_first() {
    let server = Secure::start().await;
    for offered in [&[&b"http/1.1"[..], b"h2"][..], &[b"h2"]] {
        assert_eq!(server.connect(offered).await.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    }
    // Old clients offer nothing.
    for offered in [&[&b"http/1.1"[..]][..], &[]] {
        let mut stream = server.connect(offered).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), offered.first().copied());
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    }
}

#[tokio::test]
async fn whoever_agreed_on_http_2_and_speaks_something_else_is_closed() {
    let server = Secure::start().await;
    let mut stream = server.connect(&[b"h2"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.windows(4).any(|window| window == b"HTTP"));
    assert_eq!(server.server.lines().len(), 0);
    // Nor is HTTP/2 spoken where HTTP/1.1 was agreed on.
    let mut stream = server.connect(&[b"http/1.1"]).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("malformed-request"), "{answer}");
}

#[tokio::test]
async fn a_hundred_requests_are_answered_side_by_side() {
    let server = Secure::start().await;
    let since = SystemClock::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(server.client().await);
    }
    let mut waiting: Vec<ResponseFuture> = Vec::new();
    for client in &mut clients {
        for _ in 0..100 {
            waiting.push(client.send(get_request("/slow")).await);
        }
    }
    let mut ids = std::collections::HashSet::new();
    for response in waiting {
        let (answer, body) = whole(timeout(PATIENCE, response).await.unwrap().unwrap()).await.unwrap();
        assert_eq!(
            (answer.status(), answer.version(), &body[..]),
            (StatusCode::OK, Version::HTTP_2, &b"slow"[..])
        );
        assert!(ids.insert(answer.headers()["x-request-id"].clone()));
        assert!(answer.headers()["date"].to_str().unwrap().ends_with(" GMT"));
    }
    assert!(since.monotonic() < Duration::from_secs(10), "three hundred in turn take ninety seconds");
    assert!(server.crowd.most() > 100, "they wait side by side");
    let lines = server.server.lines();
    assert_eq!(lines.len(), 300);
    assert!(lines.iter().all(|line| line["remote_addr"] == "127.0.0.1" && line["bytes_out"] == 4));
}

#[tokio::test]
async fn a_request_looks_as_one_of_http_1_1_does() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let request =
        Request::get("https://localhost/seen?a=b").header("cookie", "a=1").header("cookie", "b=2; c=3");
    let (answer, body) = client.ask(request.body(()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let seen: Value = serde_json::from_slice(&body).unwrap();
    let expected = serde_json::json!({
        "method": "GET", "uri": "/seen?a=b", "version": "HTTP/2.0", "hosts": ["localhost"], "cookies": ["a=1; b=2; c=3"],
    });
    assert_eq!(seen, expected);
}

// HST-03
#[tokio::test]
async fn the_host_is_named_once_however_it_is_named() {
    let server = Secure::start().await;
    let cases: [(&[(&str, &str)], u16); 15] = [
        (&[(":authority", "localhost")], 200),
        (&[(":authority", "LOCALHOST:8443")], 200),
        (&[("host", "localhost")], 200),
        (&[(":authority", "localhost"), ("host", "localhost")], 200),
        (&[(":authority", "localhost:1"), ("host", "LocalHost:1")], 200),
        (&[], 400),
        (&[(":authority", "evil.test")], 400),
        (&[("host", "evil.test")], 400),
        (&[(":authority", "localhost"), ("host", "evil.test")], 400),
        (&[(":authority", "evil.test"), ("host", "localhost")], 400),
        (&[(":authority", "localhost"), ("host", "localhost:8443")], 400),
        (&[(":authority", "localhost"), ("host", "")], 400),
        (&[(":authority", "localhost"), ("host", "localhost"), ("host", "localhost")], 400),
        (&[("host", "localhost"), ("host", "localhost")], 400),
        (&[(":authority", "user@localhost")], 400),
    ];
    let mut raw = Raw::open(&server, &[]).await;
    for (index, (named, status)) in cases.into_iter().enumerate() {
        let stream = 2 * u32::try_from(index).unwrap() + 1;
        let block = raw::fields("GET", "/seen", named);
        raw.send(&raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, stream, &block)).await;
        let frames = raw.answer(stream).await.unwrap();
        let body =
            frames.iter().filter(|frame| frame.kind == raw::DATA).flat_map(|frame| frame.payload.clone());
        let body: Value = serde_json::from_slice(&body.collect::<Vec<_>>()).unwrap();
        if status == 200 {
            assert_eq!(body["hosts"].as_array().unwrap().len(), 1, "{named:?}");
        } else {
            assert_eq!((&body["code"], &body["status"]), (&"bad-host".into(), &400.into()), "{named:?}");
        }
    }
    assert_eq!(server.server.lines().len(), cases.len());
}

// ERR-12
#[tokio::test]
async fn what_the_layers_refuse_is_a_problem() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let long = |bytes: usize| "a".repeat(bytes);
    assert_problem(&client.get("/nothing").await, 404, "not-found");
    assert_problem(&client.get(&format!("/{}", long(9 << 10))).await, 414, "uri-too-long");
    let request =
        |method: &str, path: &str| Request::builder().method(method).uri(format!("https://localhost{path}"));
    let post = request("DELETE", "/echo").body(()).unwrap();
    assert_problem(&client.ask(post).await.unwrap(), 405, "method-not-allowed");
    for fields in [101, 200] {
        let mut many = request("GET", "/");
        for _ in 0..fields {
            many = many.header("x", "y");
        }
        assert_problem(&client.ask(many.body(()).unwrap()).await.unwrap(), 431, "headers-too-large");
    }
    let large = request("GET", "/").header("x", long(20 << 10)).body(()).unwrap();
    assert_problem(&client.ask(large).await.unwrap(), 431, "headers-too-large");
    let both = request("GET", &format!("/{}", long(8000))).header("x", long(16_000)).body(()).unwrap();
    assert_problem(&client.ask(both).await.unwrap(), 404, "not-found");
    assert_eq!(client.get("/").await.0.status(), StatusCode::OK, "the connection lives");
}

// LIM-06
#[tokio::test]
async fn headers_beyond_what_is_read_are_refused_by_h2_itself() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let large =
        |bytes: usize| Request::get("https://localhost/").header("x", "a".repeat(bytes)).body(()).unwrap();
    let (answer, body) = client.ask(large(40 << 10)).await.unwrap();
    assert_eq!((answer.status().as_u16(), body.len()), (431, 0));
    assert_eq!(client.get("/").await.0.status(), StatusCode::OK, "the connection lives");
    let error = client.ask(large(200 << 10)).await.unwrap_err();
    assert!(super::is_calm(&error), "{error:?}");
    assert_eq!(server.server.lines().len(), 1, "they reach no handler");
}

// Its target is no resource, and nothing tunnels.
#[tokio::test]
async fn connect_is_refused_in_both_forms() {
    let server = Secure::start().await;
    let client = server.client().await;
    let mut connect = Request::new(());
    *connect.method_mut() = Method::CONNECT;
    *connect.uri_mut() = "localhost:443".parse().unwrap();
    let (response, _tunnel) =
        client.send.clone().ready().await.unwrap().send_request(connect, false).unwrap();
    let answer = whole(timeout(PATIENCE, response).await.unwrap().unwrap()).await.unwrap();
    assert_problem(&answer, 405, "method-not-allowed");

    let mut raw = Raw::open(&server, &[]).await;
    let block = raw::fields("CONNECT", "/", &[(":protocol", "websocket"), (":authority", "localhost")]);
    raw.send(&raw::frame(raw::HEADERS, END_HEADERS, 1, &block)).await;
    assert_eq!(raw.answer(1).await.unwrap_err(), raw::PROTOCOL_ERROR);
    assert_eq!(server.server.lines().len(), 1);
}

// RFC 9113 §8.2.2
#[tokio::test]
async fn what_belongs_to_http_1_1_or_breaks_the_protocol_reaches_no_handler() {
    let server = Secure::start().await;
    let mut raw = Raw::open(&server, &[]).await;
    let mut stream = 1;
    let host = (":authority", "localhost");
    for (name, value) in [
        ("connection", "close"),
        ("connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
        ("content-length", "5, 5"),
        ("content-length", "-5"),
        (":status", "200"),
        (":path", "/other"),
    ] {
        let block = raw::fields("GET", "/seen", &[host, (name, value)]);
        raw.send(&raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, stream, &block)).await;
        assert_eq!(raw.answer(stream).await.unwrap_err(), raw::PROTOCOL_ERROR, "{name}: {value}");
        stream += 2;
    }
    for more in [&[("content-length", "5"), ("content-length", "6")][..], &[("x", "y"), (":method", "GET")]] {
        let block = raw::fields("POST", "/echo", &[&[host][..], more].concat());
        raw.send(&raw::frame(raw::HEADERS, END_HEADERS, stream, &block)).await;
        assert_eq!(raw.answer(stream).await.unwrap_err(), raw::PROTOCOL_ERROR, "{more:?}");
        stream += 2;
    }
    let mut without = [raw::field(":method", b"GET"), raw::field(":scheme", b"https")].concat();
    without.extend(raw::field(":authority", b"localhost"));
    raw.send(&raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, stream, &without)).await;
    assert_eq!(raw.answer(stream).await.unwrap_err(), raw::PROTOCOL_ERROR, "a request without a path");
    assert_eq!(server.server.lines().len(), 0);
    assert!(raw.is_alive().await, "the streams are reset, and the connection lives");
}

#[tokio::test]
async fn fields_with_line_breaks_or_capitals_reach_no_handler() {
    let server = Secure::start().await;
    for (name, value) in
        [("x", "a\r\nHost: evil.test"), ("x", "a\0"), ("X-Upper", "a"), ("a b", "c"), ("", "d")]
    {
        let mut raw = Raw::open(&server, &[]).await;
        let block = raw::fields("GET", "/seen", &[(":authority", "localhost"), (name, value)]);
        raw.send(&raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        raw.send(&raw::reset(1)).await;
        let _ = timeout(Duration::from_millis(500), raw.goaway()).await;
    }
    assert_eq!(server.server.lines().len(), 0);
}

// No answer of HTTP/2 has them (RFC 9113 §8.2.2).
#[tokio::test]
async fn a_handlers_fields_of_http_1_1_are_left_out() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let (answer, body) = client.get("/close").await;
    assert_eq!(&body[..], b"closing");
    assert!(!answer.headers().contains_key("connection"));
    assert_eq!(client.get("/").await.0.status(), StatusCode::OK);
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let head = |path: &str| Request::head(format!("https://localhost{path}")).body(()).unwrap();
    let (answer, body) = client.ask(head("/large")).await.unwrap();
    assert_eq!((answer.status(), body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.headers()["content-length"], "3145728");
    let (answer, body) = client.ask(head("/nothing")).await.unwrap();
    assert_eq!((answer.status(), body.len()), (StatusCode::NOT_FOUND, 0));
    let (answer, body) = client.get("/none").await;
    assert_eq!((answer.status(), body.len()), (StatusCode::NO_CONTENT, 0));
    assert!(!answer.headers().contains_key("content-length"));
    let (answer, body) = client.get("/large").await;
    assert_eq!((answer.status(), body.len()), (StatusCode::OK, 3 << 20));
    let (_, body) = client.get("/drips").await;
    assert_eq!(&body[..], &b"drop".repeat(10)[..]);
}

async fn post(client: &Client, length: Option<usize>) -> (ResponseFuture, h2::SendStream<Bytes>) {
    let mut request = Request::post("https://localhost/echo");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    client.send.clone().ready().await.unwrap().send_request(request.body(()).unwrap(), false).unwrap()
}

// LIM-01
#[tokio::test]
async fn a_body_that_is_too_long_is_refused_while_it_is_sent_and_the_connection_lives() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    for length in [None, Some(1 << 20)] {
        let (response, mut body) = post(&client, length).await;
        let _ = body.send_data(vec![b'x'; 30_000].into(), false);
        let answer = whole(timeout(PATIENCE, response).await.unwrap().unwrap()).await.unwrap();
        assert_problem(&answer, 413, "payload-too-large");
        let reset = timeout(PATIENCE, std::future::poll_fn(|cx| body.poll_reset(cx))).await.unwrap();
        assert_eq!(reset.unwrap(), Reason::NO_ERROR, "the client need not send the rest");
        assert_eq!(client.get("/").await.0.status(), StatusCode::OK);
    }
    // However often: what was not read is given back to the connection's window, of a mebibyte.
    for _ in 0..60 {
        let (response, mut body) = post(&client, None).await;
        let _ = body.send_data(vec![b'x'; 60_000].into(), false);
        assert_problem(&whole(response.await.unwrap()).await.unwrap(), 413, "payload-too-large");
    }
    let (response, mut body) = post(&client, Some(1000)).await;
    body.send_data(vec![b'x'; 1000].into(), true).unwrap();
    let (answer, body) = whole(timeout(PATIENCE, response).await.unwrap().unwrap()).await.unwrap();
    assert_eq!((answer.status(), &body[..]), (StatusCode::OK, &b"1000 bytes"[..]));
}

// LIM-11
#[tokio::test]
async fn a_body_that_drips_is_cut_off() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let (response, mut body) = post(&client, Some(5)).await;
    body.send_data(Bytes::from_static(b"abc"), false).unwrap();
    let answer = whole(timeout(PATIENCE, response).await.unwrap().unwrap()).await.unwrap();
    assert_problem(&answer, 408, "request-timeout");
    assert_eq!(client.get("/").await.0.status(), StatusCode::OK);
}

// RFC 9113 §8.1.1
#[tokio::test]
async fn a_body_of_another_length_than_declared_is_no_body() {
    let server = Secure::start().await;
    for (declared, sent) in [("5", &b"abc"[..]), ("3", b"abcde"), ("0", b"a")] {
        let mut raw = Raw::open(&server, &[]).await;
        let block =
            raw::fields("POST", "/echo", &[(":authority", "localhost"), ("content-length", declared)]);
        raw.send(&raw::frame(raw::HEADERS, END_HEADERS, 1, &block)).await;
        raw.send(&raw::frame(raw::DATA, END_STREAM, 1, sent)).await;
        assert_eq!(raw.answer(1).await.unwrap_err(), raw::PROTOCOL_ERROR, "{declared} {sent:?}");
        assert!(raw.is_alive().await);
    }
    sleep(Duration::from_millis(100)).await;
    assert!(server.server.lines().iter().all(|line| line["status"] != 200));
}

// LIM-02, RFC 9110 §10.1.1
#[tokio::test]
async fn a_client_that_waits_to_send_its_body_is_told_to_go_on() {
    let server = Secure::start().await;
    for (length, goes_on) in [(5, true), (5000, false)] {
        let mut raw = Raw::open(&server, &[]).await;
        let length = length.to_string();
        let fields = [(":authority", "localhost"), ("content-length", &length), ("expect", "100-continue")];
        raw.send(&raw::frame(raw::HEADERS, END_HEADERS, 1, &raw::fields("POST", "/echo", &fields))).await;
        let first = raw.until(|frame| frame.stream == 1).await.pop().unwrap();
        assert_eq!((first.kind, first.flags), (raw::HEADERS, END_HEADERS));
        if goes_on {
            // `:status` without an index of its own: 100.
            assert!(first.payload.windows(3).any(|w| w == b"100") || first.payload.len() < 6, "{first:?}");
            raw.send(&raw::frame(raw::DATA, END_STREAM, 1, b"abcde")).await;
            let frames = raw.answer(1).await.unwrap();
            assert_eq!(frames.last().unwrap().payload, b"5 bytes");
        }
    }
    let lines = server.server.lines_when(2).await;
    assert_eq!((&lines[0]["status"], &lines[1]["status"]), (&200.into(), &413.into()));
}

// In the clear only HTTP/1.1 is spoken: two ways to read one connection are a way past a proxy.
#[tokio::test]
async fn in_the_clear_there_is_no_http_2() {
    let server =
        crate::serve::Server::serving(ServeOptions::new(), super::app(super::Crowd::default())).await;
    let upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\n\
                   HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    let mut known = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    known.extend(raw::frame(raw::SETTINGS, 0, 0, &[]));
    known.extend(raw::get("/", 1));
    for (bytes, begins) in [(upgrade.as_bytes(), "HTTP/1.1 200 OK"), (&known, "HTTP/1.1 400 Bad Request")] {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(begins), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(server.lines().len(), 2);
}
