//! API tokens that organisations own (contract §2): who makes them, what they are good for, and when they end.
use std::time::Duration;

use bailiwick::identity::Role;
use bailiwick_testkit::{Call, Person, TestApp, databases::fresh_postgres};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::{self, NOBODY, TASKS, Tasks, error, log_in};

const TOKENS: &str = "/orgs/acme/tokens/";

/// A token of acme that `person` makes: its id and its text.
async fn made(person: &Person, body: Value) -> (String, String) {
    let reply = person.post(TOKENS, body).await.expect(201).json();
    (reply["id"].as_str().unwrap().to_owned(), reply["token"].as_str().unwrap().to_owned())
}

fn with(app: &TestApp, token: &str, method: Method, path: &str) -> Call {
    app.anonymous().request(method, path).authorization(format!("Token {token}"))
}

async fn works(app: &TestApp, token: &str) -> bool {
    match with(app, token, Method::GET, TASKS).await.status().as_u16() {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

async fn made_listed_and_ended(app: &TestApp) {
    let admin = app.admin();
    let body = json!({"name": "deploy", "role": "member", "scopes": ["tasks:read"], "expires_in_days": 7});
    let reply = admin.post(TOKENS, body).await.expect(201);
    let body = reply.json();
    let (id, token) = (body["id"].as_str().unwrap(), body["token"].as_str().unwrap().to_owned());
    assert!(token.starts_with("bw_org_") && token.len() == "bw_org_".len() + 36, "{token}");
    let path = format!("{TOKENS}{id}/");
    assert_eq!(reply.header("location"), Some(&*format!("http://localhost/api/v1{path}")));
    assert!(works(app, &token).await);
    let list = app.owner().get(TOKENS).await.expect(200);
    assert!(!list.text().contains(&token), "a token is shown once");
    let list = list.json();
    assert_eq!(list["count"], 1);
    let mut listed = list["results"][0].clone();
    assert!(listed["last_used_at"].is_string(), "{listed}");
    listed["last_used_at"] = Value::Null;
    assert_eq!(
        listed,
        json!({
            "id": id, "name": "deploy", "role": "member", "scopes": ["tasks:read"],
            "display": format!("bw_org_…{}", &token[token.len() - 4..]), "user_id": body["user_id"],
            "created_by": admin.id(), "created_at": body["created_at"], "expires_at": body["expires_at"],
            "last_used_at": null,
        })
    );
    // It is no member, no assignee, and nobody's personal token.
    assert_eq!(app.viewer().get("/orgs/acme/members/").await.json()["count"], 4);
    assert!(!admin.get("/auth/tokens/").await.text().contains(id));
    let assigned = app.owner().post(TASKS, json!({"title": "x", "assignee": body["user_id"]})).await;
    assert_eq!(assigned.expect_problem(422, "validation-failed").errors()[0].0, "#/assignee");
    admin.delete(&path).await.expect(204);
    assert!(!works(app, &token).await, "at once on the server that ended it");
    admin.delete(&path).await.expect_problem(404, "not-found");
    for none in [NOBODY, "x"] {
        admin.delete(&format!("{TOKENS}{none}/")).await.expect_problem(404, "not-found");
    }
    assert_eq!(admin.get(TOKENS).await.json()["count"], 0);
    let (_, token) = made(&admin, json!({"name": "short", "role": "viewer", "expires_in_days": 1})).await;
    app.clock().advance(Duration::from_secs(24 * 60 * 60 - 1));
    assert!(works(app, &token).await);
    app.clock().advance(Duration::from_secs(1));
    assert!(!works(app, &token).await);
}

// TOK-25
#[tokio::test]
async fn a_token_of_an_organisation_is_made_listed_and_ended() {
    made_listed_and_ended(&support::start().await).await;
}

#[tokio::test]
async fn what_is_no_token_of_an_organisation_is_not_made() {
    let app = support::start().await;
    let owner = app.owner();
    for (body, pointer, code) in [
        (json!({"role": "viewer"}), "#/name", "required"),
        (json!({"name": "", "role": "viewer"}), "#/name", "too-short"),
        (json!({"name": "x".repeat(101), "role": "viewer"}), "#/name", "too-long"),
        (json!({"name": "x"}), "#/role", "required"),
        (json!({"name": "x", "role": null}), "#/role", "null"),
        (json!({"name": "x", "role": "Owner"}), "#/role", "invalid-choice"),
        (json!({"name": "x", "role": "root"}), "#/role", "invalid-choice"),
        (json!({"name": "x", "role": "viewer", "scopes": []}), "#/scopes", "too-short"),
        (json!({"name": "x", "role": "viewer", "scopes": ["all"]}), "#/scopes", "invalid-choice"),
        // It has no account.
        (
            json!({"name": "x", "role": "viewer", "scopes": ["tasks:read", "account"]}),
            "#/scopes",
            "invalid-choice",
        ),
        (json!({"name": "x", "role": "viewer", "expires_in_days": 0}), "#/expires_in_days", "out-of-range"),
        (
            json!({"name": "x", "role": "viewer", "expires_in_days": 3651}),
            "#/expires_in_days",
            "out-of-range",
        ),
        (json!({"name": "x", "role": "viewer", "user_id": owner.id()}), "#/user_id", "unknown-field"),
        (json!({"name": "x", "role": "viewer", "org_id": NOBODY}), "#/org_id", "unknown-field"),
    ] {
        let reply = owner.post(TOKENS, body.clone()).await.expect_problem(422, "validation-failed");
        assert_eq!(reply.errors(), [error(pointer, code)], "{body}");
    }
    assert_eq!(owner.get(TOKENS).await.json()["count"], 0);
}

// Contract §2, §3, ACL-07: nobody makes, rotates or ends what is above them.
#[tokio::test]
async fn a_token_has_at_most_the_role_of_whoever_makes_rotates_or_ends_it() {
    let app = support::start().await;
    let (owner, admin) = (app.owner(), app.admin());
    for role in Role::NAMES {
        let body = json!({"name": "x", "role": role});
        for person in [app.viewer(), app.member()] {
            person.post(TOKENS, body.clone()).await.expect_problem(403, "forbidden");
        }
        app.other_tenant().post(TOKENS, body.clone()).await.expect_problem(404, "not-found");
        let above = *role == "owner";
        let (id, token) = made(&owner, body.clone()).await;
        let (path, rotate) = (format!("{TOKENS}{id}/"), format!("{TOKENS}{id}/rotate/"));
        for person in [app.viewer(), app.member()] {
            person.delete(&path).await.expect_problem(403, "forbidden");
            person.post(&rotate, json!({})).await.expect_problem(403, "forbidden");
        }
        if above {
            admin.post(TOKENS, body).await.expect_problem(403, "forbidden");
            admin.post(&rotate, json!({})).await.expect_problem(403, "forbidden");
            admin.delete(&path).await.expect_problem(403, "forbidden");
            assert!(works(&app, &token).await);
            owner.delete(&path).await.expect(204);
        } else {
            admin.post(TOKENS, body).await.expect(201);
            let next = admin.post(&rotate, json!({})).await.expect(201).json();
            assert!(!works(&app, &token).await && works(&app, next["token"].as_str().unwrap()).await);
            admin.delete(&format!("{TOKENS}{}/", next["id"].as_str().unwrap())).await.expect(204);
        }
        assert!(!works(&app, &token).await);
    }
    // The maker who is lowered does not take it down, and may no longer touch it.
    let (id, token) = made(&owner, json!({"name": "x", "role": "owner"})).await;
    let second = app.person("second", &[("acme", Role::Owner)]).await;
    app.set_role("acme", &owner, Role::Admin).await;
    assert!(works(&app, &token).await);
    owner.delete(&format!("{TOKENS}{id}/")).await.expect_problem(403, "forbidden");
    second.delete(&format!("{TOKENS}{id}/")).await.expect(204);
}

#[tokio::test]
async fn a_token_outlives_whoever_made_it_and_acts_by_its_role() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "the owner's"})).await;
    let admin = app.admin();
    let (_, viewer) = made(&admin, json!({"name": "reads", "role": "viewer"})).await;
    let (_, member) = made(&admin, json!({"name": "writes", "role": "member"})).await;
    let (_, strong) = made(&admin, json!({"name": "rules", "role": "admin"})).await;
    app.remove_member("acme", &admin).await;
    app.set_active(&admin, false).await;
    let title = json!({"title": "x"});
    with(&app, &viewer, Method::POST, TASKS).json(&title).await.expect_problem(403, "forbidden");
    with(&app, &viewer, Method::GET, &task).await.expect(200);
    let own = with(&app, &member, Method::POST, TASKS).json(&title).await.expect(201).json();
    let me = with(&app, &member, Method::GET, "/me/").await.expect(200).json();
    assert_eq!((&own["created_by"], &own["updated_by"]), (&me["id"], &me["id"]));
    let path = format!("{TASKS}{}/", own["id"].as_str().unwrap());
    with(&app, &member, Method::PATCH, &path).json(&title).await.expect(200);
    with(&app, &member, Method::PATCH, &task).json(&title).await.expect_problem(403, "forbidden");
    with(&app, &strong, Method::PATCH, &task).json(&title).await.expect(200);
    // What it made stays when it goes.
    with(&app, &member, Method::DELETE, "/auth/token/").await.expect(204);
    assert!(!works(&app, &member).await);
    assert_eq!(app.owner().get(&path).await.expect(200).json()["created_by"], me["id"]);
}

// ACL-02, I8: everywhere else it is nobody's.
#[tokio::test]
async fn a_token_acts_in_its_organisation_alone_and_has_no_account() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "x"})).await;
    let body = json!({"name": "x", "role": "owner"});
    let theirs = app.other_tenant().post("/orgs/globex/tokens/", body.clone()).await.expect(201).json();
    let (token, id) = (theirs["token"].as_str().unwrap(), theirs["id"].as_str().unwrap());
    let id_of_task = task.trim_start_matches(TASKS);
    for (method, path) in [
        (Method::GET, "/orgs/ORG/"),
        (Method::GET, "/orgs/ORG/tasks/"),
        (Method::PUT, "/orgs/ORG/tasks/"),
        (Method::GET, &*format!("/orgs/ORG/tasks/{id_of_task}")),
        (Method::GET, "/orgs/ORG/members/"),
        (Method::POST, "/orgs/ORG/tokens/"),
    ] {
        let at = |org: &str| with(&app, token, method.clone(), &path.replace("ORG", org));
        let (there, invented) = (at("acme").await.bare(), at("nowhere").await.bare());
        assert_eq!(there, invented, "{method} {path}");
        assert_eq!(there.status, 404);
    }
    // One organisation's token is none of another's, to people and to tokens.
    for path in [format!("{TOKENS}{id}/"), format!("/orgs/globex/tokens/{id}/")] {
        app.owner().delete(&path).await.expect_problem(404, "not-found");
        app.owner().post(&format!("{path}rotate/"), json!({})).await.expect_problem(404, "not-found");
    }
    let foreign = app.owner().delete(&format!("{TOKENS}{id}/")).await.bare();
    assert_eq!(foreign, app.owner().delete(&format!("{TOKENS}{NOBODY}/")).await.bare());
    assert!(!app.owner().get(TOKENS).await.text().contains(id));

    let orgs = with(&app, token, Method::GET, "/orgs/").await.expect(200).json();
    assert_eq!((&orgs["count"], &orgs["results"][0]["slug"]), (&json!(1), &json!("globex")));
    let me = with(&app, token, Method::GET, "/me/").await.expect(200).json();
    let name = format!("service:{}", theirs["user_id"].as_str().unwrap());
    assert_eq!((&me["id"], &me["username"], &me["email"]), (&theirs["user_id"], &json!(name), &Value::Null));
    let place = json!([{"slug": "globex", "name": "The globex company", "role": "owner"}]);
    assert_eq!((&me["orgs"], &me["is_staff"]), (&place, &json!(false)));

    for (method, path, body) in [
        (Method::POST, "/orgs/", json!({"slug": "new", "name": "New"})),
        (Method::POST, "/orgs/", json!({})),
        (Method::GET, "/auth/tokens/", Value::Null),
        (Method::POST, "/auth/tokens/", json!({"name": "x"})),
        (Method::DELETE, &*format!("/auth/tokens/{id}/"), Value::Null),
        (Method::POST, &*format!("/auth/tokens/{id}/rotate/"), json!({})),
        (
            Method::POST,
            "/auth/password/",
            json!({"current_password": "!", "new_password": TestApp::PASSWORD}),
        ),
        (Method::GET, "/auth/sessions/", Value::Null),
        (Method::DELETE, "/auth/sessions/", Value::Null),
        (Method::GET, "/auth/session/", Value::Null),
    ] {
        let call = with(&app, token, method.clone(), path);
        let call = if body.is_null() { call } else { call.json(&body) };
        call.await.expect_problem(403, "forbidden");
    }
    // It logs in nowhere, whatever it is called and whatever its hash looks like.
    for password in ["!", "", TestApp::PASSWORD] {
        log_in(&app.anonymous(), &name, password).await.expect_problem(401, "invalid-credentials");
    }
}

// TOK-27: a credential makes nothing that is stronger than itself.
#[tokio::test]
async fn a_token_that_makes_tokens_makes_none_beyond_itself() {
    let app = support::start().await;
    let call = |token: &str, path: &str, body: Value| with(&app, token, Method::POST, path).json(&body);
    let (wide, _) = made(&app.owner(), json!({"name": "wide", "role": "viewer"})).await;
    let body =
        json!({"name": "x", "role": "admin", "scopes": ["orgs:read", "orgs:write"], "expires_in_days": 2});
    let (own, token) = made(&app.admin(), body).await;
    for beyond in [
        json!({"name": "y", "role": "viewer"}),
        json!({"name": "y", "role": "viewer", "scopes": ["tasks:read"]}),
        json!({"name": "y", "role": "owner", "scopes": ["orgs:read"]}),
    ] {
        call(&token, TOKENS, beyond).await.expect_problem(403, "forbidden");
    }
    let within = json!({"name": "y", "role": "admin", "scopes": ["orgs:read"], "expires_in_days": 9});
    let within = call(&token, TOKENS, within).await.expect(201).json();
    let list = with(&app, &token, Method::GET, TOKENS).await.expect(200).json();
    let of =
        |id: &Value| list["results"].as_array().unwrap().iter().find(|of| of["id"] == *id).unwrap().clone();
    let maker = of(&json!(own));
    assert_eq!(within["expires_at"], maker["expires_at"], "it lives no longer than what made it");
    assert_eq!(within["created_by"], maker["user_id"]);
    call(&token, &format!("{TOKENS}{wide}/rotate/"), json!({})).await.expect_problem(403, "forbidden");
    // What it rotates lives no longer than itself.
    let long = json!({"name": "long", "role": "viewer", "scopes": ["orgs:read"], "expires_in_days": 90});
    let (long, _) = made(&app.owner(), long).await;
    app.clock().advance(Duration::from_secs(24 * 60 * 60));
    let rotated = call(&token, &format!("{TOKENS}{long}/rotate/"), json!({})).await.expect(201).json();
    assert_eq!(rotated["expires_at"], maker["expires_at"]);
    // It may renew itself for its whole lifetime, and what it renews to is the same service.
    let next = call(&token, &format!("{TOKENS}{own}/rotate/"), json!({})).await.expect(201).json();
    assert_eq!((&next["user_id"], &next["role"]), (&maker["user_id"], &json!("admin")));
    let time = |token: &Value, name: &str| {
        token[name].as_str().unwrap().parse::<bailiwick::clock::Timestamp>().unwrap()
    };
    let lifetime = time(&next, "expires_at").saturating_since(time(&next, "created_at"));
    assert_eq!(lifetime, Duration::from_secs(2 * 24 * 60 * 60));
    with(&app, &token, Method::GET, TOKENS).await.expect_problem(401, "invalid-token");
    // Scopes are needed as everywhere.
    let (_, reads) = made(&app.admin(), json!({"name": "r", "role": "admin", "scopes": ["orgs:read"]})).await;
    with(&app, &reads, Method::GET, TOKENS).await.expect(200);
    let body = json!({"name": "z", "role": "viewer", "scopes": ["orgs:read"]});
    let refused = call(&reads, TOKENS, body).await.expect_problem(403, "forbidden");
    assert!(refused.header("www-authenticate").unwrap().contains("insufficient_scope"));
}

// TOK-28
#[tokio::test]
async fn a_token_of_an_organisation_is_rotated_with_an_overlap() {
    let app = support::start().await;
    let body = json!({"name": "ci", "role": "member", "scopes": ["tasks:read"], "expires_in_days": 9});
    let (id, old) = made(&app.admin(), body).await;
    let rotate = |id: &str, body: Value| app.owner().post(&format!("{TOKENS}{id}/rotate/"), body);
    let reply = rotate(&id, json!({"overlap_seconds": 60})).await.expect(201);
    let body = reply.json();
    let (next, new) = (body["id"].as_str().unwrap(), body["token"].as_str().unwrap());
    assert!(new.starts_with("bw_org_"), "{new}");
    assert_eq!(reply.header("location"), Some(&*format!("http://localhost/api/v1{TOKENS}{next}/")));
    let same = [&body["name"], &body["role"], &body["scopes"], &body["created_by"]];
    assert_eq!(same, [&json!("ci"), &json!("member"), &json!(["tasks:read"]), &json!(app.admin().id())]);
    assert!(works(&app, &old).await && works(&app, new).await);
    rotate(&id, json!({})).await.expect_problem(404, "not-found");
    app.clock().advance(Duration::from_secs(60));
    assert!(!works(&app, &old).await && works(&app, new).await);
    let reply = rotate(next, json!({"overlap_seconds": -1})).await.expect_problem(422, "validation-failed");
    assert_eq!(reply.errors(), [error("#/overlap_seconds", "out-of-range")]);
    app.owner().request(Method::POST, &format!("{TOKENS}{next}/rotate/")).await.expect(201);
    assert!(!works(&app, new).await);
}

async fn at_most_as_many_as_may_be(app: &TestApp) {
    let mut callers = JoinSet::new();
    for number in 0..20 {
        let person = if number % 2 == 0 { app.admin() } else { app.owner() };
        let body = json!({"name": "x", "role": "viewer"});
        callers.spawn(async move { person.post(TOKENS, body).await.status().as_u16() });
    }
    let mut statuses = callers.join_all().await;
    statuses.sort_unstable();
    assert_eq!(statuses, [vec![201; 4], vec![409; 16]].concat());
    let list = app.admin().get(TOKENS).await.json();
    assert_eq!(list["count"], 4);
    // Each organisation has a cap of its own, apart from those of its people.
    let body = json!({"name": "x", "role": "viewer"});
    app.other_tenant().post("/orgs/globex/tokens/", body.clone()).await.expect(201);
    app.admin().post("/auth/tokens/", json!({"name": "mine"})).await.expect(201);
    app.admin().post(TOKENS, body.clone()).await.expect_problem(409, "conflict");
    let id = list["results"][0]["id"].as_str().unwrap();
    app.admin().delete(&format!("{TOKENS}{id}/")).await.expect(204);
    app.admin().post(TOKENS, body).await.expect(201);
}

// TOK-26
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_organisation_has_at_most_as_many_tokens_as_may_be_also_if_many_make_them_at_once() {
    at_most_as_many_as_may_be(&support::with(&[("tokens.max_per_user", "4")]).await).await;
}

// TOK-28
#[tokio::test]
async fn whoever_finds_a_token_of_an_organisation_may_have_it_ended() {
    let app = support::start().await;
    let (_, token) = made(&app.admin(), json!({"name": "leaked", "role": "member"})).await;
    let (_, other) = made(&app.admin(), json!({"name": "other", "role": "member"})).await;
    for text in [&format!(" {token}\n"), &token, "bw_org_x"] {
        let reply =
            app.anonymous().post("/auth/tokens/report-leak/", json!({"token": text})).await.expect(202);
        assert_eq!(reply.bytes(), b"");
    }
    assert!(!works(&app, &token).await && works(&app, &other).await);
    assert_eq!(app.admin().get(TOKENS).await.json()["count"], 1);
}

#[tokio::test]
async fn the_log_names_what_was_refused_to_a_token_and_never_its_text() {
    let app = support::start().await;
    let (_, token) = made(&app.admin(), json!({"name": "x", "role": "member"})).await;
    for (method, path, denied_by) in [
        (Method::POST, TOKENS, "org_tokens.create"),
        (Method::GET, TOKENS, "org_tokens.list"),
        (Method::GET, "/auth/tokens/", "account"),
        (Method::POST, "/orgs/", "my_orgs.create"),
    ] {
        with(&app, &token, method, path).json(&json!({})).await.expect_problem(403, "forbidden");
        let log = app.log();
        let line = log.iter().rfind(|line| line["event"] == "http_request").unwrap();
        assert_eq!(line["denied_by"], json!(denied_by), "{path}");
    }
    assert!(!app.log().iter().any(|line| line.to_string().contains(&token[7..])));
}

mod postgres {
    use super::*;

    async fn start(changes: &[(&str, &str)]) -> Option<TestApp> {
        let database = fresh_postgres().await?;
        let changes = [&[("throttle.enabled", "false")], changes].concat();
        Some(support::builder(&changes).postgres(database).start().await)
    }

    #[tokio::test]
    async fn a_token_of_an_organisation_is_made_listed_and_ended() {
        let Some(app) = start(&[]).await else { return };
        made_listed_and_ended(&app).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn an_organisation_has_at_most_as_many_tokens_as_may_be_also_if_many_make_them_at_once() {
        let Some(app) = start(&[("tokens.max_per_user", "4")]).await else { return };
        at_most_as_many_as_may_be(&app).await;
    }
}
