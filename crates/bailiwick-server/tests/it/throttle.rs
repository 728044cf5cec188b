//! Quotas.
use std::{any::Any, collections::HashMap, sync::Arc, time::Duration};

use bailiwick::{
    database::{
        MemoryCounters, OpenOptions, Opened, RedisCounters, RedisOptions, migrate, open_with_counters,
        refinery::Runner,
    },
    store::CounterStore,
};
use bailiwick_testkit::{FakeClock, Fault, Operation, Person, Reply, TestApp, audit_keys, databases};
use http::Method;
use serde_json::json;

use crate::{
    browser::Browser,
    files::form,
    support::{self, NOBODY, TASKS, Tasks, log_in},
};

/// What is left of a quota, as `RateLimit` says.
fn left(reply: &Reply, policy: &str) -> u64 {
    let field = reply.header("ratelimit").unwrap_or_else(|| panic!("no RateLimit: {reply:?}"));
    let start = format!("\"{policy}\";r=");
    let item = field.split(", ").find_map(|item| item.strip_prefix(start.as_str()));
    let item = item.unwrap_or_else(|| panic!("nothing of {policy}: {field}"));
    item.split(';').next().unwrap().parse().unwrap()
}

fn retry_after(reply: &Reply) -> Duration {
    Duration::from_secs(reply.header("retry-after").unwrap().parse().unwrap())
}

// THR-20, THR-21: exactly these bytes.
#[tokio::test]
async fn every_throttled_answer_tells_its_quotas() {
    let app = support::throttled(&[]).await;
    let fields = |reply: &Reply| {
        (reply.header("ratelimit-policy").unwrap().to_owned(), reply.header("ratelimit").unwrap().to_owned())
    };
    let first = app.member().get("/me/").await.expect(200);
    assert_eq!(fields(&first), ("\"user\";q=600;w=60".to_owned(), "\"user\";r=599;t=1".to_owned()));
    let second = app.member().get(&format!("{TASKS}{NOBODY}/")).await.expect(404);
    assert_eq!(fields(&second).1, "\"user\";r=598;t=1");
    let first = app.anonymous().get("/me/").await.expect(401);
    assert_eq!(fields(&first), ("\"anon\";q=60;w=60".to_owned(), "\"anon\";r=59;t=1".to_owned()));
    let log_in = log_in(&app.anonymous(), "member", "wrong").await.expect(401);
    assert_eq!(
        fields(&log_in),
        (
            "\"anon\";q=60;w=60, \"login\";q=5;w=60".to_owned(),
            "\"anon\";r=58;t=1, \"login\";r=4;t=12".to_owned()
        )
    );
    // No forms of other drafts (THR-22).
    for old in ["x-ratelimit-limit", "x-ratelimit-remaining", "ratelimit-limit", "retry-after"] {
        assert_eq!(log_in.header(old), None);
    }
}

// THR-33: two hundred at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_hundred_wrong_log_ins_at_once_five_are_tried_and_the_rest_are_told_the_truth() {
    let app = support::throttled(&[]).await;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..200 {
        // Whatever name is tried: the address counts.
        let anonymous = app.anonymous();
        callers.spawn(async move { log_in(&anonymous, &format!("user-{number}"), "wrong").await });
    }
    let replies = callers.join_all().await;
    let tried: Vec<_> = replies.iter().filter(|reply| reply.status() == 401).collect();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status() == 429).collect();
    assert_eq!((tried.len(), refused.len()), (5, 195));
    for reply in &tried {
        assert_eq!(reply.code(), "invalid-credentials");
    }
    // 5 a minute is one every 12 seconds, and the clock has not moved.
    for reply in &refused {
        assert_eq!(reply.code(), "throttled");
        assert_eq!(retry_after(reply), Duration::from_secs(12));
        assert_eq!(reply.json()["violated-policies"], json!(["login"]));
        assert_eq!(left(reply, "login"), 0);
        assert_eq!(left(reply, "anon"), 55, "a refused log-in spends nothing else");
    }
    // Honest: a moment earlier is too early, then exactly one passes.
    app.clock().advance(Duration::from_secs(12) - Duration::from_nanos(1));
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
    app.clock().advance(Duration::from_nanos(1));
    log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200);
    let again = log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
    assert_eq!(retry_after(&again), Duration::from_secs(12));
    // Another address is another caller.
    log_in(&app.anonymous().from([203, 0, 113, 7]), "member", TestApp::PASSWORD).await.expect(200);
}

/// Where quotas are counted.
struct Place {
    name: &'static str,
    counters: Arc<dyn CounterStore>,
    /// What must stay while they count.
    _keep: Box<dyn Any>,
}

impl Place {
    fn new(name: &'static str, counters: Arc<dyn CounterStore>, keep: impl Any) -> Self {
        Self { name, counters, _keep: Box::new(keep) }
    }

    /// All there are on this machine.
    async fn all() -> Vec<Self> {
        let memory = Arc::new(MemoryCounters::new(Arc::new(FakeClock::new())));
        let mut all = vec![Self::new("memory", memory, ())];
        let sqlite = databases::fresh_sqlite();
        let opened = open_fresh(&sqlite.url()).await;
        all.push(Self::new("SQLite", Arc::clone(&opened.counters), (opened, sqlite)));
        if let Some(postgres) = databases::fresh_postgres().await {
            let opened = open_fresh(&postgres.url()).await;
            all.push(Self::new("PostgreSQL", Arc::clone(&opened.counters), (opened, postgres)));
        }
        if let Some(url) = databases::redis_url() {
            let prefix = databases::random_name("test-");
            let redis = RedisCounters::connect(&url, &prefix, &RedisOptions::default()).await.unwrap();
            all.push(Self::new("Redis", Arc::new(redis), ()));
        }
        all
    }
}

async fn open_fresh(url: &str) -> Opened {
    let options = OpenOptions::default();
    migrate(url, &options, &Runner::new(&[]), &[]).await.unwrap();
    open_with_counters(url, &options, audit_keys()).await.unwrap()
}

/// What the requests spend that pass of `count` which `person` makes at once, each of a cost and a query that `ask` names.
async fn spent_at_once(person: &Person, count: usize, ask: impl Fn(usize) -> (u64, &'static str)) -> u64 {
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..count {
        let (cost, query) = ask(number);
        let call = person.get(&format!("{TASKS}{query}"));
        callers.spawn(async move {
            let reply = call.await;
            // Nothing passes uncounted.
            let left = left(&reply, "user");
            match reply.status().as_u16() {
                200 => cost,
                429 => {
                    assert!(left < cost, "refused, and it would have been enough: {reply:?}");
                    0
                }
                _ => panic!("{reply:?}"),
            }
        });
    }
    callers.join_all().await.into_iter().sum()
}

// THR-33, THR-37: five hundred at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_five_hundred_at_once_exactly_the_quota_passes_wherever_it_is_counted() {
    for Place { name, counters, _keep } in Place::all().await {
        let app = support::counted(Some(counters), &[("throttle.rates.user", "60/hour")]).await;
        assert_eq!(spent_at_once(&app.member(), 500, |_| (1, "")).await, 60, "{name}");
        // Fifteen pages of a hundred rows.
        assert_eq!(spent_at_once(&app.viewer(), 500, |_| (4, "?page_size=100")).await, 60, "{name}");
        assert_eq!(spent_at_once(&app.viewer(), 50, |_| (1, "")).await, 0, "{name}");
        // Of long and short ones, as many as sixty units buy: some want one unit, so none is left over.
        let mixed = |number| {
            [(1, ""), (4, "?page_size=1000"), (3, "?page_size=75"), (2, "?page_size=26")][number % 4]
        };
        assert_eq!(spent_at_once(&app.admin(), 500, mixed).await, 60, "{name}");
    }
    // What is no multiple of four leaves something for whoever wants less.
    let app = support::throttled(&[("throttle.rates.user", "61/hour")]).await;
    assert_eq!(spent_at_once(&app.member(), 100, |_| (4, "?page_size=100")).await, 60);
    assert_eq!(spent_at_once(&app.member(), 100, |_| (1, "")).await, 1);
}

// THR-37
#[tokio::test]
async fn a_page_costs_one_for_each_begun_page_of_the_default_size_whatever_the_answer() {
    let app = support::throttled(&[]).await;
    let task = app.owner().task(json!({"title": "x"})).await;
    let (viewer, outsider) = (app.viewer(), app.other_tenant());
    let mut expected = 600;
    for (query, status, cost) in [
        ("", 200, 1),
        ("?page_size=25", 200, 1),
        ("?page_size=26", 200, 2),
        ("?page_size=100", 200, 4),
        ("?page_size=1000", 200, 4),
        ("?page_size=99999999999999999999999999", 200, 4),
        ("?page%5Fsize=%31%30%30", 200, 4),
        ("?page_size=100&page=9", 404, 4),
        ("?page_size=100&nonsense=1", 422, 4),
        ("?page_size=", 422, 1),
        ("?page_size=0", 422, 1),
        ("?page_size=1e3", 422, 1),
        ("?page_size=%00", 422, 1),
        ("?page_size=1&page_size=100", 422, 1),
    ] {
        let reply = viewer.get(&format!("{TASKS}{query}")).await.expect(status);
        expected -= cost;
        assert_eq!(left(&reply, "user"), expected, "{query}");
        let reply = viewer.head(&format!("{TASKS}{query}")).await.expect(status);
        expected -= cost;
        assert_eq!(left(&reply, "user"), expected, "HEAD {query}");
    }
    // A row is a row, whatever is asked beside it.
    let reply = viewer.get(&format!("{task}?page_size=100")).await;
    assert_eq!(left(&reply, "user"), expected - 1);
    // Who may not read pays as who may (THR-25): the price tells nobody what is there.
    for path in [TASKS, "/orgs/nowhere/tasks/"] {
        let before = left(&outsider.get("/me/").await, "user");
        let reply = outsider.get(&format!("{path}?page_size=100")).await.expect(404);
        assert_eq!(left(&reply, "user"), before - 4, "{path}");
    }
    let anonymous = app.anonymous().get(&format!("{TASKS}?page_size=100")).await.expect(401);
    assert_eq!(left(&anonymous, "anon"), 56);
}

// THR-37: none was forgotten.
#[tokio::test]
async fn every_list_of_the_server_weighs_by_its_page() {
    let app = support::throttled(&[("pagination.default_size", "10"), ("pagination.max_size", "70")]).await;
    let owner = app.owner();
    let task = owner.task(json!({"title": "x"})).await;
    let id = task.trim_start_matches(TASKS).trim_end_matches('/');
    let mut lists = Vec::new();
    for route in app.routes().iter().filter(|route| route.method == Method::GET) {
        let Some(path) = route.path.strip_prefix("/api/v1") else { continue };
        let path = path.replace("{org}", "acme").replace("{id}", id).replace("{attachment}", NOBODY);
        let before = left(&owner.get("/me/").await, "user");
        let reply = owner.get(&format!("{path}?page_size=1000")).await;
        if reply.status() == 200 && !reply.json()["results"].is_null() {
            assert_eq!(left(&reply, "user"), before - 7, "{path}");
            lists.push(path);
        }
    }
    lists.sort();
    let attachments = format!("{task}attachments/");
    assert_eq!(
        lists,
        [
            "/auth/sessions/",
            "/auth/tokens/",
            "/orgs/",
            "/orgs/acme/members/",
            TASKS,
            &attachments,
            "/orgs/acme/tokens/"
        ]
    );
}

// THR-37
#[tokio::test]
async fn an_upload_costs_five_and_a_download_two_and_the_quota_of_uploads_counts_requests() {
    let app = support::throttled(&[("throttle.rates.uploads", "4/hour")]).await;
    let (member, viewer) = (app.member(), app.viewer());
    let task = member.task(json!({"title": "x"})).await;
    let path = format!("{task}attachments/");
    let upload = |person: &Person, content_type: &'static str| {
        let (form_type, body) = form("a.txt", Some(content_type), b"text");
        person.request(Method::POST, &path).body(&form_type, body)
    };
    let mut expected = left(&member.get("/me/").await, "user");
    let made = upload(&member, "text/plain").await.expect(201);
    expected -= 5;
    assert_eq!((left(&made, "user"), left(&made, "uploads")), (expected, 3));
    // Accepted or not.
    let refused = upload(&member, "image/png").await.expect(422);
    expected -= 5;
    assert_eq!((left(&refused, "user"), left(&refused, "uploads")), (expected, 2));
    let denied = upload(&viewer, "text/plain").await.expect(403);
    assert_eq!((left(&denied, "user"), left(&denied, "uploads")), (595, 3));
    let content = format!("{path}{}/content/", made.id());
    for reply in [member.get(&content).await.expect(200), member.head(&content).await.expect(200)] {
        expected -= 2;
        assert_eq!(left(&reply, "user"), expected);
    }
    let shown = member.get(&format!("{path}{}/", made.id())).await.expect(200);
    expected -= 1;
    assert_eq!(left(&shown, "user"), expected);
    // What the quota of uploads refuses costs nothing of the other.
    for _ in 0..2 {
        upload(&member, "text/plain").await.expect(201);
        expected -= 5;
    }
    let refused = upload(&member, "text/plain").await.expect_problem(429, "throttled");
    assert_eq!(refused.json()["violated-policies"], json!(["uploads"]));
    assert_eq!((left(&refused, "user"), left(&refused, "uploads")), (expected, 0));
}

// THR-26, THR-37
#[tokio::test]
async fn a_page_that_costs_too_much_now_is_told_when_it_does_not_and_a_shorter_one_is_answered() {
    let app = support::throttled(&[("throttle.rates.user", "6/min")]).await;
    let member = app.member();
    let long = format!("{TASKS}?page_size=100");
    member.get(&long).await.expect(200);
    let refused = member.get(&long).await.expect_problem(429, "throttled");
    assert_eq!(refused.header("ratelimit"), Some("\"user\";r=2;t=20"));
    assert_eq!(retry_after(&refused), Duration::from_secs(20));
    app.clock().advance(Duration::from_secs(20) - Duration::from_nanos(1));
    member.get(&long).await.expect(429);
    app.clock().advance(Duration::from_nanos(1));
    assert_eq!(left(&member.get(&long).await.expect(200), "user"), 0);
    app.clock().advance(Duration::from_secs(10));
    member.get(&long).await.expect(429);
    member.get(TASKS).await.expect(200);
    // With a quota smaller than one page costs, a page needs all of it, and can be had.
    let app = support::throttled(&[("throttle.rates.user", "3/min")]).await;
    for _ in 0..3 {
        assert_eq!(left(&app.member().get(&long).await.expect(200), "user"), 0);
        assert_eq!(retry_after(&app.member().get(&long).await.expect(429)), Duration::from_secs(60));
        app.clock().advance(Duration::from_secs(60));
    }
}

// THR-26: never too early, whatever the rate.
#[tokio::test]
async fn retry_after_is_rounded_up_and_always_enough() {
    for (rate, limit) in [("7/min", 7), ("1000/hour", 1000), ("3/s", 3), ("13/90s", 13), ("1/day", 1)] {
        let app = support::throttled(&[("throttle.rates.user", rate)]).await;
        for _ in 0..limit {
            app.member().get("/me/").await.expect(200);
        }
        for _ in 0..3 {
            let refused = app.member().get("/me/").await.expect_problem(429, "throttled");
            let wait = retry_after(&refused);
            assert!(wait >= Duration::from_secs(1));
            // THR-23
            let t = refused.header("ratelimit").unwrap().split("t=").nth(1).unwrap().parse().unwrap();
            assert!(wait >= Duration::from_secs(t), "{refused:?}");
            app.clock().advance(wait);
            app.member().get("/me/").await.expect(200);
            while app.member().get("/me/").await.status() == 200 {}
        }
    }
}

// Contract §1, THR-08: every answer after authentication spends the principal's quota, whatever it is.
#[tokio::test]
async fn every_answer_to_a_user_spends_the_users_quota() {
    let app = support::throttled(&[("throttle.rates.user", "20/min")]).await;
    let viewer = app.viewer();
    let mut expected = 20;
    for (call, status) in [
        (viewer.get("/me/"), 200),
        (viewer.head("/me/"), 200),
        (viewer.get(&format!("{TASKS}{NOBODY}/")), 404),
        (viewer.get("/orgs/globex/tasks/"), 404),
        (viewer.get("/nonsense/"), 404),
        (viewer.post(TASKS, json!({"title": "x"})), 403),
        (viewer.get(&format!("{TASKS}?nonsense=1")), 422),
        (viewer.delete("/me/"), 405),
        (viewer.post("/orgs/", json!({})), 422),
        (viewer.post("/orgs/", json!(null)).body("text/plain", "x"), 415),
        (viewer.get("http://localhost/problems/not-found/"), 200),
    ] {
        let reply = call.await.expect(status);
        expected -= 1;
        assert_eq!(left(&reply, "user"), expected, "{reply:?}");
        assert_eq!(reply.header("ratelimit-policy"), Some("\"user\";q=20;w=60"));
    }
    // Wherever they come from, and with whichever token.
    let elsewhere = viewer.from([203, 0, 113, 7]).get("/me/").await.expect(200);
    assert_eq!(left(&elsewhere, "user"), expected - 1);
    let token = app.token_for(&viewer, Duration::from_secs(60)).await;
    assert_eq!(left(&viewer.with_token(token).get("/me/").await.expect(200), "user"), expected - 2);
    // And nobody else's.
    assert_eq!(left(&app.member().get("/me/").await.expect(200), "user"), 19);
}

// A failed credential is no way around the quota of the address (contract §1).
#[tokio::test]
async fn a_request_without_a_principal_spends_the_quota_of_the_address() {
    let app = support::throttled(&[("throttle.rates.anon", "6/min")]).await;
    let anonymous = app.anonymous();
    let mut expected = 6;
    for (call, status) in [
        (anonymous.get("/me/"), 401),
        (anonymous.get("/me/").authorization("Token nonsense"), 401),
        (anonymous.get("/me/").authorization("Basic x").header("authorization", "Basic y"), 400),
        (anonymous.get("/nonsense/"), 404),
        (anonymous.get("http://localhost/problems/not-found/"), 200),
        (anonymous.get(TASKS), 401),
    ] {
        let reply = call.await.expect(status);
        expected -= 1;
        assert_eq!(left(&reply, "anon"), expected, "{reply:?}");
    }
    for call in [
        anonymous.get("/me/"),
        anonymous.get("/me/").authorization("Token nonsense"),
        anonymous.get("/nonsense/"),
    ] {
        let refused = call.await.expect_problem(429, "throttled");
        assert_eq!(refused.json()["violated-policies"], json!(["anon"]));
        assert_eq!(retry_after(&refused), Duration::from_secs(10));
    }
    // A log-in needs both quotas.
    let refused = log_in(&anonymous, "member", TestApp::PASSWORD).await.expect_problem(429, "throttled");
    assert_eq!((refused.json()["violated-policies"].clone(), left(&refused, "login")), (json!(["anon"]), 5));
    // Whoever has a good credential is counted by it.
    app.member().get("/me/").await.expect(200);
    // No header of the client's is an address.
    for name in ["x-forwarded-for", "x-real-ip", "forwarded", "true-client-ip", "cf-connecting-ip"] {
        anonymous.get("/me/").header(name, "203.0.113.9").await.expect_problem(429, "throttled");
    }
    anonymous.from([203, 0, 113, 7]).get("/me/").await.expect(401);
}

// THR-11
#[tokio::test]
async fn an_ipv6_host_has_one_quota_whatever_address_of_its_network_it_takes() {
    let app = support::throttled(&[("throttle.rates.anon", "2/min")]).await;
    let from = |address: &str| app.anonymous().from(address.parse::<std::net::IpAddr>().unwrap()).get("/me/");
    assert_eq!(left(&from("2001:db8:1:2::1").await, "anon"), 1);
    assert_eq!(left(&from("2001:db8:1:2:ffff::9").await, "anon"), 0);
    from("2001:db8:1:2:1:2:3:4").await.expect(429);
    assert_eq!(left(&from("2001:db8:1:3::1").await, "anon"), 1);
    assert_eq!(left(&from("192.0.2.1").await, "anon"), 1);
    assert_eq!(left(&from("::ffff:192.0.2.1").await, "anon"), 0);
}

#[tokio::test]
async fn the_log_says_which_quota_refused() {
    let app = support::throttled(&[("throttle.rates.login", "1/min")]).await;
    log_in(&app.anonymous(), "member", "wrong").await.expect(401);
    log_in(&app.anonymous(), "member", "wrong").await.expect(429);
    let log = app.log();
    let lines: HashMap<_, _> = log
        .iter()
        .filter(|line| line["event"] == "http_request")
        .map(|line| (line["status"].as_u64().unwrap(), line["throttled"].clone()))
        .collect();
    assert_eq!(lines, HashMap::from([(401, json!(null)), (429, json!("login"))]));
}

#[tokio::test]
async fn without_a_throttle_nobody_is_counted() {
    let app = support::throttled(&[("throttle.enabled", "false")]).await;
    for _ in 0..70 {
        let reply = log_in(&app.anonymous(), "member", "wrong").await.expect(401);
        assert_eq!((reply.header("ratelimit"), reply.header("ratelimit-policy")), (None, None));
    }
}

// THR-35, I9: reads pass, log-ins and changes do not.
#[tokio::test]
async fn with_the_counters_out_of_reach_reads_pass_and_changes_are_503() {
    let app = support::throttled(&[]).await;
    let task = app.owner().task(json!({"title": "x"})).await;
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::NotWritable, Fault::Refused] {
        app.counters().fail_all(Operation::Spend, fault);
        let owner = app.owner();
        for path in ["/me/", TASKS, &task, "/orgs/acme/members/", "http://localhost/problems/throttled/"] {
            let read = owner.get(path).await.expect(200);
            assert_eq!(read.header("ratelimit"), None, "nothing is known");
            owner.head(path).await.expect(200);
        }
        app.anonymous().get("/me/").await.expect_problem(401, "unauthenticated");
        app.anonymous().get("/me/").authorization("Token x").await.expect_problem(401, "invalid-token");
        app.other_tenant().get(&task).await.expect_problem(404, "not-found");
        for call in [
            log_in(&app.anonymous(), "owner", TestApp::PASSWORD),
            owner.post(TASKS, json!({"title": "y"})),
            owner.patch(&task, json!({"title": "y"})),
            owner.put(&task, json!({"title": "y"})),
            owner.delete(&task),
            owner.post("/orgs/", json!({"slug": "y", "name": "y"})),
        ] {
            let refused = call.await.expect_problem(503, "unavailable");
            assert_eq!(refused.header("retry-after"), Some("3"));
        }
    }
    app.counters().mend();
    assert_eq!(app.owner().titles("").await, ["x"]);
    app.owner().get("/orgs/y/").await.expect(404);
    log_in(&app.anonymous(), "owner", TestApp::PASSWORD).await.expect(200);
}

// THR-35: who has lost a credential does not wait for the counters to end it.
#[tokio::test]
async fn with_the_counters_out_of_reach_credentials_are_ended_all_the_same() {
    let app = support::throttled(&[("throttle.rates.login", "1000/s")]).await;
    let credentials = || json!({"username": "member", "password": TestApp::PASSWORD});
    let obtain = async |path: &str| app.anonymous().post(path, credentials()).await.expect(200).json();
    let (leaked, own) = (obtain("/auth/token/").await, obtain("/auth/token/").await);
    let family = obtain("/auth/jwt/").await;
    let named = app.member().post("/auth/tokens/", json!({"name": "a"})).await.expect(201).json();
    let browser = Browser::logged_in(&app, "member").await;
    let other = Browser::logged_in(&app, "member").await;
    app.counters().fail_all(Operation::Spend, Fault::Unavailable);
    let report = json!({"token": leaked["token"]});
    app.anonymous().post("/auth/tokens/report-leak/", report).await.expect(202);
    app.anonymous().post("/auth/jwt/revoke/", json!({"refresh": family["refresh"]})).await.expect(200);
    app.member().delete(&format!("/auth/tokens/{}/", named["id"].as_str().unwrap())).await.expect(204);
    let own = format!("Token {}", own["token"].as_str().unwrap());
    app.anonymous().delete("/auth/token/").authorization(&own).await.expect(204);
    other.delete("/auth/sessions/").await.expect(204);
    browser.get("/me/").await.expect(401);
    other.delete("/auth/session/").await.expect(204);
    for dead in [
        own.clone(),
        format!("Token {}", leaked["token"].as_str().unwrap()),
        format!("Token {}", named["token"].as_str().unwrap()),
        format!("Bearer {}", family["access"].as_str().unwrap()),
    ] {
        app.anonymous().get("/me/").authorization(&dead).await.expect_problem(401, "invalid-token");
    }
    // What else is there is as before.
    app.member().post("/auth/tokens/", json!({"name": "b"})).await.expect_problem(503, "unavailable");
}
