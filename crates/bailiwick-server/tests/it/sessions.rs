//! Sessions of browsers: how they begin, work and end.
use std::time::Duration;

use bailiwick_testkit::{Fault, Operation, TestApp};
use http::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::{
    browser::Browser,
    support::{self, NOBODY, TASKS, Tasks},
};

const MINUTE: Duration = Duration::from_secs(60);

fn set_cookies(reply: &bailiwick_testkit::Reply) -> Vec<String> {
    reply.headers().get_all("set-cookie").iter().map(|field| field.to_str().unwrap().to_owned()).collect()
}

// Contract §2, SES-01, SES-12
#[tokio::test]
async fn a_browser_logs_in_works_and_logs_out() {
    let app = support::start().await;
    let mut browser = Browser::new(&app);
    browser.get("/auth/session/").await.expect_problem(401, "unauthenticated");
    let reply = browser.log_in("member").await.expect(200);
    let body = reply.json();
    assert_eq!(body["user"]["id"], json!(app.member().id()));
    assert_eq!(body["user"]["username"], "member");
    assert_eq!(body.as_object().unwrap().len(), 3, "user, csrf_token, expires_at: {body}");
    let cookies = set_cookies(&reply);
    assert_eq!(cookies.len(), 2, "{cookies:?}");
    assert!(cookies[0].starts_with("bailiwick_session=bw_ses_"), "{cookies:?}");
    assert!(cookies[0].ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{cookies:?}");
    assert!(cookies[1].starts_with("bailiwick_csrf=;") && cookies[1].contains("Max-Age=0"), "{cookies:?}");
    assert_eq!(reply.header("cache-control"), Some("no-store"));

    let me = browser.get("/me/").await.expect(200);
    assert_eq!(me.json()["username"], "member");
    assert!(me.header("vary").unwrap().contains("cookie"), "{:?}", me.headers());
    let made = browser.request(Method::POST, TASKS).json(&json!({"title": "by browser"})).await.expect(201);
    assert_eq!(made.json()["created_by"], json!(app.member().id()));
    let shown = browser.get("/auth/session/").await.expect(200).json();
    assert_eq!((&shown["user"], &shown["expires_at"]), (&body["user"], &body["expires_at"]));

    let text = browser.session().unwrap().to_owned();
    let reply = browser.delete("/auth/session/").await.expect(204);
    let cookies = set_cookies(&reply);
    assert!(cookies.len() == 1 && cookies[0].starts_with("bailiwick_session=;"), "{cookies:?}");
    // SES-20: whoever kept the cookie has nothing.
    let reply = browser.get("/me/").await.expect_problem(401, "invalid-token");
    assert!(set_cookies(&reply)[0].contains("Max-Age=0"), "what has ended is removed");
    assert!(!reply.text().contains(&text));
    browser.keep(&reply);
    browser.get("/me/").await.expect_problem(401, "unauthenticated");
}

// Contract §2: the cookie's name says how it came.
#[tokio::test]
async fn over_https_cookies_have_the_prefix_that_nobody_else_can_set() {
    let app = support::with(&[("server.allowed_hosts", "api.example.com")]).await;
    let at_host = |call: bailiwick_testkit::Call| call.without("host").header("host", "api.example.com");
    let browser = Browser::new(&app);
    let reply = at_host(browser.request(Method::GET, "/auth/csrf/")).await.expect(200);
    let mut browser = browser;
    browser.keep(&reply);
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let reply = at_host(browser.request(Method::POST, "/auth/session/").json(&credentials)).await.expect(200);
    for cookie in set_cookies(&reply) {
        assert!(cookie.starts_with("__Host-bailiwick_") && cookie.contains("; Secure"), "{cookie}");
        assert!(cookie.contains("; Path=/") && !cookie.contains("Domain"), "{cookie}");
    }
    browser.keep(&reply);
    at_host(browser.request(Method::GET, "/me/")).await.expect(200);
    // The weaker name is not read here.
    let text = browser.cookie("__Host-bailiwick_session").unwrap().to_owned();
    browser.cookies = vec![("bailiwick_session".to_owned(), text)];
    at_host(browser.request(Method::GET, "/me/")).await.expect_problem(401, "unauthenticated");
}

// A proxy that ends TLS may pass on a host of its own: what the site is called decides.
#[tokio::test]
async fn behind_a_proxy_with_a_host_of_its_own_cookies_are_as_over_https() {
    let app = support::with(&[("server.public_url", "https://api.example.com")]).await;
    let mut browser = Browser::new(&app);
    let reply = browser.request(Method::GET, "/auth/csrf/").await.expect(200);
    assert!(reply.header("strict-transport-security").is_some());
    browser.keep(&reply);
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let log_in = |origin: &str| {
        browser.request(Method::POST, "/auth/session/").json(&credentials).header("origin", origin)
    };
    log_in("http://api.example.com").await.expect_problem(403, "csrf-failed");
    let reply = log_in("https://api.example.com").await.expect(200);
    for cookie in set_cookies(&reply) {
        assert!(cookie.starts_with("__Host-bailiwick_") && cookie.contains("; Secure"), "{cookie}");
    }
}

// SES-12, SES-14, CSRF-35
#[tokio::test]
async fn every_log_in_has_an_id_of_its_own_and_ends_the_one_before() {
    let app = support::start().await;
    let mut browser = Browser::new(&app);
    // What an attacker has planted is not adopted.
    let planted = "bw_ses_000000000000000000000000000000000000";
    browser.cookies.push(("bailiwick_session".to_owned(), planted.to_owned()));
    browser.log_in("member").await.expect(200);
    let first = browser.clone();
    assert_ne!(first.session(), Some(planted));
    browser.log_in("member").await.expect(200);
    assert_ne!(first.session(), browser.session());
    first.get("/me/").await.expect_problem(401, "invalid-token");
    // Another user in the same browser: the former one is logged out.
    let second = browser.clone();
    browser.log_in("admin").await.expect(200);
    second.get("/me/").await.expect_problem(401, "invalid-token");
    assert_eq!(browser.get("/me/").await.expect(200).json()["username"], "admin");
    // A log-in that fails ends nothing.
    browser.fetch_csrf_token().await;
    let wrong = json!({"username": "member", "password": "wrong"});
    browser
        .request(Method::POST, "/auth/session/")
        .json(&wrong)
        .await
        .expect_problem(401, "invalid-credentials");
    browser.get("/me/").await.expect(200);
}

// SES-16 to SES-19
#[tokio::test]
async fn a_session_ends_when_it_is_idle_and_when_it_is_old() {
    let app = support::with(&[("sessions.idle", "10m"), ("sessions.absolute", "1h")]).await;
    let idle = Browser::logged_in(&app, "member").await;
    let used = Browser::logged_in(&app, "member").await;
    for _ in 0..9 {
        app.clock().advance(MINUTE);
        used.get("/me/").await.expect(200);
    }
    app.clock().advance(MINUTE - Duration::from_millis(1));
    idle.clone().get("/me/").await.expect(200);
    let idle = Browser::logged_in(&app, "member").await;
    used.get("/me/").await.expect(200);
    app.clock().advance(10 * MINUTE);
    idle.get("/me/").await.expect_problem(401, "invalid-token");
    used.get("/me/").await.expect_problem(401, "invalid-token");

    let used = Browser::logged_in(&app, "member").await;
    for _ in 0..59 {
        app.clock().advance(MINUTE);
        used.get("/me/").await.expect(200);
    }
    app.clock().advance(MINUTE - Duration::from_millis(1));
    used.get("/me/").await.expect(200);
    app.clock().advance(Duration::from_millis(1));
    used.get("/me/").await.expect_problem(401, "invalid-token");
}

// SES-17: contract §2, 30 minutes from the use that is answered.
#[tokio::test]
async fn a_session_says_when_it_ends_now_that_it_was_used() {
    let app = support::start().await;
    let browser = Browser::logged_in(&app, "member").await;
    for minutes in [25, 1, 29] {
        app.clock().advance(minutes * MINUTE);
        let end = bailiwick::clock::Clock::now(app.clock()).saturating_add(30 * MINUTE);
        let shown = browser.get("/auth/session/").await.expect(200).json();
        assert_eq!(shown["expires_at"], json!(end), "after {minutes} minutes");
        // What is asked at once is answered alike, noted or not.
        let again = browser.get("/auth/session/").await.expect(200).json();
        assert_eq!(again["expires_at"], shown["expires_at"]);
    }
}

// SES-19, I9
#[tokio::test]
async fn a_read_does_not_wait_for_a_use_that_cannot_be_noted() {
    let app = support::start().await;
    let browser = Browser::logged_in(&app, "member").await;
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let pair = app.anonymous().post("/auth/jwt/", credentials).await.expect(200).json();
    let access = format!("Bearer {}", pair["access"].as_str().unwrap());
    app.clock().advance(2 * MINUTE);
    app.store().fail_all(Operation::NoteUse, Fault::Hang);
    for (credential, call) in [
        ("session", browser.request(Method::GET, "/me/")),
        ("token", app.member().request(Method::GET, "/me/")),
        ("access token", app.anonymous().get("/me/").authorization(access)),
    ] {
        let before = app.store().calls(Operation::NoteUse);
        let reply = tokio::time::timeout(Duration::from_secs(1), call.into_future()).await;
        reply.unwrap_or_else(|_| panic!("{credential}: no answer within a second")).expect(200);
        assert_eq!(app.store().calls(Operation::NoteUse), before + 1, "{credential}");
    }
    // A session that could not be noted as used ends the earlier, and not at once.
    app.store().mend();
    browser.get("/me/").await.expect(200);
}

// SES-25
#[tokio::test]
async fn a_user_sees_and_ends_their_sessions_and_nobody_elses() {
    let app = support::start().await;
    let mut browsers = Vec::new();
    for _ in 0..3 {
        browsers.push(Browser::logged_in(&app, "member").await);
        app.clock().advance(Duration::from_secs(1));
    }
    let other = Browser::logged_in(&app, "admin").await;
    let list = browsers[2].get("/auth/sessions/").await.expect(200).json();
    assert_eq!((&list["count"], &list["next"], &list["previous"]), (&json!(3), &json!(null), &json!(null)));
    let listed = list["results"].as_array().unwrap();
    let current: Vec<_> = listed.iter().map(|session| session["current"].as_bool().unwrap()).collect();
    assert_eq!(current, [true, false, false]);
    for session in listed {
        let mut names: Vec<_> = session.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["address", "created_at", "current", "id", "last_seen_at", "user_agent"]);
        assert_eq!(session["address"], "127.0.0.1");
    }
    // The same list with a token, of which none is the current one.
    let by_token = app.member().get("/auth/sessions/?page_size=2").await.expect(200);
    assert_eq!(by_token.json()["results"].as_array().unwrap().len(), 2);
    assert!(by_token.json()["results"][0]["current"] == json!(false) && by_token.header("link").is_some());
    app.member().get("/auth/sessions/?page=3").await.expect_problem(404, "not-found");
    app.member().get("/auth/sessions/?ordering=id").await.expect_problem(422, "validation-failed");

    let first = listed[2]["id"].as_str().unwrap();
    let path = format!("/auth/sessions/{first}/");
    other.delete(&path).await.expect_problem(404, "not-found");
    app.admin().delete(&path).await.expect_problem(404, "not-found");
    browsers[0].get("/me/").await.expect(200);
    browsers[2].delete(&path).await.expect(204);
    browsers[2].delete(&path).await.expect_problem(404, "not-found");
    browsers[0].get("/me/").await.expect_problem(401, "invalid-token");
    for none in [NOBODY, "x", "%00"] {
        browsers[2].delete(&format!("/auth/sessions/{none}/")).await.expect_problem(404, "not-found");
    }
    browsers[2].delete("/auth/sessions/").await.expect(204);
    browsers[1].get("/me/").await.expect_problem(401, "invalid-token");
    browsers[2].get("/me/").await.expect(200);
    app.member().delete("/auth/sessions/").await.expect(204);
    browsers[2].get("/me/").await.expect_problem(401, "invalid-token");
    app.member().get("/me/").await.expect(200);
    other.get("/me/").await.expect(200);
    // Ending the current one by its id logs out.
    let mine = other.get("/auth/sessions/").await.json()["results"][0]["id"].as_str().unwrap().to_owned();
    let reply = other.delete(&format!("/auth/sessions/{mine}/")).await.expect(204);
    assert!(set_cookies(&reply)[0].contains("Max-Age=0"));
}

// SES-21, SES-22
#[tokio::test]
async fn a_disabled_user_and_an_old_password_have_no_session() {
    let app = support::start().await;
    let member = Browser::logged_in(&app, "member").await;
    app.set_active(&app.member(), false).await;
    let reply = member.get("/me/").await.expect_problem(401, "invalid-token");
    assert_eq!(set_cookies(&reply).len(), 1);
    let mut again = Browser::new(&app);
    again.log_in("member").await.expect_problem(401, "invalid-credentials");
    // Let in again, they log in again.
    app.set_active(&app.member(), true).await;
    member.get("/me/").await.expect_problem(401, "invalid-token");

    let admin = Browser::logged_in(&app, "admin").await;
    let (name, hash) = ("admin".parse().unwrap(), bailiwick::secret::Secret::new("another hash".to_owned()));
    let now = bailiwick::clock::Clock::now(app.clock());
    bailiwick::store::Directory::set_password(app.store(), &name, &hash, bailiwick::audit::Act::system(now))
        .await
        .unwrap();
    admin.get("/me/").await.expect_problem(401, "invalid-token");
}

// I9: what the store cannot do is refused, and what was stays.
#[tokio::test]
async fn with_the_store_failing_no_credential_begins_and_none_is_said_to_have_ended() {
    let app = support::start().await;
    let browser = Browser::logged_in(&app, "member").await;
    let made = app.member().post("/auth/tokens/", json!({"name": "x"})).await.expect(201).json();
    let token = format!("/auth/tokens/{}/", made["id"].as_str().unwrap());
    let rotate = format!("{token}rotate/");
    let mut other = Browser::new(&app);
    other.fetch_csrf_token().await;
    let credentials = json!({"username": "admin", "password": TestApp::PASSWORD});
    for fault in [Fault::Unavailable, Fault::NotWritable, Fault::Corrupt, Fault::Refused] {
        for (operation, call) in [
            (Operation::CreateSession, other.request(Method::POST, "/auth/session/").json(&credentials)),
            (Operation::EndSessions, browser.request(Method::DELETE, "/auth/session/")),
            (Operation::EndSessions, browser.request(Method::DELETE, "/auth/sessions/")),
            (Operation::SessionsOf, browser.request(Method::GET, "/auth/sessions/")),
            (
                Operation::CreateToken,
                browser.request(Method::POST, "/auth/tokens/").json(&json!({"name": "y"})),
            ),
            (Operation::RotateToken, browser.request(Method::POST, &rotate).json(&json!({}))),
            (Operation::RevokeToken, browser.request(Method::DELETE, &token)),
            (Operation::TokensOf, browser.request(Method::GET, "/auth/tokens/")),
        ] {
            let before = app.store().calls(operation);
            app.store().fail_all(operation, fault);
            let reply = call.await.expect_problem(503, "unavailable");
            assert!(!reply.headers().contains_key("set-cookie"), "{operation:?}: {reply:?}");
            assert!(app.store().calls(operation) > before, "{operation:?} was never asked");
            app.store().mend();
        }
    }
    browser.get("/me/").await.expect(200);
    let authorization = format!("Token {}", made["token"].as_str().unwrap());
    app.anonymous().get("/me/").authorization(authorization).await.expect(200);
    assert_eq!(app.member().get("/auth/sessions/").await.json()["count"], 1);
    // That a use cannot be noted keeps nobody out.
    app.clock().advance(2 * MINUTE);
    app.store().fail_all(Operation::NoteUse, Fault::Unavailable);
    browser.get("/me/").await.expect(200);
}

// CSRF-05, TOK-04
#[tokio::test]
async fn authorization_decides_where_both_are_sent() {
    let app = support::start().await;
    let member = Browser::logged_in(&app, "member").await;
    let call = member.bare(Method::GET, "/me/").authorization(format!("Token {}", app.admin().token()));
    assert_eq!(call.await.expect(200).json()["username"], "admin");
    for bad in
        ["Token x", "Basic bWVtYmVyOng=", "Token", "", "Bearer bw_ses_000000000000000000000000000000000000"]
    {
        let call = member.bare(Method::GET, "/me/").authorization(bad);
        let reply = call.await.expect_problem(401, "invalid-token");
        assert_eq!(set_cookies(&reply), [""; 0], "the session is as good as before");
    }
    member.get("/me/").await.expect(200);
    // A session is no token, and a token no session.
    let text = member.session().unwrap().to_owned();
    app.anonymous()
        .get("/me/")
        .authorization(format!("Bearer {text}"))
        .await
        .expect_problem(401, "invalid-token");
    let cookie = format!("bailiwick_session={}", app.member().token());
    app.anonymous().get("/me/").header("cookie", cookie).await.expect_problem(401, "invalid-token");
    // A log-in for a token heeds no cookie: neither is its caller checked, nor is the session ended.
    let credentials = json!({"username": "admin", "password": TestApp::PASSWORD});
    member.bare(Method::POST, "/auth/token/").json(&credentials).await.expect(200);
    member.get("/me/").await.expect(200);
}

#[tokio::test]
async fn cookies_that_are_no_sessions_are_nobodys() {
    let app = support::start().await;
    let good = Browser::logged_in(&app, "member").await.session().unwrap().to_owned();
    let typo = format!("{}x", &good[..good.len() - 1]);
    for (cookie, code) in [
        ("bailiwick_session=".to_owned(), "invalid-token"),
        ("bailiwick_session=x".to_owned(), "invalid-token"),
        (format!("bailiwick_session={typo}"), "invalid-token"),
        (format!("bailiwick_session=\"{good}\""), "invalid-token"),
        (format!("bailiwick_session={}", "x".repeat(7000)), "invalid-token"),
        (format!("bailiwick_session={good}; bailiwick_session={good}"), "unauthenticated"),
        (format!("__Host-bailiwick_session={good}"), "unauthenticated"),
        (format!("BAILIWICK_SESSION={good}"), "unauthenticated"),
    ] {
        let reply = app.anonymous().get("/me/").header("cookie", &cookie).await;
        reply.expect_problem(401, code);
        // What is public stays so.
        app.anonymous().get("/auth/csrf/").header("cookie", &cookie).await.expect(200);
    }
    let cookie = format!(" a=b;bailiwick_session={good} ; c");
    app.anonymous().get("/me/").header("cookie", cookie).await.expect(200);
    let call = app.anonymous().get("/me/").header("cookie", "a=b");
    call.header("cookie", format!("bailiwick_session={good}")).await.expect(200);
}

// SES-20, SES-27: with many callers at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_session_that_was_logged_out_never_comes_back() {
    let app = support::start().await;
    for _ in 0..10 {
        let browser = Browser::logged_in(&app, "member").await;
        // So that each of them notes a use.
        app.clock().advance(2 * MINUTE);
        let mut callers = JoinSet::new();
        for _ in 0..8 {
            let browser = browser.clone();
            callers.spawn(async move { browser.get("/me/").await.status().as_u16() });
        }
        browser.delete("/auth/session/").await.expect(204);
        browser.get("/me/").await.expect_problem(401, "invalid-token");
        for status in callers.join_all().await {
            assert!(status == 200 || status == 401, "{status}");
        }
        browser.get("/me/").await.expect_problem(401, "invalid-token");
        let listed = app.member().get("/auth/sessions/").await.json();
        assert_eq!(listed["count"], 0);
    }
}

// Contract §1: `login` is one quota for all ways to log in.
#[tokio::test]
async fn log_ins_of_browsers_and_for_tokens_spend_one_quota() {
    let app = support::throttled(&[]).await;
    let mut browser = Browser::new(&app);
    let credentials = json!({"username": "member", "password": "wrong"});
    browser.fetch_csrf_token().await;
    for _ in 0..2 {
        browser.request(Method::POST, "/auth/session/").json(&credentials).await.expect(401);
        app.anonymous().post("/auth/token/", credentials.clone()).await.expect(401);
    }
    // One that is forged is counted too.
    browser.bare(Method::POST, "/auth/session/").json(&credentials).await.expect_problem(403, "csrf-failed");
    browser.request(Method::POST, "/auth/session/").json(&credentials).await.expect_problem(429, "throttled");
    app.anonymous().post("/auth/token/", credentials).await.expect_problem(429, "throttled");
}

// TOK-25, SES-19: what is used is noted, but not each time.
#[tokio::test]
async fn the_last_use_is_noted_once_a_minute() {
    let app = support::start().await;
    let browser = Browser::logged_in(&app, "member").await;
    let last_seen_at = async || {
        let list = app.member().get("/auth/sessions/").await.json();
        list["results"][0]["last_seen_at"].as_str().unwrap().to_owned()
    };
    let began = last_seen_at().await;
    app.clock().advance(MINUTE - Duration::from_secs(1));
    browser.get("/me/").await.expect(200);
    assert_eq!(last_seen_at().await, began);
    app.clock().advance(Duration::from_secs(1));
    browser.get("/me/").await.expect(200);
    assert_ne!(last_seen_at().await, began);
}

// I4, SES-15: what a cookie holds is in no answer's body and in no line of the log.
#[tokio::test]
async fn what_a_cookie_holds_is_seen_nowhere_else() {
    let app = support::start().await;
    let browser = Browser::logged_in(&app, "member").await;
    app.member().task(json!({"title": "a"})).await;
    let text = browser.session().unwrap();
    for path in ["/me/", "/auth/session/", "/auth/sessions/", "/auth/csrf/"] {
        let reply = browser.get(path).await.expect(200);
        assert!(!reply.text().contains(text), "{path}");
    }
    assert!(!serde_json::to_string(&app.log()).unwrap().contains(text));
}

// LOG-02, LOG-06: what happens to an account is told, and holds nothing that a client wrote.
#[tokio::test]
async fn what_happens_to_an_account_is_a_line_of_the_log() {
    let app = support::start().await;
    let member = app.member().id().to_string();
    let events = || -> Vec<(String, String, Option<String>)> {
        let lines = app.log().into_iter().filter(|line| line["event"] != "http_request");
        lines
            .map(|line| {
                assert_eq!(line["remote_addr"], "127.0.0.1", "{line}");
                assert!(line["request_id"].is_string(), "{line}");
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
                (text("event"), text("level"), line["user_id"].as_str().map(str::to_owned))
            })
            .collect()
    };
    let mut seen = 0;
    let mut expect = |expected: &[(&str, &str, bool)]| {
        let all = events();
        let expected: Vec<_> = expected
            .iter()
            .map(|(event, level, known)| {
                ((*event).to_owned(), (*level).to_owned(), known.then(|| member.clone()))
            })
            .collect();
        assert_eq!(all[seen..], expected);
        seen = all.len();
    };
    let browser = Browser::logged_in(&app, "member").await;
    expect(&[("authn_login_success", "info", true), ("session_created", "info", true)]);
    let wrong =
        |name: &str| app.anonymous().post("/auth/token/", json!({"username": name, "password": "wrong"}));
    wrong("member").await.expect(401);
    wrong("my-secret-password").await.expect(401);
    expect(&[("authn_login_fail", "warn", true), ("authn_login_fail", "warn", false)]);
    let right = json!({"username": "member", "password": TestApp::PASSWORD});
    let reply = app.anonymous().post("/auth/token/", right).await.expect(200);
    expect(&[("authn_login_success", "info", true), ("authn_token_created", "info", true)]);
    let token = format!("Token {}", reply.json()["token"].as_str().unwrap());
    app.anonymous().delete("/auth/token/").authorization(&token).await.expect(204);
    expect(&[("authn_token_revoked", "info", true)]);
    let made = app.member().post("/auth/tokens/", json!({"name": "x"})).await.expect(201);
    let rotate = format!("/auth/tokens/{}/rotate/", made.id());
    app.member().post(&rotate, json!({})).await.expect(201);
    expect(&[("authn_token_created", "info", true), ("authn_token_rotated", "info", true)]);
    browser.bare(Method::POST, TASKS).json(&json!({"title": "x"})).await.expect(403);
    expect(&[("malicious_csrf", "warn", true)]);
    browser.delete("/auth/session/").await.expect(204);
    browser.get("/me/").await.expect(401);
    expect(&[("session_logout", "info", true), ("session_use_after_expire", "warn", false)]);
    let log = serde_json::to_string(&app.log()).unwrap();
    for secret in ["my-secret-password", "wrong", browser.session().unwrap(), TestApp::PASSWORD, &token] {
        assert!(!log.contains(secret), "{secret}");
    }
}
