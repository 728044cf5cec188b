//! Who may do what: every operation, and every kind of person.
use std::collections::HashSet;

use bailiwick_testkit::{Person, TestApp};
use http::Method;
use serde_json::{Value, json};

use crate::support::{self, NOBODY, TASKS, Tasks};
use bailiwick_testkit::act;

/// The status that each person gets. The task is the owner's, and nobody's to do. A new operation needs a row here.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str, [u16; 6])] = &[
    //                                                      anonymous viewer member admin owner other tenant
    ("POST",   "/api/v1/auth/token/",                      [200,      200,   200,   200,  200,  200]),
    ("DELETE", "/api/v1/auth/token/",                      [401,      204,   204,   204,  204,  204]),
    ("POST",   "/api/v1/auth/register/",                   [201,      201,   201,   201,  201,  201]),
    ("POST",   "/api/v1/auth/password/",                   [401,      204,   204,   204,  204,  204]),
    ("POST",   "/api/v1/auth/password/reset/",             [202,      202,   202,   202,  202,  202]),
    ("POST",   "/api/v1/auth/password/reset/confirm/",     [422,      422,   422,   422,  422,  422]),
    ("GET",    "/api/v1/auth/tokens/",                     [401,      200,   200,   200,  200,  200]),
    ("POST",   "/api/v1/auth/tokens/",                     [401,      201,   201,   201,  201,  201]),
    ("DELETE", "/api/v1/auth/tokens/{id}/",                [401,      404,   404,   404,  404,  404]),
    ("POST",   "/api/v1/auth/tokens/{id}/rotate/",         [401,      404,   404,   404,  404,  404]),
    ("POST",   "/api/v1/auth/tokens/report-leak/",         [202,      202,   202,   202,  202,  202]),
    ("POST",   "/api/v1/auth/jwt/",                        [200,      200,   200,   200,  200,  200]),
    ("POST",   "/api/v1/auth/jwt/refresh/",                [401,      401,   401,   401,  401,  401]),
    ("POST",   "/api/v1/auth/jwt/verify/",                 [401,      401,   401,   401,  401,  401]),
    ("POST",   "/api/v1/auth/jwt/revoke/",                 [200,      200,   200,   200,  200,  200]),
    ("GET",    "/api/v1/auth/csrf/",                       [200,      200,   200,   200,  200,  200]),
    // Without a browser that proves where it comes from there is no log-in, and with a token there is no session.
    ("POST",   "/api/v1/auth/session/",                    [403,      403,   403,   403,  403,  403]),
    ("GET",    "/api/v1/auth/session/",                    [401,      401,   401,   401,  401,  401]),
    ("DELETE", "/api/v1/auth/session/",                    [401,      401,   401,   401,  401,  401]),
    ("GET",    "/api/v1/auth/sessions/",                   [401,      200,   200,   200,  200,  200]),
    ("DELETE", "/api/v1/auth/sessions/",                   [401,      204,   204,   204,  204,  204]),
    ("DELETE", "/api/v1/auth/sessions/{id}/",              [401,      404,   404,   404,  404,  404]),
    ("GET",    "/api/v1/me/",                              [401,      200,   200,   200,  200,  200]),
    ("GET",    "/api/v1/orgs/",                            [401,      200,   200,   200,  200,  200]),
    ("POST",   "/api/v1/orgs/",                            [401,      201,   201,   201,  201,  201]),
    ("GET",    "/api/v1/orgs/{org}/",                      [401,      200,   200,   200,  200,  404]),
    ("GET",    "/api/v1/orgs/{org}/members/",              [401,      200,   200,   200,  200,  404]),
    ("GET",    "/api/v1/orgs/{org}/tokens/",               [401,      403,   403,   200,  200,  404]),
    ("POST",   "/api/v1/orgs/{org}/tokens/",               [401,      403,   403,   201,  201,  404]),
    ("DELETE", "/api/v1/orgs/{org}/tokens/{id}/",          [401,      403,   403,   404,  404,  404]),
    ("POST",   "/api/v1/orgs/{org}/tokens/{id}/rotate/",   [401,      403,   403,   404,  404,  404]),
    ("GET",    "/api/v1/orgs/{org}/tasks/",                [401,      200,   200,   200,  200,  404]),
    ("POST",   "/api/v1/orgs/{org}/tasks/",                [401,      403,   201,   201,  201,  404]),
    ("GET",    "/api/v1/orgs/{org}/tasks/{id}/",           [401,      200,   200,   200,  200,  404]),
    ("PUT",    "/api/v1/orgs/{org}/tasks/{id}/",           [401,      403,   403,   200,  200,  404]),
    ("PATCH",  "/api/v1/orgs/{org}/tasks/{id}/",           [401,      403,   403,   200,  200,  404]),
    ("DELETE", "/api/v1/orgs/{org}/tasks/{id}/",           [401,      403,   403,   204,  204,  404]),
    ("GET",    "/api/v1/orgs/{org}/tasks/{id}/attachments/", [401,    200,   200,   200,  200,  404]),
    // What is sent is no form.
    ("POST",   "/api/v1/orgs/{org}/tasks/{id}/attachments/", [401,    403,   403,   415,  415,  404]),
    ("GET",    "/api/v1/orgs/{org}/tasks/{id}/attachments/{attachment}/", [401, 404, 404, 404, 404, 404]),
    ("DELETE", "/api/v1/orgs/{org}/tasks/{id}/attachments/{attachment}/", [401, 403, 403, 404, 404, 404]),
    ("GET",    "/api/v1/orgs/{org}/tasks/{id}/attachments/{attachment}/content/", [401, 404, 404, 404, 404, 404]),
    ("GET",    "/problems/{code}/",                        [200,      200,   200,   200,  200,  200]),
    ("GET",    "/.well-known/jwks.json/",                  [200,      200,   200,   200,  200,  200]),
    ("GET",    "/healthz/",                                [200,      200,   200,   200,  200,  200]),
];

/// What each method is sent with.
fn body(method: &str, path: &str, person: &Person) -> Option<Value> {
    match (method, path) {
        ("POST", "/api/v1/auth/token/" | "/api/v1/auth/jwt/") => {
            Some(json!({"username": "admin", "password": TestApp::PASSWORD}))
        }
        ("POST", "/api/v1/auth/register/") => Some(json!({
            "username": format!("{}-too", person.name()), "email": "x@example.com", "password": TestApp::PASSWORD,
        })),
        ("POST", "/api/v1/auth/password/") => {
            Some(json!({"current_password": TestApp::PASSWORD, "new_password": TestApp::PASSWORD}))
        }
        ("POST", "/api/v1/auth/password/reset/") => Some(json!({"email": "nobody@example.com"})),
        ("POST", "/api/v1/auth/password/reset/confirm/") => {
            Some(json!({"token": "bw_rst_x", "new_password": TestApp::PASSWORD}))
        }
        ("POST", "/api/v1/auth/tokens/") => Some(json!({"name": "new"})),
        ("POST", "/api/v1/orgs/{org}/tokens/") => Some(json!({"name": "new", "role": "viewer"})),
        ("POST", "/api/v1/auth/tokens/report-leak/") => Some(json!({"token": "bw_pat_x"})),
        ("POST", "/api/v1/auth/jwt/verify/") => Some(json!({"token": "a.b.c"})),
        ("POST", _) if path.starts_with("/api/v1/auth/jwt/") => Some(json!({"refresh": "bw_rt_x"})),
        ("POST", _) if path.ends_with("/rotate/") => Some(json!({})),
        ("POST", "/api/v1/orgs/") => Some(json!({"slug": format!("of-{}", person.name()), "name": "New"})),
        ("POST" | "PUT" | "PATCH", _) => Some(json!({"title": "changed"})),
        _ => None,
    }
}

/// The server with all of its routes.
async fn open() -> TestApp {
    support::with(&[("registration.mode", "open")]).await
}

// ACL-01, ACL-03, ERR-55
#[tokio::test]
async fn every_operation_answers_every_kind_of_person_as_the_table_says() {
    for (method, template, statuses) in EXPECTED {
        // A row changes what it is asked about; an application for each keeps them apart.
        let app = open().await;
        let (mut found, mut tasks) = (Vec::new(), Vec::new());
        for _ in app.people() {
            tasks.push(app.owner().task(json!({"title": "the owner's"})).await);
        }
        for (person, task) in app.people().iter().zip(tasks) {
            let id = task.trim_start_matches(TASKS).trim_end_matches('/');
            let path = template.replace("{org}", "acme").replace("{id}", id).replace("{code}", "not-found");
            let path = path.replace("{attachment}", NOBODY);
            let call = person.request(method.parse().unwrap(), &format!("http://localhost{path}"));
            let call = match body(method, template, person) {
                Some(body) => call.json(&body),
                None => call,
            };
            found.push(call.await.status().as_u16());
        }
        assert_eq!(found, statuses, "{method} {template}");
    }
}

#[tokio::test]
async fn every_operation_of_the_server_has_a_row_in_the_table_and_every_row_an_operation() {
    let app = open().await;
    let served: HashSet<(Method, &str)> =
        app.routes().iter().map(|route| (route.method.clone(), route.path.as_str())).collect();
    assert_eq!(served.len(), app.routes().len(), "an operation is listed twice");
    let expected: HashSet<(Method, &str)> =
        EXPECTED.iter().map(|(method, path, _)| (method.parse().unwrap(), *path)).collect();
    assert_eq!(expected.len(), EXPECTED.len(), "a row stands twice");
    let missing: Vec<_> = served.difference(&expected).collect();
    assert!(missing.is_empty(), "no expectation for {missing:?}");
    let invented: Vec<_> = expected.difference(&served).collect();
    assert!(invented.is_empty(), "no such operation: {invented:?}");
}

/// What somebody may do to a task that they made, that is theirs to do, or neither.
#[rustfmt::skip]
const ON_ONE_TASK: &[(&str, &str, [u16; 3])] = &[
    // as a        who is             PATCH PUT  DELETE
    ("member",     "the maker",       [200, 200, 204]),
    ("member",     "the assignee",    [200, 200, 403]),
    ("member",     "neither",         [403, 403, 403]),
    // A maker or assignee who has become a viewer may no longer change the task (contract §3, ACL-09).
    ("viewer",     "the maker",       [403, 403, 403]),
    ("viewer",     "the assignee",    [403, 403, 403]),
    ("viewer",     "neither",         [403, 403, 403]),
    ("admin",      "neither",         [200, 200, 204]),
    ("owner",      "neither",         [200, 200, 204]),
    // Who has left is nobody.
    ("none",       "the maker",       [404, 404, 404]),
    ("none",       "the assignee",    [404, 404, 404]),
];

#[tokio::test]
async fn a_task_is_changed_by_its_maker_its_assignee_and_admins_while_they_are_members() {
    use bailiwick::identity::Role;
    let app = support::start().await;
    for (number, (role, part, statuses)) in ON_ONE_TASK.iter().enumerate() {
        let them = app.person(&format!("person-{number}"), &[("acme", Role::Member)]).await;
        let mut found = Vec::new();
        for method in [Method::PATCH, Method::PUT, Method::DELETE] {
            app.set_role("acme", &them, Role::Member).await;
            let task = match *part {
                "the maker" => them.task(json!({"title": "mine"})).await,
                "the assignee" => app.owner().task(json!({"title": "yours", "assignee": them.id()})).await,
                _ => app.owner().task(json!({"title": "not yours"})).await,
            };
            match role.parse() {
                Ok(role) => app.set_role("acme", &them, role).await,
                Err(_) => app.remove_member("acme", &them).await,
            }
            let body = json!({"title": "changed", "assignee": null});
            found.push(them.request(method, &task).json(&body).await.status().as_u16());
        }
        assert_eq!(found, statuses, "{role}, {part}");
    }
}

// LOG-07, ACL-20: whoever refuses, the role at the gate or the row in the store, the log says what was refused.
#[tokio::test]
async fn the_log_names_the_permission_that_was_refused() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "the owner's"})).await;
    for (person, method, path, denied_by) in [
        (app.viewer(), Method::POST, TASKS, "tasks.create"),
        (app.viewer(), Method::PATCH, task.as_str(), "tasks.update"),
        (app.member(), Method::PATCH, &task, "tasks.update"),
        (app.member(), Method::PUT, &task, "tasks.update"),
        (app.member(), Method::DELETE, &task, "tasks.delete"),
    ] {
        let call = person.request(method.clone(), path).json(&json!({"title": "x"}));
        call.await.expect_problem(403, "forbidden");
        let log = app.log();
        let line = log.iter().rfind(|line| line["event"] == "http_request").unwrap();
        assert_eq!((&line["status"], &line["denied_by"]), (&json!(403), &json!(denied_by)), "{method}");
    }
    app.owner().patch(&task, json!({"title": "x"})).header("if-match", "\"v1-9\"").await.expect(412);
    assert_eq!(app.log().last().unwrap()["denied_by"], json!(null), "no rule refused this");
}

// ACL-09
#[tokio::test]
async fn a_change_of_role_acts_on_the_next_request() {
    use bailiwick::identity::Role;
    let app = support::start().await;
    let viewer = app.viewer();
    viewer.post(TASKS, json!({"title": "x"})).await.expect_problem(403, "forbidden");
    app.set_role("acme", &viewer, Role::Member).await;
    viewer.post(TASKS, json!({"title": "x"})).await.expect(201);
    app.remove_member("acme", &viewer).await;
    viewer.get(TASKS).await.expect_problem(404, "not-found");
    viewer.get("/me/").await.expect(200);
}

// ACL-10: staff of the site are no members of anything.
#[tokio::test]
async fn staff_of_the_site_is_a_stranger_to_organisations() {
    use bailiwick::store::{Directory, Right};
    let app = support::start().await;
    let staff = app.person("staff", &[]).await;
    app.store().set_right(&"staff".parse().unwrap(), Right::Staff, true, act()).await.unwrap();
    assert_eq!(staff.get("/me/").await.expect(200).json()["is_staff"], true);
    staff.get(TASKS).await.expect_problem(404, "not-found");
}
