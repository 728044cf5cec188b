//! What an attacker gets: GOAWAY with ENHANCE_YOUR_CALM, while others are served.
use std::time::Duration;

use h2::Reason;
use tokio::time::sleep;

use super::{
    Secure, get_request, is_calm,
    raw::{self, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Raw},
};

/// Streams by their numbers.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|index| 2 * index + 1)
}

// CVE-2023-44487
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rapid_resets_in_a_burst_end_the_connection() {
    let server = Secure::start().await;
    let mut attacker = Raw::open(&server, &[]).await;
    let burst: Vec<u8> = streams(20_000)
        .flat_map(|stream| [raw::get("/stuck", stream), raw::reset(stream)].concat())
        .collect();
    let (ended, ()) = tokio::join!(
        async {
            attacker.send(&burst).await;
            attacker.goaway().await
        },
        server.assert_serves()
    );
    assert_eq!(ended, Some(ENHANCE_YOUR_CALM));
    assert!(server.crowd.most() <= 100, "{}", server.crowd.most());
    server.crowd.is_gone().await;
}

// CVE-2023-44487: slowly enough that each request has begun.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rapid_resets_with_pauses_end_the_connection() {
    let server = Secure::start().await;
    let mut attacker = Raw::open(&server, &[]).await;
    let mut sent = 0;
    for stream in streams(400) {
        attacker.send(&raw::get("/stuck", stream)).await;
        sleep(Duration::from_millis(2)).await;
        attacker.send(&raw::reset(stream)).await;
        sent += 1;
        if sent == 150 {
            server.assert_serves().await;
        }
    }
    assert_eq!(attacker.goaway().await, Some(ENHANCE_YOUR_CALM));
    server.crowd.is_gone().await;
    let lines = server.server.lines();
    let abandoned = lines.iter().filter(|line| line["status"] == 499).count();
    assert!((201..=320).contains(&abandoned), "{abandoned} were begun");
    assert!(server.crowd.most() <= 100);
}

#[tokio::test]
async fn a_client_that_gives_up_now_and_then_is_left_alone() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    for round in 0..250 {
        let waiting = client.send(get_request("/slow")).await;
        if round % 50 == 0 {
            sleep(Duration::from_millis(10)).await;
        }
        drop(waiting);
        client.get("/").await;
    }
    let (connection, send) = (client.connection, client.send);
    assert!(!connection.is_finished());
    drop(send);
}

// CVE-2024-27316
#[tokio::test]
async fn a_flood_of_continuations_ends_the_connection() {
    let server = Secure::start().await;
    for block in [Vec::new(), raw::field("x", b"y")] {
        let mut attacker = Raw::open(&server, &[]).await;
        let start = raw::fields("GET", "/stuck", &[(":authority", "localhost")]);
        let mut bytes = raw::frame(raw::HEADERS, END_STREAM, 1, &start);
        for _ in 0..10_000 {
            bytes.extend(raw::frame(raw::CONTINUATION, 0, 1, &block));
        }
        attacker.send(&bytes).await;
        assert_eq!(attacker.goaway().await, Some(ENHANCE_YOUR_CALM));
        server.assert_serves().await;
    }
    assert_eq!(server.crowd.most(), 0);
}

/// Sends a frame without end, and checks that the connection ends, while others are served.
async fn flood(server: &Secure, frame: &[u8]) {
    let mut attacker = Raw::open(server, &[]).await;
    let thousand = frame.repeat(1000);
    let (ended, ()) = tokio::join!(
        async {
            for _ in 0..200 {
                attacker.send(&thousand).await;
            }
            attacker.goaway().await
        },
        server.assert_serves()
    );
    assert_eq!(ended, Some(ENHANCE_YOUR_CALM), "{frame:?}");
}

// CVE-2019-9512, CVE-2019-9515 and their kin
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn frames_that_ask_for_nothing_end_the_connection() {
    let server = Secure::start().await;
    let window = 1_u32.to_be_bytes();
    for frame in [
        raw::frame(raw::PING, 0, 0, b"01234567"),
        raw::frame(raw::SETTINGS, 0, 0, &[]),
        raw::frame(raw::SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff]),
        raw::frame(raw::WINDOW_UPDATE, 0, 0, &window),
        raw::frame(2, 0, 3, &[0, 0, 0, 0, 1]),
        raw::frame(0xfa, 0, 0, b"unknown"),
    ] {
        flood(&server, &frame).await;
    }
}

// CVE-2019-9518
#[tokio::test]
async fn empty_data_ends_the_connection() {
    let server = Secure::start().await;
    let mut attacker = Raw::open(&server, &[]).await;
    let block = raw::fields("POST", "/echo", &[(":authority", "localhost")]);
    attacker.send(&raw::frame(raw::HEADERS, END_HEADERS, 1, &block)).await;
    attacker.send(&raw::frame(raw::DATA, 0, 1, &[]).repeat(5000)).await;
    assert_eq!(attacker.goaway().await, Some(ENHANCE_YOUR_CALM));
    server.assert_serves().await;
}

// RUSTSEC-2024-0003
#[tokio::test]
async fn streams_that_break_the_protocol_again_and_again_end_the_connection() {
    let server = Secure::start().await;
    let mut attacker = Raw::open(&server, &[]).await;
    let block = raw::fields("GET", "/stuck", &[(":authority", "localhost"), ("connection", "close")]);
    let bytes: Vec<u8> = streams(5000)
        .flat_map(|stream| raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, stream, &block))
        .collect();
    attacker.send(&bytes).await;
    assert_eq!(attacker.goaway().await, Some(ENHANCE_YOUR_CALM));
    server.assert_serves().await;
    assert_eq!(server.crowd.most(), 0);
}

// LIM-11
#[tokio::test]
async fn a_stream_too_many_is_refused_and_the_others_go_on() {
    let server = Secure::start().await;
    let mut raw = Raw::open(&server, &[]).await;
    let bytes: Vec<u8> = streams(103).flat_map(|stream| raw::get("/slow", stream)).collect();
    raw.send(&bytes).await;
    let (mut refused, mut answered) = (Vec::new(), 0);
    while refused.len() + answered < 103 {
        let frame = raw.next().await.unwrap();
        if frame.kind == raw::RST_STREAM {
            refused.push((frame.stream, frame.code()));
        } else if frame.kind == raw::DATA && frame.flags & END_STREAM != 0 {
            answered += 1;
        }
    }
    assert_eq!(refused, [201, 203, 205].map(|stream| (stream, raw::REFUSED_STREAM)));
    assert_eq!(server.crowd.most(), 100);
    assert!(raw.is_alive().await);
}

// What is reset makes room for another stream at once, and for another request only when its own has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_connection_has_more_requests_than_it_may_however_it_resets() {
    let server = Secure::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut client = server.client().await;
        tasks.spawn(async move {
            for _ in 0..3 {
                let mut waiting = Vec::new();
                for _ in 0..60 {
                    waiting.push(client.send(get_request("/stuck")).await);
                }
                sleep(Duration::from_millis(50)).await;
            }
            client
        });
    }
    let clients = tasks.join_all().await;
    assert!(server.crowd.most() <= 400, "{}", server.crowd.most());
    server.crowd.is_gone().await;
    drop(clients);
}

// Room by the byte: each grant costs a frame, and moves nothing.
#[tokio::test]
async fn a_client_that_takes_its_answer_by_the_byte_is_sent_away() {
    let server = Secure::start().await;
    // SETTINGS_INITIAL_WINDOW_SIZE
    let mut attacker = Raw::open(&server, &[(4, 0)]).await;
    attacker.send(&raw::get("/large", 1)).await;
    let grant = raw::frame(raw::WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes());
    for _ in 0..50 {
        attacker.send(&grant.repeat(100)).await;
    }
    assert_eq!(attacker.goaway().await, Some(ENHANCE_YOUR_CALM));
    server.crowd.is_gone().await;
}

// Some clients grant room for every frame, twice.
#[tokio::test]
async fn a_client_that_takes_an_answer_in_crumbs_as_it_is_sent_is_left_alone() {
    let server = Secure::start().await;
    let mut eager = Raw::open(&server, &[]).await;
    eager.send(&raw::get("/crumbs", 1)).await;
    let (mut bytes, mut frames) = (0, 0);
    loop {
        let frame = eager.next().await.expect("it is not sent away");
        if frame.kind != raw::DATA {
            continue;
        }
        bytes += frame.payload.len();
        frames += 1;
        if frame.flags & END_STREAM != 0 {
            break;
        }
        let room = 5_u32.to_be_bytes();
        eager.send(&raw::frame(raw::WINDOW_UPDATE, 0, 1, &room)).await;
        eager.send(&raw::frame(raw::WINDOW_UPDATE, 0, 0, &room)).await;
    }
    assert_eq!(bytes, 7500);
    assert!(frames > 1000, "{frames}");
}

#[tokio::test]
async fn a_frame_that_is_too_long_and_a_block_that_is_no_hpack_end_the_connection() {
    let server = Secure::start().await;
    for bytes in [
        raw::frame(raw::DATA, 0, 1, &vec![0; (16 << 10) + 1]),
        raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 40]),
        raw::frame(raw::HEADERS, END_STREAM | END_HEADERS, 2, &[0x82]),
        raw::frame(raw::WINDOW_UPDATE, 0, 0, &0_u32.to_be_bytes()),
        raw::frame(raw::SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]),
    ] {
        let mut attacker = Raw::open(&server, &[]).await;
        attacker.send(&bytes).await;
        assert!(attacker.goaway().await.is_some_and(|code| code != raw::NO_ERROR), "{:?}", &bytes[..9]);
    }
    server.assert_serves().await;
    assert_eq!(server.server.lines().len(), 1);
}

// A whole client, that asks for more at once than it reads the settings for.
#[tokio::test]
async fn a_well_behaved_client_never_meets_a_limit() {
    let server = Secure::start().await;
    let mut client = server.client().await;
    for _ in 0..30 {
        let mut waiting = Vec::new();
        for _ in 0..100 {
            waiting.push(client.send(get_request("/")).await);
        }
        for response in waiting {
            let answer = response.await;
            assert!(!answer.as_ref().is_err_and(is_calm), "{answer:?}");
            assert_ne!(answer.as_ref().err().and_then(h2::Error::reason), Some(Reason::REFUSED_STREAM));
            assert_eq!(super::whole(answer.unwrap()).await.unwrap().1, "ok");
        }
    }
}
