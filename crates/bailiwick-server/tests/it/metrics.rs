//! What the server counts, as Prometheus reads it, and whether it is ready.
use std::{collections::BTreeSet, fs, io, net::TcpStream, thread, time::Duration};

use axum::body::Body;
use bailiwick::request::DeniedBy;
use bailiwick_testkit::{Fault, FaultyCounters, Operation, Scrape, TestApp};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::{
    site::{Answer, Connection, PASSWORD, Server, Site},
    support::{self, TASKS},
};

const TOOK: &str = "http_server_request_duration_seconds_count";
const AUTHENTICATIONS: &str = "bailiwick_authentications_total";
const THROTTLE: &str = "bailiwick_throttle_decisions_total";
const EVENTS: &str = "bailiwick_security_events_total";

/// Asks the operations listener by its own address.
fn ask(server: &Server, path: &str) -> Answer {
    ask_as(server, "GET", path, &server.operations.to_string())
}

fn ask_as(server: &Server, method: &str, path: &str, host: &str) -> Answer {
    let mut connection = Connection::to(server.operations);
    connection.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    connection.answer(method == "HEAD").unwrap()
}

pub(crate) fn scrape(server: &Server) -> Scrape {
    let answer = ask(server, "/metrics");
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    Scrape::parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

/// Waits until the last answers were counted: they are when their bytes have been handed over, which a client may see first.
fn settled(server: &Server, requests: f64) -> Scrape {
    for _ in 0..200 {
        let scrape = scrape(server);
        if scrape.value(TOOK, &[]) >= requests && scrape.value("http_server_active_requests", &[]) == 0.0 {
            return scrape;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{} requests were counted, and not {requests}", scrape(server).value(TOOK, &[]));
}

// MET-01 to MET-05
#[test]
fn known_traffic_is_counted_exactly_and_nothing_secret_is_told() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let token = &site.token;
    for number in 0..3 {
        let task = json!({"title": format!("title-secret-{number}")});
        assert_eq!(client.ask("POST", TASKS_OF_ACME, token, Some(&task)).unwrap().status, 201);
    }
    for _ in 0..5 {
        let path = format!("{TASKS_OF_ACME}?search=query-secret");
        assert_eq!(client.ask("GET", &path, token, None).unwrap().status, 200);
    }
    assert_eq!(client.ask("GET", "/api/v1/orgs/globex/tasks/", token, None).unwrap().status, 404);
    assert_eq!(client.ask("GET", "/api/v1/me/", "bw_pat_wrong", None).unwrap().status, 401);
    assert_eq!(client.ask("SECRETS", "/api/v1/me/", token, None).unwrap().status, 405);
    assert_eq!(client.ask("GET", "/path-secret/", token, None).unwrap().status, 404);
    assert_eq!(client.ask("GET", "/healthz", token, None).unwrap().status, 200);
    let wrong = json!({"username": "ann", "password": "not-her-password"});
    assert_eq!(client.ask("POST", "/api/v1/auth/token/", "", Some(&wrong)).unwrap().status, 401);
    let right = json!({"username": "ann", "password": PASSWORD});
    let issued = client.ask("POST", "/api/v1/auth/token/", "", Some(&right)).unwrap();
    assert_eq!(issued.status, 200, "{issued:?}");
    // What cannot be read ends its connection.
    let mut broken = server.connect();
    broken.send(b"GET / HTTP/1.1\r\nBad Header\r\n\r\n").unwrap();
    assert_eq!(broken.answer(false).unwrap().status, 400);

    let scrape = settled(&server, 16.0);
    assert_eq!(scrape.value(TOOK, &[]), 16.0);
    let of = |method: &str, route: &str, status: &str| {
        let labels =
            [("http_request_method", method), ("http_route", route), ("http_response_status_code", status)];
        scrape.value(TOOK, &labels)
    };
    let tasks = "/api/v1/orgs/{org}/tasks/";
    assert_eq!((of("POST", tasks, "201"), of("GET", tasks, "200"), of("GET", tasks, "404")), (3.0, 5.0, 1.0));
    assert_eq!((of("GET", "/api/v1/me/", "401"), of("_OTHER", "/api/v1/me/", "405")), (1.0, 1.0));
    assert_eq!(of("GET", "/healthz/", "200"), 1.0);
    let log_ins = "/api/v1/auth/token/";
    assert_eq!((of("POST", log_ins, "401"), of("POST", log_ins, "200")), (1.0, 1.0));
    // Without a route: the unknown path, and what could not be read.
    let routed: f64 = scrape
        .label_values("http_route")
        .iter()
        .map(|route| scrape.value(TOOK, &[("http_route", route)]))
        .sum();
    assert_eq!(routed, 14.0);

    let authenticated = |method: &str, outcome: &str| {
        scrape.value(AUTHENTICATIONS, &[("method", method), ("outcome", outcome)])
    };
    assert_eq!(authenticated("api_token", "success"), 11.0);
    assert_eq!(authenticated("unknown", "failure"), 1.0);
    assert_eq!((authenticated("password", "success"), authenticated("password", "failure")), (1.0, 1.0));
    let decided =
        |scope: &str, outcome: &str| scrape.value(THROTTLE, &[("scope", scope), ("outcome", outcome)]);
    assert_eq!((decided("user", "allowed"), decided("anon", "allowed")), (11.0, 3.0));
    assert_eq!((decided("login", "allowed"), decided("login_account", "allowed")), (2.0, 2.0));
    let event = |name: &str| scrape.value(EVENTS, &[("event", name)]);
    assert_eq!((event("authn_login_success"), event("authn_login_fail")), (1.0, 1.0));
    assert_eq!(event("authn_token_created"), 1.0);
    assert_eq!(scrape.value("bailiwick_password_hash_wait_seconds_count", &[]), 2.0);
    assert_eq!(scrape.value("bailiwick_password_hash_waiting", &[]), 0.0);
    assert_eq!(scrape.value("bailiwick_log_lines_dropped_total", &[]), 0.0);
    // Three tasks and a token, at least; each is a transaction, and nobody came at the same time.
    let commits = scrape.value("bailiwick_database_commit_transactions_count", &[]);
    assert!(commits >= 4.0, "{commits}");
    assert_eq!(scrape.value("bailiwick_database_wait_seconds_count", &[]), commits);
    assert_eq!(scrape.value("bailiwick_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);

    let text = String::from_utf8(ask(&server, "/metrics").body).unwrap();
    let issued = issued.json();
    for secret in [
        token.as_str(),
        issued["token"].as_str().unwrap(),
        PASSWORD,
        "title-secret",
        "query-secret",
        "path-secret",
        "SECRETS",
        "acme",
        "globex",
        "ann",
        "127.0.0.1",
    ] {
        assert!(!text.contains(secret), "{secret:?} is in:\n{text}");
    }
    server.stop();
}

const TASKS_OF_ACME: &str = "/api/v1/orgs/acme/tasks/";

#[test]
fn of_a_hundred_clients_at_once_every_request_is_counted() {
    let site = Site::new();
    let server = site.serve();
    thread::scope(|scope| {
        for _ in 0..100 {
            scope.spawn(|| {
                let mut client = server.connect();
                for _ in 0..5 {
                    let made = client.ask("POST", TASKS_OF_ACME, &site.token, Some(&json!({"title": "one"})));
                    assert_eq!(made.unwrap().status, 201);
                }
            });
        }
        // Somebody looks meanwhile.
        for _ in 0..10 {
            scrape(&server);
        }
    });
    let scrape = settled(&server, 500.0);
    let created = [("http_request_method", "POST"), ("http_response_status_code", "201")];
    assert_eq!((scrape.value(TOOK, &created), scrape.value(TOOK, &[])), (500.0, 500.0));
    assert_eq!(scrape.value(THROTTLE, &[("scope", "user"), ("outcome", "allowed")]), 500.0);
    // Their commits were shared: fewer of them took all transactions.
    let transactions = scrape.value("bailiwick_database_commit_transactions_sum", &[]);
    let commits = scrape.value("bailiwick_database_commit_transactions_count", &[]);
    assert!(transactions >= 500.0 && commits < transactions, "{transactions} in {commits}");
    server.stop();
}

#[test]
fn a_client_that_goes_away_is_counted_as_such() {
    let site = Site::new();
    let server = site.serve();
    // Another process holds the lock, so that a write waits.
    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut client = server.connect();
    let body = json!({"title": "never answered"}).to_string();
    let two = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n\
         POST {TASKS_OF_ACME} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        site.token,
        body.len()
    );
    client.send(two.as_bytes()).unwrap();
    let active = || scrape(&server).value("http_server_active_requests", &[("http_request_method", "POST")]);
    while active() < 1.0 {
        thread::sleep(Duration::from_millis(5));
    }
    // The first answer is there and was not read: to close the socket now resets the connection.
    assert_eq!(client.peek(), 1);
    drop(client);
    let scrape = settled(&server, 2.0);
    database.execute_batch("ROLLBACK").unwrap();
    let gone = [("http_response_status_code", "499"), ("error_type", "client_gone")];
    assert_eq!((scrape.value(TOOK, &gone), scrape.value(TOOK, &[])), (1.0, 2.0));
    server.stop();
}

// MET-05
#[test]
fn the_operations_listener_answers_its_three_questions_and_nothing_else() {
    let site = Site::new();
    let server = site.serve();
    assert_eq!(ask(&server, "/healthz").json(), json!({"status": "ok"}));
    assert_eq!(ask(&server, "/readyz").json(), json!({"status": "ready"}));
    let metrics = ask(&server, "/metrics");
    let head = metrics.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{head}");
    assert!(head.contains("cache-control: no-store") && head.contains("x-request-id: "), "{head}");
    assert_eq!(ask_as(&server, "HEAD", "/metrics", "localhost").status, 200);
    for (method, path, status) in [
        ("GET", "/api/v1/me/", 404),
        ("GET", "/", 404),
        ("GET", "/problems/not-found", 404),
        ("POST", "/metrics", 405),
        ("DELETE", "/readyz", 405),
    ] {
        let answer = ask_as(&server, method, path, "localhost");
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.head.contains("application/problem+json"), "{answer:?}");
    }
    // A web page that has given the loopback a name of its own reads nothing.
    assert_eq!(ask_as(&server, "GET", "/metrics", "rebound.example").status, 400);
    // Clients do not reach it.
    let mut client = server.connect();
    for path in ["/metrics", "/readyz"] {
        assert_eq!(client.ask("GET", path, &site.token, None).unwrap().status, 404, "{path}");
    }
    // What operators ask is no traffic: neither in the metrics nor in the log.
    assert_eq!(settled(&server, 2.0).value(TOOK, &[]), 2.0);
    let output = server.stop();
    assert_eq!(crate::process::access_lines(&output).len(), 2, "{}", output.out);
}

#[test]
fn while_requests_in_flight_are_finished_the_server_is_not_ready_and_can_still_be_watched() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let body = json!({"title": "in flight"}).to_string();
    let head = format!(
        "POST {TASKS_OF_ACME} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        site.token,
        body.len()
    );
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 100);
    server.signal("-TERM");
    while TcpStream::connect(server.address).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    let ready = ask(&server, "/readyz");
    assert_eq!((ready.status, ready.json()["code"].clone()), (503, json!("unavailable")), "{ready:?}");
    assert_eq!(ready.json()["detail"], "not ready: stopping");
    assert_eq!(ask(&server, "/healthz").status, 200);
    assert_eq!(scrape(&server).value("http_server_active_requests", &[]), 1.0);
    client.send(body.as_bytes()).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 201);
    let output = server.end();
    assert_eq!(output.code, Some(0), "{}", output.err);
}

/// A question to the operations of an application in process.
async fn ready(app: &TestApp) -> (u16, Value) {
    let request = Request::get("/readyz").header("host", "prometheus.example").body(Body::empty()).unwrap();
    let response = app.operations().into_service().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_server_whose_database_is_out_of_reach_is_not_ready_until_it_is_back() {
    let app = support::start().await;
    assert_eq!(ready(&app).await, (200, json!({"status": "ready"})));
    app.store().fail_all(Operation::KeyRing, Fault::Unavailable);
    assert_eq!(ready(&app).await.0, 200, "it is asked once a second");
    app.clock().advance(Duration::from_secs(1));
    for _ in 0..2 {
        let (status, body) = ready(&app).await;
        assert_eq!((status, &body["detail"]), (503, &json!("not ready: database, signing_key")), "{body}");
    }
    app.store().mend();
    app.clock().advance(Duration::from_secs(1));
    assert_eq!(ready(&app).await, (200, json!({"status": "ready"})));
}

#[test]
fn a_server_whose_database_lacks_a_migration_is_not_ready_and_one_of_a_newer_version_is() {
    let site = Site::new();
    let server = site.serve();
    assert_eq!(ask(&server, "/readyz").status, 200);
    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    database.busy_timeout(Duration::from_secs(5)).unwrap();
    let change = |sql: &str| assert_eq!(database.execute(sql, []).unwrap(), 1);
    change(
        "INSERT INTO app_schema (version, name, applied_on, checksum) VALUES (99, 'tomorrow', '2030-01-01T00:00:00Z', '1')",
    );
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(ask(&server, "/readyz").status, 200);
    change("DELETE FROM app_schema WHERE version = 99");
    change("DELETE FROM app_schema WHERE version = (SELECT max(version) FROM app_schema)");
    thread::sleep(Duration::from_millis(1100));
    let answer = ask(&server, "/readyz");
    assert_eq!(answer.json()["detail"], "not ready: migrations", "{answer:?}");
    let output = server.stop();
    // Who asks is told the name alone, the log why.
    assert!(output.out.contains("the database lacks V"), "{}", output.out);
}

// THR-35, I9
#[tokio::test]
async fn what_is_not_decided_for_want_of_a_store_is_counted_as_such() {
    let app = support::throttled(&[]).await;
    let counters: &FaultyCounters = app.counters();
    counters.fail_everything(Fault::Unavailable);
    app.member().get(TASKS).await.expect(200);
    app.member().post(TASKS, json!({"title": "one"})).await.expect(503);
    counters.mend();
    app.store().fail_all(Operation::PrincipalOf, Fault::Unavailable);
    app.member().get(TASKS).await.expect(503);
    let scrape = app.scrape();
    let user = |outcome| scrape.value(THROTTLE, &[("scope", "user"), ("outcome", outcome)]);
    assert_eq!((user("uncounted"), user("unavailable")), (1.0, 1.0));
    let tokens = [("method", "api_token"), ("outcome", "unavailable")];
    assert_eq!(scrape.value(AUTHENTICATIONS, &tokens), 1.0);
}

#[tokio::test]
async fn a_quota_that_is_spent_counts_as_refused() {
    let app = support::throttled(&[("throttle.rates.anon", "3/min")]).await;
    let before = app.scrape();
    for _ in 0..5 {
        app.anonymous().get("/me/").await;
    }
    let after = app.scrape();
    let anon = |outcome| {
        let labels = [("scope", "anon"), ("outcome", outcome)];
        after.value(THROTTLE, &labels) - before.value(THROTTLE, &labels)
    };
    assert_eq!((anon("allowed"), anon("refused")), (3.0, 2.0));
    assert_eq!(after.value(TOOK, &[("http_response_status_code", "429")]), 2.0);
}

#[tokio::test]
async fn ten_thousand_ways_to_ask_make_no_new_series() {
    let app = support::start().await;
    let send = async |number: usize| {
        let method = Method::from_bytes(format!("METHOD{number}").as_bytes()).unwrap();
        let host =
            if number.is_multiple_of(2) { "localhost".to_owned() } else { format!("h{number}.example") };
        let call = app.member().request(method, &format!("/orgs/acme{number}/tasks/{number}/?{number}"));
        call.header("host", &host).header("user-agent", format!("agent {number}")).await;
        let call = app.anonymous().request(Method::GET, &format!("/{number}/"));
        call.header("x-request-id", format!("request-{number}")).await;
    };
    for number in 0..4 {
        send(number).await;
    }
    let before = app.scrape();
    for number in 4..5_000 {
        send(number).await;
    }
    let after = app.scrape();
    assert_eq!(after.series(), before.series());
    assert!(after.value(TOOK, &[]) >= 10_000.0);
}

fn page(name: &str) -> String {
    fs::read_to_string(format!("{}/../../docs/guide/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// What stands between backticks.
fn names(text: &str) -> BTreeSet<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// What a page says between these two.
fn between<'p>(page: &'p str, start: &str, end: &str) -> &'p str {
    let (_, rest) = page.split_once(start).unwrap_or_else(|| panic!("{start:?} is on the page"));
    rest.split_once(end).unwrap_or_else(|| panic!("{end:?} follows {start:?}")).0
}

#[tokio::test]
async fn the_guide_names_every_quota_and_no_other() {
    let app = support::throttled(&[("registration.mode", "open")]).await;
    let scrape = app.scrape();
    let scopes = scrape.label_values("scope");
    let metrics = page("metrics.md");
    assert_eq!(names(between(&metrics, "- `scope` is", ";")), scopes, "metrics.md");
    let throttling = page("throttling.md");
    let rows = throttling.lines().take_while(|line| !line.starts_with("Every counted")).skip(4);
    let policies: BTreeSet<&str> =
        rows.filter(|row| !row.is_empty()).map(|row| row.split('`').nth(1).unwrap()).collect();
    assert_eq!(policies, scopes, "throttling.md");
}

#[test]
fn the_guide_names_all_that_denies_a_request_and_nothing_else() {
    let logs = page("logs.md");
    let denials = names(between(&logs, "`denied_by` what denied it:", ";"));
    let known: BTreeSet<&str> = DeniedBy::ALL.iter().map(|denied| denied.as_str()).collect();
    assert_eq!(denials, known);
}

/// What the guide says of each metric: its labels.
fn documented() -> Vec<(String, BTreeSet<String>)> {
    let page = page("metrics.md");
    let rows = page.lines().filter(|line| {
        line.starts_with("| `bailiwick_") || line.starts_with("| `http_") || line.starts_with("| `process_")
    });
    rows.map(|row| {
        let cells: Vec<_> = row.split('|').collect();
        let name = names(cells[1]).into_iter().next().unwrap().to_owned();
        (name, names(cells[3]).into_iter().map(str::to_owned).collect())
    })
    .collect()
}

#[tokio::test]
async fn the_guide_names_every_metric_and_every_label_and_no_other() {
    let on_sqlite = support::throttled(&[]).await;
    on_sqlite.anonymous().get("/me/").await;
    // So that each label was there once.
    on_sqlite.store().fail_all(Operation::Read, Fault::Unavailable);
    on_sqlite.member().get(TASKS).await.expect(503);
    let scrape = on_sqlite.scrape();
    let documented = documented();
    let of_postgres = ["bailiwick_database_connections", "bailiwick_database_connections_idle"];
    let names: BTreeSet<&str> = documented.iter().map(|(name, _)| name.as_str()).collect();
    let shown: BTreeSet<&str> = scrape.families().into_iter().chain(of_postgres).collect();
    assert_eq!(names, shown);
    for (name, labels) in &documented {
        let labels: BTreeSet<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(scrape.labels(name), labels, "{name}");
    }
}

#[test]
fn on_postgresql_the_pool_is_measured() -> io::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let Some(database) = runtime.block_on(bailiwick_testkit::databases::fresh_postgres()) else {
        return Ok(());
    };
    let site = Site::on(&database.url());
    let server = site.serve();
    assert_eq!(server.connect().ask("GET", TASKS_OF_ACME, &site.token, None)?.status, 200);
    let scrape = settled(&server, 1.0);
    assert!(scrape.value("bailiwick_database_connections", &[]) >= 1.0);
    assert!(scrape.value("bailiwick_database_wait_seconds_count", &[]) >= 2.0);
    assert_eq!(scrape.value("bailiwick_database_waiting", &[]), 0.0);
    assert_eq!(ask(&server, "/readyz").status, 200);
    server.stop();
    Ok(())
}
