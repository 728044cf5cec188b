//! Passwords: changing one, and replacing one that was lost (contract §2).
use std::time::Duration;

use bailiwick_testkit::{Call, Fault, Operation, Person, Reply, TestApp};
use http::Method;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    mail::{Mail, MailServer},
    support::{self, error, log_in},
};

const NEW: &str = "sheep count themselves at night";
const MINUTE: Duration = Duration::from_secs(60);

fn change(person: &Person, current: &str, new: &str) -> Call {
    person.post("/auth/password/", bodies(current, new))
}

fn bodies(current: &str, new: &str) -> Value {
    json!({"current_password": current, "new_password": new})
}

fn ask_for_reset(app: &TestApp, email: &str) -> Call {
    app.anonymous().post("/auth/password/reset/", json!({"email": email}))
}

fn confirm(app: &TestApp, token: &str, new: &str) -> Call {
    app.anonymous().post("/auth/password/reset/confirm/", json!({"token": token, "new_password": new}))
}

async fn mailing(server: &MailServer, changes: &[(&str, &str)]) -> TestApp {
    let url = server.url();
    let mail = [("mail.transport", url.as_str()), ("mail.from", "Bailiwick <noreply@example.com>")];
    support::with(&[&mail, changes].concat()).await
}

/// A fresh token of `member`, whose mail is the `number`th.
async fn token(app: &TestApp, server: &MailServer, number: usize) -> String {
    ask_for_reset(app, "member@example.com").await.expect(202);
    server.mails(number).await[number - 1].token()
}

// ---- changing

// PWD-11, SES-22
#[tokio::test]
async fn a_change_ends_all_but_the_session_that_made_it_which_gets_another_id() {
    let app = support::start().await;
    let (mut browser, other) =
        (Browser::logged_in(&app, "member").await, Browser::logged_in(&app, "member").await);
    let log_in_token = log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200).json();
    let by_log_in = |token: &Value| {
        let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
        app.anonymous().get("/me/").authorization(bearer)
    };
    by_log_in(&log_in_token).await.expect(200);
    let stranger = Browser::logged_in(&app, "admin").await;
    let before = browser.clone();
    let listed = browser.get("/auth/sessions/").await.json();
    for known in [&browser, &other, &stranger] {
        known.get("/me/").await.expect(200);
    }

    let call = browser.request(Method::POST, "/auth/password/").json(&bodies(TestApp::PASSWORD, NEW));
    let reply = call.await.expect(204);
    browser.keep(&reply);
    assert_ne!(browser.session(), before.session());
    // The old CSRF token was bound to the old id.
    browser.delete("/auth/sessions/").await.expect_problem(403, "csrf-failed");
    browser.fetch_csrf_token().await;
    browser.delete("/auth/sessions/").await.expect(204);
    let shown = browser.get("/auth/sessions/").await.json();
    assert_eq!(shown["count"], 1);
    let same = |session: &Value| session["id"] == shown["results"][0]["id"] && session["current"] == true;
    assert!(
        listed["results"].as_array().unwrap().iter().any(same),
        "it is the same session: {listed} {shown}"
    );

    before.get("/me/").await.expect_problem(401, "invalid-token");
    other.get("/me/").await.expect_problem(401, "invalid-token");
    by_log_in(&log_in_token).await.expect_problem(401, "invalid-token");
    stranger.get("/me/").await.expect(200);
    app.member().get("/me/").await.expect(200);
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(401, "invalid-credentials");
    log_in(&app.anonymous(), "member", NEW).await.expect(200);
    let seen = format!("{:?}{}", app.log(), reply.text());
    assert!(!seen.contains(NEW) && !seen.contains(browser.session().unwrap()));
}

#[tokio::test]
async fn a_session_ends_at_the_time_that_it_would_have_without_the_change() {
    let app = support::start().await;
    let mut browser = Browser::logged_in(&app, "member").await;
    let call = browser.request(Method::POST, "/auth/password/").json(&bodies(TestApp::PASSWORD, NEW));
    browser.keep(&call.await.expect(204));
    for _ in 0..(12 * 60 / 20 - 1) {
        app.clock().advance(20 * MINUTE);
        browser.get("/me/").await.expect(200);
    }
    app.clock().advance(20 * MINUTE);
    browser.get("/me/").await.expect_problem(401, "invalid-token");
}

#[tokio::test]
async fn what_is_wrong_is_named_and_changes_nothing() {
    let app = support::start().await;
    let session = Browser::logged_in(&app, "member").await;
    let wrong_current = error("#/current_password", "incorrect");
    let long = "a".repeat(257);
    for (current, new, errors) in [
        ("wrong", NEW, vec![wrong_current.clone()]),
        ("", NEW, vec![wrong_current.clone()]),
        (&long, NEW, vec![wrong_current.clone()]),
        (TestApp::PASSWORD, "short", vec![error("#/new_password", "too-short")]),
        (TestApp::PASSWORD, "Member of parliament", vec![error("#/new_password", "too-guessable")]),
        (TestApp::PASSWORD, &long, vec![error("#/new_password", "too-long")]),
        ("wrong", "short", vec![wrong_current.clone(), error("#/new_password", "too-short")]),
    ] {
        let reply = change(&app.member(), current, new).await.expect_problem(422, "validation-failed");
        assert_eq!(reply.errors(), errors, "{current:?} {new:?}");
    }
    session.get("/me/").await.expect(200);
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
}

// TOK-27: a token for something else does not change a password.
#[tokio::test]
async fn a_credential_changes_the_password_only_if_it_stands_for_the_account() {
    let app = support::start().await;
    change(&app.anonymous(), TestApp::PASSWORD, NEW).await.expect_problem(401, "unauthenticated");
    for (scope, status) in [("tasks:write", 403), ("account", 204)] {
        let body = json!({"name": "x", "scopes": [scope]});
        let made = app.member().post("/auth/tokens/", body).await.expect(201).json();
        let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
        let call = app.anonymous().post("/auth/password/", bodies(TestApp::PASSWORD, NEW));
        call.authorization(bearer).await.expect(status);
    }
    log_in(&app.anonymous(), "member", NEW).await.expect(200);
    // A browser needs the token that proves where it comes from.
    let browser = Browser::logged_in(&app, "admin").await;
    let bare = browser.bare(Method::POST, "/auth/password/").json(&bodies(TestApp::PASSWORD, NEW));
    bare.await.expect_problem(403, "csrf-failed");
}

// PWD-14: guessing the present password is guessing a password.
#[tokio::test]
async fn guesses_at_the_present_password_are_counted_like_log_ins() {
    let app = support::throttled(&[]).await;
    for _ in 0..5 {
        change(&app.member(), "wrong", NEW).await.expect(422);
    }
    let refused = change(&app.member(), TestApp::PASSWORD, NEW).await.expect_problem(429, "throttled");
    assert_eq!(refused.json()["violated-policies"], json!(["login"]));
    // Also those that come slowly, and together with log-ins from anywhere.
    let app = support::throttled(&[("throttle.rates.login", "1000/s")]).await;
    for number in 0..5 {
        change(&app.member(), "wrong", NEW).await.expect(422);
        log_in(&app.anonymous().from([203, 0, 113, number]), "member", "wrong").await.expect(401);
    }
    change(&app.member(), TestApp::PASSWORD, NEW).await.expect_problem(429, "throttled");
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
}

#[tokio::test]
async fn a_change_that_cannot_be_kept_is_503_and_did_not_happen() {
    let app = support::start().await;
    let browser = Browser::logged_in(&app, "member").await;
    for operation in [Operation::Login, Operation::ChangePassword] {
        app.store().fail_all(operation, Fault::Unavailable);
        change(&app.member(), TestApp::PASSWORD, NEW).await.expect_problem(503, "unavailable");
        app.store().mend();
    }
    browser.get("/me/").await.expect(200);
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_changes_at_once_the_first_is_the_one_that_happened() {
    let app = support::start().await;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..10 {
        let member = app.member();
        callers.spawn(async move {
            let new = format!("{NEW} {number}");
            (change(&member, TestApp::PASSWORD, &new).await.status(), new)
        });
    }
    let mut done = Vec::new();
    for (status, new) in callers.join_all().await {
        match status.as_u16() {
            204 => done.push(new),
            other => assert_eq!(other, 422),
        }
    }
    let [new] = &done[..] else { panic!("{done:?}") };
    log_in(&app.anonymous(), "member", new).await.expect(200);
}

// ---- replacing a lost one

// PWD-19, PWD-11
#[tokio::test]
async fn whoever_reads_the_mail_sets_another_password_once_and_is_not_logged_in() {
    let server = MailServer::start();
    let app = mailing(&server, &[]).await;
    let browser = Browser::logged_in(&app, "member").await;
    browser.get("/me/").await.expect(200);
    let asked = ask_for_reset(&app, "MEMBER@example.com").await.expect(202);
    assert_eq!(asked.bytes(), b"");
    let mail = server.mails(1).await.remove(0);
    assert_eq!((mail.from.as_str(), mail.to.as_str()), ("noreply@example.com", "member@example.com"));
    assert_eq!(mail.credentials.as_deref(), Some("AG1haWxlcgBzM2NyQHQ="), "mailer and s3cr@t");
    assert_eq!(mail.header("From"), Some("Bailiwick <noreply@example.com>"));
    assert!(mail.header("Subject").is_some() && mail.header("Date").is_some(), "{}", mail.data);
    assert!(mail.data.contains("member") && !mail.data.contains("http"), "no public_url: {}", mail.data);
    let token = mail.token();
    assert_eq!(token.len(), "bw_rst_".len() + 36);

    // An unfit password leaves the token as it was.
    for (new, code) in [("short", "too-short"), ("I am a MEMBER of it", "too-guessable")] {
        let errors = confirm(&app, &token, new).await.expect_problem(422, "validation-failed").errors();
        assert_eq!(errors, [error("#/new_password", code)]);
    }
    let done = confirm(&app, &token, NEW).await.expect(204);
    assert_eq!(done.header("set-cookie"), None, "it is no log-in");
    browser.get("/me/").await.expect_problem(401, "invalid-token");
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(401);
    log_in(&app.anonymous(), "member", NEW).await.expect(200);
    let again = confirm(&app, &token, "another one of them").await.expect_problem(422, "validation-failed");
    assert_eq!(again.errors(), [error("#/token", "invalid-token")]);
    log_in(&app.anonymous(), "member", NEW).await.expect(200);
    let log = format!("{:?}", app.log());
    assert!(!log.contains("bw_rst_") && !log.contains(NEW) && !log.contains("example.com"), "{log}");
}

// HST-05, PWD-19
#[tokio::test]
async fn links_begin_with_the_public_url_and_never_with_the_host_of_the_request() {
    let server = MailServer::start();
    let settings =
        [("server.public_url", "https://api.example.com"), ("server.allowed_hosts", "localhost, evil.test")];
    let app = mailing(&server, &settings).await;
    let call = ask_for_reset(&app, "member@example.com").without("host").header("host", "evil.test");
    call.header("x-forwarded-host", "evil.test").await.expect(202);
    let mail = server.mails(1).await.remove(0);
    let link = format!("https://api.example.com/reset-password#{}", mail.token());
    assert!(mail.data.contains(&link) && !mail.data.contains("evil"), "{}", mail.data);
}

// PWD-13
#[tokio::test]
async fn the_answer_is_the_same_whether_there_is_such_a_user_or_not() {
    let server = MailServer::start();
    let app = mailing(&server, &[]).await;
    let disabled = app.person("disabled", &[]).await;
    app.set_active(&disabled, false).await;
    let known = ask_for_reset(&app, "member@example.com").await.expect(202).bare();
    let long = format!("{}@example.com", "a".repeat(400));
    for nobody in ["nobody@example.com", "disabled@example.com", "", "no address", "a@b@c", "%", &long] {
        assert_eq!(ask_for_reset(&app, nobody).await.bare(), known, "{nobody}");
    }
    server.mails(1).await;
    server.no_more_than(1).await;
}

// It is answered before anybody looks: a store that hangs does not show, nor does one that is down.
#[tokio::test]
async fn the_answer_does_not_wait_for_the_look_up_nor_for_the_mail_server() {
    let server = MailServer::start();
    let app = mailing(&server, &[]).await;
    for fault in [Fault::Hang, Fault::Unavailable] {
        app.store().fail_next(Operation::UsersOfEmail, fault);
        app.store().fail_next(Operation::UsersOfEmail, fault);
        for email in ["member@example.com", "nobody@example.com"] {
            let asked = tokio::time::timeout(Duration::from_secs(5), ask_for_reset(&app, email)).await;
            asked.expect("nobody waits for the store").expect(202);
        }
        // So that the next in turn meets the next fault.
        while app.store().calls(Operation::UsersOfEmail) % 2 == 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.no_more_than(0).await;
    ask_for_reset(&app, "member@example.com").await.expect(202);
    server.mails(1).await;
}

#[tokio::test]
async fn a_mail_server_that_is_busy_is_asked_again() {
    let server = MailServer::busy_for(1);
    let app = mailing(&server, &[]).await;
    ask_for_reset(&app, "member@example.com").await.expect(202);
    let token = server.mails(1).await[0].token();
    confirm(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn every_user_of_an_address_gets_a_token_of_their_own() {
    let server = MailServer::start();
    let app = support::builder(&[
        ("throttle.enabled", "false"),
        ("registration.mode", "open"),
        ("mail.transport", &server.url()),
        ("mail.from", "noreply@example.com"),
    ])
    .start()
    .await;
    for name in ["ann", "bob"] {
        let body = json!({"username": name, "email": "Family@example.com", "password": TestApp::PASSWORD});
        app.anonymous().post("/auth/register/", body).await.expect(201);
    }
    ask_for_reset(&app, "family@Example.com").await.expect(202);
    let mail = server.mails(1).await.remove(0);
    assert_eq!(mail.to, "Family@example.com");
    for name in ["ann", "bob"] {
        // Behind each name stands its own.
        let (_, letter) = mail.data.split_once(&format!("\r\n{name}.\r\n")).unwrap();
        let token = Mail { data: letter.to_owned(), ..mail.clone() }.token();
        confirm(&app, &token, &format!("{NEW} {name}s")).await.expect_problem(422, "validation-failed");
        confirm(&app, &token, NEW).await.expect(204);
        log_in(&app.anonymous(), name, NEW).await.expect(200);
    }
}

// Contract §2: one hour. And whatever else ends a token.
#[tokio::test]
async fn a_token_is_dead_after_an_hour_or_once_the_password_or_the_user_is_another() {
    let server = MailServer::start();
    let app = mailing(&server, &[]).await;
    let dead = async |token: &str| {
        let errors = confirm(&app, token, NEW).await.expect_problem(422, "validation-failed").errors();
        assert_eq!(errors, [error("#/token", "invalid-token")], "{token}");
    };
    let old = token(&app, &server, 1).await;
    app.clock().advance(60 * MINUTE);
    dead(&old).await;

    let lived = token(&app, &server, 2).await;
    app.clock().advance(60 * MINUTE - Duration::from_secs(1));
    confirm(&app, &lived, TestApp::PASSWORD).await.expect(204);

    let changed = token(&app, &server, 3).await;
    change(&app.member(), TestApp::PASSWORD, TestApp::PASSWORD).await.expect(204);
    dead(&changed).await;

    let disabled = token(&app, &server, 4).await;
    let typo = format!("{}x", &disabled[..disabled.len() - 1]);
    for wrong in [typo.as_str(), "", "x", &disabled.replace("rst", "pat"), app.member().token()] {
        dead(wrong).await;
    }
    app.set_active(&app.member(), false).await;
    dead(&disabled).await;
    app.set_active(&app.member(), true).await;
    dead(&disabled).await;
}

// A token for one purpose is good for nothing else.
#[tokio::test]
async fn a_token_of_a_lost_password_is_no_credential() {
    let server = MailServer::start();
    let app = mailing(&server, &[]).await;
    let token = token(&app, &server, 1).await;
    let call = app.anonymous().get("/me/").authorization(format!("Bearer {token}"));
    call.await.expect_problem(401, "invalid-token");
}

#[tokio::test]
async fn one_address_asks_and_is_written_to_so_often_and_no_oftener() {
    let server = MailServer::start();
    let url = server.url();
    let app = support::throttled(&[("mail.transport", &url), ("mail.from", "noreply@example.com")]).await;
    // From many addresses: the sixth mail to one address in an hour is not sent, and nobody is told.
    let ask = async |host: u8, email: &str| {
        let call = app.anonymous().from([203, 0, 113, host]);
        call.post("/auth/password/reset/", json!({"email": email})).await
    };
    let fields = |reply: &Reply| (reply.status(), reply.headers().len(), reply.bytes().to_owned());
    for host in 0..5 {
        ask(host, "member@example.com").await.expect(202);
    }
    let over = ask(6, "Member@example.com").await.expect(202);
    assert_eq!(fields(&over), fields(&ask(7, "nobody@example.com").await));
    let policy = over.header("ratelimit-policy").unwrap();
    assert!(policy.contains("password_reset") && !policy.contains("mails"), "{policy}");
    server.mails(5).await;
    server.no_more_than(5).await;
    // From one address.
    for _ in 0..20 {
        ask(9, "nobody@example.com").await.expect(202);
    }
    ask(9, "nobody@example.com").await.expect_problem(429, "throttled");
    app.counters().fail_all(Operation::Spend, Fault::Unavailable);
    ask(10, "member@example.com").await.expect_problem(503, "unavailable");
}

#[tokio::test]
async fn a_reset_that_cannot_be_kept_is_503_and_leaves_the_token_as_it_was() {
    let server = MailServer::start();
    let app = mailing(&server, &[]).await;
    let token = token(&app, &server, 1).await;
    for operation in [Operation::PasswordReset, Operation::UsePasswordReset] {
        app.store().fail_all(operation, Fault::Unavailable);
        confirm(&app, &token, NEW).await.expect_problem(503, "unavailable");
        app.store().mend();
    }
    confirm(&app, &token, NEW).await.expect(204);
}

#[tokio::test]
async fn mail_becomes_files_that_nobody_else_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mails = directory.path().join("mails");
    let app = support::with(&[("mail.transport", &format!("file:{}", mails.display()))]).await;
    ask_for_reset(&app, "member@example.com").await.expect(202);
    let file = loop {
        let found = std::fs::read_dir(&mails).unwrap().map(|entry| entry.unwrap().path());
        if let Some(file) = found.into_iter().find(|path| path.extension().is_some_and(|end| end == "eml")) {
            break file;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("To: member@example.com") && text.contains("bw_rst_"), "{text}");
}
