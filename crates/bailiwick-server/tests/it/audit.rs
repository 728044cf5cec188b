//! The audit trail: what each act leaves in it, and that nobody changes it unseen.
use std::{process::Stdio, time::Duration};

use bailiwick::{
    audit::{Chain, Entry, SecurityEventKind, Verifier},
    authn::token::{TokenKind, TokenText},
    clock::OsEntropy,
    store::{AuditStore, Directory},
};
use bailiwick_testkit::{Fault, Operation, TestApp, TestAppBuilder, audit_keys, databases::fresh_postgres};
use http::Method;
use serde_json::{Value, json};

use crate::{
    browser::Browser,
    mail::MailServer,
    site::{PASSWORD, Site},
    support::{self, NOBODY, TASKS, Tasks, log_in},
};

/// The entries of a chain, which must hold.
async fn trail(app: &TestApp, chain: Chain) -> Vec<Entry> {
    let entries = app.store().audit_entries(chain, 0, 10_000).await.unwrap();
    let mut verifier = Verifier::new(audit_keys(), chain, &[]);
    entries.iter().for_each(|entry| verifier.check(entry).unwrap());
    verifier.finish(&app.store().audit_head(chain).await.unwrap()).unwrap();
    entries
}

/// The chain of `acme`.
async fn acme(app: &TestApp) -> Chain {
    let membership = app.store().membership(app.owner().id(), "acme").await.unwrap();
    Chain::Org(membership.unwrap().org_id())
}

/// Who looks at the trail of the site and that of `acme`, step by step.
struct Watch<'a> {
    app: &'a TestApp,
    chains: [Chain; 2],
    seen: [usize; 2],
}

impl<'a> Watch<'a> {
    async fn new(app: &'a TestApp) -> Self {
        let chains = [Chain::Site, acme(app).await];
        let mut watch = Self { app, chains, seen: [0; 2] };
        watch.new_entries().await;
        watch
    }

    async fn new_entries(&mut self) -> Vec<Entry> {
        let mut new = Vec::new();
        for (chain, seen) in self.chains.into_iter().zip(&mut self.seen) {
            let all = trail(self.app, chain).await;
            new.extend_from_slice(&all[*seen..]);
            *seen = all.len();
        }
        new
    }

    /// Sees that just these are new, as `event actor target outcome`.
    async fn expect(&mut self, what: &str, expected: &[&str]) -> Vec<Entry> {
        let new = self.new_entries().await;
        let told: Vec<_> = new
            .iter()
            .map(|entry| {
                let target = entry.target_kind.as_deref().unwrap_or("-");
                let actor = entry.actor_name.as_deref().unwrap_or(&entry.actor_kind);
                format!("{} {actor} {target} {}", entry.event, entry.outcome)
            })
            .collect();
        assert_eq!(told, expected, "{what}");
        new
    }
}

// Contract §6, LOG-11
#[tokio::test]
async fn every_act_leaves_its_entry_and_a_retry_none() {
    every_act(|app| app).await;
}

// Contract §6, LOG-11
#[tokio::test]
async fn every_act_leaves_its_entry_and_a_retry_none_on_postgres() {
    let Some(database) = fresh_postgres().await else { return };
    every_act(|app| app.postgres(database)).await;
}

async fn every_act(on: impl FnOnce(TestAppBuilder<'static>) -> TestAppBuilder<'static>) {
    let server = MailServer::start();
    let url = server.url();
    let settings =
        [("registration.mode", "open"), ("mail.transport", url.as_str()), ("mail.from", "b@example.com")];
    let app = on(support::builder(&[&settings[..], &[("throttle.enabled", "false")]].concat())).start().await;
    let (member, owner) = (app.member(), app.owner());
    let mut watch = Watch::new(&app).await;

    // API tokens.
    let made = member.post("/auth/tokens/", json!({"name": "x", "scopes": ["tasks:read"]})).await.expect(201);
    let new = watch.expect("a token", &["authn_token_created member token success"]).await;
    assert_eq!(new[0].target_id, Some(made.id()));
    assert_eq!(new[0].actor_id, Some(member.id().as_uuid()));
    assert_eq!(new[0].remote_addr.as_deref(), Some("127.0.0.1"));
    assert_eq!(new[0].request_id.as_deref(), made.header("x-request-id"));
    assert_eq!(new[0].details, format!(r#"{{"scopes":["tasks:read"],"user_id":"{}"}}"#, member.id()));
    let path = format!("/auth/tokens/{}/", made.id());
    let rotated = member.post(&format!("{path}rotate/"), json!({})).await.expect(201);
    watch.expect("rotated", &["authn_token_rotated member token success"]).await;
    member.post(&format!("{path}rotate/"), json!({})).await.expect(404);
    watch.expect("rotated once more", &[]).await;
    member.delete(&format!("/auth/tokens/{}/", rotated.id())).await.expect(204);
    watch.expect("ended", &["authn_token_revoked member token success"]).await;
    member.delete(&format!("/auth/tokens/{}/", rotated.id())).await.expect(404);
    watch.expect("ended once more", &[]).await;
    let leaked = member.post("/auth/tokens/", json!({"name": "y"})).await.expect(201).json();
    watch.new_entries().await;
    for _ in 0..2 {
        app.anonymous()
            .post("/auth/tokens/report-leak/", json!({"token": leaked["token"]}))
            .await
            .expect(202);
    }
    watch.expect("found in the open", &["authn_token_leaked anonymous token success"]).await;

    // Log-ins.
    let reply = log_in(&app.anonymous(), "MEMBER", TestApp::PASSWORD).await.expect(200).json();
    let success = "authn_login_success member user success";
    watch.expect("a log-in", &[success, "authn_token_created member token success"]).await;
    let bearer = format!("Token {}", reply["token"].as_str().unwrap());
    app.anonymous().delete("/auth/token/").authorization(&bearer).await.expect(204);
    watch.expect("a log-out", &["authn_token_revoked member token success"]).await;
    for name in ["member", "nobody"] {
        log_in(&app.anonymous(), name, "my-bank-password").await.expect(401);
    }
    let failed = ["authn_login_fail anonymous user failure", "authn_login_fail anonymous - failure"];
    let new = watch.expect("log-ins that fail", &failed).await;
    assert_eq!(new[0].target_id, Some(member.id().to_string()));

    // Sessions.
    let browser = Browser::logged_in(&app, "member").await;
    watch.expect("a session", &[success, "session_created member session success"]).await;
    browser.bare(Method::POST, TASKS).json(&json!({"title": "x"})).await.expect(403);
    watch.expect("a forged request", &["malicious_csrf member user denied"]).await;
    let other = Browser::logged_in(&app, "member").await;
    watch.new_entries().await;
    other.delete("/auth/sessions/").await.expect(204);
    watch.expect("all others", &["session_logout member session success"]).await;
    browser.get("/me/").await.expect(401);
    watch.expect("after its end", &[]).await;
    other.delete("/auth/session/").await.expect(204);
    watch.expect("logged out", &["session_logout member session success"]).await;

    // Families.
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let pair = app.anonymous().post("/auth/jwt/", credentials).await.expect(200).json();
    let mut keys_and_more = watch.new_entries().await;
    keys_and_more.retain(|entry| !entry.event.starts_with("key_"));
    let told: Vec<_> = keys_and_more.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(told, ["authn_login_success", "authn_token_created"]);
    let refresh =
        |pair: &Value| app.anonymous().post("/auth/jwt/refresh/", json!({"refresh": pair["refresh"]}));
    let next = refresh(&pair).await.expect(200).json();
    watch.expect("a refresh", &["authn_token_renewed anonymous family success"]).await;
    refresh(&next).await.expect(200);
    watch.new_entries().await;
    for _ in 0..2 {
        refresh(&pair).await.expect(401);
    }
    watch.expect("used again", &["authn_token_reuse anonymous family failure"]).await;

    // Accounts.
    let account =
        json!({"username": "newcomer", "email": "n@example.com", "password": "sheep count at night"});
    app.anonymous().post("/auth/register/", account.clone()).await.expect(201);
    watch.expect("registered", &["user_created anonymous user success"]).await;
    app.anonymous().post("/auth/register/", account).await.expect(409);
    watch.expect("registered once more", &[]).await;
    let change = |current: &str| {
        let body = json!({"current_password": current, "new_password": "sheep count themselves at night"});
        member.post("/auth/password/", body)
    };
    change("my-bank-password").await.expect(422);
    watch.expect("a wrong present password", &["authn_login_fail member user failure"]).await;
    change(TestApp::PASSWORD).await.expect(204);
    watch.expect("changed", &["authn_password_change member user success"]).await;
    app.anonymous().post("/auth/password/reset/", json!({"email": "member@example.com"})).await.expect(202);
    // The first one told of the leak.
    let token = server.mails(2).await[1].token();
    watch.expect("asked for", &["authn_password_reset_requested anonymous user success"]).await;
    let reset = |token: &str| {
        let body = json!({"token": token, "new_password": "goats count themselves at night"});
        app.anonymous().post("/auth/password/reset/confirm/", body)
    };
    reset(&token).await.expect(204);
    watch.expect("reset", &["authn_password_reset anonymous user success"]).await;
    reset(&token).await.expect(422);
    watch.expect("reset once more", &[]).await;

    // Organisations and what is denied.
    owner.post("/orgs/", json!({"slug": "founded", "name": "Founded"})).await.expect(201);
    watch.expect("in a chain of its own", &[]).await;
    let founded = app.store().membership(owner.id(), "founded").await.unwrap().unwrap().org_id();
    let entries = trail(&app, Chain::Org(founded)).await;
    let told: Vec<_> = entries.iter().map(|entry| entry.event.as_str()).collect();
    assert_eq!(told, ["org_created", "member_added"]);
    owner.post("/orgs/", json!({"slug": "founded", "name": "Founded"})).await.expect(409);
    assert_eq!(trail(&app, Chain::Org(founded)).await.len(), 2);
    let of_org = json!({"name": "deploy", "role": "member"});
    let made = app.admin().post("/orgs/acme/tokens/", of_org).await.expect(201);
    let new = watch.expect("of the organisation", &["authn_token_created admin token success"]).await;
    assert_eq!(new[0].chain, acme(&app).await);
    app.admin().delete(&format!("/orgs/acme/tokens/{}/", made.id())).await.expect(204);
    watch.expect("ended", &["authn_token_revoked admin token success"]).await;
    app.viewer().post(TASKS, json!({"title": "mine"})).await.expect(403);
    let new = watch.expect("a viewer", &["authz_fail viewer user denied"]).await;
    assert_eq!(new[0].chain, acme(&app).await);
    assert!(new[0].details.contains("/orgs/{org}/tasks/") && new[0].details.contains("denied_by"), "{new:?}");
    let task = owner.task(json!({"title": "theirs"})).await;
    app.admin().patch(&task, json!({"title": "changed"})).await.expect(200);
    app.viewer().patch(&task, json!({"title": "changed"})).await.expect(403);
    watch.expect("a row of another", &["authz_fail viewer user denied"]).await;
    app.other_tenant().get(TASKS).await.expect(404);
    let new = watch.expect("an outsider", &["authz_fail other-tenant user denied"]).await;
    assert_eq!(new[0].chain, Chain::Site);
    // Nobody was denied anything: what they ask for is not there.
    owner.get(&format!("{TASKS}{NOBODY}/")).await.expect(404);
    app.anonymous().get(TASKS).await.expect(401);
    watch.expect("what is not there", &[]).await;

    // LOG-03
    let mut all = String::new();
    for head in app.store().audit_heads().await.unwrap() {
        for entry in trail(&app, head.chain).await {
            all.push_str(&format!("{}\n", entry.to_json()));
        }
    }
    let secrets = [
        TestApp::PASSWORD,
        "my-bank-password",
        "at night",
        "nobody",
        "bw_",
        leaked["token"].as_str().unwrap(),
        browser.session().unwrap(),
        pair["refresh"].as_str().unwrap(),
        pair["access"].as_str().unwrap(),
        token.as_str(),
        "@example.com",
        "theirs",
    ];
    for secret in secrets {
        assert!(!all.contains(secret), "{secret} is in the trail");
    }
}

// What anonymous callers can write is bounded by what they may ask (THR-36).
#[tokio::test]
async fn a_throttled_flood_writes_no_more_than_its_quota() {
    let app = support::throttled(&[("throttle.rates.login", "3/min")]).await;
    let before = trail(&app, Chain::Site).await.len();
    let mut statuses = Vec::new();
    for _ in 0..10 {
        statuses.push(log_in(&app.anonymous(), "member", "wrong").await.status().as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 3, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 7, "{statuses:?}");
    assert_eq!(trail(&app, Chain::Site).await.len(), before + 3);
}

// LOG-05
#[tokio::test]
async fn a_refusal_stays_what_it_is_without_the_trail_and_the_log_tells_of_the_loss() {
    let app = support::start().await;
    app.store().fail_all(Operation::AppendEvents, Fault::Unavailable);
    log_in(&app.anonymous(), "member", "wrong").await.expect_problem(401, "invalid-credentials");
    app.viewer().post(TASKS, json!({"title": "x"})).await.expect_problem(403, "forbidden");
    app.store().mend();
    let log = app.log();
    let told = |event: &str| log.iter().filter(|line| line["event"] == event).count();
    assert_eq!((told("authn_login_fail"), told("authz_fail"), told("audit_append_failed")), (1, 1, 2));
}

// LOG-05
#[tokio::test]
async fn a_refusal_stays_what_it_is_though_the_trail_never_answers() {
    let app = support::with(&[("server.request_timeout", "1s")]).await;
    app.store().fail_all(Operation::AppendEvents, Fault::Hang);
    log_in(&app.anonymous(), "member", "wrong").await.expect_problem(401, "invalid-credentials");
    app.viewer().post(TASKS, json!({"title": "x"})).await.expect_problem(403, "forbidden");
    app.store().mend();
    let lost = "audit_append_failed";
    assert_eq!(app.log().iter().filter(|line| line["event"] == lost).count(), 2);
    assert_eq!(app.scrape().value("bailiwick_security_events_total", &[("event", lost)]), 2.0);
}

// LOG-05
#[tokio::test]
async fn whoever_leaves_before_the_refusal_is_recorded_is_recorded_all_the_same() {
    let app = support::start().await;
    let before = trail(&app, Chain::Site).await.len();
    app.store().fail_all(Operation::AppendEvents, Fault::Delay(Duration::from_millis(300)));
    let hasty = IntoFuture::into_future(log_in(&app.anonymous(), "member", "wrong"));
    assert!(tokio::time::timeout(Duration::from_millis(150), hasty).await.is_err());
    // The chain is looked at as a whole once nobody appends to it any more.
    while app.store().audit_head(Chain::Site).await.unwrap().sequence == before as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let entries = trail(&app, Chain::Site).await;
    assert_eq!(entries[before..].iter().map(|entry| &*entry.event).collect::<Vec<_>>(), ["authn_login_fail"]);
    let log = app.log();
    let told = |event: &str| log.iter().filter(|line| line["event"] == event).count();
    assert_eq!((told("authn_login_fail"), told("audit_append_failed")), (1, 0));
}

// LOG-10: anybody can make up a text that looks like that of a session.
#[tokio::test]
async fn nobody_can_have_a_session_in_the_trail_that_never_was() {
    let app = support::start().await;
    let before = trail(&app, Chain::Site).await.len();
    let made_up = TokenText::generate(TokenKind::Session, &OsEntropy);
    let cookie = format!("bailiwick_session={}", made_up.expose());
    app.anonymous().get("/me/").header("cookie", &cookie).await.expect_problem(401, "invalid-token");
    assert_eq!(trail(&app, Chain::Site).await.len(), before);
    let log = app.log();
    assert_eq!(log.iter().filter(|line| line["event"] == "session_use_after_expire").count(), 1);
    assert_eq!(
        app.scrape().value("bailiwick_security_events_total", &[("event", "session_use_after_expire")]),
        1.0
    );
}

/// The lines of a log that tell security events: name, and the line.
fn told(output: &str) -> Vec<(String, Value)> {
    let lines = output.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = lines.filter(|line| {
        let event = line["event"].as_str().unwrap();
        SecurityEventKind::ALL.iter().any(|kind| kind.as_str() == event)
    });
    events.map(|line| (line["event"].as_str().unwrap().to_owned(), line)).collect()
}

// LOG-02: what the server does by itself, or after the answer, is told like all else: in the trail, in the log under the same
// name, and in the metrics.
#[test]
fn what_no_request_waits_for_is_in_the_trail_the_log_and_the_metrics() {
    // Nobody has migrated this database: the server does, and makes the key that signs.
    let mut site = Site::bare();
    site.set("BAILIWICK_SERVER__ENVIRONMENT", "development");
    site.set("BAILIWICK_DATABASE__URL", "sqlite://bailiwick.db");
    let server = site.serve();
    let create = ["user", "create", "ann", "--email", "ann@example.com", "--password-stdin"];
    site.done(&create, Some(PASSWORD));
    let credentials = json!({"username": "ann", "password": PASSWORD});
    let asked = server.connect().ask("POST", "/api/v1/auth/token/", "", Some(&credentials)).unwrap();
    assert_eq!(asked.status, 200);
    crate::mail::ask(&server);
    let counted = |event: &str| {
        crate::metrics::scrape(&server).value("bailiwick_security_events_total", &[("event", event)])
    };
    while counted("authn_password_reset_requested") < 1.0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let names = ["key_generated", "key_promoted", "authn_password_reset_requested", "authn_login_success"];
    let counts = names.map(counted);
    let output = server.stop();
    assert_eq!(counts, [1.0; 4]);
    let told = told(&output.out);
    let entries = export(&site);
    // What the command did, it alone could tell.
    let by_server = entries.iter().filter(|entry| entry["actor"]["kind"] != "operator");
    let mut recorded: Vec<_> = by_server.map(|entry| entry["event"].as_str().unwrap()).collect();
    let mut lines: Vec<_> = told.iter().map(|(event, _)| event.as_str()).collect();
    recorded.sort_unstable();
    lines.sort_unstable();
    assert_eq!(lines, recorded);
    let of = |name: &str| told.iter().find(|(event, _)| event == name).map(|(_, line)| line).unwrap();
    let key = of("key_promoted");
    let entry = entries.iter().find(|entry| entry["event"] == "key_promoted").unwrap();
    assert_eq!((&key["kid"], &key["request_id"]), (&entry["target"]["id"], &Value::Null));
    let reset = of("authn_password_reset_requested");
    let request = output.out.lines().find(|line| line.contains("/auth/password/reset/")).unwrap();
    let request: Value = serde_json::from_str(request).unwrap();
    assert_eq!((&reset["request_id"], &reset["remote_addr"]), (&request["request_id"], &json!("127.0.0.1")));
    assert!(reset["user_id"].is_string(), "{reset}");
}

/// The trail cannot be written, although the rest of the database can.
fn break_trail(site: &Site) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    let broken =
        "CREATE TRIGGER broken BEFORE INSERT ON audit_entries BEGIN SELECT RAISE(ABORT, 'no room'); END";
    database.execute_batch(broken).unwrap();
    database
}

// LOG-11
#[test]
fn a_change_whose_entry_cannot_be_written_does_not_happen() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let database = break_trail(&site);
    let count = |table: &str| {
        let sql = format!("SELECT COUNT(*) FROM {table}");
        database.query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let before = ["users", "api_tokens", "orgs", "memberships", "sessions"].map(count);
    let credentials = json!({"username": "ann", "password": PASSWORD});
    let answer = client.ask("POST", "/api/v1/auth/token/", "x", Some(&credentials)).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    let answer =
        client.ask("POST", "/api/v1/auth/tokens/", &site.token, Some(&json!({"name": "x"}))).unwrap();
    assert_eq!(answer.status, 503, "{answer:?}");
    let org = json!({"slug": "new", "name": "New"});
    let answer = client.ask("POST", "/api/v1/orgs/", &site.token, Some(&org)).unwrap();
    assert!(answer.status >= 500, "{answer:?}");
    for command in [&["user", "disable", "ann"][..], &["user", "grant", "ann", "staff"]] {
        assert_eq!(site.run(command, None).code, Some(3), "{command:?}");
    }
    assert_eq!(["users", "api_tokens", "orgs", "memberships", "sessions"].map(count), before);
    // What writes no entry goes on.
    let answer = client.ask("POST", "/api/v1/orgs/acme/tasks/", &site.token, Some(&json!({"title": "x"})));
    assert_eq!(answer.unwrap().status, 201);
    database.execute_batch("DROP TRIGGER broken").unwrap();
    let answer = client.ask("POST", "/api/v1/auth/token/", "x", Some(&credentials)).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    site.done(&["audit", "verify"], None);
    server.stop();
}

fn export(site: &Site) -> Vec<Value> {
    let text = site.done(&["audit", "export"], None);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

// Contract §6
#[test]
fn commands_are_told_with_who_ran_them_and_exported_as_the_contract_says() {
    let site = Site::new();
    site.done(&["user", "disable", "ann"], None);
    site.done(&["user", "enable", "ann"], None);
    site.done(&["key", "rotate"], None);
    let entries = export(&site);
    let of = |event: &str| entries.iter().find(|entry| entry["event"] == event).unwrap();
    let entry = of("user_disabled");
    let names: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = [
        "id",
        "sequence",
        "event",
        "at",
        "actor",
        "target",
        "request_id",
        "remote_addr",
        "outcome",
        "details",
        "chain",
        "hash",
    ];
    expected.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert_eq!(entry["actor"]["kind"], "operator");
    assert!(entry["actor"]["name"].is_string() && entry["actor"]["id"].is_null(), "{entry}");
    assert_eq!(entry["target"]["kind"], "user");
    assert_eq!((&entry["chain"], &entry["outcome"]), (&json!("site"), &json!("success")));
    assert_eq!(of("user_created")["details"]["username"], "ann");
    assert_eq!(of("key_generated")["target"]["kind"], "key");
    // The first key came about by itself.
    assert_eq!(of("key_promoted")["actor"]["kind"], "system");
    let org = of("org_created");
    assert_eq!((&org["chain"], &org["details"]["slug"]), (&org["target"]["id"], &json!("acme")));
    let only = site.done(&["audit", "export", "--chain", "site"], None);
    assert!(only.lines().count() < entries.len() && !only.contains("org_created"));
    assert_eq!(site.run(&["audit", "export", "--chain", "acme"], None).code, Some(2));
}

// LOG-10
#[test]
fn what_was_done_to_the_trail_in_the_database_is_found() {
    let site = Site::new();
    for _ in 0..3 {
        site.done(&["user", "disable", "ann"], None);
        site.done(&["user", "enable", "ann"], None);
    }
    let heads = site.done(&["audit", "head"], None);
    std::fs::write(site.path("heads.jsonl"), &heads).unwrap();
    let line: Value = serde_json::from_str(heads.lines().next().unwrap()).unwrap();
    let names: Vec<_> = line.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 4, "{line}");
    assert_eq!(line["chain"], "site");
    let verify = |arguments: &[&str]| {
        let output = site.run(&[&["audit", "verify"], arguments].concat(), None);
        (output.code, output.out)
    };
    let with_heads = ["--head", "heads.jsonl"];
    assert_eq!(verify(&[]), (Some(0), String::new()));
    assert_eq!(verify(&with_heads), (Some(0), String::new()));

    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    database.execute("VACUUM INTO ?1", [site.path("kept.db").to_str().unwrap()]).unwrap();
    // Whoever may change rows alone is refused.
    for sql in [
        "UPDATE audit_entries SET event = 'x'",
        "DELETE FROM audit_entries",
        "REPLACE INTO audit_entries SELECT * FROM audit_entries",
        "DELETE FROM audit_heads",
    ] {
        assert!(database.execute(sql, []).unwrap_err().to_string().contains("append-only"), "{sql}");
    }
    let triggers: Vec<String> = {
        let mut find = database
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE 'bw_audit%'")
            .unwrap();
        find.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    assert_eq!(triggers.len(), 4, "{triggers:?}");
    // Whoever may change the schema is not, and is found.
    for trigger in &triggers {
        database.execute_batch(&format!("DROP TRIGGER {trigger}")).unwrap();
    }
    let site_chain = "chain = x'00000000000000000000000000000000'";
    let cases = [
        ("an edit", format!("UPDATE audit_entries SET actor_name = 'bob' WHERE sequence = 3 AND {site_chain}"), "entry 3"),
        ("no entry at all", format!("UPDATE audit_entries SET event = x'00' WHERE sequence = 3 AND {site_chain}"), "entry 3"),
        ("a removal", format!("DELETE FROM audit_entries WHERE sequence = 3 AND {site_chain}"), "entry 3"),
        (
            "a removal that closes up",
            format!(
                "DELETE FROM audit_entries WHERE sequence = 3 AND {site_chain};
                 UPDATE audit_entries SET sequence = sequence + 1000 WHERE sequence > 3 AND {site_chain};
                 UPDATE audit_entries SET sequence = sequence - 1001 WHERE sequence > 1000 AND {site_chain};
                 UPDATE audit_heads SET sequence = sequence - 1 WHERE {site_chain}"
            ),
            "entry 3",
        ),
        (
            "an insertion",
            format!(
                "INSERT INTO audit_entries SELECT chain, sequence + 1, event, at, actor_kind, actor_id, actor_name,
                   target_kind, target_id, request_id, remote_addr, outcome, details, key_id, hash
                 FROM audit_entries WHERE {site_chain} ORDER BY sequence DESC LIMIT 1"
            ),
            "entry ",
        ),
        (
            "a swap",
            format!(
                "UPDATE audit_entries SET sequence = 1000 WHERE sequence = 3 AND {site_chain};
                 UPDATE audit_entries SET sequence = 3 WHERE sequence = 4 AND {site_chain};
                 UPDATE audit_entries SET sequence = 4 WHERE sequence = 1000 AND {site_chain}"
            ),
            "entry 3",
        ),
        (
            "an end that was cut off",
            format!(
                "DELETE FROM audit_entries WHERE {site_chain}
                   AND sequence = (SELECT sequence FROM audit_heads WHERE {site_chain})"
            ),
            "ends before it",
        ),
        ("a head that is gone", format!("DELETE FROM audit_heads WHERE {site_chain}"), "behind the end"),
    ];
    for (what, sql, told) in cases {
        database.execute_batch("BEGIN").unwrap();
        database.execute_batch(&sql).unwrap();
        database.execute_batch("COMMIT").unwrap_or_else(|error| panic!("{what}: {error}"));
        let (code, out) = verify(&[]);
        assert!(
            code == Some(1) && out.contains("chain site") && out.contains(told),
            "{what}: {code:?} {out}"
        );
        restore(&site, &database);
        assert_eq!(verify(&[]), (Some(0), String::new()), "after {what}");
    }
    // A whole chain that was cut with its head, or is gone: only the head that was kept knows.
    for sql in [
        format!(
            "DELETE FROM audit_entries WHERE sequence > 4 AND {site_chain};
             UPDATE audit_heads SET sequence = 4, hash = (SELECT hash FROM audit_entries WHERE sequence = 4 AND {site_chain})
             WHERE {site_chain}"
        ),
        format!("DELETE FROM audit_entries WHERE {site_chain}; DELETE FROM audit_heads WHERE {site_chain}"),
    ] {
        database.execute_batch(&sql).unwrap();
        assert_eq!(verify(&[]), (Some(0), String::new()));
        let (code, out) = verify(&with_heads);
        assert!(code == Some(1) && out.contains("chain site") && out.contains("ends before it"), "{code:?} {out}");
        restore(&site, &database);
    }
    // A head that somebody has lowered is nobody's.
    let lowered = heads.replacen(&format!("\"sequence\":{}", line["sequence"]), "\"sequence\":1", 1);
    assert_ne!(lowered, heads);
    std::fs::write(site.path("lowered.jsonl"), lowered).unwrap();
    let output = site.run(&["audit", "verify", "--head", "lowered.jsonl"], None);
    assert!(output.code == Some(1) && output.err.contains("was not signed"), "{}", output.err);
    for (file, code) in [("missing.jsonl", 2), ("bailiwick.toml", 2)] {
        assert_eq!(site.run(&["audit", "verify", "--head", file], None).code, Some(code), "{file}");
    }
}

/// Puts the trail back as it was before the first change, which is kept beside.
fn restore(site: &Site, database: &rusqlite::Connection) {
    let kept = site.path("kept.db");
    database
        .execute_batch(&format!(
            "ATTACH '{}' AS kept; DELETE FROM audit_entries; DELETE FROM audit_heads;
             INSERT INTO audit_entries SELECT * FROM kept.audit_entries;
             INSERT INTO audit_heads SELECT * FROM kept.audit_heads; DETACH kept",
            kept.display()
        ))
        .unwrap();
}

// KEY-07, KEY-12
#[test]
fn a_trail_holds_across_a_change_of_the_master_key() {
    const FRESH: &str = "9f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472";
    let mut site = Site::new();
    let former = std::fs::read_to_string(site.path("master.key")).unwrap().trim().to_owned();
    std::fs::write(site.path("heads.jsonl"), site.done(&["audit", "head"], None)).unwrap();
    let public_key = site.done(&["audit", "head", "--public-key"], None);
    assert!(public_key.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{public_key}");
    std::fs::write(site.path("master.key"), FRESH).unwrap();
    let output = site.run(&["audit", "verify"], None);
    assert!(output.code == Some(1) && output.out.contains("master key that is not known"), "{}", output.out);
    site.set("BAILIWICK_SECRETS__MASTER_KEY_FALLBACKS", &former);
    site.done(&["audit", "verify", "--head", "heads.jsonl"], None);
    site.done(&["user", "disable", "ann"], None);
    site.done(&["audit", "verify", "--head", "heads.jsonl"], None);
    assert_ne!(site.done(&["audit", "head", "--public-key"], None), public_key);
}

/// Many processes append at once.
fn many_processes(site: &Site) {
    let before = export(site).len();
    let children: Vec<_> = (0..8)
        .map(|number| {
            let mut command = site.command(None);
            command.args(["org", "create", &format!("org-{number}"), "--name", "x", "--owner", "ann"]);
            if number % 2 == 0 {
                command = site.command(None);
                command.args(["token", "create", "ann", "--name", &format!("token-{number}")]);
            }
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    site.done(&["audit", "verify"], None);
    // A token has one entry, an organisation two.
    assert_eq!(export(site).len(), before + 4 + 2 * 4);
}

// LOG-10
#[test]
fn processes_that_append_at_once_leave_no_gap_on_sqlite() {
    many_processes(&Site::new());
}

// LOG-10
#[test]
fn processes_that_append_at_once_leave_no_gap_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(database) = runtime.block_on(fresh_postgres()) else { return };
    many_processes(&Site::on(&database.url()));
}
