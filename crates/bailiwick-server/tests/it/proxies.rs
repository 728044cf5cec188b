//! Whose request it is, behind proxies and without, by the real server.
#![cfg(unix)]
use serde_json::json;

use crate::{
    process::access_lines,
    site::{Server, Site},
};

const ME: &str = "/api/v1/me/";

/// The status of an answer, and its text.
fn get(server: &Server, path: &str, fields: &[&str]) -> (u16, String) {
    let mut connection = server.connect();
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    connection.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n").as_bytes()).unwrap();
    let answer = connection.answer(false).unwrap();
    (answer.status, format!("{}{}", answer.head, String::from_utf8(answer.body).unwrap()))
}

/// A site whose addresses have three requests an hour.
fn site(trusted: &str) -> Site {
    let mut site = Site::new();
    site.set("BAILIWICK_THROTTLE__RATES__ANON", "3/hour");
    site.set("BAILIWICK_SERVER__TRUSTED_PROXIES", trusted);
    site
}

// THR-09, THR-10, PRX-01
#[test]
fn no_field_that_a_client_sends_gives_it_another_quota() {
    for (trusted, by) in
        [("", "x-forwarded"), ("127.0.0.9, 10.0.0.0/8", "x-forwarded"), ("10.0.0.1", "forwarded")]
    {
        let mut site = site(trusted);
        site.set("BAILIWICK_SERVER__FORWARDED_BY", by);
        let server = site.serve();
        let statuses: Vec<_> = [
            "X-Forwarded-For: 1.1.1.1",
            "X-Forwarded-For: 10.0.0.1",
            "Forwarded: for=1.1.1.2",
            "X-Forwarded-For: 1.1.1.3, 127.0.0.9",
            "X-Real-IP: 1.1.1.4",
            "True-Client-IP: 1.1.1.5",
            "CF-Connecting-IP: 1.1.1.6",
            "Forwarded: for=\"[2001:db8::1]\", for=127.0.0.9",
        ]
        .into_iter()
        .map(|field| get(&server, ME, &[field]).0)
        .collect();
        assert_eq!(statuses, [401, 401, 401, 429, 429, 429, 429, 429], "{trusted} {by}");
        for line in access_lines(&server.stop()) {
            assert_eq!(line.1["remote_addr"], "127.0.0.1");
        }
    }
}

// PRX-02, THR-11
#[test]
fn behind_a_trusted_proxy_each_client_has_its_own_quota_and_no_other() {
    let site = site("127.0.0.1, 10.0.0.0/8");
    let server = site.serve();
    let of = |client: &str| get(&server, ME, &[&format!("X-Forwarded-For: {client}")]).0;
    for client in ["198.51.100.7", "198.51.100.8", "2001:db8:1:2::1"] {
        assert_eq!([(); 4].map(|()| of(client)), [401, 401, 401, 429], "{client}");
    }
    // What the client wrote itself stands left of what the proxy adds.
    assert_eq!(of("203.0.113.1, 198.51.100.7"), 429);
    assert_eq!(of("203.0.113.2, 198.51.100.7:4711, 10.2.3.4"), 429);
    assert_eq!(of("2001:db8:1:2:ffff::9"), 429, "of the same /64");
    assert_eq!(of("2001:db8:1:3::1"), 401);
    let output = server.stop();
    let addresses: Vec<_> =
        access_lines(&output).into_iter().map(|line| line.1["remote_addr"].clone()).collect();
    assert_eq!(addresses[0], "198.51.100.7");
    assert_eq!(
        addresses[12..15],
        [json!("198.51.100.7"), json!("198.51.100.7"), json!("2001:db8:1:2:ffff::9")]
    );
}

// RFC 7239, PRX-03
#[test]
fn forwarded_is_read_where_the_operator_says_so_and_nothing_else_then() {
    let mut site = site("127.0.0.1");
    site.set("BAILIWICK_SERVER__FORWARDED_BY", "forwarded");
    let server = site.serve();
    let of = |field: &str| get(&server, ME, &[field]).0;
    assert_eq!([(); 4].map(|()| of("Forwarded: for=198.51.100.7;proto=http")), [401, 401, 401, 429]);
    assert_eq!(of("Forwarded: for=203.0.113.1, for=\"198.51.100.7:80\""), 429);
    assert_eq!(of("Forwarded: for=198.51.100.8"), 401);
    // Three of the proxy's own.
    let own = [
        "X-Forwarded-For: 1.1.1.1",
        "X-Forwarded-For: 1.1.1.2",
        "Forwarded: for=_hidden",
        "Forwarded: for=unknown",
    ];
    assert_eq!(own.map(of), [401, 401, 401, 429]);
    // What cannot be read says nothing of anybody.
    assert_eq!(of("Forwarded: for=\""), 400);
}

// TLS-01, PRX-05, HDR-02
#[test]
fn a_site_of_https_answers_only_what_its_proxy_says_came_so() {
    let mut site = Site::new();
    site.set("BAILIWICK_SERVER__PUBLIC_URL", "https://localhost");
    site.set("BAILIWICK_SERVER__TRUSTED_PROXIES", "127.0.0.1");
    let server = site.serve();
    let (status, text) = get(&server, ME, &["X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: https"]);
    assert_eq!(status, 401);
    assert!(text.to_ascii_lowercase().contains("\r\nstrict-transport-security: max-age="), "{text}");
    for fields in [
        &["X-Forwarded-For: 198.51.100.7", "X-Forwarded-Proto: http"][..],
        &["X-Forwarded-For: 198.51.100.7"],
        &["X-Forwarded-Proto: https, http", "X-Forwarded-For: 198.51.100.7"],
        &[],
    ] {
        let (status, text) = get(&server, ME, fields);
        assert_eq!(status, 403, "{fields:?}");
        assert!(text.contains("https-required") && text.contains("x-request-id"), "{text}");
        let text = text.to_ascii_lowercase();
        assert!(!text.contains("strict-transport-security") && !text.contains("\r\nlocation:"), "{text}");
    }
    assert_eq!(get(&server, "/healthz", &[]).0, 200, "whoever watches over it comes without a proxy");
}

// HST-02, HST-05
#[test]
fn a_host_that_a_proxy_tells_is_held_against_the_list_too() {
    let site = site("127.0.0.1");
    let server = site.serve();
    let of = |host: &str| {
        get(&server, ME, &["X-Forwarded-For: 198.51.100.9", &format!("X-Forwarded-Host: {host}")]).0
    };
    assert_eq!(of("localhost"), 401);
    assert_eq!(of("evil.test"), 400);
    assert_eq!(of("localhost, evil.test"), 400);
}
