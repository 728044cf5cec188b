//! Crowds of clients that send nothing, or hardly anything: everybody else is served as before.
#![cfg(unix)]
use std::{
    fs,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use bailiwick::clock::{Clock, SystemClock};
use serde_json::json;

use crate::site::{Connection, PASSWORD, Server, Site};

/// Than which one of a hundred requests of one client is slower: the best of some rounds, since others work on the machine.
fn p99(server: &Server, token: &str) -> Duration {
    let clock = SystemClock::new();
    let mut client = server.connect();
    let round = |_| {
        let mut took: Vec<_> = (0..200)
            .map(|_| {
                let begun = clock.monotonic();
                assert_eq!(client.ask("GET", "/api/v1/me/", token, None).unwrap().status, 200);
                clock.monotonic() - begun
            })
            .collect();
        took.sort_unstable();
        took[took.len() * 99 / 100]
    };
    (0..5).map(round).min().unwrap()
}

/// What the process has in memory, in KiB.
pub(crate) fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// LIM-11
#[test]
fn serial_two_thousand_silent_clients_and_two_hundred_slow_ones_slow_nobody_down() {
    rlimit::increase_nofile_limit(8_000).unwrap();
    let site = Site::new();
    let (server, token) = (&site.serve(), &site.token);
    let quiet = p99(server, token).max(Duration::from_millis(1));
    let before = resident_kib(server);

    let idle: Vec<Connection> = (0..2_000).map(|_| server.connect()).collect();
    let mut slow: Vec<Connection> = (0..200).map(|_| server.connect()).collect();
    for (number, connection) in slow.iter_mut().enumerate() {
        let begin = match number % 2 {
            0 => "GET /api/v1/me/ HTTP/1.1\r\nHost: loc".to_owned(),
            _ => format!(
                "POST /api/v1/orgs/acme/tasks/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token}\r\n\
                 Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{{"
            ),
        };
        connection.send(begin.as_bytes()).unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let dripping = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            while !done.load(Ordering::Relaxed) {
                for connection in &mut slow {
                    // Those that took too long were cut off, as they should be.
                    let _ = connection.send(b" ");
                }
                thread::sleep(Duration::from_millis(100));
            }
        }
    });
    thread::sleep(Duration::from_millis(500));
    let crowded = p99(server, token);
    let grown = resident_kib(server).saturating_sub(before);
    let log_in = json!({"username": "ann", "password": PASSWORD});
    assert_eq!(server.connect().ask("POST", "/api/v1/auth/token/", "x", Some(&log_in)).unwrap().status, 200);
    done.store(true, Ordering::Relaxed);
    dripping.join().unwrap();
    drop(idle);
    println!("p99 {quiet:?} quiet, {crowded:?} in the crowd; {grown} KiB for 2,200 connections");
    assert!(crowded < quiet * 5, "{crowded:?} in the crowd, {quiet:?} before");
    // Some 34 KiB each.
    assert!(grown < 96 << 10, "{grown} KiB for 2,200 connections");
}

// Without files there are no connections, and no database either.
#[test]
fn a_server_takes_no_more_connections_than_it_may_have_files() {
    let site = Site::new();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 300 && exec \"$0\" serve", env!("CARGO_BIN_EXE_bailiwick")]);
    let server = Server::start(site.command(Some(command)));
    let mut first = server.connect();
    assert_eq!(first.ask("GET", "/api/v1/me/", &site.token, None).unwrap().status, 200);
    let held: Vec<_> = (0..60).map(|_| server.connect()).collect();
    thread::sleep(Duration::from_millis(300));
    let refused = server.connect().answer(false).unwrap();
    assert_eq!(refused.status, 503);
    let task = json!({"title": "written all the same"});
    assert_eq!(first.ask("POST", "/api/v1/orgs/acme/tasks/", &site.token, Some(&task)).unwrap().status, 201);
    drop(held);
    let output = server.stop();
    assert!(output.err.contains("at most 44 connections are taken, and not 10000"), "{}", output.err);
}
