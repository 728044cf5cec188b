//! What happens when the store fails: nothing is let through, nothing is told, nothing acknowledged is lost.
use bailiwick::{
    authn::token::{TokenKind, TokenText},
    clock::OsEntropy,
};
use bailiwick_testkit::{Call, Fault, Operation, Person, TestApp};
use http::Method;
use serde_json::{Value, json};

use crate::support::{self, NOBODY, TASKS, Tasks, log_in};

/// Every operation of the application that needs the store, as `person` asks for it.
fn operations(app: &TestApp, person: &Person, task: &str) -> Vec<Call> {
    let id = task.trim_start_matches(TASKS).trim_end_matches('/');
    // A log-in of a browser proves first where it comes from, and with a token there is no session.
    // What is no access token is refused without the store, and for half a second the keys are known.
    // Whoever lost a password learns nothing of the store, and a token that is none is not looked up.
    let needs_none = [
        "/problems/{code}/",
        "/healthz/",
        "/api/v1/auth/session/",
        "/api/v1/auth/jwt/verify/",
        "/.well-known/jwks.json/",
        "/api/v1/auth/password/reset/",
        "/api/v1/auth/password/reset/confirm/",
    ];
    let refresh = TokenText::generate(TokenKind::Refresh, &OsEntropy);
    let routes = app.routes().iter().filter(|route| !needs_none.contains(&route.path.as_str()));
    let calls: Vec<_> = routes
        .map(|route| {
            let path = route.path.replace("{org}", "acme").replace("{id}", id);
            let path = path.replace("{attachment}", NOBODY);
            let call = person.request(route.method.clone(), &format!("http://localhost{path}"));
            match (route.path.as_str(), &route.method) {
                ("/api/v1/auth/token/" | "/api/v1/auth/jwt/", &Method::POST) => {
                    call.json(&json!({"username": "owner", "password": TestApp::PASSWORD}))
                }
                ("/api/v1/auth/jwt/refresh/" | "/api/v1/auth/jwt/revoke/", _) => {
                    call.json(&json!({"refresh": refresh.expose()}))
                }
                ("/api/v1/auth/tokens/", &Method::POST) => call.json(&json!({"name": "new"})),
                ("/api/v1/auth/tokens/report-leak/", _) => call.json(&json!({"token": person.token()})),
                ("/api/v1/orgs/{org}/tokens/", &Method::POST) => {
                    call.json(&json!({"name": "new", "role": "viewer"}))
                }
                ("/api/v1/auth/tokens/{id}/rotate/" | "/api/v1/orgs/{org}/tokens/{id}/rotate/", _) => {
                    call.json(&json!({}))
                }
                ("/api/v1/orgs/", &Method::POST) => call.json(&json!({"slug": "new", "name": "New"})),
                (_, &Method::POST | &Method::PUT | &Method::PATCH) => call.json(&json!({"title": "changed"})),
                _ => call,
            }
        })
        .collect();
    assert!(calls.len() >= 13, "{calls:?}");
    calls
}

/// All that can be seen of the database.
async fn state(app: &TestApp) -> Vec<Value> {
    let owner = app.owner();
    let mut state = Vec::new();
    for path in ["/me/", "/orgs/", "/orgs/acme/", "/orgs/acme/members/", TASKS] {
        state.push(owner.get(path).await.expect(200).json());
    }
    state
}

// I9
#[tokio::test]
async fn with_the_store_out_of_reach_every_route_is_503_and_nothing_changes() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "as it was"})).await;
    let before = state(&app).await;
    for fault in [Fault::Unavailable, Fault::NotWritable, Fault::Corrupt, Fault::Refused] {
        app.store().fail_everything(fault);
        for person in [app.owner(), app.member(), app.other_tenant()] {
            for call in operations(&app, &person, &task) {
                let asked = format!("{call:?}");
                // A credential that cannot be looked up is not known to be bad.
                let reply = call.await.expect_problem(503, "unavailable");
                let text = reply.text().to_owned();
                for word in ["store", "column", "test", "sql", "spoiled"] {
                    assert!(!text.to_lowercase().contains(word), "{asked} tells {word}: {text}");
                }
            }
        }
        // Whoever has no credential is told so without the store.
        app.anonymous().get(TASKS).await.expect_problem(401, "unauthenticated");
        log_in(&app.anonymous(), "owner", TestApp::PASSWORD).await.expect_problem(503, "unavailable");
        // What needs no store works.
        app.anonymous().get("http://localhost/healthz").await.expect(200);
        app.anonymous().get("http://localhost/problems/unavailable").await.expect(200);
        app.store().mend();
        assert_eq!(state(&app).await, before);
    }
}

// Each part of the store fails alone.
#[tokio::test]
async fn whichever_part_of_the_store_fails_no_one_gets_through() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "as it was"})).await;
    let before = state(&app).await;
    for operation in Operation::ALL {
        app.store().fail_all(operation, Fault::Unavailable);
        let calls_before = app.store().calls(operation);
        for person in [app.owner(), app.member(), app.other_tenant()] {
            // Operations that would end the token or change things are asked only where this fault stops them.
            for call in operations(&app, &person, &task) {
                let asked = format!("{call:?}");
                let reads = asked.contains("GET");
                let stopped = match operation {
                    Operation::PrincipalOf => {
                        let in_body = ["auth/token", "auth/jwt"].iter().any(|path| asked.contains(path));
                        !(asked.contains("POST") && in_body)
                    }
                    // The lists of tokens and sessions are no rows of a resource.
                    Operation::Read => {
                        reads && !asked.contains("/auth/") && !asked.contains("/orgs/acme/tokens/")
                    }
                    Operation::OrgTokens => {
                        reads && asked.contains("/orgs/acme/tokens/") && person.name() == "owner"
                    }
                    Operation::TokensOf => reads && asked.contains("/auth/tokens/"),
                    Operation::SessionsOf => reads && asked.contains("/auth/sessions/"),
                    _ => false,
                };
                if !reads && !stopped {
                    continue;
                }
                let reply = call.await;
                if stopped && !(reply.status() == 404 && operation == Operation::Read) {
                    assert_eq!(reply.code(), "unavailable", "{operation:?}: {asked}");
                } else {
                    assert!(
                        matches!(reply.status().as_u16(), 200 | 403 | 404),
                        "{operation:?}: {asked}: {reply:?}"
                    );
                }
            }
        }
        match operation {
            // The place in the organisation is looked up with the principal.
            Operation::PrincipalOf | Operation::Read => {
                assert!(app.store().calls(operation) > calls_before, "{operation:?} was never asked");
            }
            _ => {}
        }
        app.store().mend();
        assert_eq!(state(&app).await, before, "{operation:?}");
    }
}

#[tokio::test]
async fn a_write_that_fails_is_503_and_did_not_happen() {
    let app = support::start().await;
    let owner = app.owner();
    let task = owner.task(json!({"title": "as it was"})).await;
    let before = state(&app).await;
    app.store().fail_all(Operation::Write, Fault::NotWritable);
    for call in [
        owner.post(TASKS, json!({"title": "y"})),
        owner.put(&task, json!({"title": "y"})),
        owner.patch(&task, json!({"title": "y"})),
        owner.delete(&task),
    ] {
        let refused = call.await.expect_problem(503, "unavailable");
        assert_eq!(refused.header("location"), None);
    }
    app.store().fail_all(Operation::CreateOrg, Fault::Unavailable);
    owner.post("/orgs/", json!({"slug": "y", "name": "y"})).await.expect_problem(503, "unavailable");
    assert_eq!(state(&app).await, before);
    // Reads go on, and so does everything once it is mended.
    app.store().mend();
    owner.patch(&task, json!({"title": "y"})).await.expect(200);
}

#[tokio::test]
async fn a_log_in_that_cannot_be_decided_or_kept_is_503() {
    let app = support::start().await;
    for operation in [Operation::Login, Operation::CreateToken] {
        app.store().fail_all(operation, Fault::Unavailable);
        let reply =
            log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(503, "unavailable");
        assert!(!reply.text().contains("bw_pat_"));
        app.store().mend();
    }
    // A wrong password needs only the first.
    app.store().fail_all(Operation::CreateToken, Fault::Unavailable);
    log_in(&app.anonymous(), "member", "wrong").await.expect_problem(401, "invalid-credentials");
    app.store().mend();
    // A log-out that was not kept is not said to have happened.
    app.store().fail_next(Operation::RevokeToken, Fault::Unavailable);
    app.member().delete("/auth/token/").await.expect_problem(503, "unavailable");
    app.member().get("/me/").await.expect(200);
}

// A change whose answer is lost may have happened; it is not said to have.
#[tokio::test]
async fn an_answer_that_is_lost_is_503_and_the_change_is_whole() {
    let app = support::start().await;
    app.store().fail_next(Operation::Write, Fault::AnswerLost);
    app.owner().post(TASKS, json!({"title": "x"})).await.expect_problem(503, "unavailable");
    let list = app.owner().get(TASKS).await.expect(200).json();
    assert_eq!((&list["count"], &list["results"][0]["title"]), (&json!(1), &json!("x")));
}

// LIM-11
#[tokio::test]
async fn a_store_that_never_answers_is_503_after_the_time_that_is_set() {
    let app = support::with(&[("server.request_timeout", "1s")]).await;
    app.store().fail_all(Operation::Read, Fault::Hang);
    app.owner().get(TASKS).await.expect_problem(503, "unavailable");
    app.store().mend();
    app.owner().get(TASKS).await.expect(200);
}

// I7: the log has the cause, the answer has not.
#[tokio::test]
async fn the_log_names_the_cause_under_the_id_of_the_request() {
    let app = support::start().await;
    app.store().fail_next(Operation::Read, Fault::Unavailable);
    let reply = app.owner().get(TASKS).header("x-request-id", "find-me-again").await.expect(503);
    assert_eq!(reply.json()["request_id"], "find-me-again");
    let log = app.log();
    let line = log.iter().find(|line| line["event"] == "request_failed").expect("a line with the cause");
    assert_eq!((&line["request_id"], &line["level"]), (&json!("find-me-again"), &json!("error")));
    assert!(line["cause"].as_str().unwrap().contains("the store is out of reach"), "{line}");
}

// RST-12
#[tokio::test]
async fn callers_who_leave_in_the_middle_leave_whole_tasks_or_none() {
    let app = support::start().await;
    let mut acknowledged = Vec::new();
    for number in 0..200_u64 {
        let title = format!("task-{number}");
        let mut call =
            tokio::spawn(IntoFuture::into_future(app.owner().post(TASKS, json!({"title": title}))));
        // Some leave before they are answered, wherever their request is by then.
        let patience = std::time::Duration::from_micros(number % 20 * 50);
        match tokio::time::timeout(patience, &mut call).await {
            Ok(reply) => {
                reply.unwrap().expect(201);
                acknowledged.push(title);
            }
            Err(_) => {
                call.abort();
                // Gone, and with nothing more to ask of the store; or it was answered at that very moment.
                if let Ok(reply) = call.await {
                    reply.expect(201);
                    acknowledged.push(title);
                }
            }
        }
    }
    // What they left in the writer's queue is decided before whoever comes behind it is answered: no write falls between
    // two pages of the list.
    app.owner().post(TASKS, json!({"title": "still writable"})).await.expect(201);
    acknowledged.push("still writable".to_owned());
    let mut found = Vec::new();
    let mut page = format!("{TASKS}?page_size=100");
    loop {
        let list = app.owner().get(&page).await.expect(200);
        found.extend(support::titles(&list));
        let list = list.json();
        match list["next"].as_str() {
            Some(next) => page = next.to_owned(),
            None => {
                assert_eq!(list["count"], found.len(), "the kept count is the number of rows");
                break;
            }
        }
    }
    let mut once = found.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), found.len(), "no task is there twice");
    for title in acknowledged {
        assert!(once.binary_search(&title).is_ok(), "{title} was acknowledged and is gone");
    }
}
