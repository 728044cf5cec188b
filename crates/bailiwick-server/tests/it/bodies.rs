//! Bodies that are no JSON, no body of this kind, or too large.
use bailiwick_testkit::{Call, TestApp};
use http::Method;
use serde_json::json;

use crate::support::{self, TASKS, Tasks};

const JSON: &str = "application/json";

/// A POST, a PUT and a PATCH with the same body.
fn calls(app: &TestApp, path: &str, content_type: &str, body: &[u8]) -> [Call; 3] {
    [(Method::POST, TASKS), (Method::PUT, path), (Method::PATCH, path)]
        .map(|(method, path)| app.owner().request(method, path).body(content_type, body))
}

// LIM-07, ERR-20: one parser cannot read in it what another does not.
#[tokio::test]
async fn a_body_that_is_no_json_is_400_and_changes_nothing() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "as it was"})).await;
    let before = app.owner().get(&path).await.expect(200);
    let nested = |depth: usize| {
        let (open, close) = ("[".repeat(depth - 1), "]".repeat(depth - 1));
        format!("{{\"title\":{open}{close}}}")
    };
    let deep = nested(33);
    let abyss = nested(100_000);
    let bodies: [&[u8]; 25] = [
        b"",
        b" ",
        b"{",
        b"}",
        b"{\"title\"}",
        b"{\"title\":}",
        b"{\"title\":\"x\"",
        b"{\"title\":\"x\",}",
        b"{title:\"x\"}",
        b"{'title':'x'}",
        b"{\"title\":\"x\"} {}",
        b"{\"title\":\"x\"}x",
        b"{\"title\":\"x\"}\0",
        b"title=x",
        b"<task/>",
        b"{\"title\":NaN}",
        b"{\"title\":\"x\",\"title\":\"y\"}",
        b"{\"title\":\"x\",\"t\\u0069tle\":\"y\"}",
        b"{\"title\":\"a\xffb\"}",
        b"{\"title\":\"\\ud800\"}",
        b"{\"title\":\"\\udc00\\ud800\"}",
        b"{\"title\":\"a\0b\"}",
        b"\xef\xbb\xbf{\"title\":\"x\"}",
        deep.as_bytes(),
        abyss.as_bytes(),
    ];
    for body in bodies {
        for call in calls(&app, &path, JSON, body) {
            let refused = call.await.expect_problem(400, "malformed-request");
            assert!(refused.json()["detail"].is_string(), "it says where: {refused:?}");
        }
    }
    // UTF-16 is another encoding, whatever the type says.
    let utf16: Vec<u8> = "{\"title\":\"x\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for call in calls(&app, &path, JSON, &utf16) {
        call.await.expect_problem(400, "malformed-request");
    }
    assert_eq!(app.owner().get(&path).await.bare(), before.bare());
    assert_eq!(app.owner().get(TASKS).await.expect(200).json()["count"], 1);
}

// LIM-07: 32 levels are JSON; what is wrong with it is its shape.
#[tokio::test]
async fn nesting_up_to_the_limit_is_judged_by_its_shape() {
    let app = support::start().await;
    let body = format!("{{\"title\":{}{}}}", "[".repeat(31), "]".repeat(31));
    app.member().post(TASKS, json!(null)).body(JSON, body).await.expect_problem(422, "validation-failed");
    let shallow = support::with(&[("limits.json_depth", "1")]).await;
    shallow.member().post(TASKS, json!({"title": "x"})).await.expect(201);
    shallow.member().post(TASKS, json!({"title": [1]})).await.expect_problem(400, "malformed-request");
}

// LIM-08, ERR-21
#[tokio::test]
async fn a_body_of_another_type_is_415_and_says_what_is_accepted() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    let body = b"{\"title\":\"y\"}";
    for right in
        [JSON, "Application/JSON", "application/json; charset=utf-8", "application/json;charset=\"UTF-8\""]
    {
        for call in calls(&app, &path, right, body) {
            let status = call.await.status().as_u16();
            assert!(matches!(status, 200 | 201), "{right}: {status}");
        }
    }
    for wrong in [
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
        "application/vnd.api+json",
        "application/problem+json",
        "application/json-patch+json",
        "application/json; charset=utf-16",
        "application/json; charset=iso-8859-1",
        "application/json; charset=bz2_codec",
        "application/json, text/plain",
        "json",
        "",
    ] {
        for call in calls(&app, &path, wrong, body) {
            call.await.expect_problem(415, "unsupported-media-type");
        }
    }
    let [post, put, patch] = calls(&app, &path, "text/plain", body);
    for call in [post, put] {
        let refused = call.await;
        assert_eq!((refused.header("accept"), refused.header("accept-patch")), (Some(JSON), None));
    }
    let both = "application/json, application/merge-patch+json";
    assert_eq!(patch.await.header("accept-patch"), Some(both));
    // A merge patch is one on PATCH alone.
    let [post, put, patch] = calls(&app, &path, "application/merge-patch+json", body);
    post.await.expect_problem(415, "unsupported-media-type");
    put.await.expect_problem(415, "unsupported-media-type");
    patch.await.expect(200);
}

#[tokio::test]
async fn a_body_needs_one_content_type() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    for call in calls(&app, &path, JSON, b"{\"title\":\"y\"}") {
        call.without("content-type").await.expect_problem(415, "unsupported-media-type");
    }
    for call in calls(&app, &path, JSON, b"{\"title\":\"y\"}") {
        // §1.2: a field that may be sent once is syntax.
        let refused = call.header("content-type", JSON).await.expect_problem(400, "malformed-request");
        assert_eq!(refused.json()["detail"], "Content-Type may be sent once");
    }
    for call in calls(&app, &path, JSON, b"{\"title\":\"y\"}") {
        call.without("content-type")
            .header("content-type", [0xff])
            .await
            .expect_problem(415, "unsupported-media-type");
    }
}

// LIM-01
#[tokio::test]
async fn a_body_of_a_mebibyte_is_read_and_one_byte_more_is_413() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    let padded = |length: usize| {
        let mut body = br#"{"title":"y"}"#.to_vec();
        body.resize(length, b' ');
        body
    };
    for call in calls(&app, &path, JSON, &padded(1 << 20)) {
        let status = call.await.status().as_u16();
        assert!(matches!(status, 200 | 201), "{status}");
    }
    for call in calls(&app, &path, JSON, &padded((1 << 20) + 1)) {
        let refused = call.await.expect_problem(413, "payload-too-large");
        assert_eq!(refused.header("connection"), Some("close"));
        assert_eq!(refused.json()["detail"], "at most 1048576 bytes");
    }
    // Without a declared length it is counted while it comes.
    for call in calls(&app, &path, JSON, &padded((1 << 20) + 1)) {
        call.without("content-length").await.expect_problem(413, "payload-too-large");
    }
    let small = support::with(&[("limits.body", "100")]).await;
    small.member().post(TASKS, json!({"title": "x".repeat(70)})).await.expect(201);
    small
        .member()
        .post(TASKS, json!({"title": "x".repeat(100)}))
        .await
        .expect_problem(413, "payload-too-large");
}

// LIM-09
#[tokio::test]
async fn a_compressed_body_is_415() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    for coding in ["gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip", "x"] {
        for call in calls(&app, &path, JSON, b"{\"title\":\"y\"}") {
            let refused = call.header("content-encoding", coding).await;
            let refused = refused.expect_problem(415, "unsupported-media-type");
            assert_eq!(refused.header("accept-encoding"), Some("identity"), "{coding}");
        }
    }
    let identity = app.owner().post(TASKS, json!({"title": "y"})).header("content-encoding", "identity");
    identity.await.expect(201);
}

// PIP-02, ERR-23: what is wrong with a body is told to nobody who may not send one.
#[tokio::test]
async fn nobody_learns_about_a_body_before_the_gate_has_passed() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    for (content_type, body) in [(JSON, &b"{"[..]), ("text/plain", b"x"), (JSON, b"{\"nonsense\":1}")] {
        for (person, status) in [(app.anonymous(), 401), (app.viewer(), 403), (app.other_tenant(), 404)] {
            for (method, path) in [(Method::POST, TASKS), (Method::PUT, &path), (Method::PATCH, &path)] {
                person.request(method, path).body(content_type, body).await.expect(status);
            }
        }
    }
}

#[tokio::test]
async fn a_body_where_none_is_read_is_ignored() {
    let app = support::start().await;
    let path = app.owner().task(json!({"title": "x"})).await;
    app.owner().get(&path).body("text/plain", "x").await.expect(200);
    app.owner().delete(&path).body("text/plain", "x").await.expect(204);
}

#[tokio::test]
async fn a_thousand_unknown_members_are_not_answered_with_a_thousand_errors() {
    let app = support::start().await;
    let members: Vec<String> = (0..1000).map(|number| format!("\"{}{number}\":1", "x".repeat(300))).collect();
    let body = format!("{{\"title\":\"x\",{}}}", members.join(","));
    let refused =
        app.member().post(TASKS, json!(null)).body(JSON, body).await.expect_problem(422, "validation-failed");
    assert!(
        refused.errors().len() <= 20 && refused.bytes().len() < 16_384,
        "{} bytes",
        refused.bytes().len()
    );
    // How many there are is not counted, and so not said.
    assert_eq!(refused.json()["detail"], "at least 20 fields are not valid");
}
