//! Tasks: what they are made of, and how they change.
use http::Method;
use serde_json::{Value, json};

use crate::support::{self, NOBODY, TASKS, Tasks, error};

const FIELDS: [&str; 11] = [
    "id",
    "title",
    "description",
    "status",
    "priority",
    "assignee",
    "due_at",
    "created_by",
    "updated_by",
    "created_at",
    "updated_at",
];

#[tokio::test]
async fn a_new_task_has_the_fields_of_the_contract_and_defaults() {
    let app = support::start().await;
    let member = app.member();
    let made = member.post(TASKS, json!({"title": "Write it down"})).await.expect(201);
    let task = made.json();
    let id = made.id();
    assert_eq!(
        task,
        json!({
            "id": id,
            "title": "Write it down",
            "description": "",
            "status": "todo",
            "priority": "normal",
            "assignee": null,
            "due_at": null,
            "created_by": member.id(),
            "updated_by": member.id(),
            "created_at": "2026-01-01T00:00:00.000000Z",
            "updated_at": "2026-01-01T00:00:00.000000Z",
        })
    );
    // In the order of the contract: people read it.
    let places: Vec<_> =
        FIELDS.iter().map(|field| made.text().find(&format!("\"{field}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{}", made.text());
    assert_eq!(made.header("etag"), Some("\"v1-1\""));
    assert_eq!(made.header("content-type"), Some("application/json"));
    let location = made.header("location").unwrap();
    assert_eq!(location, format!("http://localhost/api/v1/orgs/acme/tasks/{id}/"));
    let read = member.get(location).await.expect(200);
    assert_eq!((read.text(), read.header("etag")), (made.text(), made.header("etag")));
}

// ACL-13: what is the server's cannot be sent, and a request that tries changes nothing.
#[tokio::test]
async fn every_field_of_the_server_is_refused_by_name_and_nothing_changes() {
    let app = support::start().await;
    let owner = app.owner();
    let path = owner.task(json!({"title": "as it was", "due_at": "2026-03-01T00:00:00Z"})).await;
    let before = owner.get(&path).await.expect(200);
    app.clock().advance(std::time::Duration::from_secs(60));
    let id = before.id();
    for (field, value) in [
        ("id", json!(NOBODY)),
        ("id", json!(id)),
        ("org_id", json!(NOBODY)),
        ("org", json!("globex")),
        ("tenant_id", json!(NOBODY)),
        ("created_by", json!(app.member().id())),
        ("updated_by", json!(app.member().id())),
        ("created_at", json!("2020-01-01T00:00:00Z")),
        ("updated_at", json!("2020-01-01T00:00:00Z")),
        ("version", json!(7)),
        ("role", json!("owner")),
        ("is_staff", json!(true)),
        ("created_by", Value::Null),
    ] {
        let body = json!({"title": "changed", field: value});
        for (method, path) in [(Method::POST, TASKS), (Method::PUT, &path), (Method::PATCH, &path)] {
            let refused = owner.request(method.clone(), path).json(&body).await;
            let refused = refused.expect_problem(422, "validation-failed");
            assert_eq!(refused.errors(), [error(&format!("#/{field}"), "unknown-field")], "{method}");
            // It says what is accepted, and repeats no value.
            let detail = refused.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
            assert!(detail.contains("title, description, status, priority, assignee, due_at"), "{detail}");
        }
    }
    let after = owner.get(&path).await.expect(200);
    assert_eq!(after.bare(), before.bare());
    assert_eq!(owner.get(TASKS).await.expect(200).json()["count"], 1);
}

#[tokio::test]
async fn every_writable_field_keeps_to_its_limits() {
    let app = support::start().await;
    let member = app.member();
    let chars = |count: usize| json!("é".repeat(count));
    let max = json!("x".repeat(10_000));
    for (field, value) in [
        ("title", chars(1)),
        ("title", chars(200)),
        ("title", json!("  spaces stay  ")),
        ("title", json!("quote ' \" \\ % _ ; -- 🦀 שלום")),
        ("description", chars(0)),
        ("description", chars(10_000)),
        ("description", max),
        ("description", json!("one\r\n\ttwo\n")),
        ("status", json!("done")),
        ("priority", json!("urgent")),
        ("assignee", json!(app.viewer().id())),
        ("assignee", Value::Null),
        ("due_at", json!("2026-02-28T12:00:00.123456Z")),
        ("due_at", json!("0001-01-01T00:00:00.000000Z")),
        ("due_at", json!("9999-12-30T22:00:00.000000Z")),
        ("due_at", Value::Null),
    ] {
        let mut body = json!({"title": "t"});
        body[field] = value.clone();
        let made = member.post(TASKS, body.clone()).await.expect(201);
        assert_eq!(made.json()[field], value);
        let path = member.task(json!({"title": "other"})).await;
        assert_eq!(member.patch(&path, json!({ field: value })).await.expect(200).json()[field], value);
        assert_eq!(member.put(&path, body).await.expect(200).json()[field], value);
    }
    // Another offset is the same moment.
    let made =
        member.post(TASKS, json!({"title": "t", "due_at": "2026-01-01T01:30:00+01:30"})).await.expect(201);
    assert_eq!(made.json()["due_at"], "2026-01-01T00:00:00.000000Z");
}

#[tokio::test]
async fn a_value_that_does_not_fit_is_422_at_its_pointer_and_changes_nothing() {
    let app = support::start().await;
    let member = app.member();
    let path = member.task(json!({"title": "as it was"})).await;
    let before = member.get(&path).await.expect(200);
    for (field, value, code) in [
        ("title", json!(""), "too-short"),
        ("title", json!("  \u{3000}"), "too-short"),
        ("title", json!("\u{200f}"), "too-short"),
        ("title", json!("a\u{200b}b"), "invalid-character"),
        ("title", json!("a\u{feff}"), "invalid-character"),
        ("title", json!("x".repeat(201)), "too-long"),
        ("title", json!("é".repeat(201)), "too-long"),
        ("title", json!("a\u{0}b"), "invalid-character"),
        ("title", json!("a\nb"), "invalid-character"),
        ("title", json!("a\tb"), "invalid-character"),
        ("title", json!("a\u{202e}b"), "invalid-character"),
        ("title", Value::Null, "null"),
        ("title", json!(7), "invalid-type"),
        ("title", json!(["x"]), "invalid-type"),
        ("title", json!({"x": 1}), "invalid-type"),
        ("title", json!(true), "invalid-type"),
        ("description", json!("x".repeat(10_001)), "too-long"),
        ("description", json!("\u{0}"), "invalid-character"),
        ("description", json!("\u{1b}[31m"), "invalid-character"),
        ("description", json!("\u{2066}"), "invalid-character"),
        ("description", Value::Null, "null"),
        ("status", json!("Todo"), "invalid-choice"),
        ("status", json!("open"), "invalid-choice"),
        ("status", json!(""), "invalid-choice"),
        ("status", json!(0), "invalid-type"),
        ("status", Value::Null, "null"),
        ("priority", json!("highest"), "invalid-choice"),
        ("priority", Value::Null, "null"),
        ("assignee", json!("me"), "invalid-format"),
        ("assignee", json!("01890A5D-AC96-774B-BCCE-B302099A8057"), "invalid-format"),
        ("assignee", json!(1), "invalid-type"),
        ("due_at", json!("tomorrow"), "invalid-format"),
        ("due_at", json!("2026-01-01"), "invalid-format"),
        ("due_at", json!("2026-01-01T00:00:00"), "invalid-format"),
        ("due_at", json!("2026-02-30T00:00:00Z"), "invalid-format"),
        ("due_at", json!("9999-12-30T22:00:00.000001Z"), "invalid-format"),
        ("due_at", json!("10000-01-01T00:00:00Z"), "invalid-format"),
        ("due_at", json!("2026-01-01T00:00:00+24:00"), "invalid-format"),
        ("due_at", json!("2016-12-31T23:59:60Z"), "invalid-format"),
        ("due_at", json!(1_767_225_600), "invalid-type"),
    ] {
        let mut body = json!({"title": "changed"});
        body[field] = value.clone();
        let expected = [error(&format!("#/{field}"), code)];
        let post = member.post(TASKS, body.clone()).await.expect_problem(422, "validation-failed");
        assert_eq!(post.errors(), expected, "POST {value}");
        let put = member.put(&path, body).await.expect_problem(422, "validation-failed");
        assert_eq!(put.errors(), expected, "PUT {value}");
        let patch =
            member.patch(&path, json!({ field: value })).await.expect_problem(422, "validation-failed");
        assert_eq!(patch.errors(), expected, "PATCH {value}");
    }
    assert_eq!(member.get(&path).await.bare(), before.bare());
    assert_eq!(member.get(TASKS).await.expect(200).json()["count"], 1);
}

#[tokio::test]
async fn a_time_that_cannot_be_kept_is_told_why() {
    let app = support::start().await;
    for (due_at, detail) in [
        ("2026-01-31 09:00", "a time is written as in RFC 3339, for example 2026-01-31T09:00:00Z"),
        ("2026-01-31T09:00:00+24:00", "there is no such date, time of day or offset from UTC"),
        ("2016-12-31T23:59:60Z", "a leap second cannot be kept: seconds are 00 to 59"),
        ("9999-12-31T23:59:59Z", "a time is from 0001-01-01T00:00:00Z to 9999-12-30T22:00:00Z"),
    ] {
        let refused = app.member().post(TASKS, json!({"title": "t", "due_at": due_at})).await.expect(422);
        assert_eq!(refused.json()["errors"][0]["detail"], detail, "{due_at}");
    }
}

// ERR-07
#[tokio::test]
async fn all_that_is_wrong_is_named_at_once() {
    let app = support::start().await;
    let body = json!({"status": "no", "description": 1, "owner": "me", "a/b~c d": 1});
    let refused = app.member().post(TASKS, body).await.expect_problem(422, "validation-failed");
    let mut errors = refused.errors();
    errors.sort();
    assert_eq!(
        errors,
        [
            error("#/a~1b~0c%20d", "unknown-field"),
            error("#/description", "invalid-type"),
            error("#/owner", "unknown-field"),
            error("#/status", "invalid-choice"),
            error("#/title", "required"),
        ]
    );
    assert_eq!(refused.json()["detail"], "5 fields are not valid");
    let empty = app.member().post(TASKS, json!({})).await.expect_problem(422, "validation-failed");
    assert_eq!(empty.errors(), [error("#/title", "required")]);
    for other in [json!([]), json!("x"), json!(1), Value::Null, json!([{"title": "x"}])] {
        let refused = app.member().post(TASKS, other).await.expect_problem(422, "validation-failed");
        assert_eq!(refused.errors(), [error("#", "invalid-type")]);
    }
}

#[tokio::test]
async fn put_replaces_everything_and_what_is_absent_takes_its_default() {
    let app = support::start().await;
    let member = app.member();
    let whole = json!({
        "title": "a", "description": "b", "status": "doing", "priority": "high", "assignee": member.id(),
        "due_at": "2026-05-05T05:05:05Z",
    });
    let path = member.task(whole).await;
    app.clock().advance(std::time::Duration::from_secs(1));
    let put = member.put(&path, json!({"title": "c"})).await.expect(200);
    let task = put.json();
    assert_eq!(
        [&task["title"], &task["description"], &task["status"], &task["priority"]],
        ["c", "", "todo", "normal"]
    );
    assert_eq!([&task["assignee"], &task["due_at"]], [&Value::Null; 2]);
    assert_eq!(task["created_at"], "2026-01-01T00:00:00.000000Z");
    assert_eq!(task["updated_at"], "2026-01-01T00:00:01.000000Z");
    assert_eq!(put.header("etag"), Some("\"v1-2\""));
    assert_eq!(member.get(&path).await.expect(200).text(), put.text());
    // What must be there must be there.
    member.put(&path, json!({"description": "x"})).await.expect_problem(422, "validation-failed");
}

// RFC 7396
#[tokio::test]
async fn patch_changes_what_is_there_and_null_clears() {
    let app = support::start().await;
    let member = app.member();
    let whole = json!({
        "title": "a", "description": "b", "status": "doing", "priority": "high", "assignee": member.id(),
        "due_at": "2026-05-05T05:05:05.000000Z",
    });
    let path = member.task(whole.clone()).await;
    let admin = app.admin();
    app.clock().advance(std::time::Duration::from_secs(1));
    let patched = admin.patch(&path, json!({"status": "done"})).await.expect(200).json();
    for field in ["title", "description", "priority", "assignee", "due_at"] {
        assert_eq!(patched[field], whole[field], "{field}");
    }
    assert_eq!((&patched["status"], &patched["updated_by"]), (&json!("done"), &json!(admin.id())));
    assert_eq!(patched["created_by"], json!(member.id()));
    assert_eq!(patched["updated_at"], "2026-01-01T00:00:01.000000Z");
    let cleared = member.patch(&path, json!({"assignee": null, "due_at": null})).await.expect(200).json();
    assert_eq!([&cleared["assignee"], &cleared["due_at"]], [&Value::Null; 2]);
    assert_eq!((&cleared["status"], &cleared["title"]), (&json!("done"), &json!("a")));
    // The other name of a merge patch.
    let merge = member.patch(&path, Value::Null).body("application/merge-patch+json", r#"{"title":"z"}"#);
    assert_eq!(merge.await.expect(200).json()["title"], "z");
}

#[tokio::test]
async fn an_empty_patch_changes_nothing() {
    let app = support::start().await;
    let path = app.member().task(json!({"title": "a"})).await;
    let before = app.member().get(&path).await.expect(200);
    app.clock().advance(std::time::Duration::from_secs(1));
    let patched = app.member().patch(&path, json!({})).await.expect(200);
    assert_eq!(patched.bare(), before.bare());
    assert_eq!(app.member().get(&path).await.bare(), before.bare());
    // It needs the same right as any other.
    app.viewer().patch(&path, json!({})).await.expect_problem(403, "forbidden");
}

// ACL-05, I5
#[tokio::test]
async fn an_assignee_of_another_organisation_is_answered_like_one_who_does_not_exist() {
    let app = support::start().await;
    let member = app.member();
    let path = member.task(json!({"title": "a", "assignee": member.id()})).await;
    let before = member.get(&path).await.expect(200);
    let foreign = json!(app.other_tenant().id());
    let invented = json!(NOBODY);
    for (method, path) in [(Method::POST, TASKS), (Method::PUT, &path), (Method::PATCH, &path)] {
        let ask =
            |id: &Value| member.request(method.clone(), path).json(&json!({"title": "b", "assignee": id}));
        let theirs = ask(&foreign).await.expect_problem(422, "validation-failed");
        assert_eq!(theirs.errors().len(), 1);
        assert_eq!(theirs.errors()[0].0, "#/assignee");
        assert_eq!(
            theirs.body_without_request_id(),
            ask(&invented).await.expect(422).body_without_request_id()
        );
    }
    assert_eq!(member.get(&path).await.bare(), before.bare());
    assert_eq!(member.get(TASKS).await.expect(200).json()["count"], 1);
    // Whoever has left is nobody either.
    let left = app.person("left", &[("acme", bailiwick::identity::Role::Viewer)]).await;
    member.patch(&path, json!({"assignee": left.id()})).await.expect(200);
    app.remove_member("acme", &left).await;
    assert_eq!(member.get(&path).await.expect(200).json()["assignee"], Value::Null);
    member.patch(&path, json!({"assignee": left.id()})).await.expect_problem(422, "validation-failed");
}

#[tokio::test]
async fn a_deleted_task_is_gone() {
    let app = support::start().await;
    let member = app.member();
    let path = member.task(json!({"title": "a"})).await;
    member.task(json!({"title": "b"})).await;
    let gone = member.delete(&path).await.expect(204);
    assert_eq!((gone.bytes(), gone.header("etag"), gone.header("content-type")), (&b""[..], None, None));
    member.get(&path).await.expect_problem(404, "not-found");
    member.delete(&path).await.expect_problem(404, "not-found");
    member.patch(&path, json!({"title": "c"})).await.expect_problem(404, "not-found");
    member.put(&path, json!({"title": "c"})).await.expect_problem(404, "not-found");
    assert_eq!(member.titles("").await, ["b"]);
    assert_eq!(member.get(TASKS).await.expect(200).json()["count"], 1);
}

#[tokio::test]
async fn the_same_body_twice_makes_two_tasks() {
    let app = support::start().await;
    let (one, other) =
        (app.member().task(json!({"title": "a"})).await, app.member().task(json!({"title": "a"})).await);
    assert_ne!(one, other);
    assert_eq!(app.member().titles("").await, ["a", "a"]);
}
