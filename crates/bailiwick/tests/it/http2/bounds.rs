//! How connections of HTTP/2 end: by time, by a client that does not read, and with the server.
use std::time::Duration;

use bailiwick::{
    app::serve::ServeOptions,
    clock::{Clock, SystemClock},
};
use h2::Reason;
use http::StatusCode;
use tokio::time::{sleep, timeout};

use super::{
    PATIENCE, Secure, get_request,
    raw::{self, END_STREAM, NO_ERROR, Raw},
    whole,
};

const SOON: Duration = Duration::from_millis(300);

// LIM-06, RST-03
#[tokio::test]
async fn the_limits_are_told_to_clients() {
    let server = Secure::start().await;
    let mut raw = Raw(server.connect(&[b"h2"]).await);
    raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    raw.send(&raw::frame(raw::SETTINGS, 0, 0, &[])).await;
    let settings = raw.until(|frame| frame.kind == raw::SETTINGS && frame.flags == 0).await.pop().unwrap();
    let told = |id: u16| {
        let mut pairs = settings.payload.chunks(6);
        let pair = pairs.find(|pair| pair[..2] == id.to_be_bytes())?;
        Some(u32::from_be_bytes(pair[2..].try_into().unwrap()))
    };
    assert_eq!(told(3), Some(100), "streams");
    assert_eq!(told(4), Some(65_535), "the window of a stream");
    assert_eq!(told(5), Some(16 << 10), "a frame");
    assert_eq!(told(6), Some(32 << 10), "headers");
    assert_eq!(told(8), None, "no extended CONNECT");
    let window =
        raw.until(|frame| frame.kind == raw::WINDOW_UPDATE && frame.stream == 0).await.pop().unwrap();
    let grown = u32::from_be_bytes(window.payload.try_into().unwrap());
    assert_eq!(65_535 + grown, 1 << 20, "the window of a connection");
}

// LIM-11
#[tokio::test]
async fn a_connection_without_a_request_is_closed_and_told_so() {
    let server = Secure::with(ServeOptions::new().header_timeout(SOON)).await;
    // Without a preface there is nobody to tell.
    let mut silent = Raw(server.connect(&[b"h2"]).await);
    assert_eq!(silent.goaway().await, None);
    let mut unused = Raw::open(&server, &[]).await;
    assert_eq!(unused.goaway().await, Some(NO_ERROR));
    let mut used = Raw::open(&server, &[]).await;
    used.send(&raw::get("/", 1)).await;
    used.answer(1).await.unwrap();
    let since = SystemClock::new();
    assert_eq!(used.goaway().await, Some(NO_ERROR));
    assert!(since.monotonic() < 4 * SOON);
    assert_eq!(server.server.lines().len(), 1, "silence is not logged");
}

// LIM-11
#[tokio::test]
async fn pings_and_half_a_request_keep_no_connection_open() {
    let server = Secure::with(ServeOptions::new().header_timeout(SOON)).await;
    let mut half = Raw::open(&server, &[]).await;
    let block = raw::fields("GET", "/stuck", &[(":authority", "localhost")]);
    half.send(&raw::frame(raw::HEADERS, END_STREAM, 1, &block)).await;
    let mut torn = Raw::open(&server, &[]).await;
    torn.send(&raw::get("/stuck", 1)[..20]).await;
    let mut pinging = Raw::open(&server, &[]).await;
    let since = SystemClock::new();
    let pings = async {
        for _ in 0..12 {
            pinging.send(&raw::frame(raw::PING, 0, 0, b"01234567")).await;
            sleep(SOON / 4).await;
        }
        pinging.goaway().await
    };
    let ends = tokio::join!(half.goaway(), torn.goaway(), pings);
    assert_eq!(ends, (Some(NO_ERROR), Some(NO_ERROR), Some(NO_ERROR)));
    assert!(since.monotonic() < Duration::from_secs(4));
    assert_eq!(server.server.lines().len(), 0);
}

// LIM-11
#[tokio::test]
async fn a_slow_handler_and_a_slow_answer_are_no_idleness_and_no_stall() {
    let options = ServeOptions::new()
        .header_timeout(Duration::from_millis(100))
        .write_timeout(Duration::from_millis(50));
    let server = Secure::with(options).await;
    let mut client = server.client().await;
    assert_eq!(&client.get("/slow").await.1[..], b"slow");
    let mut client = server.client().await;
    assert_eq!(&client.get("/drips").await.1[..], &b"drop".repeat(10)[..]);
}

// LIM-11
#[tokio::test]
async fn a_stream_whose_client_grants_no_room_is_given_up_and_the_others_go_on() {
    let server = Secure::with(ServeOptions::new().write_timeout(SOON)).await;
    // SETTINGS_INITIAL_WINDOW_SIZE: room for nothing, as of the first byte.
    let mut raw = Raw::open(&server, &[(4, 0)]).await;
    for stream in [1, 3, 5] {
        raw.send(&raw::get("/endless", stream)).await;
    }
    for stream in [1, 3, 5] {
        let room = raw::frame(raw::WINDOW_UPDATE, 0, stream, &7_u32.to_be_bytes());
        raw.send(&room).await;
    }
    let mut resets = Vec::new();
    let mut bytes = 0;
    while resets.len() < 3 {
        let frame = raw.next().await.unwrap();
        bytes += if frame.kind == raw::DATA { frame.payload.len() } else { 0 };
        if frame.kind == raw::RST_STREAM {
            resets.push(frame.code());
        }
    }
    assert_eq!((resets, bytes), (vec![raw::CANCEL; 3], 21));
    server.crowd.is_gone().await;
    // The connection lives, and a client that reads is served on it.
    raw.send(&raw::get("/", 7)).await;
    raw.send(&raw::frame(raw::WINDOW_UPDATE, 0, 7, &100_u32.to_be_bytes())).await;
    assert_eq!(raw.answer(7).await.unwrap().last().unwrap().payload, b"ok");
    let lines = server.server.lines_when(4).await;
    assert!(lines.iter().all(|line| line["status"] == 200));
}

// LIM-11: it grants all the room there is, and reads nothing from the socket.
#[tokio::test]
async fn a_client_that_does_not_read_its_socket_is_given_up() {
    let server = Secure::with(ServeOptions::new().write_timeout(SOON)).await;
    let mut deaf = Raw::open(&server, &[(4, (1 << 31) - 1)]).await;
    deaf.send(&raw::frame(raw::WINDOW_UPDATE, 0, 0, &(1_u32 << 30).to_be_bytes())).await;
    for stream in (1..40).step_by(2) {
        deaf.send(&raw::get("/endless", stream)).await;
    }
    for _ in 0..200 {
        if server.crowd.most() == 20 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(server.crowd.most(), 20);
    server.crowd.is_gone().await;
    assert!(server.server.lines_when(20).await.iter().all(|line| line["path"] == "/endless"));
    drop(deaf);
}

#[tokio::test]
async fn the_requests_of_a_client_that_is_gone_are_dropped_and_logged() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    let waiting = [client.send(get_request("/stuck")).await, client.send(get_request("/stuck")).await];
    while server.crowd.now() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    client.connection.abort();
    drop((client, waiting));
    server.crowd.is_gone().await;
    assert!(server.server.lines_when(2).await.iter().all(|line| line["status"] == 499));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight_and_says_goaway() {
    let mut server = Secure::start().await;
    let idle = server.client().await;
    let mut busy = server.client().await;
    let waiting = busy.send(get_request("/slow")).await;
    sleep(Duration::from_millis(100)).await;
    let since = SystemClock::new();
    server.server.stop();
    let (answer, body) = whole(timeout(PATIENCE, waiting).await.unwrap().unwrap()).await.unwrap();
    assert_eq!((answer.status(), &body[..]), (StatusCode::OK, &b"slow"[..]));
    assert!(busy.ended().await.is_ok() && idle.ended().await.is_ok());
    timeout(PATIENCE, &mut server.server.serving).await.unwrap().unwrap().unwrap();
    assert!(since.monotonic() < Duration::from_secs(2));
}

// A client that says nothing to GOAWAY does not hold up the end of the server.
#[tokio::test]
async fn stopping_does_not_wait_for_a_client_that_answers_nothing() {
    let mut server = Secure::start().await;
    let mut deaf = Raw::open(&server, &[]).await;
    let mut half = Raw(server.connect(&[b"h2"]).await);
    half.send(b"PRI * HTTP/2.0\r\n").await;
    sleep(Duration::from_millis(100)).await;
    let since = SystemClock::new();
    server.server.stop();
    assert_eq!(half.goaway().await, None);
    assert_eq!(deaf.goaway().await, Some(NO_ERROR));
    drop((deaf, half));
    timeout(PATIENCE, &mut server.server.serving).await.unwrap().unwrap().unwrap();
    assert!(since.monotonic() < Duration::from_secs(6));
}

#[tokio::test]
async fn stopping_waits_no_longer_than_it_may() {
    let mut server = Secure::with(ServeOptions::new().drain(SOON)).await;
    let mut client = server.client().await;
    let waiting = client.send(get_request("/stuck")).await;
    sleep(Duration::from_millis(100)).await;
    server.server.stop();
    timeout(Duration::from_secs(1), &mut server.server.serving).await.unwrap().unwrap().unwrap();
    let error = timeout(PATIENCE, waiting).await.unwrap().unwrap_err();
    assert_ne!(error.reason(), Some(Reason::ENHANCE_YOUR_CALM));
    server.crowd.is_gone().await;
    assert_eq!(server.server.lines_when(1).await[0]["status"], 499);
}

// The streams of a connection take no place of another connection.
#[tokio::test]
async fn the_cap_on_connections_counts_connections() {
    let server = Secure::with(ServeOptions::new().max_connections(2)).await;
    let (mut first, mut second) = (server.client().await, server.client().await);
    for client in [&mut first, &mut second] {
        let mut waiting = Vec::new();
        for _ in 0..50 {
            waiting.push(client.send(get_request("/slow")).await);
        }
        for response in waiting {
            assert_eq!(timeout(PATIENCE, response).await.unwrap().unwrap().status(), StatusCode::OK);
        }
    }
    let third = tokio::net::TcpStream::connect(server.server.address).await.unwrap();
    let mut byte = [0];
    let read = timeout(PATIENCE, tokio::io::AsyncReadExt::read(&mut { third }, &mut byte)).await.unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "over https one too many is closed");
}
