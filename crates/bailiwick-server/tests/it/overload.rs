//! More clients than the server can answer, and more bodies than it can hold: some are refused, and nothing else happens.
#![cfg(unix)]
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bailiwick::clock::{Clock, SystemClock};
use serde_json::json;

use crate::{
    crowds::resident_kib,
    metrics::scrape,
    site::{Answer, Connection, Server, Site},
};

const TASKS: &str = "/api/v1/orgs/acme/tasks/";
const SHED: &str = "bailiwick_requests_shed_total";

fn assert_busy(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let head = answer.head.to_ascii_lowercase();
    let wait = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=4).contains(&wait.parse::<u32>().unwrap()), "{head}");
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert_eq!(answer.json()["code"], "unavailable");
}

/// What came of a load.
struct Outcome {
    /// How long those waited who got an answer, in order.
    answered: Vec<Duration>,
    refused: usize,
}

impl Outcome {
    fn p99(&self) -> Duration {
        self.answered[self.answered.len() * 99 / 100]
    }
}

/// Many clients ask for a page that costs work, each again as soon as it is answered: for so long, of which the first half is
/// not looked at. Any connection that breaks fails the test.
fn closed_loop(server: &Server, token: &str, clients: usize, time: Duration) -> Outcome {
    let clock = SystemClock::new();
    let refused = AtomicUsize::new(0);
    let mut answered: Vec<Duration> = thread::scope(|scope| {
        let (clock, refused) = (&clock, &refused);
        let ask = move || {
            let mut client = server.connect();
            let (mut took, path) = (Vec::new(), format!("{TASKS}?page_size=50"));
            while clock.monotonic() < time {
                let begun = clock.monotonic();
                let answer = client.ask("GET", &path, token, None).expect("no connection breaks");
                let counts = clock.monotonic() > time / 2;
                match answer.status {
                    200 if counts => took.push(clock.monotonic() - begun),
                    200 => {}
                    _ => {
                        assert_busy(&answer);
                        refused.fetch_add(usize::from(counts), Ordering::Relaxed);
                    }
                }
            }
            took
        };
        let mut threads = Vec::new();
        for _ in 0..clients {
            let thread = thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, ask);
            threads.push(thread.unwrap());
        }
        // Whoever watches the server is answered throughout.
        let mut probe = server.connect();
        while clock.monotonic() < time {
            assert_eq!(probe.ask("GET", "/healthz", "", None).unwrap().status, 200);
            thread::sleep(Duration::from_millis(100));
        }
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    answered.sort_unstable();
    Outcome { answered, refused: refused.into_inner() }
}

fn site_with_tasks() -> Site {
    let site = Site::new();
    {
        let server = site.serve();
        let mut client = server.connect();
        for number in 0..100 {
            let task = json!({"title": format!("task {number}"), "description": "x".repeat(100)});
            assert_eq!(client.ask("POST", TASKS, &site.token, Some(&task)).unwrap().status, 201);
        }
        server.stop();
    }
    site
}

const CLIENTS: usize = 400;

// LIM-11
#[test]
fn serial_more_clients_than_the_server_can_answer_are_refused_and_the_others_do_not_wait() {
    rlimit::increase_nofile_limit(4_000).unwrap();
    let mut site = site_with_tasks();
    // Nobody is refused by this one, to compare with.
    site.set("BAILIWICK_LIMITS__MAX_TURN_WAIT_MS", "60000");
    let server = site.serve();
    let without = closed_loop(&server, &site.token, CLIENTS, Duration::from_secs(6));
    let waits = scrape(&server);
    let late = waits.value("bailiwick_turn_wait_seconds_sum", &[])
        / waits.value("bailiwick_turn_wait_seconds_count", &[]);
    assert_eq!(without.refused, 0);
    server.stop();

    // A tenth of what everybody waited for.
    let target = (without.p99() / 10).max(Duration::from_millis(10));
    site.set("BAILIWICK_LIMITS__MAX_TURN_WAIT_MS", &target.as_millis().to_string());
    let server = site.serve();
    let with = closed_loop(&server, &site.token, CLIENTS, Duration::from_secs(10));
    let token = site.token.as_str();
    let ended = SystemClock::new();
    while server.connect().ask("GET", TASKS, token, None).unwrap().status != 200 {
        assert!(ended.monotonic() < Duration::from_secs(2), "the load has ended, and it is refused");
        thread::sleep(Duration::from_millis(50));
    }
    for _ in 0..20 {
        assert_eq!(server.connect().ask("GET", TASKS, token, None).unwrap().status, 200);
    }
    println!(
        "p99 {:?} of {} without a limit (mean wait for a turn {late:.3} s), {:?} of {} at {target:?}, {} refused",
        without.p99(),
        without.answered.len(),
        with.p99(),
        with.answered.len(),
        with.refused,
    );
    assert!(with.answered.len() > 100, "{} were answered", with.answered.len());
    assert!(with.refused > 0);
    assert!(with.p99() < without.p99() / 2, "{:?}, and {:?} without", with.p99(), without.p99());
    assert!(scrape(&server).value(SHED, &[("reason", "queue")]) > 0.0);
    let log = server.stop().out;
    assert!(log.contains(r#""denied_by":"overload""#));
}

/// The head of a POST that declares a mebibyte, from this address.
fn long_post(token: &str, from: &str) -> String {
    format!(
        "POST {TASKS} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {from}\r\nAuthorization: Token {token}\r\n\
         Content-Type: application/json\r\nContent-Length: 1048576\r\n\r\n"
    )
}

/// A whole POST of a small body, from this address.
fn short_post(server: &Server, token: &str, from: &str) -> Answer {
    let body = r#"{"title":"short"}"#;
    let mut client = server.connect();
    let head = long_post(token, from).replace("1048576", &body.len().to_string());
    client.send(format!("{head}{body}").as_bytes()).unwrap();
    client.answer(false).unwrap()
}

/// How many were refused, for bodies or, on a machine that does other work too, for the queue.
fn shed(server: &Server) -> f64 {
    let scraped = scrape(server);
    ["body_memory", "queue"].iter().map(|reason| scraped.value(SHED, &[("reason", reason)])).sum()
}

// LIM-11: what would be 600 MiB.
#[test]
fn serial_bodies_that_stop_half_way_take_no_more_memory_than_there_is_and_leave_others_theirs() {
    rlimit::increase_nofile_limit(4_000).unwrap();
    let mut site = Site::new();
    site.set("BAILIWICK_SERVER__TRUSTED_PROXIES", "127.0.0.1");
    site.set("BAILIWICK_LIMITS__BODY_MEMORY", "32MiB");
    let (server, token) = (site.serve(), site.token.as_str());
    assert_eq!(short_post(&server, token, "192.0.2.200").status, 201);
    let before = resident_kib(&server);

    // Of five addresses with 120 each; each address has room for 4.
    let part = vec![b' '; 1_000_000];
    let clients = 600;
    let done = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let mut client = server.connect();
            let head = long_post(token, &format!("192.0.2.{}", number % 5));
            let (part, done) = (part.clone(), Arc::clone(&done));
            let send = move || {
                client.send(head.as_bytes()).unwrap();
                // Who is refused is no longer listened to.
                let _ = client.send(&part);
                let answer = client.answer(false).expect("an answer before the end");
                assert!(client.is_closed());
                assert!(!done.load(Ordering::Relaxed));
                answer
            };
            thread::Builder::new().stack_size(256 << 10).spawn(send).unwrap()
        })
        .collect();
    let held = |server: &Server| scrape(server).value("bailiwick_body_memory_bytes", &[]);
    // As long as some are refused others go on, so that it is used, but not always to the last of it.
    let most = f64::from(20 << 20);
    for _ in 0..250 {
        let now = held(&server);
        assert!(now <= most, "{now}: five addresses with four each");
        if now >= most * 0.75 && shed(&server) >= 580.0 {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    // Of the whole, 12 MiB are left.
    assert_eq!(short_post(&server, token, "192.0.2.100").status, 201);
    assert_eq!(short_post(&server, token, "127.0.0.1").status, 201);
    assert_eq!(server.connect().ask("GET", TASKS, token, None).unwrap().status, 200);
    let grown = resident_kib(&server).saturating_sub(before);

    let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    done.store(true, Ordering::Relaxed);
    let (timeouts, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 408);
    refused.iter().for_each(|answer| assert_busy(answer));
    assert!(
        (5..=20).contains(&timeouts.len()),
        "{} of five addresses with room for four each",
        timeouts.len()
    );
    assert_eq!(held(&server), 0.0);
    assert!(scrape(&server).value(SHED, &[("reason", "body_memory")]) > 0.0);
    assert_eq!(shed(&server), refused.len() as f64);
    assert_eq!(short_post(&server, token, "192.0.2.1").status, 201);
    println!("{grown} KiB more with {clients} bodies of a mebibyte");
    assert!(grown < 160 << 10, "{grown} KiB for bodies that may take 32 MiB");
}

// LIM-11
#[test]
fn a_trickle_is_cut_off_a_pause_too_and_a_slow_body_that_goes_on_passes() {
    let mut site = Site::new();
    site.set("BAILIWICK_SERVER__HEADER_TIMEOUT", "2s");
    site.set("BAILIWICK_SERVER__REQUEST_TIMEOUT", "4s");
    let (server, token) = (site.serve(), site.token.as_str());
    let clock = SystemClock::new();
    // The answer and when it came, where each piece is sent so long after the one before, until it is there.
    let ask = |length: usize, piece: &[u8], apart: Duration| {
        let mut client = server.connect();
        client
            .send(long_post(token, "192.0.2.1").replace("1048576", &length.to_string()).as_bytes())
            .unwrap();
        let begun = clock.monotonic();
        let mut left = length;
        while left > 0 && !piece.is_empty() {
            let size = piece.len().min(left);
            left -= size;
            if client.send(&piece[..size]).is_err() {
                break;
            }
            thread::sleep(apart);
            if client.has_answer() {
                break;
            }
        }
        let answer = client.answer(false).unwrap();
        (answer.status, clock.monotonic() - begun)
    };
    let (fast, slow) = thread::scope(|scope| {
        let pause = scope.spawn(|| ask(1000, b"", Duration::ZERO));
        let trickle = scope.spawn(|| ask(100_000, b" ", Duration::from_millis(100)));
        // Twice the least rate, for six seconds; then it is no JSON, which says that it was read to its end.
        let honest = scope.spawn(|| ask(100_000, &[b' '; 1640], Duration::from_millis(100)));
        ([pause.join().unwrap(), trickle.join().unwrap()], honest.join().unwrap())
    });
    let [(paused, pause), (trickled, trickle)] = fast;
    assert_eq!((paused, trickled, slow.0), (408, 408, 400));
    let seconds = |from: u64, to: u64| Duration::from_secs(from)..Duration::from_secs(to);
    assert!(seconds(2, 4).contains(&pause), "{pause:?}");
    assert!(seconds(4, 8).contains(&trickle), "{trickle:?}");
    assert!(slow.1 > Duration::from_secs(5), "{slow:?}");
}

// LIM-11: what waits for the database is in flight, and what waits for its client is not.
#[test]
fn slow_clients_do_not_take_the_places_of_others() {
    let mut site = Site::new();
    site.set("BAILIWICK_LIMITS__MAX_IN_FLIGHT", "3");
    let (server, token) = (site.serve(), site.token.as_str());
    let slow: Vec<Connection> = (0..50)
        .map(|_| {
            let mut client = server.connect();
            client.send(long_post(token, "192.0.2.1").as_bytes()).unwrap();
            client.send(b"{").unwrap();
            thread::sleep(Duration::from_millis(10));
            client
        })
        .collect();
    thread::sleep(Duration::from_millis(300));
    let waiting = slow.iter().filter(|client| !client.has_answer()).count();
    assert!(waiting > 25, "{waiting} of 50 are waited for");
    assert_eq!(scrape(&server).value("bailiwick_requests_in_flight", &[]), 0.0);
    assert_eq!(server.connect().ask("GET", "/api/v1/me/", token, None).unwrap().status, 200);
    drop(slow);
}
