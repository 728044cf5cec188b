//! Access tokens and refresh tokens, as a client sees them.
use std::time::Duration;

use bailiwick::{
    audit::Chain,
    authn::{
        FamilyLimits, Jwt,
        jwt::{AccessTokens, Algorithm, Subject},
        keys::MasterKeys,
    },
    clock::{Clock, OsEntropy},
    store::AuditStore,
};
use bailiwick_server::config::{MasterKey, Setting};
use bailiwick_testkit::{Fault, Operation, Person, Reply, TestApp};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{self, TASKS, Tasks};

/// What a log-in or a refresh gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pair {
    access: String,
    refresh: String,
}

fn pair(reply: &Reply) -> Pair {
    let body = reply.json();
    assert_eq!(body.as_object().unwrap().len(), 4, "{body}");
    assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(300)));
    assert_eq!(reply.header("cache-control"), Some("no-store"), "JWT-45");
    let text = |name: &str| body[name].as_str().unwrap().to_owned();
    assert!(text("refresh").starts_with("bw_rt_"));
    Pair { access: text("access"), refresh: text("refresh") }
}

async fn log_in(app: &TestApp, name: &str) -> Pair {
    let credentials = json!({"username": name, "password": TestApp::PASSWORD});
    pair(&app.anonymous().post("/auth/jwt/", credentials).await.expect(200))
}

async fn refresh(app: &TestApp, token: &str) -> Reply {
    app.anonymous().post("/auth/jwt/refresh/", json!({"refresh": token})).await
}

/// Asks who the caller is with an access token.
async fn me(app: &TestApp, access: &str) -> Reply {
    app.anonymous().get("/me/").authorization(format!("Bearer {access}")).await
}

async fn is_dead(app: &TestApp, access: &str) {
    me(app, access).await.expect_problem(401, "invalid-token");
    let asked = app.anonymous().post("/auth/jwt/verify/", json!({"token": access})).await;
    asked.expect_problem(401, "invalid-token");
}

// Contract §2
#[tokio::test]
async fn a_pair_of_tokens_opens_what_its_user_may_do_and_the_next_pair_too() {
    let app = support::start().await;
    let first = log_in(&app, "member").await;
    let bearer = format!("bearer {}", first.access);
    let body = me(&app, &first.access).await.expect(200).json();
    assert_eq!((&body["username"], &body["id"]), (&json!("member"), &json!(app.member().id())));
    let made = app.anonymous().post(TASKS, json!({"title": "by token"})).authorization(&bearer).await;
    assert_eq!(made.expect(201).json()["created_by"], json!(app.member().id()));
    app.anonymous().get("/orgs/globex/").authorization(&bearer).await.expect(404);

    let second = pair(&refresh(&app, &first.refresh).await.expect(200));
    assert!(second.access != first.access && second.refresh != first.refresh);
    for access in [&first.access, &second.access] {
        me(&app, access).await.expect(200);
    }
    // Each log-in is a family of its own.
    let other = log_in(&app, "member").await;
    app.anonymous().post("/auth/jwt/revoke/", json!({"refresh": other.refresh})).await.expect(200);
    is_dead(&app, &other.access).await;
    me(&app, &second.access).await.expect(200);

    for (name, password) in [("member", "wrong"), ("nobody", TestApp::PASSWORD), ("", "")] {
        let wrong = json!({"username": name, "password": password});
        let refused = app.anonymous().post("/auth/jwt/", wrong).await;
        refused.expect_problem(401, "invalid-credentials");
    }
}

// JWT-46, JWT-48
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn thirty_parallel_refreshes_get_the_same_successor_and_nobody_is_logged_out() {
    let app = std::sync::Arc::new(support::start().await);
    let mut current = log_in(&app, "member").await;
    for _ in 0..3 {
        let mut tasks = JoinSet::new();
        for _ in 0..30 {
            let (app, token) = (app.clone(), current.refresh.clone());
            tasks.spawn(async move { pair(&refresh(&app, &token).await.expect(200)) });
        }
        let mut next = Vec::new();
        while let Some(pair) = tasks.join_next().await {
            next.push(pair.unwrap());
        }
        assert!(next.iter().all(|pair| pair.refresh == next[0].refresh), "one family, one successor");
        for pair in &next {
            me(&app, &pair.access).await.expect(200);
        }
        current = next.remove(0);
    }
    pair(&refresh(&app, &current.refresh).await.expect(200));
}

// JWT-41, JWT-47, JWT-48
#[tokio::test]
async fn a_token_that_is_used_again_ends_its_family_and_its_access_tokens() {
    let app = support::start().await;
    let first = log_in(&app, "member").await;
    let second = pair(&refresh(&app, &first.refresh).await.expect(200));
    let third = pair(&refresh(&app, &second.refresh).await.expect(200));
    // Its grandparent, at once.
    let refused = refresh(&app, &first.refresh).await.expect_problem(401, "invalid-token");
    let challenges: Vec<_> = refused.headers().get_all("www-authenticate").iter().collect();
    assert!(
        challenges.iter().any(|field| field.to_str().unwrap().contains("invalid_token")),
        "{challenges:?}"
    );
    for access in [&first.access, &second.access, &third.access] {
        is_dead(&app, access).await;
    }
    for token in [&third.refresh, &second.refresh, &first.refresh] {
        let again = refresh(&app, token).await.expect_problem(401, "invalid-token");
        assert_eq!(again.body_without_request_id(), refused.body_without_request_id());
    }
    let log = app.log();
    let told: Vec<_> = log.iter().filter(|line| line["event"] == "authn_token_reuse").collect();
    assert!(told.len() == 1 && told[0]["user_id"] == json!(app.member().id()), "LOG-06: {told:?}");

    // Its parent, when the grace is over.
    let first = log_in(&app, "member").await;
    let second = pair(&refresh(&app, &first.refresh).await.expect(200));
    app.clock().advance(Duration::from_secs(9));
    assert_eq!(pair(&refresh(&app, &first.refresh).await.expect(200)).refresh, second.refresh);
    app.clock().advance(Duration::from_secs(1));
    refresh(&app, &first.refresh).await.expect_problem(401, "invalid-token");
    refresh(&app, &second.refresh).await.expect_problem(401, "invalid-token");
    is_dead(&app, &second.access).await;

    // Without any grace, if that is set.
    let app = support::with(&[("jwt.reuse_grace_seconds", "0")]).await;
    let first = log_in(&app, "member").await;
    let second = pair(&refresh(&app, &first.refresh).await.expect(200));
    refresh(&app, &first.refresh).await.expect_problem(401, "invalid-token");
    is_dead(&app, &second.access).await;
}

// A repeated refresh gives an access token: it is told like every other.
#[tokio::test]
async fn a_refresh_that_is_repeated_in_the_grace_is_recorded_as_such() {
    let app = support::start().await;
    let first = log_in(&app, "member").await;
    let renewed = |app: &TestApp| {
        app.scrape().value("bailiwick_security_events_total", &[("event", "authn_token_renewed")])
    };
    for _ in 0..3 {
        pair(&refresh(&app, &first.refresh).await.expect(200));
    }
    let log = app.log();
    let told: Vec<_> = log.iter().filter(|line| line["event"] == "authn_token_renewed").collect();
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(renewed(&app), 3.0);
    let entries = app.store().audit_entries(Chain::Site, 0, 1000).await.unwrap();
    let entries: Vec<_> = entries
        .iter()
        .filter(|entry| entry.event == "authn_token_renewed")
        .map(|entry| serde_json::from_str::<Value>(&entry.details).unwrap()["repeated"].clone())
        .collect();
    assert_eq!(entries, [Value::Null, json!(true), json!(true)]);
}

// A user has 50 families at most, as with sessions.
#[tokio::test]
async fn a_log_in_beyond_the_cap_ends_the_family_that_was_used_longest_ago() {
    let app = support::start().await;
    let (oldest, other) = (log_in(&app, "member").await, log_in(&app, "owner").await);
    app.clock().advance(Duration::from_secs(1));
    let kept = log_in(&app, "member").await;
    for _ in 2..50 {
        log_in(&app, "member").await;
    }
    app.clock().advance(Duration::from_secs(1));
    me(&app, &oldest.access).await.expect(200);
    log_in(&app, "member").await;
    // At once, also for whom the server has just let in.
    is_dead(&app, &oldest.access).await;
    refresh(&app, &oldest.refresh).await.expect_problem(401, "invalid-token");
    me(&app, &kept.access).await.expect(200);
    me(&app, &other.access).await.expect(200);
    let log = app.log();
    let ended: Vec<_> = log.iter().filter(|line| line["event"] == "authn_token_revoked").collect();
    assert!(ended.len() == 1 && ended[0]["user_id"] == json!(app.member().id()), "{ended:?}");
}

// JWT-42: 14 days without use, and 12 weeks in all.
#[tokio::test]
async fn a_family_that_is_not_used_or_is_old_ends() {
    let day = Duration::from_secs(24 * 60 * 60);
    let app = support::start().await;
    let (mut used, idle) = (log_in(&app, "member").await, log_in(&app, "member").await);
    for _ in 0..6 {
        app.clock().advance(13 * day);
        used = pair(&refresh(&app, &used.refresh).await.expect(200));
    }
    refresh(&app, &idle.refresh).await.expect_problem(401, "invalid-token");
    app.clock().advance(6 * day);
    refresh(&app, &used.refresh).await.expect_problem(401, "invalid-token");
}

// Contract §2: `verify`, and JWT-13, JWT-15
#[tokio::test]
async fn verify_tells_what_a_good_access_token_says_and_nothing_of_any_other() {
    let app = support::start().await;
    let verify = async |token: &str| app.anonymous().post("/auth/jwt/verify/", json!({"token": token})).await;
    let tokens = log_in(&app, "member").await;
    let said = verify(&tokens.access).await.expect(200).json();
    let names: Vec<_> = said.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["active", "aud", "client_id", "exp", "iat", "iss", "jti", "nbf", "sid", "sub"]);
    assert_eq!((&said["active"], &said["sub"]), (&json!(true), &json!(app.member().id())));
    assert_eq!((&said["iss"], &said["aud"]), (&json!("bailiwick"), &json!("bailiwick")));
    assert_eq!(said["exp"].as_i64().unwrap() - said["iat"].as_i64().unwrap(), 300);

    let member = app.member();
    let mut signature = tokens.access.clone();
    signature.replace_range(signature.len() - 20..signature.len() - 10, "AAAAAAAAAA");
    for wrong in ["", "x", "a.b.c", &tokens.refresh, member.token(), &signature, &"a".repeat(20_000)] {
        let refused = verify(wrong).await.expect_problem(401, "invalid-token");
        assert!(!refused.text().contains("expired"), "{refused:?}");
        if !wrong.is_empty() && wrong.len() < 1000 && wrong != member.token() {
            me(&app, wrong).await.expect_problem(401, "invalid-token");
        }
    }
    // The scheme of an access token is Bearer.
    let other_scheme = app.anonymous().get("/me/").authorization(format!("Token {}", tokens.access)).await;
    other_scheme.expect_problem(401, "invalid-token");

    app.clock().advance(Duration::from_secs(304));
    me(&app, &tokens.access).await.expect(200);
    app.clock().advance(Duration::from_secs(1));
    for reply in [me(&app, &tokens.access).await, verify(&tokens.access).await] {
        let refused = reply.expect_problem(401, "invalid-token");
        assert!(refused.text().contains("expired"), "a client must know when to refresh: {refused:?}");
        assert!(refused.headers().contains_key("www-authenticate"));
    }
}

// RFC 7009, JWT-60
#[tokio::test]
async fn revoke_is_always_200_and_ends_the_family_and_its_access_tokens() {
    let app = support::start().await;
    let revoke = async |token: &str| {
        let reply = app.anonymous().post("/auth/jwt/revoke/", json!({"refresh": token})).await.expect(200);
        assert_eq!(reply.json(), json!({}));
    };
    let first = log_in(&app, "member").await;
    let second = pair(&refresh(&app, &first.refresh).await.expect(200));
    for nothing in ["", "x", "bw_rt_x", &first.access, app.member().token()] {
        revoke(nothing).await;
    }
    me(&app, &second.access).await.expect(200);
    revoke(&second.refresh).await;
    revoke(&second.refresh).await;
    for access in [&first.access, &second.access] {
        is_dead(&app, access).await;
    }
    for token in [&first.refresh, &second.refresh] {
        refresh(&app, token).await.expect_problem(401, "invalid-token");
    }
    app.member().get("/me/").await.expect(200);
}

// Contract §2, JWT-12, JWT-44
#[tokio::test]
async fn who_is_disabled_is_out_at_once_and_stays_out() {
    let app = support::start().await;
    let (hers, other) = (log_in(&app, "member").await, log_in(&app, "owner").await);
    me(&app, &hers.access).await.expect(200);
    app.set_active(&app.member(), false).await;
    is_dead(&app, &hers.access).await;
    refresh(&app, &hers.refresh).await.expect_problem(401, "invalid-token");
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    app.anonymous().post("/auth/jwt/", credentials).await.expect_problem(401, "invalid-credentials");
    app.set_active(&app.member(), true).await;
    is_dead(&app, &hers.access).await;
    me(&app, &other.access).await.expect(200);
}

// JWT-16: the role is the one that the member has now.
#[tokio::test]
async fn a_token_says_nothing_of_what_its_user_may_do() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "x"})).await;
    let tokens = log_in(&app, "admin").await;
    let change = async || {
        let call = app.anonymous().request(Method::PATCH, &task).json(&json!({"title": "y"}));
        call.authorization(format!("Bearer {}", tokens.access)).await
    };
    change().await.expect(200);
    app.set_role("acme", &app.admin(), bailiwick::identity::Role::Viewer).await;
    change().await.expect(403);
    app.remove_member("acme", &app.admin()).await;
    change().await.expect(404);
}

// JWT-30, JWT-31
#[tokio::test]
async fn the_jwks_document_has_the_public_keys_and_may_be_cached() {
    let app = support::start().await;
    let at = "http://localhost/.well-known/jwks.json";
    let reply = app.anonymous().get(at).await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("public, max-age=300"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let keys = reply.json()["keys"].as_array().unwrap().clone();
    assert_eq!(keys.len(), 1);
    let access = log_in(&app, "member").await.access;
    let header = data_encoding::BASE64URL_NOPAD.decode(access.split('.').next().unwrap().as_bytes()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header, json!({"alg": "EdDSA", "typ": "at+jwt", "kid": keys[0]["kid"]}));
    // Whoever sends a credential that is none is told so, here too.
    let bad = app.anonymous().get(at).authorization("Bearer nonsense").await;
    bad.expect_problem(401, "invalid-token");

    for algorithm in ["ES256", "RS256", "HS256"] {
        let app = support::with(&[("jwt.algorithm", algorithm)]).await;
        let published = app.anonymous().get(at).await.expect(200).json();
        assert_eq!(published["keys"].as_array().unwrap().len(), usize::from(algorithm != "HS256"));
        if let Some(key) = published["keys"].get(0) {
            assert_eq!(key["alg"], algorithm);
        }
        let tokens = log_in(&app, "member").await;
        me(&app, &tokens.access).await.expect(200);
    }
}

// TOK-04
#[tokio::test]
async fn what_takes_its_credential_in_the_body_ignores_authorization() {
    let app = support::start().await;
    let stale = |person: Person, path: &str, body: Value| {
        person.post(path, body).authorization("Bearer stale.stale.stale")
    };
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let tokens = pair(&stale(app.anonymous(), "/auth/jwt/", credentials).await.expect(200));
    stale(app.anonymous(), "/auth/jwt/verify/", json!({"token": tokens.access})).await.expect(200);
    let next = stale(app.anonymous(), "/auth/jwt/refresh/", json!({"refresh": tokens.refresh})).await;
    stale(app.anonymous(), "/auth/jwt/revoke/", json!({"refresh": pair(&next.expect(200)).refresh}))
        .await
        .expect(200);
    for (path, body) in [
        ("/auth/jwt/", json!({"username": "member"})),
        ("/auth/jwt/refresh/", json!({})),
        ("/auth/jwt/refresh/", json!({"refresh": 1})),
        ("/auth/jwt/verify/", json!({"token": null})),
        ("/auth/jwt/revoke/", json!({"refresh": "x", "more": 1})),
    ] {
        app.anonymous().post(path, body).await.expect_problem(422, "validation-failed");
    }
}

// Contract §1, §6
#[tokio::test]
async fn log_ins_and_refreshes_have_quotas() {
    let app =
        support::throttled(&[("throttle.rates.login", "3/min"), ("throttle.rates.refresh", "2/min")]).await;
    let mut tokens = log_in(&app, "member").await;
    for _ in 0..2 {
        tokens = pair(&refresh(&app, &tokens.refresh).await.expect(200));
    }
    refresh(&app, &tokens.refresh).await.expect_problem(429, "throttled");
    log_in(&app, "member").await;
    support::log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    app.anonymous().post("/auth/jwt/", credentials).await.expect_problem(429, "throttled");
    app.clock().advance(Duration::from_secs(60));
    refresh(&app, &tokens.refresh).await.expect(200);
}

// I9
#[tokio::test]
async fn what_cannot_be_decided_is_503_and_lets_nobody_in() {
    let app = support::start().await;
    let tokens = log_in(&app, "member").await;
    app.store().fail_all(Operation::RefreshFamily, Fault::Unavailable);
    refresh(&app, &tokens.refresh).await.expect_problem(503, "unavailable");
    app.store().fail_all(Operation::RevokeFamily, Fault::Unavailable);
    let revoke = app.anonymous().post("/auth/jwt/revoke/", json!({"refresh": tokens.refresh}));
    revoke.await.expect_problem(503, "unavailable");
    app.store().fail_all(Operation::CreateFamily, Fault::Unavailable);
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let refused = app.anonymous().post("/auth/jwt/", credentials).await.expect_problem(503, "unavailable");
    assert!(!refused.text().contains("bw_rt_"));
    app.store().fail_all(Operation::KeyRing, Fault::Unavailable);
    app.clock().advance(Duration::from_secs(1));
    me(&app, &tokens.access).await.expect_problem(503, "unavailable");
    for password in ["wrong", TestApp::PASSWORD] {
        let credentials = json!({"username": "member", "password": password});
        let refused = app.anonymous().post("/auth/jwt/", credentials).await;
        refused.expect_problem(503, "unavailable");
    }
    app.store().mend();
    app.store().fail_all(Operation::PrincipalOf, Fault::Unavailable);
    me(&app, &tokens.access).await.expect_problem(503, "unavailable");
    app.store().mend();
    me(&app, &tokens.access).await.expect(200);
    pair(&refresh(&app, &tokens.refresh).await.expect(200));
    // An answer that was lost does not log the client out: it asks again.
    let tokens = log_in(&app, "member").await;
    app.store().fail_next(Operation::RefreshFamily, Fault::AnswerLost);
    refresh(&app, &tokens.refresh).await.expect_problem(503, "unavailable");
    pair(&refresh(&app, &tokens.refresh).await.expect(200));
}

/// Signs as the server does: with its master key and its database.
async fn sign(app: &TestApp, tokens: &AccessTokens, subject: Subject) -> String {
    let master = MasterKey::from_text(support::MASTER_KEY, std::path::Path::new("")).unwrap();
    let jwt = Jwt {
        master: MasterKeys::new(&master.derive("signing keys"), []),
        algorithm: Algorithm::EdDsa,
        rotate_every: Duration::from_secs(90 * 24 * 60 * 60),
        tokens: tokens.clone(),
        limits: FamilyLimits::default(),
    };
    let clock = std::sync::Arc::new(app.clock().clone());
    let ring = jwt.ring(std::sync::Arc::new(app.store().clone()), clock, std::sync::Arc::new(OsEntropy));
    let keys = ring.keys().await.unwrap();
    tokens.issue(keys.signing(), subject, app.clock().now(), "forged".to_owned()).unwrap()
}

// JWT-12
#[tokio::test]
async fn what_the_right_key_has_signed_is_good_for_a_living_family_of_its_user_only() {
    let app = support::start().await;
    let pair = log_in(&app, "member").await;
    let said =
        app.anonymous().post("/auth/jwt/verify/", json!({"token": pair.access})).await.expect(200).json();
    let family = said["sid"].as_str().unwrap().parse().unwrap();
    let (member, owner) = (app.member().id(), app.owner().id());
    let ours = AccessTokens {
        issuer: "bailiwick".to_owned(),
        audience: "bailiwick".to_owned(),
        lifetime: Duration::from_secs(300),
    };
    let right = sign(&app, &ours, Subject { user: member, family }).await;
    me(&app, &right).await.expect(200);
    let nobody = support::NOBODY.parse().unwrap();
    for (user, family) in [(owner, family), (support::NOBODY.parse().unwrap(), family), (member, nobody)] {
        is_dead(&app, &sign(&app, &ours, Subject { user, family }).await).await;
    }
    let other = |issuer: &str, audience: &str| AccessTokens {
        issuer: issuer.to_owned(),
        audience: audience.to_owned(),
        ..ours.clone()
    };
    for wrong in [other("other", "bailiwick"), other("bailiwick", "other")] {
        is_dead(&app, &sign(&app, &wrong, Subject { user: member, family }).await).await;
    }
}

// Whatever is sent as a token is a 401, or too long for a header; never a 500.
#[tokio::test]
async fn no_text_in_the_place_of_a_token_is_more_than_refused() {
    let app = support::start().await;
    let access = log_in(&app, "member").await.access;
    let [header, claims, signature] = access.split('.').collect::<Vec<_>>()[..] else { panic!("{access}") };
    let encode = |json: Value| data_encoding::BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let none = encode(json!({"alg": "none", "typ": "at+jwt", "kid": "x"}));
    for wrong in [
        "..".to_owned(),
        ".".repeat(500),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{header}.{}.{signature}", encode(json!({"sub": app.owner().id()}))),
        format!("{header}.{claims}.{}", "A".repeat(86)),
        format!("{header}.{claims}.{signature}.{signature}.{signature}"),
        format!("{access}{}", "A".repeat(7000)),
        format!("{}.{claims}.{signature}", "A".repeat(5000)),
    ] {
        me(&app, &wrong).await.expect_problem(401, "invalid-token");
        let asked = app.anonymous().post("/auth/jwt/verify/", json!({"token": wrong})).await;
        asked.expect_problem(401, "invalid-token");
    }
    let long = format!("{header}.{}.{signature}", "A".repeat(64 * 1024));
    me(&app, &long).await.expect_problem(431, "headers-too-large");
    let asked = app.anonymous().post("/auth/jwt/verify/", json!({"token": long})).await;
    asked.expect_problem(401, "invalid-token");
}
