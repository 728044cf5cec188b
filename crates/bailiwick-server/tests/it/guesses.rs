//! How often an account may be tried, wherever that comes from (contract §1).
use std::time::Duration;

use bailiwick::{audit::Chain, store::AuditStore};
use bailiwick_testkit::{Fault, Operation, Reply, TestApp};
use serde_json::json;

use crate::{
    browser::Browser,
    support::{self, log_in},
};

/// Log-ins from ever other addresses, none of which meets a quota of its own.
struct Guesser<'a> {
    app: &'a TestApp,
    host: std::cell::Cell<u8>,
}

impl Guesser<'_> {
    async fn tries(&self, username: &str, password: &str) -> Reply {
        self.host.set(self.host.get() + 1);
        log_in(&self.app.anonymous().from([203, 0, 113, self.host.get()]), username, password).await
    }
}

fn guesser(app: &TestApp) -> Guesser<'_> {
    Guesser { app, host: std::cell::Cell::new(0) }
}

// PWD-13, PWD-14, THR-25
#[tokio::test]
async fn an_account_is_tried_ten_times_wherever_that_comes_from_and_whether_it_is_there_or_not() {
    let app = support::throttled(&[]).await;
    let guesser = guesser(&app);
    let mut refusals = Vec::new();
    for (name, same) in [("member", "MEMBER"), ("nobody-there", "Nobody-There")] {
        for _ in 0..10 {
            guesser.tries(name, "wrong").await.expect_problem(401, "invalid-credentials");
        }
        let refused = guesser.tries(same, TestApp::PASSWORD).await.expect_problem(429, "throttled");
        // 10 in 15 minutes is one every 90 seconds.
        assert_eq!(refused.header("retry-after"), Some("90"));
        assert!(
            !refused.text().contains("login_account") && !refused.text().contains("violated"),
            "{refused:?}"
        );
        for field in ["ratelimit", "ratelimit-policy"] {
            assert!(!refused.header(field).unwrap().contains("account"), "{refused:?}");
        }
        refusals.push(refused.bare());
    }
    assert_eq!(refusals[0], refusals[1]);
    // Browsers log in to the same accounts.
    let mut browser = Browser::new(&app);
    browser.log_in("member").await.expect_problem(429, "throttled");
    // Others are not concerned, and who is in stays in.
    guesser.tries("admin", TestApp::PASSWORD).await.expect(200);
    app.member().get("/me/").await.expect(200);
    // To be refused costs nothing: it is over when it was said to be.
    app.clock().advance(Duration::from_secs(89));
    guesser.tries("member", TestApp::PASSWORD).await.expect(429);
    app.clock().advance(Duration::from_secs(1));
    guesser.tries("member", TestApp::PASSWORD).await.expect(200);
}

// PWD-17
#[tokio::test]
async fn a_log_in_forgets_the_failures_of_the_account_and_not_of_the_address() {
    let app = support::throttled(&[]).await;
    let guesser = guesser(&app);
    for _ in 0..3 {
        for _ in 0..9 {
            guesser.tries("member", "wrong").await.expect(401);
        }
        guesser.tries("member", TestApp::PASSWORD).await.expect(200);
    }
    for _ in 0..4 {
        log_in(&app.anonymous(), "member", "wrong").await.expect(401);
    }
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
    let refused = log_in(&app.anonymous(), "member", "wrong").await.expect_problem(429, "throttled");
    assert_eq!(refused.json()["violated-policies"], json!(["login"]));
}

// THR-33
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_guesses_at_once_no_more_than_ten_are_tried() {
    let app = support::throttled(&[]).await;
    let mut callers = tokio::task::JoinSet::new();
    for host in 0..200 {
        let anonymous = app.anonymous().from([203, 0, 113, host]);
        callers.spawn(async move { log_in(&anonymous, "member", "wrong").await.status().as_u16() });
    }
    let found = callers.join_all().await;
    let count = |status| found.iter().filter(|found| **found == status).count();
    assert_eq!((count(401), count(429)), (10, 190));
}

// LOG-06
#[tokio::test]
async fn the_try_that_closes_an_account_is_told_once_and_no_answer_says_so() {
    let app = support::throttled(&[("throttle.rates.login", "1000/s")]).await;
    let guesser = guesser(&app);
    let told = async || {
        let entries = app.store().audit_entries(Chain::Site, 0, 1000).await.unwrap();
        let entries = entries.into_iter().filter(|entry| entry.event == "authn_login_fail_max");
        entries.map(|entry| (entry.target_id, entry.remote_addr)).collect::<Vec<_>>()
    };
    let (member, mut expected) = (app.member().id().to_string(), Vec::new());
    for (name, known) in [("member", Some(member.clone())), ("nobody-there", None)] {
        let first = guesser.tries(name, "wrong").await.expect(401).bare();
        for _ in 2..10 {
            guesser.tries(name, "wrong").await.expect(401);
        }
        assert_eq!(told().await, expected);
        let last = guesser.tries(name, "wrong").await.expect(401);
        assert_eq!(last.bare(), first);
        expected.push((known, Some(format!("203.0.113.{}", guesser.host.get()))));
        // Whoever goes on writes nothing.
        for _ in 0..5 {
            guesser.tries(name, "wrong").await.expect(429);
        }
        assert_eq!(told().await, expected);
    }
    // Whoever has the right password closes nothing, and to guess the present one does.
    for _ in 0..9 {
        guesser.tries("admin", "wrong").await.expect(401);
    }
    guesser.tries("admin", TestApp::PASSWORD).await.expect(200);
    assert_eq!(told().await, expected);
    let change = json!({"current_password": "wrong", "new_password": "sheep count themselves at night"});
    for _ in 0..10 {
        app.admin().post("/auth/password/", change.clone()).await.expect(422);
    }
    expected.push((Some(app.admin().id().to_string()), Some("127.0.0.1".to_owned())));
    assert_eq!(told().await, expected);

    let log = app.log();
    let lines: Vec<_> = log.iter().filter(|line| line["event"] == "authn_login_fail_max").collect();
    assert_eq!((lines.len(), &lines[0]["level"], &lines[0]["user_id"]), (3, &json!("warn"), &json!(member)));
    let events = [("event", "authn_login_fail_max")];
    assert_eq!(app.scrape().value("bailiwick_security_events_total", &events), 3.0);
}

// THR-35
#[tokio::test]
async fn with_the_counters_out_of_reach_nobody_logs_in() {
    let app = support::throttled(&[("throttle.rates.login", "1000/s")]).await;
    app.counters().fail_all(Operation::Spend, Fault::Unavailable);
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(503, "unavailable");
    app.counters().mend();
    // Failures that cannot be forgotten keep nobody out.
    app.counters().fail_all(Operation::Refill, Fault::Unavailable);
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
}

// PWD-14, contract §1: failures are counted, not outages.
#[tokio::test]
async fn a_try_that_could_not_be_decided_is_taken_back() {
    let app = support::throttled(&[]).await;
    let guesser = guesser(&app);
    for _ in 0..5 {
        guesser.tries("member", "wrong").await.expect(401);
    }
    for name in ["member", "nobody-there"] {
        app.store().fail_all(Operation::Login, Fault::Unavailable);
        for password in ["wrong", TestApp::PASSWORD].repeat(6) {
            guesser.tries(name, password).await.expect_problem(503, "unavailable");
        }
        app.store().mend();
    }
    // It is that one try alone: what has failed before stays counted.
    for _ in 0..4 {
        guesser.tries("member", "wrong").await.expect(401);
    }
    for _ in 0..10 {
        guesser.tries("nobody-there", "wrong").await.expect(401);
    }
    guesser.tries("nobody-there", "wrong").await.expect(429);
    guesser.tries("member", TestApp::PASSWORD).await.expect(200);
}

// To guess the present password is the same try.
#[tokio::test]
async fn a_change_of_a_password_that_could_not_be_decided_is_no_failure() {
    let app = support::throttled(&[("throttle.rates.login", "1000/s")]).await;
    let change = || {
        let body = json!({"current_password": "wrong", "new_password": "another phrase that nobody guesses"});
        app.member().post("/auth/password/", body)
    };
    app.store().fail_all(Operation::Login, Fault::Unavailable);
    for _ in 0..11 {
        change().await.expect_problem(503, "unavailable");
    }
    app.store().mend();
    for _ in 0..10 {
        change().await.expect_problem(422, "validation-failed");
    }
    change().await.expect_problem(429, "throttled");
}

// A try that cannot be taken back stays counted, and its answer is the same.
#[tokio::test]
async fn a_try_that_cannot_be_taken_back_is_503_all_the_same() {
    let app = support::throttled(&[]).await;
    let guesser = guesser(&app);
    app.counters().fail_all(Operation::GiveBack, Fault::Unavailable);
    app.store().fail_all(Operation::Login, Fault::Unavailable);
    for _ in 0..10 {
        guesser.tries("member", TestApp::PASSWORD).await.expect_problem(503, "unavailable");
    }
    app.store().mend();
    guesser.tries("member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
}

// Whoever leaves before it is decided gets no tries for nothing.
#[tokio::test]
async fn a_try_that_its_client_does_not_wait_for_stays_counted() {
    let app = support::throttled(&[("server.request_timeout", "1s")]).await;
    let guesser = guesser(&app);
    for _ in 0..9 {
        guesser.tries("member", "wrong").await.expect(401);
    }
    app.store().fail_next(Operation::Login, Fault::Hang);
    guesser.tries("member", "wrong").await.expect_problem(503, "unavailable");
    guesser.tries("member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
}
