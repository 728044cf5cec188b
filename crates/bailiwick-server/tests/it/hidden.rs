//! What a caller may not know of is answered like what does not exist.
use std::{collections::BTreeSet, time::Duration};

use bailiwick_testkit::{Bare, Call, Person, TestApp};
use http::Method;
use serde_json::json;

use crate::support::{self, NOBODY, TASKS, Tasks};

const METHODS: [&str; 10] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "PROPFIND"];

/// The ways to send a request that could make an answer tell what is there.
const VARIANTS: [&str; 8] = [
    "no body",
    "a good body",
    "a bad body",
    "no JSON",
    "another type",
    "If-Match",
    "a broken If-Match",
    "If-None-Match",
];

fn dressed(call: Call, variant: &str) -> Call {
    match variant {
        "a good body" => call.json(&json!({"title": "x"})),
        "a bad body" => call.json(&json!({"nonsense": 1, "created_by": 1})),
        "no JSON" => call.body("application/json", "{"),
        "another type" => call.body("text/plain", "x"),
        "If-Match" => call.header("if-match", "\"v1-9\""),
        "a broken If-Match" => call.header("if-match", "v1"),
        "If-None-Match" => call.header("if-none-match", "\"v1-1\""),
        _ => call,
    }
}

/// Asks at a time when every quota is full again, so that answers can be alike in what they say of it.
async fn ask(app: &TestApp, person: &Person, method: &str, path: &str, variant: &str) -> Bare {
    app.clock().advance(Duration::from_secs(61));
    dressed(person.request(method.parse::<Method>().unwrap(), path), variant).await.bare()
}

/// Every path below an organisation, those without a route included.
fn templates(app: &TestApp) -> BTreeSet<String> {
    let routes = app.routes().iter().filter_map(|route| route.path.strip_prefix("/api/v1"));
    let routes = routes.filter(|path| path.contains("{org}"));
    let mut templates: BTreeSet<String> = routes.map(str::to_owned).collect();
    assert!(templates.len() >= 4, "{templates:?}");
    for more in ["/orgs/{org}/tasks/{id}/nonsense/", "/orgs/{org}/nonsense/", "/orgs/{org}/members/{id}/"] {
        templates.insert(more.to_owned());
    }
    let without_slash: Vec<_> = templates.iter().map(|path| path.trim_end_matches('/').to_owned()).collect();
    templates.extend(without_slash);
    templates
}

/// What is spent is there again when the next is asked, as of all other quotas.
const UPLOADS: [(&str, &str); 1] = [("throttle.rates.uploads", "600/min")];

// ERR-22, ERR-23, ACL-03, I8: the golden test.
#[tokio::test]
async fn an_outsider_meets_the_same_404_for_everything_of_another_tenant_as_for_what_was_invented() {
    let app = support::throttled(&UPLOADS).await;
    let outsider = app.other_tenant();
    let task = app.owner().task(json!({"title": "secret"})).await;
    let id = task.trim_start_matches(TASKS).trim_end_matches('/').to_owned();
    for template in templates(&app) {
        for method in METHODS {
            for variant in VARIANTS {
                let at = |org: &str, id: &str| {
                    template.replace("{org}", org).replace("{id}", id).replace("{attachment}", NOBODY)
                };
                let invented = ask(&app, &outsider, method, &at("nowhere", NOBODY), variant).await;
                assert_eq!(invented.status, 404, "{method} {template}, {variant}");
                let names: Vec<_> = invented.headers.iter().map(|(name, _)| name.as_str()).collect();
                assert!(!names.contains(&"allow") && !names.contains(&"etag"), "{names:?}");
                for (org, id) in [("acme", id.as_str()), ("acme", NOBODY), ("acme", "7")] {
                    let theirs = ask(&app, &outsider, method, &at(org, id), variant).await;
                    assert_eq!(theirs, invented, "{method} {}, {variant}", at(org, id));
                }
            }
        }
    }
}

// The way in by one's own organisation: a foreign id is no id.
#[tokio::test]
async fn a_foreign_id_in_ones_own_organisation_is_answered_like_an_invented_one() {
    let app = support::throttled(&[]).await;
    let outsider = app.other_tenant();
    let task = app.owner().task(json!({"title": "secret"})).await;
    let id = task.trim_start_matches(TASKS).trim_end_matches('/').to_owned();
    let before = app.owner().get(&task).await.bare();
    for slash in ["/", ""] {
        for method in METHODS {
            for variant in VARIANTS {
                let at = |id: &str| format!("/orgs/globex/tasks/{id}{slash}");
                let invented = ask(&app, &outsider, method, &at(NOBODY), variant).await;
                let theirs = ask(&app, &outsider, method, &at(&id), variant).await;
                assert_eq!(theirs, invented, "{method}, {variant}");
                assert!(!theirs.status.is_success(), "{theirs:?}");
            }
        }
    }
    app.clock().advance(Duration::from_secs(61));
    assert_eq!(app.owner().get(&task).await.bare().body, before.body);
}

// Without a credential, tenant routes answer 401, alike for tenants that exist and those that do not (contract §1).
#[tokio::test]
async fn without_a_credential_nothing_is_told_of_any_tenant() {
    let app = support::throttled(&UPLOADS).await;
    let task = app.owner().task(json!({"title": "secret"})).await;
    let id = task.trim_start_matches(TASKS).trim_end_matches('/').to_owned();
    let routes: BTreeSet<String> = app
        .routes()
        .iter()
        .filter_map(|route| route.path.strip_prefix("/api/v1").map(str::to_owned))
        .filter(|path| path.contains("{org}"))
        .collect();
    for template in routes {
        for method in METHODS {
            for variant in VARIANTS {
                let at = |org: &str, id: &str| {
                    template.replace("{org}", org).replace("{id}", id).replace("{attachment}", NOBODY)
                };
                let invented = ask(&app, &app.anonymous(), method, &at("nowhere", NOBODY), variant).await;
                let theirs = ask(&app, &app.anonymous(), method, &at("acme", &id), variant).await;
                assert_eq!(invented.status, 401, "{method} {template}, {variant}");
                assert_eq!(theirs, invented, "{method} {template}, {variant}");
            }
        }
    }
}

// A name of an organisation that is none is nowhere, not malformed.
#[tokio::test]
async fn a_slug_that_cannot_be_one_is_nowhere() {
    let app = support::throttled(&[]).await;
    let invented = ask(&app, &app.owner(), "GET", "/orgs/nowhere/tasks/", "").await;
    for slug in [
        "ACME",
        "acme%00",
        "%61cme",
        "%61cme%20",
        "acme%2F..",
        "-",
        "..",
        "%2e%2e",
        "a_b",
        "%FF",
        "x%0Ay",
        "'",
        "*",
        "%25",
    ] {
        for template in ["/orgs/{}/tasks/", "/orgs/{}/"] {
            let found = ask(&app, &app.owner(), "GET", &template.replace("{}", slug), "").await;
            assert_eq!(found, invented, "{template} {slug}");
        }
    }
}

// The list of one's own organisations, and what one reads of them, names no other.
#[tokio::test]
async fn nothing_that_a_caller_reads_names_another_tenant() {
    let app = support::throttled(&[]).await;
    app.owner().task(json!({"title": "secret-title", "description": "secret-words"})).await;
    let outsider = app.other_tenant();
    for path in ["/me/", "/orgs/", "/orgs/globex/", "/orgs/globex/members/", "/orgs/globex/tasks/"] {
        let text = outsider.get(path).await.expect(200).text().to_owned();
        for secret in ["acme", "secret", "owner@", "admin", &app.owner().id().to_string()] {
            assert!(!text.contains(secret), "{path} names {secret}: {text}");
        }
    }
}
