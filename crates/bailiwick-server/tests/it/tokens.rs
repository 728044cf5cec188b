//! API tokens that their owners make by name: what they are good for, and when they end.
use std::time::Duration;

use bailiwick::clock::Clock;
use bailiwick_testkit::{Call, Fault, Operation, Person, Reply, TestApp};
use http::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    mail::MailServer,
    support::{self, NOBODY, TASKS, Tasks},
};

const TOKENS: &str = "/auth/tokens/";
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A token of `person` with these members of the body.
async fn made(person: &Person, body: Value) -> (String, String) {
    let reply = person.post(TOKENS, body).await.expect(201).json();
    (reply["id"].as_str().unwrap().to_owned(), reply["token"].as_str().unwrap().to_owned())
}

fn with(app: &TestApp, token: &str, method: Method, path: &str) -> Call {
    app.anonymous().request(method, path).authorization(format!("Token {token}"))
}

async fn works(app: &TestApp, token: &str) -> bool {
    match with(app, token, Method::GET, "/me/").await.status().as_u16() {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

// Contract §2, TOK-25
#[tokio::test]
async fn a_token_is_made_listed_and_ended() {
    let app = support::start().await;
    let member = app.member();
    let reply = member.post(TOKENS, json!({"name": "laptop", "expires_in_days": 7})).await.expect(201);
    let body = reply.json();
    let token = body["token"].as_str().unwrap().to_owned();
    let id = body["id"].as_str().unwrap().to_owned();
    assert!(token.starts_with("bw_pat_"), "{token}");
    assert_eq!(reply.header("location"), Some(&*format!("http://localhost/api/v1/auth/tokens/{id}/")));
    assert_eq!(
        (&body["name"], &body["scopes"], &body["last_used_at"]),
        (&json!("laptop"), &json!(null), &json!(null))
    );
    assert!(works(&app, &token).await);

    let list = member.get(TOKENS).await.expect(200);
    assert!(!list.text().contains(&token), "a token is shown once");
    let listed = list.json();
    let found =
        listed["results"].as_array().unwrap().iter().find(|token| token["id"] == json!(id)).unwrap().clone();
    let mut names: Vec<_> = found.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["created_at", "display", "expires_at", "id", "last_used_at", "name", "scopes"]);
    assert_eq!(found["display"], json!(format!("bw_pat_…{}", &token[token.len() - 4..])));
    assert!(found["last_used_at"].is_string(), "{found}");

    // Another user neither sees nor ends it.
    let others = app.admin().get(TOKENS).await.json();
    assert!(!others.to_string().contains(&id));
    let path = format!("{TOKENS}{id}/");
    app.admin().delete(&path).await.expect_problem(404, "not-found");
    app.admin().post(&format!("{path}rotate/"), json!({})).await.expect_problem(404, "not-found");
    assert!(works(&app, &token).await);
    member.delete(&path).await.expect(204);
    assert!(!works(&app, &token).await);
    member.delete(&path).await.expect_problem(404, "not-found");
    for none in [NOBODY, "x"] {
        member.delete(&format!("{TOKENS}{none}/")).await.expect_problem(404, "not-found");
    }
    // It ends by itself on its day.
    let (_, token) = made(&member, json!({"name": "short", "expires_in_days": 1})).await;
    app.clock().advance(DAY - Duration::from_millis(1));
    assert!(works(&app, &token).await);
    app.clock().advance(Duration::from_millis(1));
    assert!(!works(&app, &token).await);
}

// Contract §1: bad input is named, and makes nothing.
#[tokio::test]
async fn what_is_no_token_is_not_made() {
    let app = support::start().await;
    let count = async || app.member().get(TOKENS).await.json()["count"].clone();
    let before = count().await;
    for (body, pointer) in [
        (json!({}), "#/name"),
        (json!({"name": ""}), "#/name"),
        (json!({"name": "x".repeat(101)}), "#/name"),
        (json!({"name": "a\nb"}), "#/name"),
        (json!({"name": "x", "expires_in_days": 0}), "#/expires_in_days"),
        (json!({"name": "x", "expires_in_days": -1}), "#/expires_in_days"),
        (json!({"name": "x", "expires_in_days": 3651}), "#/expires_in_days"),
        (json!({"name": "x", "expires_in_days": 1.5}), "#/expires_in_days"),
        (json!({"name": "x", "expires_in_days": "7"}), "#/expires_in_days"),
        (json!({"name": "x", "scopes": []}), "#/scopes"),
        (json!({"name": "x", "scopes": "tasks:read"}), "#/scopes"),
        (json!({"name": "x", "scopes": ["tasks"]}), "#/scopes"),
        (json!({"name": "x", "scopes": ["tasks:read", "everything"]}), "#/scopes"),
        (json!({"name": "x", "scopes": ["tasks:read tasks:write"]}), "#/scopes"),
        (json!({"name": "x", "scopes": [1]}), "#/scopes"),
        (json!({"name": "x", "scopes": vec!["tasks:read"; 101]}), "#/scopes"),
        (json!({"name": "x", "user_id": app.admin().id()}), "#/user_id"),
        (json!({"name": "x", "token": "bw_pat_x"}), "#/token"),
    ] {
        let reply = app.member().post(TOKENS, body.clone()).await.expect_problem(422, "validation-failed");
        assert_eq!(reply.errors()[0].0, pointer, "{body}");
    }
    assert_eq!(count().await, before);
}

/// Whether a reply is one of a gate that the scopes keep shut.
fn is_out_of_scope(reply: &Reply, scope: &str) -> bool {
    reply.status() == 403
        && reply.headers().get_all("www-authenticate").iter().any(|challenge| {
            let text = challenge.to_str().unwrap();
            text.contains("insufficient_scope") && text.contains(&format!("scope=\"{scope}\""))
        })
}

// TOK-27: what may be done is what scopes and rights allow, of each operation.
#[tokio::test]
async fn a_token_does_what_its_scopes_and_its_owner_may_and_no_more() {
    let app = support::start().await;
    let task = app.owner().task(json!({"title": "x"})).await;
    let operations: &[(Method, &str, &str, Option<Value>)] = &[
        (Method::GET, TASKS, "tasks:read", None),
        (Method::GET, &task, "tasks:read", None),
        (Method::POST, TASKS, "tasks:write", Some(json!({"title": "y"}))),
        (Method::PATCH, &task, "tasks:write", Some(json!({"title": "z"}))),
        (Method::GET, "/orgs/", "orgs:read", None),
        (Method::GET, "/orgs/acme/", "orgs:read", None),
        (Method::POST, "/orgs/", "orgs:write", Some(json!({"slug": "new", "name": "New"}))),
        (Method::GET, "/orgs/acme/members/", "members:read", None),
        (Method::GET, "/auth/tokens/", "account", None),
        (Method::POST, "/auth/tokens/", "account", Some(json!({"name": "x", "scopes": ["account"]}))),
        (Method::GET, "/auth/sessions/", "account", None),
        (Method::DELETE, "/auth/sessions/", "account", None),
    ];
    let scopes = [
        "tasks:read",
        "tasks:write",
        "orgs:read",
        "orgs:write",
        "members:read",
        "members:write",
        "audit:read",
        "articles:write",
        "account",
    ];
    for scope in scopes {
        let (_, token) = made(&app.owner(), json!({"name": scope, "scopes": [scope]})).await;
        for (method, path, needed, body) in operations {
            let mut call = with(&app, &token, method.clone(), path);
            if let Some(body) = body {
                call = call.json(body);
            }
            let reply = call.await;
            if *needed == scope {
                assert!(reply.status().is_success(), "{scope}: {method} {path}: {}", reply.text());
            } else {
                assert!(is_out_of_scope(&reply, needed), "{scope}: {method} {path}: {}", reply.text());
            }
        }
        // Whatever it is for, it says whose it is, and can end itself; and it is no key to what is hidden.
        with(&app, &token, Method::GET, "/me/").await.expect(200);
        with(&app, &token, Method::GET, "/orgs/other/tasks/").await.expect_problem(404, "not-found");
        with(&app, &token, Method::DELETE, "/auth/token/").await.expect(204);
        assert!(!works(&app, &token).await);
    }
    // The rights of the owner are not widened.
    let (_, token) = made(&app.viewer(), json!({"name": "x", "scopes": ["tasks:read", "tasks:write"]})).await;
    let reply = with(&app, &token, Method::POST, TASKS).json(&json!({"title": "x"})).await.expect(403);
    assert!(!is_out_of_scope(&reply, "tasks:write"));
}

// A credential makes nothing that is stronger than itself.
#[tokio::test]
async fn a_token_with_scopes_makes_and_rotates_none_beyond_them() {
    let app = support::start().await;
    let (strong, _) = made(&app.member(), json!({"name": "strong"})).await;
    let (_, token) = made(&app.member(), json!({"name": "x", "scopes": ["account", "tasks:read"]})).await;
    let make = |body: Value| with(&app, &token, Method::POST, TOKENS).json(&body);
    make(json!({"name": "y"})).await.expect_problem(403, "forbidden");
    make(json!({"name": "y", "scopes": ["tasks:read", "tasks:write"]}))
        .await
        .expect_problem(403, "forbidden");
    make(json!({"name": "y", "scopes": ["tasks:read"]})).await.expect(201);
    let path = format!("{TOKENS}{strong}/rotate/");
    with(&app, &token, Method::POST, &path).json(&json!({})).await.expect_problem(403, "forbidden");
}

// TOK-27: what it rotates lives no longer than itself; what it is, it may renew.
#[tokio::test]
async fn a_token_with_scopes_prolongs_none_beyond_itself_but_itself() {
    let app = support::start().await;
    let scopes = json!(["account", "tasks:read"]);
    let make = async |name: &str, days: u32| {
        made(&app.member(), json!({"name": name, "scopes": scopes, "expires_in_days": days})).await
    };
    let (long, _) = make("long", 90).await;
    let (brief, _) = make("brief", 1).await;
    let (own, token) = make("own", 2).await;
    app.clock().advance(DAY / 2);
    let rotate = async |id: &str, token: &str| {
        let call = with(&app, token, Method::POST, &format!("{TOKENS}{id}/rotate/")).json(&json!({}));
        call.await.expect(201).json()
    };
    let listed = app.member().get(TOKENS).await.json();
    let ends =
        listed["results"].as_array().unwrap().iter().find(|token| token["id"] == json!(own)).unwrap().clone();
    let lifetime = |token: &Value| {
        let time = |name: &str| token[name].as_str().unwrap().parse::<bailiwick::clock::Timestamp>().unwrap();
        time("expires_at").saturating_since(time("created_at"))
    };
    assert_eq!(rotate(&long, &token).await["expires_at"], ends["expires_at"]);
    assert_eq!(lifetime(&rotate(&brief, &token).await), DAY, "what ends before keeps its lifetime");
    // A credential without scopes stands for the user, who makes what they like.
    let (other, _) = make("other", 90).await;
    let member = app.member();
    let renewed = member.post(&format!("{TOKENS}{other}/rotate/"), json!({})).await.expect(201).json();
    assert_eq!(lifetime(&renewed), 90 * DAY);
    // The exception: itself, again and again.
    let next = rotate(&own, &token).await;
    assert_eq!(lifetime(&next), 2 * DAY);
    let last = rotate(next["id"].as_str().unwrap(), next["token"].as_str().unwrap()).await;
    assert_eq!(lifetime(&last), 2 * DAY);
}

// TOK-28
#[tokio::test]
async fn a_token_is_rotated_with_an_overlap() {
    let app = support::start().await;
    let member = app.member();
    let (id, old) =
        made(&member, json!({"name": "ci", "scopes": ["tasks:read"], "expires_in_days": 9})).await;
    app.clock().advance(DAY);
    let rotate = |id: &str, body: Value| member.post(&format!("{TOKENS}{id}/rotate/"), body);
    let reply = rotate(&id, json!({"overlap_seconds": 60})).await.expect(201);
    let body = reply.json();
    let (next, new) = (body["id"].as_str().unwrap(), body["token"].as_str().unwrap());
    assert_eq!(reply.header("location"), Some(&*format!("http://localhost/api/v1/auth/tokens/{next}/")));
    assert_eq!((&body["name"], &body["scopes"]), (&json!("ci"), &json!(["tasks:read"])));
    assert!(works(&app, &old).await && works(&app, new).await);
    app.clock().advance(Duration::from_secs(60));
    assert!(!works(&app, &old).await && works(&app, new).await);
    // It lives as long as the one before did.
    app.clock().advance(9 * DAY - Duration::from_secs(61));
    assert!(works(&app, new).await);
    // Of a chain of rotations two live at most, and nobody has two successors (TOK-26).
    let (first, a) = made(&member, json!({"name": "chain"})).await;
    let week = json!({"overlap_seconds": 604_800});
    let reply = rotate(&first, week.clone()).await.expect(201).json();
    let (second, b) = (reply["id"].as_str().unwrap().to_owned(), reply["token"].as_str().unwrap().to_owned());
    rotate(&first, week.clone()).await.expect_problem(404, "not-found");
    assert!(works(&app, &a).await && works(&app, &b).await);
    let c = rotate(&second, week).await.expect(201).json()["token"].as_str().unwrap().to_owned();
    assert!(!works(&app, &a).await && works(&app, &b).await && works(&app, &c).await);
    // Without an overlap the old one ends at once.
    let (id, old) = made(&member, json!({"name": "x"})).await;
    let new = rotate(&id, json!({})).await.expect(201).json()["token"].as_str().unwrap().to_owned();
    assert!(!works(&app, &old).await && works(&app, &new).await);
    rotate(&id, json!({})).await.expect_problem(404, "not-found");
    // Nothing need be said.
    let (id, old) = made(&member, json!({"name": "bare"})).await;
    member.request(Method::POST, &format!("{TOKENS}{id}/rotate/")).await.expect(201);
    assert!(!works(&app, &old).await);
    let (id, _) = made(&member, json!({"name": "y"})).await;
    for wrong in [json!(-1), json!(604_801), json!("1")] {
        let reply =
            rotate(&id, json!({"overlap_seconds": wrong})).await.expect_problem(422, "validation-failed");
        assert_eq!(reply.errors()[0].0, "#/overlap_seconds");
    }
    // A token that a log-in made has no name to be known by.
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    app.anonymous().post("/auth/token/", credentials).await.expect(200);
    let list = member.get(TOKENS).await.json();
    let by_log_in = list["results"].as_array().unwrap().iter().find(|token| token["name"].is_null()).unwrap();
    rotate(by_log_in["id"].as_str().unwrap(), json!({})).await.expect_problem(404, "not-found");
}

// TOK-26
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_too_many_is_a_conflict_also_for_many_at_once() {
    let app = support::with(&[("tokens.max_per_user", "4")]).await;
    let mut callers = JoinSet::new();
    for _ in 0..20 {
        let member = app.member();
        callers.spawn(async move { member.post(TOKENS, json!({"name": "x"})).await.status().as_u16() });
    }
    let mut statuses = callers.join_all().await;
    statuses.sort_unstable();
    // The person of the test has one with a name already.
    assert_eq!(statuses, [vec![201; 3], vec![409; 17]].concat());
    app.member().post(TOKENS, json!({"name": "x"})).await.expect_problem(409, "conflict");
    let list = app.member().get(TOKENS).await.json();
    assert_eq!(list["count"], 4);
    let others = list["results"].as_array().unwrap().iter().find(|token| token["name"] == "x").unwrap();
    let id = others["id"].as_str().unwrap();
    app.member().delete(&format!("{TOKENS}{id}/")).await.expect(204);
    app.member().post(TOKENS, json!({"name": "x"})).await.expect(201);
}

// TOK-28, JWT-61
#[tokio::test]
async fn whoever_finds_a_token_may_have_it_ended_and_learns_nothing() {
    let app = support::start().await;
    let (_, token) = made(&app.member(), json!({"name": "leaked"})).await;
    let report = |text: &str| app.anonymous().post("/auth/tokens/report-leak/", json!({"token": text}));
    let mut answers = Vec::new();
    let unknown = bailiwick::authn::token::TokenText::generate(
        bailiwick::authn::token::TokenKind::Personal,
        &bailiwick_testkit::SeededEntropy::new(99),
    );
    for text in [
        &*token,
        &*token,
        unknown.expose(),
        "",
        "bw_pat_x",
        "'; DROP TABLE api_tokens; --",
        &"x".repeat(9000),
    ] {
        let reply = report(text).await.expect(202);
        answers.push((reply.status(), reply.bytes().to_vec()));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "the answer is the same whatever was sent");
    assert!(!works(&app, &token).await);
    app.member().get("/me/").await.expect(200);
    // A refresh token is found as easily.
    let credentials = json!({"username": "member", "password": TestApp::PASSWORD});
    let family = app.anonymous().post("/auth/jwt/", credentials).await.expect(200).json();
    let access = format!("Bearer {}", family["access"].as_str().unwrap());
    app.anonymous().get("/me/").authorization(&access).await.expect(200);
    report(&format!(" {}\n", family["refresh"].as_str().unwrap())).await.expect(202);
    app.anonymous().get("/me/").authorization(&access).await.expect_problem(401, "invalid-token");
    // Contract §2: a bad credential is one on public routes too.
    report(&token).header("authorization", "Token x").await.expect_problem(401, "invalid-token");
    app.anonymous()
        .post("/auth/tokens/report-leak/", json!({}))
        .await
        .expect_problem(422, "validation-failed");
}

fn report(app: &TestApp, token: &str) -> Call {
    app.anonymous().post("/auth/tokens/report-leak/", json!({"token": token}))
}

fn mailed_by(url: &str) -> [(&str, &str); 2] {
    [("mail.transport", url), ("mail.from", "noreply@example.com")]
}

// Contract §2: its owner is told, once, however many find it at the same time.
#[tokio::test]
async fn the_owner_of_a_leaked_token_is_told_once_and_never_its_text() {
    let server = MailServer::start();
    let url = server.url();
    let app =
        support::with(&[&mailed_by(&url)[..], &[("server.public_url", "https://a.example")]].concat()).await;
    let (id, token) = made(&app.member(), json!({"name": "nightly backup"})).await;
    with(&app, &token, Method::GET, "/me/").await.expect(200);
    let used = app.clock().now();
    app.clock().advance(DAY);
    let mut finders = JoinSet::new();
    for _ in 0..20 {
        let call = report(&app, &token);
        finders.spawn(async move { call.await.expect(202) });
    }
    finders.join_all().await;
    let mail = server.mails(1).await.remove(0);
    server.no_more_than(1).await;
    assert_eq!(mail.to, "member@example.com");
    let reported = app.clock().now();
    let last = &token[token.len() - 4..];
    let wanted = [
        "member at https://a.example",
        "name: nightly backup",
        &format!("text: bw_pat_...{last}"),
        &format!("id: {id}"),
        &format!("last used: {used}"),
        &format!("reported: {reported}"),
        "What to do",
    ];
    for wanted in wanted {
        assert!(mail.data.contains(wanted), "{wanted}: {}", mail.data);
    }
    assert!(!mail.data.contains(&token) && !mail.data.contains("localhost"), "{}", mail.data);
    assert!(!format!("{:?}", app.log()).contains(&token));
    // Nor is anybody told of what was no live token.
    let (_, ended) = made(&app.member(), json!({"name": "ended"})).await;
    with(&app, &ended, Method::DELETE, "/auth/token/").await.expect(204);
    let (_, expired) = made(&app.member(), json!({"name": "expired", "expires_in_days": 1})).await;
    app.clock().advance(2 * DAY);
    for dead in [&*token, &ended, &expired, "bw_pat_x"] {
        report(&app, dead).await.expect(202);
    }
    server.no_more_than(1).await;
}

// TOK-28: with the mail server and the look-ups for a letter slow or failing, the answer is the same, and the token ends.
#[tokio::test]
async fn the_answer_to_a_report_does_not_wait_for_the_letter() {
    let server = MailServer::busy_for(1);
    let url = server.url();
    let app = support::with(&mailed_by(&url)).await;
    for fault in [Fault::Unavailable, Fault::Hang] {
        let (_, token) = made(&app.member(), json!({"name": "x"})).await;
        app.store().fail_next(Operation::TokensOf, fault);
        let asked = tokio::time::timeout(Duration::from_secs(5), report(&app, &token));
        asked.await.expect("it is answered").expect(202);
        assert!(!works(&app, &token).await);
    }
    // Without the name: that cannot be read. It does not come for the one whose look-up hangs.
    let mail = server.mails(1).await.remove(0);
    assert!(mail.data.contains("id: ") && !mail.data.contains("name: "), "{}", mail.data);
}

#[tokio::test]
async fn a_token_of_a_log_in_has_no_name_in_the_letter_and_one_address_is_told_so_often() {
    let server = MailServer::start();
    let url = server.url();
    let app = support::throttled(
        &[&mailed_by(&url)[..], &[("throttle.rates.login", "100/s"), ("throttle.rates.anon", "1000/s")]]
            .concat(),
    )
    .await;
    for _ in 0..22 {
        let body = support::log_in(&app.anonymous(), "member", TestApp::PASSWORD).await.expect(200).json();
        report(&app, body["token"].as_str().unwrap()).await.expect(202);
    }
    let mails = server.mails(20).await;
    server.no_more_than(20).await;
    assert!(mails[0].data.contains("made by a log-in"), "{}", mails[0].data);
    // The quota is the address's; and if nobody can count, its owner is told.
    let body = support::log_in(&app.anonymous(), "owner", TestApp::PASSWORD).await.expect(200).json();
    app.store().fail_next(Operation::RevokeToken, Fault::Delay(Duration::from_millis(300)));
    let call = report(&app, body["token"].as_str().unwrap());
    let asked = tokio::spawn(async move { call.await });
    while app.store().calls(Operation::RevokeToken) < 23 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    app.counters().fail_all(Operation::Spend, Fault::Unavailable);
    asked.await.unwrap().expect(202);
    assert_eq!(server.mails(21).await[20].to, "owner@example.com");
}
