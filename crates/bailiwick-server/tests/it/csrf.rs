//! Requests that another site forges: every combination of what a browser may send.
use bailiwick_testkit::{Call, TestApp};
use http::Method;
use serde_json::json;

use crate::{
    browser::Browser,
    support::{self, TASKS, Tasks},
};

const TRUSTED: &str = "https://app.example.com";

/// What the browser says of where a request comes from, and whether that may be.
const ORIGINS: &[(Option<&str>, Source)] = &[
    (None, Source::Unknown),
    (Some("http://localhost"), Source::Own),
    (Some(TRUSTED), Source::Trusted),
    (Some("https://evil.example"), Source::Foreign),
    (Some("null"), Source::Foreign),
    // Not byte for byte what this site or the trusted one is called.
    (Some("https://localhost"), Source::Foreign),
    (Some("http://localhost:8000"), Source::Foreign),
    (Some("http://localhost.evil.example"), Source::Foreign),
    (Some("https://app.example.com.evil.example"), Source::Foreign),
    (Some("http://app.example.com"), Source::Foreign),
    (Some("https://app.example.com:8443"), Source::Foreign),
    (Some(""), Source::Foreign),
];
const SITES: &[(Option<&str>, bool)] = &[
    (None, true),
    (Some("same-origin"), true),
    (Some("none"), true),
    (Some("same-site"), false),
    (Some("cross-site"), false),
    // CSRF-12: what nobody knows is refused.
    (Some("Same-Origin"), false),
    (Some("nonsense"), false),
    (Some(""), false),
];

#[derive(Clone, Copy, PartialEq)]
enum Source {
    Unknown,
    Own,
    Trusted,
    Foreign,
}

fn may_come(source: Source, site_is_right: bool) -> bool {
    match source {
        Source::Trusted => true,
        Source::Foreign => false,
        Source::Unknown | Source::Own => site_is_right,
    }
}

fn with(call: Call, name: &str, value: Option<&str>) -> Call {
    match value {
        Some(value) => call.header(name, value),
        None => call,
    }
}

async fn app() -> TestApp {
    support::with(&[("csrf.trusted_origins", TRUSTED)]).await
}

/// One character of a token is another: 43 is past the random part.
fn altered(token: &str) -> String {
    let other = if token.as_bytes()[43] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &token[..43], &token[44..])
}

// CSRF-01, CSRF-05, CSRF-12, CSRF-35 and contract §2: every cell.
#[tokio::test]
async fn a_request_that_changes_something_is_obeyed_exactly_in_these_cells() {
    let app = app().await;
    let mut live = Browser::new(&app);
    let before = live.fetch_csrf_token().await;
    live.log_in("member").await.expect(200);
    let right = live.csrf_token.clone().unwrap();
    let fetched = live.clone().fetch_csrf_token().await;
    let mut another = Browser::logged_in(&app, "member").await;
    let of_another = another.fetch_csrf_token().await;
    let dead = Browser::logged_in(&app, "member").await;
    dead.delete("/auth/session/").await.expect(204);
    let of_dead = dead.csrf_token.clone().unwrap();
    let altered = altered(&right);
    let nobody = Browser::new(&app);

    let tokens: &[(Option<&str>, bool)] = &[
        (None, false),
        (Some(&right), true),
        (Some(&fetched), true),
        (Some(&of_another), false),
        (Some(&before), false),
        (Some(&of_dead), false),
        (Some(&altered), false),
        (Some(live.session().unwrap()), false),
        (Some(""), false),
        (Some("x"), false),
    ];
    let good = format!("Token {}", app.member().token());
    let bad = "Token bw_pat_000000000000000000000000000000000000".to_owned();
    let mut cells = 0;
    let mut made = 0;
    for (cookie, is_live) in [(&nobody, None), (&live, Some(true)), (&dead, Some(false))] {
        for authorization in [None, Some(&good), Some(&bad)] {
            for (origin, source) in ORIGINS {
                for (site, site_is_right) in SITES {
                    for (token, token_is_right) in tokens {
                        let expected = match (authorization, is_live) {
                            (Some(value), _) if *value == good => (201, None),
                            (Some(_), _) => (401, Some("invalid-token")),
                            (None, None) => (401, Some("unauthenticated")),
                            (None, Some(false)) => (401, Some("invalid-token")),
                            (None, Some(true)) if may_come(*source, *site_is_right) && *token_is_right => {
                                (201, None)
                            }
                            (None, Some(true)) => (403, Some("csrf-failed")),
                        };
                        let mut call = cookie.bare(Method::POST, TASKS).json(&json!({"title": "changed"}));
                        call = with(call, "origin", *origin);
                        call = with(call, "sec-fetch-site", *site);
                        call = with(call, "x-csrftoken", *token);
                        call = with(call, "authorization", authorization.map(String::as_str));
                        let reply = call.await;
                        let found = (reply.status().as_u16(), (reply.status() != 201).then(|| reply.code()));
                        assert_eq!(
                            (found.0, found.1.as_deref()),
                            expected,
                            "session {is_live:?}, {authorization:?}, {origin:?}, {site:?}, {token:?}"
                        );
                        made += usize::from(reply.status() == 201);
                        cells += 1;
                    }
                }
            }
        }
    }
    assert_eq!(cells, 3 * 3 * ORIGINS.len() * SITES.len() * tokens.len());
    let list = app.member().get(TASKS).await.json();
    assert_eq!(list["count"], json!(made), "what was refused changed nothing");
}

// CSRF-03, CSRF-35: the same of the log-in itself, where nobody has a session yet.
#[tokio::test]
async fn a_browser_is_logged_in_exactly_in_these_cells() {
    let app = app().await;
    let mut browser = Browser::new(&app);
    let right = browser.fetch_csrf_token().await;
    let mut other = Browser::new(&app);
    let of_another = other.fetch_csrf_token().await;
    let altered = altered(&right);
    let cookie = browser.cookie("bailiwick_csrf").unwrap().to_owned();
    let tokens: &[(Option<&str>, bool)] = &[
        (None, false),
        (Some(&right), true),
        (Some(&of_another), false),
        (Some(&altered), false),
        // A token that is its cookie proves nothing (CSRF-32).
        (Some(&cookie), false),
        (Some(""), false),
    ];
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    for has_cookie in [true, false] {
        for (origin, source) in ORIGINS {
            for (site, site_is_right) in SITES {
                for (token, token_is_right) in tokens {
                    let sender = if has_cookie { browser.clone() } else { Browser::new(&app) };
                    let mut call = sender.bare(Method::POST, "/auth/session/").json(&credentials);
                    call = with(call, "origin", *origin);
                    call = with(call, "sec-fetch-site", *site);
                    call = with(call, "x-csrftoken", *token);
                    let reply = call.await;
                    let passes = has_cookie && *token_is_right && may_come(*source, *site_is_right);
                    let expected = if passes { 200 } else { 403 };
                    assert_eq!(reply.status(), expected, "{has_cookie}, {origin:?}, {site:?}, {token:?}");
                    let sets = reply.headers().contains_key("set-cookie");
                    assert_eq!(sets, passes, "a log-in that is refused sets nothing");
                }
            }
        }
    }
}

// CSRF-35: a browser that is logged in logs in again with the token of its session.
#[tokio::test]
async fn a_token_of_the_session_is_good_for_the_next_log_in_and_for_nothing_after_it() {
    let app = app().await;
    let mut browser = Browser::logged_in(&app, "member").await;
    let old = browser.csrf_token.clone().unwrap();
    let credentials = json!({"username": "admin", "password": TestApp::PASSWORD});
    let reply = browser.request(Method::POST, "/auth/session/").json(&credentials).await.expect(200);
    browser.keep(&reply);
    browser.csrf_token = Some(old);
    browser
        .request(Method::POST, TASKS)
        .json(&json!({"title": "x"}))
        .await
        .expect_problem(403, "csrf-failed");
}

// CSRF-01: what changes nothing needs nothing, wherever it comes from.
#[tokio::test]
async fn reading_needs_no_token() {
    let app = app().await;
    let browser = Browser::logged_in(&app, "member").await;
    for method in [Method::GET, Method::HEAD] {
        for (origin, _) in ORIGINS {
            for (site, _) in SITES {
                let mut call = browser.bare(method.clone(), "/me/");
                call = with(call, "origin", *origin);
                call = with(call, "sec-fetch-site", *site);
                call.await.expect(200);
            }
        }
    }
}

// Contract §2: the answer comes before 404, 415 and 422, and every unsafe method is meant.
#[tokio::test]
async fn every_unsafe_method_is_guarded_before_anything_else_is_looked_at() {
    let app = app().await;
    let browser = Browser::logged_in(&app, "member").await;
    let task = app.member().task(json!({"title": "mine"})).await;
    for (method, path) in [
        (Method::POST, TASKS),
        (Method::PUT, &*task),
        (Method::PATCH, &*task),
        (Method::DELETE, &*task),
        (Method::DELETE, "/auth/session/"),
        (Method::DELETE, "/auth/sessions/"),
        (Method::POST, "/orgs/"),
        (Method::POST, "/orgs/other/tasks/"),
        (Method::POST, "/orgs/nowhere/tasks/"),
        (Method::POST, "/nowhere/"),
        (Method::TRACE, "/me/"),
    ] {
        let call = browser.bare(method.clone(), path).body("text/plain", "{not json");
        let reply = call.await;
        if method == Method::TRACE {
            reply.expect_problem(405, "method-not-allowed");
        } else {
            reply.expect_problem(403, "csrf-failed");
        }
    }
    app.member().get(&task).await.expect(200);
    // With the token it is the next thing that is wrong.
    let call = browser.request(Method::POST, TASKS).body("text/plain", r#"{"title": "x"}"#);
    call.await.expect_problem(415, "unsupported-media-type");
    browser
        .request(Method::POST, "/orgs/other/tasks/")
        .json(&json!({}))
        .await
        .expect_problem(404, "not-found");
}

// CSRF-32: of a field that is sent twice nobody knows which is meant; and the token is in no other place.
#[tokio::test]
async fn a_token_is_one_field_of_the_header() {
    let app = app().await;
    let browser = Browser::logged_in(&app, "member").await;
    let token = browser.csrf_token.clone().unwrap();
    let body = json!({"title": "x"});
    let post = |path: &str| browser.bare(Method::POST, path).json(&body);
    post(TASKS).header("x-csrftoken", &token).await.expect(201);
    let twice = post(TASKS).header("x-csrftoken", &token).header("x-csrftoken", &token);
    twice.await.expect_problem(403, "csrf-failed");
    let origins =
        post(TASKS).header("x-csrftoken", &token).header("origin", TRUSTED).header("origin", TRUSTED);
    origins.await.expect_problem(403, "csrf-failed");
    let sites = post(TASKS).header("x-csrftoken", &token).header("sec-fetch-site", "none");
    sites.header("sec-fetch-site", "none").await.expect_problem(403, "csrf-failed");
    post(&format!("{TASKS}?csrf_token={token}")).await.expect_problem(403, "csrf-failed");
    let cookie = format!("bailiwick_session={}; csrf_token={token}", browser.session().unwrap());
    app.anonymous()
        .post(TASKS, body.clone())
        .header("cookie", cookie)
        .await
        .expect_problem(403, "csrf-failed");
    post(TASKS).header("x-csrftoken", b"\xff\xfe").await.expect_problem(403, "csrf-failed");
    post(TASKS).header("x-csrftoken", "A".repeat(7000)).await.expect_problem(403, "csrf-failed");
}

// The form without the slash is the same route.
#[tokio::test]
async fn both_forms_of_the_path_are_guarded() {
    let app = app().await;
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    for path in ["/auth/session/", "/auth/session"] {
        app.anonymous().post(path, credentials.clone()).await.expect_problem(403, "csrf-failed");
    }
}
