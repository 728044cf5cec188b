//! `ETag`, `If-Match` and `If-None-Match`.
use http::Method;
use serde_json::json;

use crate::support::{self, Tasks};

// CND-01, CND-08, CND-10: the version is 2 when it is asked.
#[tokio::test]
async fn if_match_decides_by_strong_comparison() {
    let app = support::start().await;
    let owner = app.owner();
    for (fields, passes) in [
        (&["\"v1-2\""][..], 200),
        (&["*"], 200),
        (&["\"v1-1\", \"v1-2\""], 200),
        (&["\"v1-1\",\"v1-2\""], 200),
        (&["\"v1-1\"", "\"v1-2\""], 200),
        (&["\"x\", W/\"y\", \"v1-2\""], 200),
        (&["\"v1-1\""], 412),
        (&["\"v1-3\""], 412),
        (&["W/\"v1-2\""], 412),
        (&["\"v2-2\""], 412),
        (&["\"v1-02\""], 412),
        (&["\"V1-2\""], 412),
        (&["\"2\""], 412),
        (&["\"\""], 412),
        (&["\"v1-99999999999999999999\""], 412),
        (&["v1-2"], 400),
        (&["2"], 400),
        (&["\"v1-2"], 400),
        (&[""], 400),
        (&["*, \"v1-2\""], 400),
        (&["*", "\"v1-2\""], 400),
        (&["*", "*"], 400),
        (&["\"v1-2\" \"v1-3\""], 400),
        (&["w/\"v1-2\""], 400),
    ] {
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let path = owner.task(json!({"title": "one"})).await;
            let two = owner.patch(&path, json!({"title": "two"})).await.expect(200);
            assert_eq!(two.header("etag"), Some("\"v1-2\""));
            let mut call = owner.request(method.clone(), &path).json(&json!({"title": "three"}));
            for field in fields {
                call = call.header("if-match", field);
            }
            let reply = call.await;
            let expected = if passes == 200 && method == Method::DELETE { 204 } else { passes };
            assert_eq!(reply.status().as_u16(), expected, "{method} {fields:?}");
            match passes {
                412 => assert_eq!(reply.code(), "precondition-failed"),
                400 => assert_eq!(reply.code(), "malformed-request"),
                _ => {}
            }
            let after = owner.get(&path).await;
            match (passes, method == Method::DELETE) {
                (200, true) => assert_eq!(after.status(), 404),
                (200, false) => assert_eq!(after.header("etag"), Some("\"v1-3\"")),
                _ => assert_eq!((after.header("etag"), after.text()), (two.header("etag"), two.text())),
            }
        }
    }
}

// CND-07: of two writers who saw the same version, one wins.
#[tokio::test]
async fn of_many_writers_of_one_version_one_wins() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "one"})).await;
    let mut writers = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (owner, path) = (app.owner(), path.clone());
        writers.spawn(async move {
            let body = json!({"title": format!("by {number}")});
            let reply = owner.patch(&path, body).header("if-match", "\"v1-1\"").await;
            (reply.status().as_u16(), reply.json()["title"].clone())
        });
    }
    let replies = writers.join_all().await;
    let winners: Vec<_> = replies.iter().filter(|(status, _)| *status == 200).collect();
    assert_eq!(winners.len(), 1, "{replies:?}");
    assert_eq!(replies.iter().filter(|(status, _)| *status == 412).count(), 19);
    let after = app.owner().get(&path).await.expect(200);
    assert_eq!((&after.json()["title"], after.header("etag")), (&winners[0].1, Some("\"v1-2\"")));
}

// CND-02, CND-05, CND-11
#[tokio::test]
async fn if_none_match_spares_the_body() {
    let app = support::start().await;
    let owner = app.owner();
    let path = owner.task(json!({"title": "one"})).await;
    let whole = owner.get(&path).await.expect(200);
    for (field, status) in [
        ("\"v1-1\"", 304),
        ("W/\"v1-1\"", 304),
        ("*", 304),
        ("\"x\", \"v1-1\"", 304),
        ("\"v1-2\"", 200),
        ("\"v1-01\"", 200),
        ("\"\"", 200),
        ("v1-1", 400),
        ("\"v1-1", 400),
        ("*, \"v1-1\"", 400),
        ("", 400),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = owner.request(method.clone(), &path).header("if-none-match", field).await;
            assert_eq!(reply.status().as_u16(), status, "{method} {field}");
            if status == 304 {
                assert_eq!(reply.bytes(), b"");
                assert_eq!(reply.header("etag"), whole.header("etag"));
                assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
                assert_eq!(reply.header("content-type"), None);
                // RFC 9110 §8.6: it would have to be that of the 200.
                assert_eq!(reply.header("content-length"), None);
            }
        }
    }
    owner.patch(&path, json!({"title": "two"})).await.expect(200);
    let changed = owner.get(&path).header("if-none-match", "\"v1-1\"").await.expect(200);
    assert_eq!(changed.json()["title"], "two");
}

// CND-02: for a write it is 412, and the write does not happen.
#[tokio::test]
async fn if_none_match_keeps_a_write_from_what_the_client_knows() {
    let app = support::start().await;
    let owner = app.owner();
    let path = owner.task(json!({"title": "one"})).await;
    let missing = format!("/orgs/acme/tasks/{}/", support::NOBODY);
    for field in ["*", "\"v1-1\"", "W/\"v1-1\"", "\"v1-9\", \"v1-1\""] {
        for method in [Method::PUT, Method::PATCH, Method::DELETE] {
            let ask = |person: bailiwick_testkit::Person, path: &str| {
                person
                    .request(method.clone(), path)
                    .json(&json!({"title": "x"}))
                    .header("if-none-match", field)
            };
            ask(owner.clone(), &path).await.expect_problem(412, "precondition-failed");
            ask(owner.clone(), &missing).await.expect_problem(404, "not-found");
            ask(app.member(), &path).await.expect_problem(403, "forbidden");
            ask(app.other_tenant(), &path).await.expect_problem(404, "not-found");
        }
    }
    assert_eq!(owner.get(&path).await.expect(200).json()["title"], "one");
    owner.patch(&path, json!({"title": "two"})).header("if-none-match", "\"v1-9\"").await.expect(200);
    owner.patch(&path, json!({})).header("if-none-match", "\"v1-2\"").await.expect(412);
    owner.delete(&path).header("if-none-match", "\"v1-1\"").await.expect(204);
}

// CND-01, CND-03
#[tokio::test]
async fn if_match_keeps_a_read_to_what_the_client_expects() {
    let app = support::start().await;
    let owner = app.owner();
    let path = owner.task(json!({"title": "one"})).await;
    for (if_match, if_none_match, status) in [
        ("\"v1-1\"", None, 200),
        ("*", None, 200),
        ("\"v1-9\", \"v1-1\"", None, 200),
        ("\"v1-9\"", None, 412),
        ("W/\"v1-1\"", None, 412),
        ("v1-1", None, 400),
        // If-Match decides first.
        ("\"v1-1\"", Some("\"v1-1\""), 304),
        ("\"v1-9\"", Some("\"v1-1\""), 412),
        ("\"v1-9\"", Some("\"v1-9\""), 412),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let mut call = owner.request(method.clone(), &path).header("if-match", if_match);
            if let Some(field) = if_none_match {
                call = call.header("if-none-match", field);
            }
            assert_eq!(call.await.status().as_u16(), status, "{method} {if_match} {if_none_match:?}");
        }
    }
    let missing = format!("/orgs/acme/tasks/{}/", support::NOBODY);
    owner.get(&missing).header("if-match", "\"v1-9\"").await.expect_problem(404, "not-found");
    owner.get("/orgs/acme/").header("if-match", "\"v1-9\"").await.expect_problem(412, "precondition-failed");
}

#[tokio::test]
async fn an_organisation_has_an_etag_too() {
    let app = support::start().await;
    let org = app.viewer().get("/orgs/acme/").await.expect(200);
    let tag = org.header("etag").unwrap();
    app.viewer().get("/orgs/acme/").header("if-none-match", tag).await.expect(304);
    app.viewer().get("/orgs/acme/").header("if-none-match", "\"v1-9\"").await.expect(200);
}

// CND-06
#[tokio::test]
async fn a_change_must_name_its_version_where_the_setting_says_so() {
    let app = support::with(&[("writes.require_if_match", "true")]).await;
    let owner = app.owner();
    let path = owner.task(json!({"title": "one"})).await;
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let refused = owner.request(method.clone(), &path).json(&json!({"title": "two"})).await;
        refused.expect_problem(428, "precondition-required");
    }
    assert_eq!(owner.get(&path).await.expect(200).header("etag"), Some("\"v1-1\""));
    owner.patch(&path, json!({"title": "two"})).header("if-match", "\"v1-1\"").await.expect(200);
    owner.put(&path, json!({"title": "three"})).header("if-match", "*").await.expect(200);
    // Who may not change it at all is not told how, nor who asks for what is not there (CND-04).
    let missing = format!("/orgs/acme/tasks/{}/", support::NOBODY);
    for method in [Method::PUT, Method::PATCH, Method::DELETE] {
        let ask = |person: bailiwick_testkit::Person, path: &str| {
            person.request(method.clone(), path).json(&json!({"title": "x"}))
        };
        ask(owner.clone(), &missing).await.expect_problem(404, "not-found");
        ask(app.member(), &path).await.expect_problem(403, "forbidden");
    }
    app.viewer().patch(&path, json!({})).await.expect_problem(403, "forbidden");
    app.other_tenant().patch(&path, json!({})).await.expect_problem(404, "not-found");
    app.anonymous().patch(&path, json!({})).await.expect_problem(401, "unauthenticated");
    owner.delete(&path).header("if-match", "\"v1-3\"").await.expect(204);
}

// CND-04: what would be refused without it is refused the same way with it, also where it cannot be read.
#[tokio::test]
async fn rights_and_existence_win_over_preconditions() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "one"})).await;
    let missing = format!("/orgs/acme/tasks/{}/", support::NOBODY);
    for (name, field) in [
        ("if-match", "\"v1-9\""),
        ("if-match", "\"v1-1\""),
        ("if-match", "*"),
        ("if-match", "v1-1"),
        ("if-none-match", "v1-1"),
    ] {
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let ask = |person: bailiwick_testkit::Person, path: &str| {
                person.request(method.clone(), path).json(&json!({"title": "x"})).header(name, field)
            };
            ask(app.anonymous(), &path).await.expect_problem(401, "unauthenticated");
            ask(app.other_tenant(), &path).await.expect_problem(404, "not-found");
            ask(app.owner(), &missing).await.expect_problem(404, "not-found");
            if method != Method::GET {
                ask(app.member(), &path).await.expect_problem(403, "forbidden");
            }
        }
    }
    assert_eq!(app.owner().get(&path).await.expect(200).json()["title"], "one");
}
