//! Pages of other origins: what they may read, and what a preflight is answered.
use bailiwick_testkit::{Call, Fault, Operation, Person, Reply, TestApp};
use http::Method;
use serde_json::json;

use crate::{
    browser::Browser,
    site::Site,
    support::{self, NOBODY, TASKS},
};

const APP: &str = "https://app.example.com";
const EVIL: &str = "https://evil.example";
const ALLOWED: (&str, &str) = ("cors.allowed_origins", APP);

fn preflight(person: &Person, path: &str, origin: &str) -> Call {
    let call = person.request(Method::OPTIONS, path).header("origin", origin);
    call.header("access-control-request-method", "PATCH")
}

fn may_read(reply: &Reply) -> Option<&str> {
    let vary: Vec<_> = reply.headers().get_all("vary").iter().map(|field| field.to_str().unwrap()).collect();
    assert!(vary.join(", ").contains("Origin"), "CORS-11: {vary:?}");
    reply.header("access-control-allow-origin")
}

// CORS-09, CORS-11, CORS-13: also what is refused below the router, and by what fails.
#[tokio::test]
async fn every_answer_is_readable_by_pages_of_an_allowed_origin_and_by_no_other() {
    let app =
        support::throttled(&[ALLOWED, ("throttle.rates.anon", "100/min"), ("limits.body", "1KiB")]).await;
    let (anonymous, member) = (app.anonymous(), app.member());
    let task = format!("{TASKS}{NOBODY}/");
    for origin in [Some(APP), Some(EVIL), Some("null"), Some("https://app.example.com.evil.example"), None] {
        let from = |call: Call| match origin {
            Some(origin) => call.header("origin", origin),
            None => call,
        };
        let read = origin.filter(|origin| *origin == APP);
        let long = "x".repeat(9000);
        for (call, status) in [
            (member.get("/me/"), 200),
            (member.head("/me/"), 200),
            (member.post(TASKS, json!({"title": "from a page"})), 201),
            (member.get(&format!("{TASKS}?page_size=x")), 422),
            (anonymous.get("/me/"), 401),
            (anonymous.get("/me/").header("authorization", "Token nonsense"), 401),
            (app.viewer().post(TASKS, json!({"title": "x"})), 403),
            (member.get(&task), 404),
            (member.get("/nowhere/"), 404),
            (member.request(Method::TRACE, "/me/"), 405),
            (member.request(Method::OPTIONS, "/me/"), 405),
            (member.post(TASKS, json!({"title": "x".repeat(2000)})), 413),
            (member.request(Method::POST, TASKS).body("text/plain", "{}"), 415),
            (member.request(Method::POST, TASKS).body("application/json", "{"), 400),
            (member.get(&format!("/me/?{long}")), 414),
            (member.get("/me/").header("x-long", "y".repeat(20_000)), 431),
            (member.get("http://elsewhere.example/api/v1/me/"), 400),
            (member.get("http://localhost/problems/forbidden"), 200),
        ] {
            let what = format!("{call:?}");
            let reply = from(call).await;
            assert_eq!(reply.status(), status, "{what} from {origin:?}");
            assert_eq!(may_read(&reply), read, "{what} from {origin:?}");
            assert_eq!(reply.header("access-control-allow-credentials"), None);
            let exposed = reply.header("access-control-expose-headers");
            assert_eq!(exposed.is_some_and(|names| names.contains("x-request-id")), read.is_some());
        }
    }
    app.store().fail_all(Operation::Read, Fault::Corrupt);
    assert_eq!(may_read(&member.get(&task).header("origin", APP).await.expect(500)), Some(APP));
    app.store().fail_all(Operation::Read, Fault::Unavailable);
    assert_eq!(may_read(&member.get(&task).header("origin", APP).await.expect(503)), Some(APP));
    for _ in 0..200 {
        anonymous.get("/me/").await;
    }
    assert_eq!(may_read(&anonymous.get("/me/").header("origin", APP).await.expect(429)), Some(APP));
    assert_eq!(may_read(&anonymous.get("/me/").header("origin", EVIL).await.expect(429)), None);
}

// CORS-43
#[tokio::test]
async fn what_watches_over_the_server_is_for_no_page() {
    let app = support::with(&[ALLOWED]).await;
    let reply = app.anonymous().get("http://localhost/healthz").header("origin", APP).await.expect(200);
    assert_eq!(may_read(&reply), None);
    preflight(&app.anonymous(), "http://localhost/healthz", APP).await.expect_problem(403, "forbidden");
}

// CORS-04, contract §1: it spends nothing, needs nobody, and tells nothing of what is there.
#[tokio::test]
async fn a_preflight_is_answered_before_anybody_is_counted_or_looked_up() {
    let app = support::throttled(&[ALLOWED]).await;
    app.store().fail_everything(Fault::Unavailable);
    app.counters().fail_everything(Fault::Unavailable);
    let mut answers = std::collections::HashSet::new();
    let paths = [
        TASKS,
        "/me/",
        "/auth/session/",
        "/orgs/nowhere/tasks/",
        "/nowhere/",
        "http://localhost/",
        "/auth/token",
    ];
    for _ in 0..20 {
        for path in paths {
            for person in [app.anonymous(), app.member()] {
                let reply = preflight(&person, path, APP).await.expect(204);
                assert_eq!(may_read(&reply), Some(APP));
                assert_eq!(reply.header("ratelimit"), None);
                assert_eq!(reply.header("access-control-max-age"), Some("600"));
                let mut fields: Vec<_> =
                    reply.headers().iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
                fields.retain(|field| !field.starts_with("x-request-id"));
                answers.insert(fields);
                let refused = preflight(&person, path, EVIL).await.expect_problem(403, "forbidden");
                assert_eq!(may_read(&refused), None);
                assert_eq!(refused.header("access-control-allow-methods"), None);
            }
        }
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    let log = app.log();
    let events = log.iter().filter(|line| line["event"] == "malicious_cors").count();
    assert_eq!(events, 20 * paths.len() * 2, "LOG-06");
    let denied = log.iter().filter(|line| line["denied_by"] == "cors" && line["status"] == 403).count();
    assert_eq!(denied, events);

    // All of the quota is there.
    let app = support::throttled(&[ALLOWED, ("throttle.rates.anon", "1/min")]).await;
    for _ in 0..20 {
        preflight(&app.anonymous(), "/me/", APP).await.expect(204);
        preflight(&app.anonymous(), "/me/", EVIL).await.expect(403);
    }
    app.anonymous().get("/me/").await.expect(401);
    app.anonymous().get("/me/").await.expect(429);
}

// It is refused before, whoever it is of.
#[tokio::test]
async fn a_preflight_passes_the_host_check_and_the_limits() {
    let app = support::with(&[ALLOWED]).await;
    let person = app.anonymous();
    preflight(&person, "http://elsewhere.example/", APP).await.expect_problem(400, "bad-host");
    let path = format!("/me/?{}", "x".repeat(9000));
    preflight(&person, &path, APP).await.expect_problem(414, "uri-too-long");
}

#[tokio::test]
async fn without_settings_no_page_of_another_origin_is_let_in() {
    let app = support::start().await;
    preflight(&app.anonymous(), "/me/", APP).await.expect_problem(403, "forbidden");
    let reply = app.member().get("/me/").header("origin", APP).await.expect(200);
    for field in ["access-control-allow-origin", "access-control-expose-headers", "vary"] {
        assert_eq!(reply.header(field), None, "CORS-11: what is always the same does not vary");
    }
}

// Each setting of contract §6.
#[tokio::test]
async fn every_setting_is_in_force() {
    let app = support::with(&[
        ("cors.allowed_origins", "https://app.example.com, http://localhost:3000"),
        ("cors.allowed_origin_regexes", r"^https://pr-[0-9]+\.preview\.example\.com$"),
        ("cors.allowed_methods", "GET, PATCH"),
        ("cors.allowed_headers", "authorization, x-own"),
        ("cors.exposed_headers", "etag"),
        ("cors.max_age", "2h"),
        ("cors.allow_private_network", "true"),
    ])
    .await;
    for origin in [APP, "http://localhost:3000", "https://pr-12.preview.example.com"] {
        let asked = preflight(&app.anonymous(), "/me/", origin)
            .header("access-control-request-private-network", "true");
        let reply = asked.await.expect(204);
        for (field, value) in [
            ("access-control-allow-origin", origin),
            ("access-control-allow-methods", "GET, PATCH"),
            ("access-control-allow-headers", "authorization, x-own"),
            ("access-control-expose-headers", "etag"),
            ("access-control-max-age", "7200"),
            ("access-control-allow-private-network", "true"),
        ] {
            assert_eq!(reply.header(field), Some(value), "{origin}");
        }
    }
    for origin in ["http://localhost:3001", "https://pr-x.preview.example.com", "https://preview.example.com"]
    {
        preflight(&app.anonymous(), "/me/", origin).await.expect(403);
    }

    let app = support::with(&[("cors.allow_all_origins", "true")]).await;
    for origin in [APP, EVIL, "null"] {
        let reply = preflight(&app.anonymous(), "/me/", origin).await.expect(204);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
        assert_eq!((reply.header("vary"), reply.header("access-control-allow-credentials")), (None, None));
    }
    let reply = app.anonymous().get("/me/").await.expect(401);
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "CORS-11: also where no page asked");
}

// CSRF-06, contract §2
#[tokio::test]
async fn an_origin_that_may_read_with_cookies_may_not_write_with_them() {
    let settings = [ALLOWED, ("cors.allow_credentials", "true")];
    for (trusted, may_write) in [("", false), (APP, true)] {
        let app = support::with(&[&settings[..], &[("csrf.trusted_origins", trusted)]].concat()).await;
        let browser = Browser::logged_in(&app, "member").await;
        let cross = |call: Call| call.header("origin", APP).header("sec-fetch-site", "same-site");
        let read = cross(browser.request(Method::GET, "/auth/session/")).await.expect(200);
        assert_eq!(may_read(&read), Some(APP));
        assert_eq!(read.header("access-control-allow-credentials"), Some("true"));

        let write = cross(browser.request(Method::POST, TASKS).json(&json!({"title": "x"}))).await;
        assert_eq!(may_read(&write), Some(APP), "also what went wrong");
        assert_eq!(write.header("access-control-allow-credentials"), Some("true"));
        if may_write {
            write.expect(201);
        } else {
            write.expect_problem(403, "csrf-failed");
        }
        // One origin lets no other in, though the cookie is good.
        let foreign = browser.request(Method::GET, "/auth/session/").header("origin", EVIL).await.expect(200);
        assert_eq!(may_read(&foreign), None);
        assert_eq!(foreign.header("access-control-allow-credentials"), None);
        let log_in = json!({"username": "member", "password": TestApp::PASSWORD});
        let log_in = cross(browser.request(Method::POST, "/auth/session/").json(&log_in)).await;
        assert_eq!(log_in.status(), if may_write { 200 } else { 403 });
    }
}

// CORS-09: a client that is too slow, on a real socket.
#[test]
fn a_request_that_never_came_whole_is_refused_readably() {
    let mut site = Site::new();
    site.set("BAILIWICK_CORS__ALLOWED_ORIGINS", APP);
    site.set("BAILIWICK_SERVER__REQUEST_TIMEOUT", "1s");
    let server = site.serve();
    let mut client = server.connect();
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: localhost\r\nOrigin: {APP}\r\nContent-Type: application/json\r\n\
         Authorization: Token {}\r\nContent-Length: 20\r\n\r\n{{",
        "/api/v1/orgs/acme/tasks/", site.token
    );
    client.send(head.as_bytes()).unwrap();
    let answer = client.answer(false).unwrap();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert!(answer.head.contains(&format!("\r\naccess-control-allow-origin: {APP}\r\n")), "{}", answer.head);
    assert!(answer.head.contains("\r\nvary: Origin\r\n"), "{}", answer.head);
    server.stop();
}

// Contract §6, CORS-24, CORS-41: refused at the start, and what could not be done safely in any way even if accepted.
#[test]
fn unsafe_settings_are_refused_at_start() {
    let regex = r"^https://.*example\.com$";
    for (code, may_accept, settings) in [
        ("CORS-001", false, &[("ALLOW_ALL_ORIGINS", "true"), ("ALLOW_CREDENTIALS", "true")][..]),
        ("CORS-002", false, &[("ALLOWED_ORIGINS", "null")]),
        ("CORS-003", false, &[("ALLOWED_ORIGIN_REGEXES", regex)]),
        (
            "CORS-004",
            true,
            &[("ALLOWED_ORIGIN_REGEXES", r"^https://a\.example\.com$"), ("ALLOW_CREDENTIALS", "true")],
        ),
        ("CORS-005", true, &[("ALLOWED_ORIGINS", "http://app.example.com")]),
        ("CORS-007", false, &[("ALLOW_ALL_ORIGINS", "true"), ("ALLOW_PRIVATE_NETWORK", "true")]),
    ] {
        let mut site = Site::new();
        for (name, value) in settings {
            site.set(&format!("BAILIWICK_CORS__{name}"), value);
        }
        let refused = site.run(&["serve"], None);
        assert_eq!(refused.code, Some(2), "{code}: {}", refused.err);
        assert!(refused.err.contains(code), "{code}: {}", refused.err);
        let checked = site.run(&["check", "--format", "json"], None);
        assert_eq!(checked.code, Some(1), "{code}: {}", checked.err);
        assert!(checked.out.contains(&format!("\"{code}\"")), "{code}: {}", checked.out);
        site.set("BAILIWICK_CHECK__ALLOW", code);
        if may_accept {
            site.serve().stop();
        } else {
            let refused = site.run(&["serve"], None);
            assert_eq!(refused.code, Some(2), "{code}: {}", refused.err);
            assert!(refused.err.contains("cors."), "{code}: {}", refused.err);
        }
    }
    for (name, wrong) in [
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "https://app.example.com/"),
        ("ALLOWED_ORIGINS", "https://App.example.com"),
        ("ALLOWED_ORIGINS", "https://app.example.com:443"),
        ("ALLOWED_ORIGINS", "app.example.com"),
        ("ALLOWED_ORIGIN_REGEXES", "^https://("),
        ("ALLOWED_HEADERS", "*"),
        ("EXPOSED_HEADERS", "etag, *"),
        ("ALLOWED_METHODS", "*"),
        ("MAX_AGE", "0s"),
    ] {
        let mut site = Site::bare();
        site.set(&format!("BAILIWICK_CORS__{name}"), wrong);
        let refused = site.run(&["check"], None);
        assert_eq!(refused.code, Some(2), "{name} = {wrong}: {}", refused.err);
        assert!(refused.err.contains(&format!("cors.{}", name.to_lowercase())), "{}", refused.err);
    }
}
