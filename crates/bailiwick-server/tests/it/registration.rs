//! Making an account (contract §2).
use std::time::Duration;

use bailiwick_testkit::{Call, TestApp};
use serde_json::{Value, json};

use crate::support::{self, error, log_in};

const PASSWORD: &str = "sheep count themselves at night";

fn register(app: &TestApp, body: &Value) -> Call {
    app.anonymous().post("/auth/register/", body.clone())
}

fn ann() -> Value {
    json!({"username": "ann", "email": "ann@example.com", "password": PASSWORD})
}

async fn open() -> TestApp {
    support::with(&[("registration.mode", "open")]).await
}

#[tokio::test]
async fn whoever_registers_can_log_in_and_is_nobody_special() {
    let app = open().await;
    let made = register(&app, &ann()).await.expect(201);
    let user = made.json();
    assert_eq!((&user["username"], &user["email"]), (&json!("ann"), &json!("ann@example.com")));
    assert_eq!(user["is_staff"], false);
    assert_eq!(user.as_object().unwrap().len(), 5, "id, username, email, is_staff, created_at: {user}");
    assert!(!made.text().contains(PASSWORD));
    assert_eq!(made.header("set-cookie"), None, "registering is no log-in");
    log_in(&app.anonymous(), "Ann", PASSWORD).await.expect(200);
    assert!(!format!("{:?}", app.log()).contains(PASSWORD));
}

// Contract §2: a new account is no credential, so a bad one beside it is not ignored.
#[tokio::test]
async fn a_bad_authorization_is_401_and_makes_no_account() {
    let app = open().await;
    for bad in ["Token x", "Basic YW5uOng=", "Bearer a.b.c", ""] {
        register(&app, &ann()).authorization(bad).await.expect_problem(401, "invalid-token");
    }
    log_in(&app.anonymous(), "ann", PASSWORD).await.expect_problem(401, "invalid-credentials");
    // Whoever is somebody already may make an account for somebody else.
    app.member().post("/auth/register/", ann()).await.expect(201);
}

#[tokio::test]
async fn where_registration_is_not_open_there_is_no_such_route() {
    for mode in ["closed", "invited"] {
        let app = support::with(&[("registration.mode", mode)]).await;
        let missing = app.anonymous().post("/auth/nothing/", ann()).await.expect_problem(404, "not-found");
        let refused = register(&app, &ann()).await.expect_problem(404, "not-found");
        assert_eq!(refused.body_without_request_id(), missing.body_without_request_id());
        app.anonymous().get("/auth/register/").await.expect_problem(404, "not-found");
        log_in(&app.anonymous(), "ann", PASSWORD).await.expect_problem(401, "invalid-credentials");
    }
}

// Contract §2: unique without regard to case.
#[tokio::test]
async fn a_name_that_is_taken_is_409_and_stays_who_it_was() {
    let app = open().await;
    for name in ["member", "MEMBER"] {
        let theirs = json!({"username": name, "email": "x@example.com", "password": PASSWORD});
        register(&app, &theirs).await.expect_problem(409, "conflict");
    }
    log_in(&app.anonymous(), "member", PASSWORD).await.expect(401);
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
}

#[tokio::test]
async fn all_that_is_wrong_is_named_at_once() {
    let app = open().await;
    let body = json!({"username": "a b", "email": "nobody", "password": "short"});
    let errors = register(&app, &body).await.expect_problem(422, "validation-failed").errors();
    let expected = [
        error("#/username", "invalid-format"),
        error("#/email", "invalid-format"),
        error("#/password", "too-short"),
    ];
    assert_eq!(errors, expected);
    for (member, value, code) in [
        ("email", "a@b@c.example", "invalid-format"),
        ("email", "ann@example.com\r\nBcc: eve@example.com", "invalid-format"),
        ("email", "", "invalid-format"),
        ("username", "", "invalid-format"),
        ("password", "I am Ann the great", "too-guessable"),
        ("password", &"a".repeat(257), "too-long"),
        ("password", "a tab\tin the middle", "invalid-character"),
    ] {
        let mut body = ann();
        body[member] = json!(value);
        let errors = register(&app, &body).await.expect_problem(422, "validation-failed").errors();
        assert_eq!(errors, [error(&format!("#/{member}"), code)], "{value:?}");
    }
    let mut body = ann();
    body["is_staff"] = json!(true);
    let errors = register(&app, &body).await.expect_problem(422, "validation-failed").errors();
    assert_eq!(errors, [error("#/is_staff", "unknown-field")]);
    log_in(&app.anonymous(), "ann", PASSWORD).await.expect(401);
}

#[tokio::test]
async fn the_least_length_of_a_password_is_the_one_of_the_settings() {
    let app = support::with(&[("registration.mode", "open"), ("passwords.min_length", "20")]).await;
    let mut body = ann();
    body["password"] = json!("nineteen characters");
    let errors = register(&app, &body).await.expect_problem(422, "validation-failed").errors();
    assert_eq!(errors, [error("#/password", "too-short")]);
    body["password"] = json!("twenty characters, a");
    register(&app, &body).await.expect(201);
}

#[tokio::test]
async fn one_address_registers_so_often_and_no_oftener() {
    let settings = [("registration.mode", "open"), ("throttle.rates.register", "2/hour")];
    let app = support::throttled(&settings).await;
    for name in ["one", "two"] {
        let body = json!({"username": name, "email": "x@example.com", "password": PASSWORD});
        register(&app, &body).await.expect(201);
    }
    let refused = register(&app, &ann()).await.expect_problem(429, "throttled");
    assert_eq!(refused.json()["violated-policies"], json!(["register"]));
    app.anonymous().from([203, 0, 113, 7]).post("/auth/register/", ann()).await.expect(201);
    app.clock().advance(Duration::from_secs(30 * 60));
    register(&app, &ann()).await.expect_problem(409, "conflict");
}
