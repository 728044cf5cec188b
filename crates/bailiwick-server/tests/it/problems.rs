//! Errors, and the pages that explain them.
use bailiwick::problem::CATALOGUE;
use serde_json::{Value, json};

use crate::support::{self, NOBODY, TASKS};

#[tokio::test]
async fn every_kind_of_problem_is_explained_to_programs_and_to_people() {
    let app = support::start().await;
    for kind in CATALOGUE {
        let url = format!("http://localhost{}", kind.type_uri);
        for path in [url.as_str(), &format!("{url}/")] {
            let json = app.anonymous().get(path).await.expect(200);
            assert_eq!(json.header("content-type"), Some("application/json"));
            let body = json.json();
            assert_eq!((&body["code"], &body["status"]), (&json!(kind.code), &json!(kind.status)));
            for member in ["title", "explanation", "fix"] {
                assert!(
                    body[member].as_str().is_some_and(|text| !text.is_empty()),
                    "{member} of {}",
                    kind.code
                );
            }
            let html = app.anonymous().get(path).header("accept", "text/html,*/*;q=0.8").await.expect(200);
            assert_eq!(html.header("content-type"), Some("text/html; charset=utf-8"));
            assert!(html.text().contains(kind.code) && html.text().contains("<html"), "{}", html.text());
            assert_eq!(html.header("x-content-type-options"), Some("nosniff"));
            assert!(html.header("content-security-policy").unwrap().contains("default-src 'none'"));
        }
    }
    for unknown in ["nonsense", "NOT-FOUND", "%00", "..", "<script>", "a/b"] {
        let unknown = unknown.replace('<', "%3C").replace('>', "%3E");
        let path = format!("http://localhost/problems/{unknown}/");
        app.anonymous().get(&path).await.expect_problem(404, "not-found");
    }
}

// ERR-01 to ERR-10
#[tokio::test]
async fn every_problem_has_the_members_of_the_contract_and_its_type_leads_to_a_page() {
    let app = support::start().await;
    let owner = app.owner();
    let replies = [
        owner.post(TASKS, json!({})).await,
        owner.post(TASKS, json!(null)).body("text/plain", "x").await,
        owner.post(TASKS, json!(null)).body("application/json", "{").await,
        owner.get(&format!("{TASKS}{NOBODY}/")).await,
        owner.get(TASKS).header("host", "x").await,
        owner.delete("/me/").await,
        owner.post("/orgs/", json!({"slug": "acme", "name": "x"})).await,
        app.viewer().post(TASKS, json!({"title": "x"})).await,
        app.anonymous().get("/me/").await,
        app.anonymous().get("/me/").authorization("x").await,
        app.anonymous().get("/nonsense/").header("accept", "text/html").await,
        app.anonymous().get("/nonsense/").header("accept", "image/png").await,
        support::log_in(&app.anonymous(), "x", "y").await,
    ];
    for reply in replies {
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        for name in
            ["x-content-type-options", "content-security-policy", "x-frame-options", "referrer-policy"]
        {
            assert!(reply.header(name).is_some(), "{name}: {reply:?}");
        }
        let body = reply.json();
        for name in body.as_object().unwrap().keys() {
            let known = ["type", "title", "status", "detail", "code", "request_id", "errors"];
            assert!(known.contains(&name.as_str()), "{name}: {reply:?}");
        }
        assert_eq!(body["status"], reply.status().as_u16());
        assert_eq!(body["request_id"].as_str(), reply.header("x-request-id"));
        let page = format!("http://localhost{}", body["type"].as_str().unwrap());
        let kind = app.anonymous().get(&page).await.expect(200).json();
        assert_eq!((&kind["code"], &kind["title"]), (&body["code"], &body["title"]));
        if body["code"] == "validation-failed" {
            assert!(body["errors"].is_array());
        } else {
            assert_eq!(body["errors"], Value::Null);
        }
    }
}

// LOG-08
#[tokio::test]
async fn every_answer_carries_the_clients_request_id_or_a_new_one() {
    let app = support::start().await;
    let ask =
        |person: bailiwick_testkit::Person, id: &'static str| person.get("/me/").header("x-request-id", id);
    for person in [app.owner(), app.anonymous()] {
        let reply = ask(person.clone(), "my-Own_id-01").await;
        assert_eq!(reply.header("x-request-id"), Some("my-Own_id-01"));
        for wrong in ["short", "", "with space 1", "semi;colon;1", "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}"] {
            let reply = ask(person.clone(), wrong).await;
            let id = reply.header("x-request-id").unwrap();
            assert!(id != wrong && id.len() == 32, "{id}");
        }
    }
    let one = app.owner().get("/me/").await;
    let other = app.owner().get("/me/").await;
    assert_ne!(one.header("x-request-id"), other.header("x-request-id"));
}
