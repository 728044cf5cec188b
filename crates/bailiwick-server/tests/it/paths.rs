//! Paths and methods: slashes, `HEAD`, `Allow`, and ids that are none.
use std::collections::BTreeMap;

use bailiwick_testkit::TestApp;
use http::Method;
use serde_json::json;

use crate::support::{self, NOBODY, TASKS, Tasks};

// Contract §1: with and without the slash, for every method, without a redirect.
#[tokio::test]
async fn a_path_without_its_last_slash_answers_the_same_for_every_method() {
    // Two applications with the same time and the same chance, so that even new ids are the same.
    let (with, without) = (support::start().await, support::start().await);
    let mut ids = [String::new(), String::new()];
    for route in with.routes() {
        if route.path == "/api/v1/auth/token/" && route.method == Method::DELETE {
            continue;
        }
        for method in [route.method.clone(), Method::HEAD, Method::OPTIONS] {
            let mut replies = Vec::new();
            for (number, app) in [&with, &without].into_iter().enumerate() {
                let task = app.owner().task(json!({"title": "x"})).await;
                ids[number] = task.trim_start_matches(TASKS).trim_end_matches('/').to_owned();
                let path = route
                    .path
                    .replace("{org}", "acme")
                    .replace("{code}", "not-found")
                    .replace("{id}", &ids[number]);
                let path = if number == 0 { path.as_str() } else { path.trim_end_matches('/') };
                let call = app.owner().request(method.clone(), &format!("http://localhost{path}"));
                let call = match route.path.as_str() {
                    "/api/v1/auth/token/" => {
                        call.json(&json!({"username": "owner", "password": TestApp::PASSWORD}))
                    }
                    "/api/v1/auth/tokens/" => call.json(&json!({"name": "x"})),
                    "/api/v1/orgs/{org}/tokens/" => call.json(&json!({"name": "x", "role": "viewer"})),
                    "/api/v1/orgs/" => call.json(&json!({"slug": "new", "name": "New"})),
                    _ => call.json(&json!({"title": "y"})),
                };
                replies.push(call.await.bare());
            }
            assert_eq!(replies[1], replies[0], "{method} {}", route.path);
            assert!(!replies[0].status.is_redirection());
        }
    }
    assert_eq!(ids[0], ids[1]);
    // The one that ends the token it is called with.
    let replies = [with.owner().delete("/auth/token/").await, without.owner().delete("/auth/token").await];
    assert_eq!(replies[0].bare(), replies[1].bare());
    assert_eq!(replies[0].status(), 204);
}

#[tokio::test]
async fn two_slashes_or_other_spellings_are_other_paths() {
    let app = support::start().await;
    for path in [
        "//orgs/",
        "/orgs//",
        "/orgs//acme/",
        "/orgs/acme/tasks//",
        "/Orgs/",
        "/orgs/acme/Tasks/",
        "/orgs/acme/tasks/.",
        "/orgs/acme/../globex/",
        "/orgs/acme/tasks;x=1/",
        "/",
        "",
        "/nonsense/",
        "/orgs/acme/tasks.json",
    ] {
        app.owner().get(path).await.expect_problem(404, "not-found");
    }
}

// ERR-24
#[tokio::test]
async fn head_answers_as_get_without_the_body() {
    let app = support::throttled(&[]).await;
    let task = app.owner().task(json!({"title": "x"})).await;
    let mut paths: Vec<String> =
        app.routes().iter().filter(|route| route.method == Method::GET).map(|r| r.path.clone()).collect();
    paths.extend(["/nonsense/", "/api/v1/orgs/nowhere/", "/api/v1/auth/token/"].map(str::to_owned));
    let id = task.trim_start_matches(TASKS).trim_end_matches('/');
    for path in paths {
        let path = path.replace("{org}", "acme").replace("{code}", "not-found").replace("{id}", id);
        let path = format!("http://localhost{path}");
        for person in [app.owner(), app.other_tenant(), app.anonymous()] {
            app.clock().advance(std::time::Duration::from_secs(61));
            let get = person.get(&path).await;
            app.clock().advance(std::time::Duration::from_secs(61));
            let head = person.head(&path).await;
            assert_eq!(head.bytes(), b"", "{path}");
            let fields = |reply: &bailiwick_testkit::Reply| {
                let mut fields = reply.bare().headers;
                // A cookie without a session is another one each time.
                fields.retain(|(name, _)| name != "content-length" && name != "set-cookie");
                fields
            };
            assert_eq!((head.status(), fields(&head)), (get.status(), fields(&get)), "{path}");
            // The connection adds the length of a body that it sends; of one that it does not, only this does.
            assert_eq!(head.header("content-length"), Some(get.bytes().len().to_string().as_str()), "{path}");
        }
    }
}

/// The methods of each path, as `Allow` says them.
fn allowed(app: &TestApp) -> BTreeMap<String, String> {
    let mut methods: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for route in app.routes() {
        let of_path = methods.entry(route.path.clone()).or_default();
        of_path.push(route.method.as_str());
        if route.method == Method::GET {
            of_path.push("HEAD");
        }
    }
    let joined = methods.into_iter().map(|(path, mut methods)| {
        methods.sort_unstable();
        (path, methods.join(", "))
    });
    joined.collect()
}

// ERR-23, ERR-25: whoever may know of the path gets 405 with Allow, an outsider 404, nobody 401.
#[tokio::test]
async fn a_method_that_a_path_does_not_have_is_405_with_allow_for_whoever_may_know() {
    let app = support::start().await;
    let id = app.owner().task(json!({"title": "x"})).await;
    let id = id.trim_start_matches(TASKS).trim_end_matches('/').to_owned();
    for (template, allow) in allowed(&app) {
        let path = template.replace("{org}", "acme").replace("{code}", "not-found").replace("{id}", &id);
        for slash in ["/", ""] {
            let path = format!("http://localhost{}{slash}", path.trim_end_matches('/'));
            for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"] {
                if allow.split(", ").any(|allowed| allowed == method) {
                    continue;
                }
                let ask = |person: bailiwick_testkit::Person| person.request(method.parse().unwrap(), &path);
                for person in [app.owner(), app.viewer()] {
                    let refused = ask(person).await.expect_problem(405, "method-not-allowed");
                    let mut said: Vec<_> = refused.header("allow").unwrap().split([',', ' ']).collect();
                    said.retain(|method| !method.is_empty());
                    said.sort_unstable();
                    assert_eq!(said.join(", "), allow, "{method} {path}");
                }
                let tenant = template.contains("{org}");
                ask(app.other_tenant()).await.expect(if tenant { 404 } else { 405 });
                ask(app.anonymous()).await.expect(if tenant { 401 } else { 405 });
            }
        }
    }
}

#[tokio::test]
async fn connect_is_405_for_everybody() {
    let app = support::start().await;
    for person in app.people() {
        person.request(Method::CONNECT, "/me/").await.expect_problem(405, "method-not-allowed");
    }
}

#[tokio::test]
async fn an_id_that_is_no_uuid_names_nothing() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    let id = path.trim_start_matches(TASKS).trim_end_matches('/').to_owned();
    let missing = app.owner().get(&format!("{TASKS}{NOBODY}/")).await.expect_problem(404, "not-found").bare();
    for wrong in [
        "7".to_owned(),
        "me".to_owned(),
        "-".to_owned(),
        "..".to_owned(),
        "%2e%2e".to_owned(),
        "%00".to_owned(),
        "%FF".to_owned(),
        "%20".to_owned(),
        id.to_uppercase(),
        id.replace('-', ""),
        format!("{{{id}}}").replace('{', "%7B").replace('}', "%7D"),
        format!("urn:uuid:{id}"),
        format!("{id}%20"),
        format!("{id}%00"),
        format!("%20{id}"),
        format!("{id}%2F"),
        format!("{id}x"),
        id[..35].to_owned(),
        "00000000-0000-0000-0000-000000000000".to_owned(),
        "x".repeat(4000),
    ] {
        let path = format!("{TASKS}{wrong}/");
        for method in [Method::GET, Method::PUT, Method::PATCH, Method::DELETE] {
            let reply = app.owner().request(method.clone(), &path).json(&json!({"title": "y"})).await;
            assert_eq!(reply.bare(), missing, "{method} {wrong}");
        }
    }
    // An escaped digit is that digit.
    let escaped = format!("{TASKS}%{:02X}{}/", id.as_bytes()[0], &id[1..]);
    app.owner().get(&escaped).await.expect(200);
}

// LIM-06
#[tokio::test]
async fn a_target_or_headers_that_are_too_long_are_refused() {
    let app = support::start().await;
    let owner = app.owner();
    owner.get(&format!("{TASKS}?search={}", "x".repeat(9000))).await.expect_problem(414, "uri-too-long");
    owner.get(TASKS).header("x-long", "x".repeat(64 << 10)).await.expect_problem(431, "headers-too-large");
    let mut many = owner.get(TASKS);
    for number in 0..101 {
        many = many.header(&format!("x-{number}"), "x");
    }
    many.await.expect_problem(431, "headers-too-large");
}

// HST-01 to HST-04
#[tokio::test]
async fn a_host_that_is_not_served_is_400_before_anything_else() {
    let app = support::start().await;
    for host in ["evil.test", "localhost.evil.test", "localhost:80:80", "", "localhost, evil.test"] {
        for person in [app.owner(), app.anonymous()] {
            let refused = person.get(TASKS).without("host").header("host", host).await;
            refused.expect_problem(400, "bad-host");
        }
    }
    app.owner().get(TASKS).without("host").await.expect_problem(400, "bad-host");
    app.owner().get(TASKS).header("host", "localhost").await.expect_problem(400, "bad-host");
    app.owner().get(TASKS).header("x-forwarded-host", "evil.test").await.expect(200);
}
