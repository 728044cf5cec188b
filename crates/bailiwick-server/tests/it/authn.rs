//! Credentials: tokens, and the log-in that makes them.
use std::time::Duration;

use bailiwick_testkit::{Operation, Person, Reply, TestApp};
use serde_json::json;

use crate::support::{self, TASKS, error, log_in};

/// All challenges of an answer.
fn challenges(reply: &Reply) -> Vec<&str> {
    reply.headers().get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
}

/// The same person, with the token of a new log-in.
async fn logged_in(app: &TestApp, person: &Person) -> (Person, String) {
    let reply = log_in(&app.anonymous(), person.name(), TestApp::PASSWORD).await.expect(200);
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    (person.clone(), token)
}

async fn me(app: &TestApp, token: &str) -> Reply {
    app.anonymous().get("/me/").authorization(format!("Token {token}")).await
}

// ERR-30, ERR-31, ERR-39, ERR-55
#[tokio::test]
async fn without_a_credential_the_challenges_carry_no_error() {
    let app = support::start().await;
    for path in ["/me/", "/orgs/", TASKS] {
        let reply = app.anonymous().get(path).await.expect_problem(401, "unauthenticated");
        assert_eq!(challenges(&reply), ["Token realm=\"api\"", "Bearer realm=\"api\""]);
    }
}

// ERR-32, ERR-37, ERR-38, ERR-53, TOK-03, TOK-22
#[tokio::test]
async fn an_authorization_that_proves_nobody_is_401_with_one_text_for_all() {
    let app = support::start().await;
    let token = app.member().token().to_owned();
    let (_, revoked) = logged_in(&app, &app.member()).await;
    app.anonymous().delete("/auth/token/").authorization(format!("Token {revoked}")).await.expect(204);
    let short_lived = app.token_for(&app.member(), Duration::from_secs(60)).await;
    app.clock().advance(Duration::from_secs(60));
    // Another last character, and a checksum that fits.
    let unknown = bailiwick::authn::token::TokenText::generate(
        bailiwick::authn::token::TokenKind::Personal,
        &bailiwick_testkit::SeededEntropy::new(99),
    );
    let typo = format!("{}{}", &token[..42], if token.ends_with('0') { '1' } else { '0' });
    let mut bare = Vec::new();
    for value in [
        "Basic bWVtYmVyOnBhc3N3b3Jk".to_owned(),
        "Digest username=\"member\"".to_owned(),
        "Token".to_owned(),
        "Token ".to_owned(),
        "Bearer".to_owned(),
        String::new(),
        token.clone(),
        format!("Tokens {token}"),
        format!("Token\t{token}"),
        format!("Token {token} {token}"),
        format!("Token {token},"),
        format!("Token \"{token}\""),
        format!("Token {}", &token[..42]),
        format!("Token {token}0"),
        format!("Token {}", token.to_lowercase()),
        format!("Token {}", token.replace("bw_pat_", "bw_org_")),
        format!("Token {}", token.replace("bw_pat_", "")),
        format!("Token {typo}"),
        format!("Token {}", unknown.expose()),
        format!("Bearer {}", unknown.expose()),
        format!("Token {revoked}"),
        format!("Bearer {revoked}"),
        format!("Token {}", short_lived.expose()),
        format!("Token {}", "x".repeat(4000)),
        "Token é".to_owned(),
    ] {
        let reply =
            app.anonymous().get("/me/").authorization(&value).await.expect_problem(401, "invalid-token");
        assert_eq!(
            challenges(&reply),
            ["Token realm=\"api\"", "Bearer realm=\"api\", error=\"invalid_token\""]
        );
        bare.push(reply.bare());
    }
    bare.dedup();
    assert_eq!(bare.len(), 1, "they differ: {bare:#?}");
}

#[tokio::test]
async fn both_schemes_are_accepted_in_any_case() {
    let app = support::start().await;
    let token = app.member().token().to_owned();
    for scheme in ["Token", "token", "TOKEN", "Bearer", "bearer", "bEaReR"] {
        let reply = app.anonymous().get("/me/").authorization(format!("{scheme} {token}")).await.expect(200);
        assert_eq!(reply.json()["username"], "member");
    }
    app.anonymous().get("/me/").authorization(format!("Token   {token}")).await.expect(200);
}

// ERR-40
#[tokio::test]
async fn two_authorizations_are_400_even_if_both_are_good() {
    let app = support::start().await;
    let value = format!("Token {}", app.member().token());
    for other in [value.as_str(), "Basic x", ""] {
        for path in ["/me/", TASKS, "http://localhost/problems/not-found/"] {
            let reply = app.member().get(path).header("authorization", other).await;
            reply.expect_problem(400, "malformed-request");
        }
    }
}

// ERR-53: also where nobody needs a credential.
#[tokio::test]
async fn a_bad_credential_is_401_on_public_and_unknown_paths_too() {
    let app = support::start().await;
    for path in ["http://localhost/problems/not-found/", "http://localhost/nonsense/", "/nonsense/"] {
        app.anonymous().get(path).authorization("Token x").await.expect_problem(401, "invalid-token");
    }
    app.anonymous().get("/nonsense/").await.expect_problem(404, "not-found");
}

// TOK-22
#[tokio::test]
async fn a_typing_error_is_refused_without_a_look_up() {
    let app = support::start().await;
    let token = app.member().token().to_owned();
    app.member().get("/me/").await.expect(200);
    let before = app.store().calls(Operation::PrincipalOf);
    let typo = format!("{}{}", &token[..42], if token.ends_with('0') { '1' } else { '0' });
    me(&app, &typo).await.expect_problem(401, "invalid-token");
    assert_eq!(app.store().calls(Operation::PrincipalOf), before);
    me(&app, &token).await.expect(200);
    assert_eq!(app.store().calls(Operation::PrincipalOf), before + 1);
}

// ERR-36
#[tokio::test]
async fn a_token_anywhere_but_in_authorization_is_none() {
    let app = support::start().await;
    let token = app.member().token().to_owned();
    for name in ["token", "access_token", "api_key"] {
        let path = format!("/me/?{name}={token}");
        app.anonymous().get(&path).await.expect_problem(401, "unauthenticated");
    }
    for name in ["x-api-key", "x-authorization", "proxy-authorization", "cookie"] {
        let call = app.anonymous().get("/me/").header(name, format!("Token {token}"));
        call.await.expect_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_token_lives_exactly_as_long_as_it_says() {
    let app = support::with(&[("tokens.default_lifetime", "90s")]).await;
    let reply = log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
    assert_eq!(reply.json()["expires_at"], "2026-01-01T00:01:30.000000Z");
    let token = reply.json()["token"].as_str().unwrap().to_owned();
    app.clock().advance(Duration::from_micros(89_999_999));
    me(&app, &token).await.expect(200);
    app.clock().advance(Duration::from_micros(1));
    me(&app, &token).await.expect_problem(401, "invalid-token");
    // A clock that was set back does not bring back what an hour ago was over; it only shows the time it shows.
    app.clock().advance(Duration::from_secs(3600));
    me(&app, &token).await.expect_problem(401, "invalid-token");
}

#[tokio::test]
async fn a_disabled_user_is_refused_at_once_and_no_old_token_comes_back_with_them() {
    let app = support::start().await;
    let (member, token) = logged_in(&app, &app.member()).await;
    app.set_active(&member, false).await;
    me(&app, &token).await.expect_problem(401, "invalid-token");
    member.get("/me/").await.expect_problem(401, "invalid-token");
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(401, "invalid-credentials");
    app.set_active(&member, true).await;
    // SES-21: whoever had stolen a token gets it not back.
    member.get("/me/").await.expect_problem(401, "invalid-token");
    me(&app, &token).await.expect_problem(401, "invalid-token");
    let (_, fresh) = logged_in(&app, &member).await;
    me(&app, &fresh).await.expect(200);
}

#[tokio::test]
async fn a_log_in_answers_a_token_that_works_and_is_kept_nowhere_else() {
    let app = support::start().await;
    let reply = log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    let body = reply.json();
    let members: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["expires_at", "token"]);
    assert_eq!(body["expires_at"], "2026-01-31T00:00:00.000000Z");
    let token = body["token"].as_str().unwrap();
    assert!(token.starts_with("bw_pat_") && token.len() == 43, "{token}");
    assert_eq!(me(&app, token).await.expect(200).json()["username"], "member");
    // Each log-in makes its own.
    let again = log_in(&app.anonymous(), "MEMBER", TestApp::PASSWORD).await.expect(200).json();
    assert_ne!(again["token"], body["token"]);
    let log = serde_json::to_string(&app.log()).unwrap();
    for secret in [token, TestApp::PASSWORD, app.member().token(), "$argon2"] {
        assert!(!log.contains(secret), "the log holds {secret}");
    }
}

// PWD-12
#[tokio::test]
async fn a_log_in_fails_alike_whatever_is_wrong() {
    let app = support::start().await;
    let disabled = app.person("disabled", &[]).await;
    app.set_active(&disabled, false).await;
    let long = "x".repeat(257);
    let longest = "x".repeat(256);
    let mut bare = Vec::new();
    for (username, password) in [
        ("member", "wrong"),
        ("member", ""),
        ("member", "A-PHRASE-THAT-NOBODY-GUESSES"),
        ("member", " a-phrase-that-nobody-guesses"),
        ("member", longest.as_str()),
        ("member", long.as_str()),
        ("nobody", TestApp::PASSWORD),
        ("nobody", "wrong"),
        ("disabled", TestApp::PASSWORD),
        ("disabled", "wrong"),
        ("", TestApp::PASSWORD),
        ("member ", TestApp::PASSWORD),
        ("mem\u{131}ber", TestApp::PASSWORD),
        ("' OR 1=1 --", "x"),
        (long.as_str(), "x"),
    ] {
        let reply = log_in(&app.anonymous(), username, password).await;
        let reply = reply.expect_problem(401, "invalid-credentials");
        assert_eq!(challenges(&reply), ["Token realm=\"api\"", "Bearer realm=\"api\""]);
        bare.push(reply.bare());
    }
    bare.dedup();
    assert_eq!(bare.len(), 1, "they differ: {bare:#?}");
}

/// The cost that the log-ins of two tests have; the people of a test have hashes of less.
const COST: [(&str, &str); 2] =
    [("passwords.argon2_memory_kib", "4096"), ("passwords.argon2_iterations", "2")];

// PWD-12: an unknown user costs a hash as a known one does, and so does one who has not logged in since the cost was
// raised. The people ask in turn, so that whatever else the machine does meets all of them; and a machine that is busy with
// something else may spoil one round, but a true difference shows in each.
#[tokio::test]
async fn serial_an_unknown_user_takes_as_long_as_a_wrong_password() {
    let app = support::with(&COST).await;
    // This one has logged in since.
    logged_in(&app, &app.member()).await;
    let mut rounds = Vec::new();
    for _ in 0..3 {
        let [known, outdated, unknown] = medians(&app, ["member", "viewer", "nobody"]).await;
        let (known, outdated) = (known / unknown, outdated / unknown);
        if (0.95..1.05).contains(&known) && (0.8..1.25).contains(&outdated) {
            return;
        }
        rounds.push((known, outdated));
    }
    panic!(
        "known users, and those with an older hash, take so many times as long as unknown ones: {rounds:?}"
    );
}

/// The median time of 200 log-ins with a wrong password, for each name, in seconds.
async fn medians<const N: usize>(app: &TestApp, names: [&str; N]) -> [f64; N] {
    let clock = bailiwick::clock::SystemClock::new();
    let mut times = [const { Vec::new() }; N];
    for _ in 0..200 {
        for (times, name) in times.iter_mut().zip(names) {
            let start = bailiwick::clock::Clock::monotonic(&clock);
            log_in(&app.anonymous(), name, "wrong").await.expect(401);
            times.push(bailiwick::clock::Clock::monotonic(&clock) - start);
        }
    }
    times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64()
    })
}

// PWD-04
#[tokio::test]
async fn a_log_in_renews_a_hash_that_was_made_for_less_work_and_ends_nothing() {
    let app = support::with(&COST).await;
    let hash = async || {
        let login = bailiwick::store::Directory::login(app.store(), "member").await.unwrap().unwrap();
        login.password_hash.expose().clone()
    };
    let before = hash().await;
    let anonymous = app.anonymous();
    log_in(&anonymous, "member", "wrong").await.expect(401);
    assert_eq!(hash().await, before, "who does not know it renews nothing");
    let (_, first) = logged_in(&app, &app.member()).await;
    let after = hash().await;
    assert!(before.contains("m=8,t=1") && after.contains("m=4096,t=2"), "{before} {after}");
    let (_, second) = logged_in(&app, &app.member()).await;
    assert_eq!(hash().await, after, "once is enough");
    for token in [&first, &second] {
        me(&app, token).await.expect(200);
    }
    app.member().get("/me/").await.expect(200);
    // With the store unable to renew it, the log-in is as good.
    app.store().fail_all(Operation::RenewPasswordHash, bailiwick_testkit::Fault::Unavailable);
    let (_, token) = logged_in(&app, &app.viewer()).await;
    me(&app, &token).await.expect(200);
}

// PWD-04: many at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn log_ins_at_once_renew_a_hash_and_all_succeed() {
    let app = support::with(&COST).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let anonymous = app.anonymous();
        callers.spawn(async move { log_in(&anonymous, "admin", TestApp::PASSWORD).await.status().as_u16() });
    }
    assert_eq!(callers.join_all().await, vec![200; 12]);
}

#[tokio::test]
async fn a_log_in_that_cannot_be_read_is_told_what_is_missing() {
    let app = support::start().await;
    let anonymous = app.anonymous();
    for (body, errors) in [
        (json!({}), vec![error("#/username", "required"), error("#/password", "required")]),
        (json!({"username": "member"}), vec![error("#/password", "required")]),
        (
            json!({"username": 1, "password": null}),
            vec![error("#/username", "invalid-type"), error("#/password", "null")],
        ),
        (json!({"username": "m", "password": "p", "otp": "1"}), vec![error("#/otp", "unknown-field")]),
        (json!({"username": "m", "password": "a\u{0}b"}), vec![error("#/password", "invalid-character")]),
    ] {
        let reply = anonymous.post("/auth/token/", body).await.expect_problem(422, "validation-failed");
        assert_eq!(reply.errors(), errors);
    }
    anonymous.post("/auth/token/", json!(null)).body("application/json", "{").await.expect(400);
    anonymous
        .post("/auth/token/", json!(null))
        .body("application/x-www-form-urlencoded", "username=m")
        .await
        .expect(415);
    anonymous.get("/auth/token/").await.expect_problem(405, "method-not-allowed");
}

// TOK-04: a stale header must not make a log-in fail.
#[tokio::test]
async fn a_log_in_ignores_authorization() {
    let app = support::start().await;
    let good = app.viewer().token().to_owned();
    for value in ["Token x".to_owned(), "Basic eDp5".to_owned(), String::new(), format!("Token {good}")] {
        for path in ["/auth/token/", "/auth/token"] {
            let body = json!({"username": "member", "password": TestApp::PASSWORD});
            let reply = app.anonymous().post(path, body).header("authorization", &value).await.expect(200);
            let token = reply.json()["token"].as_str().unwrap().to_owned();
            assert_eq!(me(&app, &token).await.json()["username"], "member");
        }
    }
    let call = log_in(&app.anonymous(), "member", TestApp::PASSWORD);
    call.header("authorization", "Token x").header("authorization", "Token y").await.expect(200);
    // Only a log-in: the same path with another method reads it.
    let call = app.anonymous().delete("/auth/token/").authorization("Token x");
    call.await.expect_problem(401, "invalid-token");
}

#[tokio::test]
async fn logging_out_ends_the_token_it_was_asked_with_and_no_other() {
    let app = support::start().await;
    let (_, one) = logged_in(&app, &app.member()).await;
    let (_, other) = logged_in(&app, &app.member()).await;
    let reply =
        app.anonymous().delete("/auth/token/").authorization(format!("Bearer {one}")).await.expect(204);
    assert_eq!(reply.bytes(), b"");
    me(&app, &one).await.expect_problem(401, "invalid-token");
    let again = app.anonymous().delete("/auth/token/").authorization(format!("Bearer {one}"));
    again.await.expect_problem(401, "invalid-token");
    me(&app, &other).await.expect(200);
    app.member().get("/me/").await.expect(200);
    app.anonymous().delete("/auth/token/").await.expect_problem(401, "unauthenticated");
}

// TOK-26
#[tokio::test]
async fn one_log_in_too_many_ends_the_oldest_and_no_named_token() {
    let app = support::with(&[("tokens.max_per_user", "2")]).await;
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(logged_in(&app, &app.member()).await.1);
        app.clock().advance(Duration::from_secs(1));
    }
    let mut live = Vec::new();
    for token in &tokens {
        live.push(me(&app, token).await.status() == 200);
    }
    assert_eq!(live, [false, false, true, true]);
    app.member().get("/me/").await.expect(200);
    // Another user's are another user's.
    logged_in(&app, &app.viewer()).await;
    me(&app, &tokens[3]).await.expect(200);
}

// TOK-26: counted and made in one transaction.
#[tokio::test]
async fn log_ins_at_once_leave_no_more_tokens_than_allowed() {
    let app = support::with(&[("tokens.max_per_user", "3")]).await;
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let anonymous = app.anonymous();
        callers.spawn(async move {
            let reply = log_in(&anonymous, "member", TestApp::PASSWORD).await.expect(200);
            reply.json()["token"].as_str().unwrap().to_owned()
        });
    }
    let mut live = 0;
    for token in callers.join_all().await {
        live += usize::from(me(&app, &token).await.status() == 200);
    }
    assert_eq!(live, 3);
}
