//! Quotas.
use std::{collections::HashMap, time::Duration};

use bailiwick_testkit::{Fault, Operation, Reply, TestApp};
use serde_json::json;

use crate::{
    browser::Browser,
    support::{self, NOBODY, TASKS, log_in},
};

/// What is left of a quota, as `RateLimit` says.
fn left(reply: &Reply, policy: &str) -> u64 {
    let field = reply.header("ratelimit").unwrap_or_else(|| panic!("no RateLimit: {reply:?}"));
    let start = format!("\"{policy}\";r=");
    let item = field.split(", ").find_map(|item| item.strip_prefix(start.as_str()));
    let item = item.unwrap_or_else(|| panic!("nothing of {policy}: {field}"));
    item.split(';').next().unwrap().parse().unwrap()
}

fn retry_after(reply: &Reply) -> Duration {
    Duration::from_secs(reply.header("retry-after").unwrap().parse().unwrap())
}

// THR-20, THR-21: exactly these bytes.
#[tokio::test]
async fn every_throttled_answer_tells_its_quotas() {
    let app = support::throttled(&[]).await;
    let fields = |reply: &Reply| {
        (reply.header("ratelimit-policy").unwrap().to_owned(), reply.header("ratelimit").unwrap().to_owned())
    };
    let first = app.member().get("/me/").await.expect(200);
    assert_eq!(fields(&first), ("\"user\";q=600;w=60".to_owned(), "\"user\";r=599;t=1".to_owned()));
    let second = app.member().get(&format!("{TASKS}{NOBODY}/")).await.expect(404);
    assert_eq!(fields(&second).1, "\"user\";r=598;t=1");
    let first = app.anonymous().get("/me/").await.expect(401);
    assert_eq!(fields(&first), ("\"anon\";q=60;w=60".to_owned(), "\"anon\";r=59;t=1".to_owned()));
    let log_in = log_in(&app.anonymous(), "member", "wrong").await.expect(401);
    assert_eq!(
        fields(&log_in),
        (
            "\"anon\";q=60;w=60, \"login\";q=5;w=60".to_owned(),
            "\"anon\";r=58;t=1, \"login\";r=4;t=12".to_owned()
        )
    );
    // No forms of other drafts (THR-22).
    for old in ["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit-limit", "retry-after"] {
        assert_eq!(log_in.header(old), None);
    }
}

// THR-33: two hundred at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_wrong_log_ins_at_once_five_are_tried_and_the_rest_are_told_the_truth() {
    let app = support::throttled(&[]).await;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..200 {
        // Whatever name is tried: the address counts.
        let anonymous = app.anonymous();
        callers.spawn(async move { log_in(&anonymous, &format!("user-{number}"), "wrong").await });
    }
    let replies = callers.join_all().await;
    let tried: Vec<_> = replies.iter().filter(|reply| reply.status() == 401).collect();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status() == 429).collect();
    assert_eq!((tried.len(), refused.len()), (5, 195));
    for reply in &tried {
        assert_eq!(reply.code(), "invalid-credentials");
    }
    // 5 a minute is one every 12 seconds, and the clock has not moved.
    for reply in &refused {
        assert_eq!(reply.code(), "throttled");
        assert_eq!(retry_after(reply), Duration::from_secs(12));
        assert_eq!(reply.json()["violated-policies"], json!(["login"]));
        assert_eq!(left(reply, "login"), 0);
        assert_eq!(left(reply, "anon"), 55, "a refused log-in spends nothing else");
    }
    // Honest: a moment earlier is too early, then exactly one passes.
    app.clock().advance(Duration::from_secs(12) - Duration::from_nanos(1));
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
    app.clock().advance(Duration::from_nanos(1));
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
    let again = log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
    assert_eq!(retry_after(&again), Duration::from_secs(12));
    // Another address is another caller.
    log_in(&app.anonymous().from([203, 0, 113, 7]), "member", TestApp::PASSWORD).await.expect(200);
}

// THR-26: never too early, whatever the rate.
#[tokio::test]
async fn retry_after_is_rounded_up_and_always_enough() {
    for (rate, limit) in [("7/min", 7), ("1000/hour", 1000), ("3/s", 3), ("13/90s", 13), ("1/day", 1)] {
        let app = support::throttled(&[("throttle.rates.user", rate)]).await;
        for _ in 0..limit {
            app.member().get("/me/").await.expect(200);
        }
        for _ in 0..3 {
            let refused = app.member().get("/me/").await.expect_problem(429, "throttled");
            let wait = retry_after(&refused);
            assert!(wait >= Duration::from_secs(1));
            // THR-23
            let t = refused.header("ratelimit").unwrap().split("t=").nth(1).unwrap().parse().unwrap();
            assert!(wait >= Duration::from_secs(t), "{refused:?}");
            app.clock().advance(wait);
            app.member().get("/me/").await.expect(200);
            while app.member().get("/me/").await.status() == 200 {}
        }
    }
}

// Contract §1, THR-08: every answer after authentication spends the principal's quota, whatever it is.
#[tokio::test]
async fn every_answer_to_a_user_spends_the_users_quota() {
    let app = support::throttled(&[("throttle.rates.user", "20/min")]).await;
    let viewer = app.viewer();
    let mut expected = 20;
    for (call, status) in [
        (viewer.get("/me/"), 200),
        (viewer.head("/me/"), 200),
        (viewer.get(&format!("{TASKS}{NOBODY}/")), 404),
        (viewer.get("/orgs/globex/tasks/"), 404),
        (viewer.get("/nonsense/"), 404),
        (viewer.post(TASKS, json!({"title": "x"})), 403),
        (viewer.get(&format!("{TASKS}?nonsense=1")), 422),
        (viewer.delete("/me/"), 405),
        (viewer.post("/orgs/", json!({})), 422),
        (viewer.post("/orgs/", json!(null)).body("text/plain", "x"), 415),
        (viewer.get("http://localhost/problems/not-found/"), 200),
    ] {
        let reply = call.await.expect(status);
        expected -= 1;
        assert_eq!(left(&reply, "user"), expected, "{reply:?}");
        assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=20;w=60"));
    }
    // Wherever they come from, and with whichever token.
    let elsewhere = viewer.from([203, 0, 113, 7]).get("/me/").await.expect(200);
    assert_eq!(left(&elsewhere, "user"), expected - 1);
    let token = app.token_for(&viewer, Duration::from_secs(60)).await;
    assert_eq!(left(&viewer.with_token(token).get("/me/").await.expect(200), "user"), expected - 2);
    // And nobody else's.
    assert_eq!(left(&app.member().get("/me/").await.expect(200), "user"), 19);
}

// A failed credential is no way around the quota of the address (contract §1).
#[tokio::test]
async fn a_request_without_a_principal_spends_the_quota_of_the_address() {
    let app = support::throttled(&[("throttle.rates.anon", "6/min")]).await;
    let anonymous = app.anonymous();
    let mut expected = 6;
    for (call, status) in [
        (anonymous.get("/me/"), 401),
        (anonymous.get("/me/").authorization("Token nonsense"), 401),
        (anonymous.get("/me/").authorization("Basic x").header("authorization", "Basic y"), 400),
        (anonymous.get("/nonsense/"), 404),
        (anonymous.get("http://localhost/problems/not-found/"), 200),
        (anonymous.get(TASKS), 401),
    ] {
        let reply = call.await.expect(status);
        expected -= 1;
        assert_eq!(left(&reply, "anon"), expected, "{reply:?}");
    }
    for call in [
        anonymous.get("/me/"),
        anonymous.get("/me/").authorization("Token nonsense"),
        anonymous.get("/nonsense/"),
    ] {
        let refused = call.await.expect_problem(429, "throttled");
        assert_eq!(refused.json()["violated-policies"], json!(["anon"]));
        assert_eq!(retry_after(&refused), Duration::from_secs(10));
    }
    // A log-in needs both quotas.
    let refused = log_in(&anonymous, "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
    assert_eq!((refused.json()["violated-policies"].clone(), left(&refused, "login")), (json!(["anon"]), 5));
    // Whoever has a good credential is counted by it.
    app.member().get("/me/").await.expect(200);
    // No header of the client's is an address.
    for name in ["x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip", "cf-connecting-ip"] {
        anonymous.get("/me/").header(name, "203.0.113.9").await.expect_problem(429, "throttled");
    }
    anonymous.from([203, 0, 113, 7]).get("/me/").await.expect(401);
}

// THR-11
#[tokio::test]
async fn an_ipv6_host_has_one_quota_whatever_address_of_its_network_it_takes() {
    let app = support::throttled(&[("throttle.rates.anon", "2/min")]).await;
    let from = |address: &str| app.anonymous().from(address.parse::<std::net::IpAddr>().unwrap()).get("/me/");
    assert_eq!(left(&from("2001:db8:1:2::1").await, "anon"), 1);
    assert_eq!(left(&from("2001:db8:1:2:ffff::9").await, "anon"), 0);
    from("2001:db8:1:2:1:2:3:4").await.expect(429);
    assert_eq!(left(&from("2001:db8:1:3::1").await, "anon"), 1);
    assert_eq!(left(&from("192.0.2.1").await, "anon"), 1);
    assert_eq!(left(&from("::ffff:192.0.2.1").await, "anon"), 0);
}

#[tokio::test]
async fn the_log_says_which_quota_refused() {
    let app = support::throttled(&[("throttle.rates.login", "1/min")]).await;
    log_in(&app.anonymous(), "member", "wrong").await.expect(401);
    log_in(&app.anonymous(), "member", "wrong").await.expect(429);
    let log = app.log();
    let lines: HashMap<_, _> = log
        .iter()
        .filter(|line| line["event"] == "http_request")
        .map(|line| (line["status"].as_u64().unwrap(), line["throttled"].clone()))
        .collect();
    assert_eq!(lines, HashMap::from([(401, json!(null)), (429, json!("login"))]));
}

#[tokio::test]
async fn without_a_throttle_nobody_is_counted() {
    let app = support::throttled(&[("throttle.enabled", "false")]).await;
    for _ in 0..70 {
        let reply = log_in(&app.anonymous(), "member", "wrong").await.expect(401);
        assert_eq!((reply.header("ratelimit"), reply.header("ratelimit-policy")), (None, None));
    }
}

// THR-35, I9: reads pass, log-ins and changes do not.
#[tokio::test]
async fn with_the_counters_out_of_reach_reads_pass_and_changes_are_503() {
    let app = support::throttled(&[]).await;
    let task = support::Tasks::task(&app.owner(), json!({"title": "x"})).await;
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::NotWritable, Fault::Refused] {
        app.counters().fail_all(Operation::Spend, fault);
        let owner = app.owner();
        for path in ["/me/", TASKS, &task, "/orgs/acme/members/", "http://localhost/problems/throttled/"] {
            let read = owner.get(path).await.expect(200);
            assert_eq!(read.header("ratelimit"), None, "nothing is known");
            owner.head(path).await.expect(200);
        }
        app.anonymous().get("/me/").await.expect_problem(401, "unauthenticated");
        app.anonymous().get("/me/").authorization("Token x").await.expect_problem(401, "invalid-token");
        app.other_tenant().get(&task).await.expect_problem(404, "not-found");
        for call in [
            log_in(&app.anonymous(), "owner", TestApp::PASSWORD),
            owner.post(TASKS, json!({"title": "y"})),
            owner.patch(&task, json!({"title": "y"})),
            owner.put(&task, json!({"title": "y"})),
            owner.delete(&task),
            owner.post("/orgs/", json!({"slug": "y", "name": "y"})),
        ] {
            let refused = call.await.expect_problem(503, "unavailable");
            assert_eq!(refused.header("retry-after"), Some("3"));
        }
    }
    app.counters().mend();
    assert_eq!(support::Tasks::titles(&app.owner(), "").await, ["x"]);
    app.owner().get("/orgs/y/").await.expect(404);
    log_in(&app.anonymous(), "owner", TestApp::PASSWORD).await.expect(200);
}

// THR-35: who has lost a credential does not wait for the counters to end it.
#[tokio::test]
async fn with_the_counters_out_of_reach_credentials_are_ended_all_the_same() {
    let app = support::throttled(&[("throttle.rates.login", "1000/s")]).await;
    let credentials = || json!({"username": "member", "password": TestApp::PASSWORD});
    let obtain = async |path: &str| app.anonymous().post(path, credentials()).await.expect(200).json();
    let (leaked, own) = (obtain("/auth/token/").await, obtain("/auth/token/").await);
    let family = obtain("/auth/jwt/").await;
    let named = app.member().post("/auth/tokens/", json!({"name": "a"})).await.expect(201).json();
    let browser = Browser::logged_in(&app, "member").await;
    let other = Browser::logged_in(&app, "member").await;
    app.counters().fail_all(Operation::Spend, Fault::Unavailable);
    let report = json!({"token": leaked["token"]});
    app.anonymous().post("/auth/tokens/report-leak/", report).await.expect(202);
    app.anonymous().post("/auth/jwt/revoke/", json!({"refresh": family["refresh"]})).await.expect(200);
    app.member().delete(&format!("/auth/tokens/{}/", named["id"].as_str().unwrap())).await.expect(204);
    let own = format!("Token {}", own["token"].as_str().unwrap());
    app.anonymous().delete("/auth/token/").authorization(&own).await.expect(204);
    other.delete("/auth/sessions/").await.expect(204);
    browser.get("/me/").await.expect(401);
    other.delete("/auth/session/").await.expect(204);
    for dead in [
        own.clone(),
        format!("Token {}", leaked["token"].as_str().unwrap()),
        format!("Token {}", named["token"].as_str().unwrap()),
        format!("Bearer {}", family["access"].as_str().unwrap()),
    ] {
        app.anonymous().get("/me/").authorization(&dead).await.expect_problem(401, "invalid-token");
    }
    // What else is there is as before.
    app.member().post("/auth/tokens/", json!({"name": "b"})).await.expect_problem(503, "unavailable");
}
