//! Files that are attached to tasks.
use std::{fs, path::Path, time::Duration};

use bailiwick::{
    clock::{Clock, SystemClock, Timestamp},
    identity::Role,
    upload::FileStore,
};
use bailiwick_server::attachments::collect;
use bailiwick_testkit::{
    Call, Fault, Operation, Person, Reply, TestApp,
    databases::{self, fresh_postgres},
};
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    files::{self, form},
    support::{self, NOBODY, Tasks},
};

/// The server, and the directory of its files.
struct Server {
    app: TestApp,
    directory: TempDir,
}

impl Server {
    async fn start(changes: &[(&str, &str)]) -> Self {
        Self::on(changes, None).await
    }

    async fn on(changes: &[(&str, &str)], database: Option<databases::FreshPostgres>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let base = [("throttle.enabled", "false"), ("uploads.directory", path.as_str())];
        let builder = support::builder(&[&base, changes].concat());
        let builder = match database {
            Some(database) => builder.postgres(database),
            None => builder,
        };
        Self { app: builder.start().await, directory }
    }

    /// How many files are kept, finished or not.
    fn files(&self) -> usize {
        count(self.directory.path())
    }

    /// Takes away what no attachment names, however young.
    async fn collect(&self) -> u64 {
        let files = FileStore::directory(self.directory.path()).unwrap();
        collect(&files, self.app.store(), in_an_hour()).await.unwrap().removed
    }

    /// An upload of `content` under `name`, declared as what the name says.
    fn upload(&self, person: &Person, task: &str, name: &str, content: &[u8]) -> Call {
        let (content_type, body) = form(name, files::declared(name), content);
        person.request(Method::POST, &format!("{task}attachments/")).body(&content_type, body)
    }

    /// How many attachments a task has.
    async fn count(&self, task: &str) -> Value {
        self.app.viewer().get(&format!("{task}attachments/")).await.expect(200).json()["count"].clone()
    }

    /// The events of this kind that the log tells.
    fn events(&self, event: &str) -> Vec<Value> {
        self.app.log().into_iter().filter(|line| line["event"] == event).collect()
    }
}

fn count(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

/// Files have the time of the machine, whatever clock the application has.
fn in_an_hour() -> Timestamp {
    SystemClock::new().now().saturating_add(Duration::from_secs(3600))
}

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn content_of(reply: &Reply) -> String {
    format!("{}content/", reply.header("location").unwrap())
}

// Contract §3
#[tokio::test]
async fn an_attachment_has_the_fields_of_the_contract_and_lives_below_its_task() {
    let server = Server::start(&[]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "with a file"})).await;
    let text = "Grüße\n".as_bytes();
    let made = server.upload(&member, &task, "notes.txt", text).await.expect(201);
    let id = made.id();
    assert_eq!(
        made.json(),
        json!({
            "id": id,
            "filename": "notes.txt",
            "content_type": "text/plain",
            "size": 8,
            "sha256": sha256(text),
            "width": null,
            "height": null,
            "created_by": member.id(),
            "created_at": "2026-01-01T00:00:00.000000Z",
        })
    );
    let location = made.header("location").unwrap();
    assert_eq!(location, format!("http://localhost/api/v1{task}attachments/{id}/"));
    assert_eq!(made.header("etag"), Some("\"v1-1\""));
    let read = server.app.viewer().get(location).await.expect(200);
    assert_eq!((read.text(), read.header("etag")), (made.text(), made.header("etag")));
    server.app.viewer().get(location).header("if-none-match", "\"v1-1\"").await.expect(304);

    let list = server.app.viewer().get(&format!("{task}attachments/?page_size=1")).await.expect(200).json();
    assert_eq!((&list["count"], &list["results"][0]), (&json!(1), &made.json()));
    // Another task has none, and does not lend its path to this one.
    let other = member.task(json!({"title": "without"})).await;
    assert_eq!(server.count(&other).await, 0);
    for path in [format!("{other}attachments/{id}/"), format!("{other}attachments/{id}/content/")] {
        member.get(&path).await.expect_problem(404, "not-found");
    }
    member.delete(&format!("{other}attachments/{id}/")).await.expect_problem(404, "not-found");
    // What no list declares is no filter.
    member.get(&format!("{task}attachments/?task_id={NOBODY}")).await.expect(422);

    let event = &server.events("upload_complete")[0];
    assert_eq!((&event["level"], &event["object_id"]), (&json!("info"), &json!(id)), "{event}");
    assert_eq!(server.files(), 1);

    member.delete(location).header("if-match", "\"v1-7\"").await.expect_problem(412, "precondition-failed");
    member.delete(location).header("if-match", "\"v1-1\"").await.expect(204);
    member.get(location).await.expect_problem(404, "not-found");
    assert_eq!((server.files(), server.count(&task).await), (0, json!(0)), "the file goes with its row");
}

// LIM-14: what is kept of an image is its pixels.
#[tokio::test]
async fn images_are_encoded_anew_without_metadata_and_the_right_way_up() {
    let server = Server::start(&[]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "pictures"})).await;
    for (name, sent, size) in [
        ("a.png", files::with_text_chunk(&files::image("png", 6, 4)), (6, 4)),
        ("a.jpg", files::with_gps(&files::image("jpg", 6, 4), 1), (6, 4)),
        // Orientation 6: the camera was turned, and the picture is as high as the sensor is wide.
        ("turned.jpg", files::with_gps(&files::image("jpg", 6, 4), 6), (4, 6)),
        ("a.gif", files::image("gif", 6, 4), (6, 4)),
        ("a.webp", files::image("webp", 6, 4), (6, 4)),
    ] {
        let made = server.upload(&member, &task, name, &sent).await.expect(201);
        let json = made.json();
        assert_eq!((&json["width"], &json["height"]), (&json!(size.0), &json!(size.1)), "{name}");
        let kept = member.get(&content_of(&made)).await.expect(200);
        assert_eq!(json["sha256"], sha256(kept.bytes()), "{name}");
        assert_eq!(json["size"], kept.bytes().len(), "{name}");
        let secret = |bytes: &[u8]| {
            [&b"Exif"[..], b"GPS-SECRET", b"tEXt"]
                .iter()
                .any(|text| bytes.windows(text.len()).any(|at| at == *text))
        };
        assert!(!secret(kept.bytes()), "{name} has metadata");
        assert_eq!(secret(&sent), name.ends_with("g"), "{name} had some");
        let decoded = image::load_from_memory(kept.bytes()).unwrap();
        assert_eq!((decoded.width(), decoded.height()), size, "{name}");
    }
}

// An animation keeps its frames.
#[tokio::test]
async fn an_animated_gif_stays_one() {
    use image::AnimationDecoder as _;
    let server = Server::start(&[("limits.max_pixels", "100")]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "pictures"})).await;
    let made = server.upload(&member, &task, "a.gif", &files::animation(5, 4, 5)).await.expect(201);
    let kept = member.get(&content_of(&made)).await.expect(200);
    let decoder = image::codecs::gif::GifDecoder::new(std::io::Cursor::new(kept.bytes())).unwrap();
    let frames = decoder.into_frames().collect_frames().unwrap();
    assert_eq!(frames.len(), 5);
    let delays: Vec<_> = frames.iter().map(|frame| frame.delay().numer_denom_ms()).collect();
    assert_eq!(delays, [(70, 1); 5]);
    let reds: Vec<_> = frames.iter().map(|frame| frame.buffer().get_pixel(0, 0).0).collect();
    assert_eq!(reds, [0, 40, 80, 120, 160].map(|red| [red, 0, 0, 255]));
    // The pixels of all frames count: 6 × 20 are more than 100.
    let long = files::animation(5, 4, 6);
    server.upload(&member, &task, "a.gif", &long).await.expect_problem(422, "unsupported-file");
}

// LIM-13, LIM-15, LIM-16, LIM-17
#[tokio::test]
async fn what_is_no_file_that_is_accepted_is_refused_and_leaves_nothing() {
    let server = Server::start(&[]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "attacked"})).await;
    let (png, jpeg, gif, webp) = (
        files::image("png", 8, 8),
        files::image("jpg", 8, 8),
        files::image("gif", 8, 8),
        files::image("webp", 8, 8),
    );
    let bomb = files::png_that_claims(50_000, 50_000);
    assert_eq!(bomb.len(), 1024);
    let and = |image: &[u8], more: &[u8]| [image, more].concat();
    let html = b"<!DOCTYPE html><script>alert(document.domain)</script>";
    let svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>";
    let zip = b"PK\x03\x04\x14\0\0\0PK\x05\x06";
    let mut flipped = png.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    for (name, declared, content, reason) in [
        ("bomb.png", "image/png", bomb, "pixels"),
        ("wide.png", "image/png", files::png_that_claims(70_000, 1), "pixels"),
        ("none.png", "image/png", files::png_that_claims(0, 0), "damaged"),
        // Polyglots.
        ("a.png", "image/png", and(&png, zip), "trailing_data"),
        ("a.jpg", "image/jpeg", and(&jpeg, html), "trailing_data"),
        ("a.gif", "image/gif", and(&gif, b"*/=1;alert(1)"), "trailing_data"),
        ("a.gif", "image/gif", b"GIF89a/*\0\0\0\0*/=1;alert(1)//".to_vec(), "damaged"),
        ("a.webp", "image/webp", and(&webp, zip), "trailing_data"),
        ("a.pdf", "application/pdf", b"%PDF-1.4\n%%EOF\nPK\x03\x04".to_vec(), "trailing_data"),
        ("a.pdf", "application/pdf", b"<html>%PDF-1.4\n%%EOF".to_vec(), "content"),
        // Other kinds, under their own names and under others'.
        ("a.svg", "image/svg+xml", svg.to_vec(), "kind"),
        ("a.svg", "image/png", svg.to_vec(), "kind"),
        ("a.png", "image/png", svg.to_vec(), "content"),
        ("a.png", "image/png", html.to_vec(), "content"),
        ("a.png", "text/html", html.to_vec(), "kind"),
        ("a.html", "text/html", html.to_vec(), "kind"),
        ("a.txt", "text/plain", html.to_vec(), "content"),
        ("a.csv", "text/csv", svg.to_vec(), "content"),
        ("a.zip", "application/zip", zip.to_vec(), "kind"),
        ("a.png", "image/png", jpeg.clone(), "content"),
        ("a.png", "image/jpeg", png.clone(), "kind"),
        ("a.jpg", "image/png", png.clone(), "kind"),
        ("a.txt", "text/plain", b"a\0b".to_vec(), "content"),
        ("a.txt", "text/plain", vec![0xff, 0xfe, b'a', 0], "content"),
        ("a", "text/plain", b"text".to_vec(), "kind"),
        // Damage.
        ("a.jpg", "image/jpeg", jpeg[..jpeg.len() / 2].to_vec(), "damaged"),
        ("a.jpg", "image/jpeg", jpeg[..jpeg.len() - 1].to_vec(), "damaged"),
        ("a.png", "image/png", png[..png.len() - 1].to_vec(), "damaged"),
        ("a.png", "image/png", flipped, "damaged"),
        ("a.gif", "image/gif", gif[..gif.len() - 1].to_vec(), "damaged"),
        ("a.webp", "image/webp", webp[..webp.len() - 1].to_vec(), "damaged"),
        ("a.png", "image/png", Vec::new(), "content"),
        ("a.png", "image/png", b"\x89PNG\r\n\x1a\n".to_vec(), "damaged"),
        ("a.jpg", "image/jpeg", b"\xff\xd8\xff\xd9".to_vec(), "damaged"),
        // Names.
        ("..", "text/plain", b"text".to_vec(), "name"),
        (".htaccess", "text/plain", b"text".to_vec(), "name"),
        ("-rf.txt", "text/plain", b"text".to_vec(), "name"),
        ("con.txt", "text/plain", b"text".to_vec(), "name"),
    ] {
        let (content_type, body) = form(name, Some(declared), &content);
        let call = member.request(Method::POST, &format!("{task}attachments/")).body(&content_type, body);
        let refused = call.await.expect_problem(422, "unsupported-file");
        let event = server.events("upload_validation").pop().unwrap();
        assert_eq!(event["reason"], reason, "{name} {declared}: {refused:?} {event}");
    }
    assert_eq!((server.files(), server.count(&task).await), (0, json!(0)));
    assert!(server.events("upload_complete").is_empty());
}

// LIM-01, LIM-05, LIM-09
#[tokio::test]
async fn a_body_that_is_no_form_with_one_file_is_refused() {
    let server = Server::start(&[("limits.upload_file", "256KiB")]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "attacked"})).await;
    let path = format!("{task}attachments/");
    let (content_type, body) = form("a.txt", Some("text/plain"), b"text");
    let post = || member.request(Method::POST, &path);

    post().json(&json!({})).await.expect_problem(415, "unsupported-media-type");
    post().await.expect_problem(415, "unsupported-media-type");
    post().body("multipart/form-data", body.clone()).await.expect_problem(400, "malformed-request");
    for length in [1, 40, body.len() - 4] {
        let broken = post().body(&content_type, &body[..length]).await;
        broken.expect_problem(400, "malformed-request");
    }
    let twice = [&body[..body.len() - 4], b"\r\n", &body[..]].concat();
    post().body(&content_type, twice).await.expect_problem(422, "unsupported-file");
    let compressed = post().body(&content_type, body.clone()).header("content-encoding", "gzip").await;
    compressed.expect_problem(415, "unsupported-media-type");

    // Exactly as much as is allowed, and a byte more: first in the file, then in the body around it.
    let fits = server.upload(&member, &task, "a.txt", &vec![b'a'; 256 << 10]).await.expect(201);
    assert_eq!(fits.json()["size"], 256 << 10);
    let longer = server.upload(&member, &task, "a.txt", &vec![b'a'; (256 << 10) + 1]).await;
    let longer = longer.expect_problem(413, "payload-too-large");
    assert_eq!(longer.json()["detail"], "at most 262144 bytes");
    server
        .upload(&member, &task, "a.txt", &vec![b'a'; 1 << 20])
        .await
        .expect_problem(413, "payload-too-large");
    // What uploads may is for them alone.
    let json = member.post(support::TASKS, json!({"title": "x", "description": "x".repeat(2 << 20)})).await;
    json.expect_problem(413, "payload-too-large");
    assert_eq!((server.files(), server.count(&task).await), (1, json!(1)));
}

/// What somebody may do to the attachments of a task that they made, that is theirs to do, or neither.
#[rustfmt::skip]
const ON_ATTACHMENTS: &[(&str, &str, [u16; 4])] = &[
    // as a        who is             list read  POST DELETE
    ("member",     "the maker",       [200, 200, 201, 204]),
    ("member",     "the assignee",    [200, 200, 201, 204]),
    ("member",     "neither",         [200, 200, 403, 403]),
    ("viewer",     "the maker",       [200, 200, 403, 403]),
    ("viewer",     "neither",         [200, 200, 403, 403]),
    ("admin",      "neither",         [200, 200, 201, 204]),
    ("none",       "the maker",       [404, 404, 404, 404]),
];

// Contract §3: viewers read, and who may change the task uploads and deletes.
#[tokio::test]
async fn who_may_change_a_task_changes_its_attachments() {
    let server = Server::start(&[]).await;
    let app = &server.app;
    for (number, (role, part, statuses)) in ON_ATTACHMENTS.iter().enumerate() {
        let them = app.person(&format!("person-{number}"), &[("acme", Role::Member)]).await;
        let task = match *part {
            "the maker" => them.task(json!({"title": "mine"})).await,
            "the assignee" => app.owner().task(json!({"title": "yours", "assignee": them.id()})).await,
            _ => app.owner().task(json!({"title": "not yours"})).await,
        };
        let made = server.upload(&app.owner(), &task, "a.txt", b"text").await.expect(201);
        let location = made.header("location").unwrap();
        match role.parse() {
            Ok(role) => app.set_role("acme", &them, role).await,
            Err(_) => app.remove_member("acme", &them).await,
        }
        let found = [
            them.get(&format!("{task}attachments/")).await,
            them.get(&content_of(&made)).await,
            server.upload(&them, &task, "b.txt", b"text").await,
            them.delete(location).await,
        ];
        assert_eq!(found.map(|reply| reply.status().as_u16()), *statuses, "{role}, {part}");
    }
}

// PIP-02, ERR-23, ACL-05: whoever may not upload is told so whatever they send, and a task that is not there is not there.
#[tokio::test]
async fn the_gate_comes_before_the_body_and_another_tenants_task_is_like_none() {
    let server = Server::start(&[]).await;
    let app = &server.app;
    let task = app.owner().task(json!({"title": "the owner's"})).await;
    let made = server.upload(&app.owner(), &task, "a.txt", b"text").await.expect(201);
    let nowhere = format!("{}{NOBODY}/", support::TASKS);
    for (person, path, status) in [
        (app.anonymous(), &task, 401),
        (app.other_tenant(), &task, 404),
        (app.viewer(), &task, 403),
        (app.member(), &task, 403),
        (app.owner(), &nowhere, 404),
        (app.owner(), &format!("{}no-id/", support::TASKS), 404),
    ] {
        let path = format!("{path}attachments/");
        for content_type in ["application/json", "multipart/form-data", "multipart/form-data; boundary=x"] {
            let sent = person.request(Method::POST, &path).body(content_type, "no form at all").await;
            assert_eq!(sent.status(), status, "{} {path} {content_type}", person.name());
        }
    }
    let theirs = app.other_tenant();
    for path in [made.header("location").unwrap(), &content_of(&made)] {
        let hidden = theirs.get(path).await.expect(404);
        let missing = theirs.get(&format!("/orgs/nowhere/tasks/{NOBODY}/attachments/{NOBODY}/")).await;
        assert_eq!(hidden.body_without_request_id(), missing.body_without_request_id());
    }
    app.viewer().get(&format!("{nowhere}attachments/")).await.expect_problem(404, "not-found");
    assert_eq!(server.count(&task).await, 1);
}

// Contract §2: a token that is limited to attachments needs no other scope, and no other scope is enough.
#[tokio::test]
async fn a_token_is_limited_to_attachments_by_its_scopes() {
    let server = Server::start(&[]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "with a file"})).await;
    let made = server.upload(&member, &task, "a.txt", b"text").await.expect(201);
    let location = made.header("location").unwrap();
    for (scope, statuses) in [
        ("attachments:read", [200, 200, 200, 403, 403]),
        ("attachments:write", [403, 403, 403, 201, 204]),
        ("tasks:write", [403, 403, 403, 403, 403]),
        ("tasks:read", [403, 403, 403, 403, 403]),
    ] {
        let token = json!({"name": scope, "scopes": [scope]});
        let token = member.post("/auth/tokens/", token).await.expect(201).json();
        let limited = format!("Token {}", token["token"].as_str().unwrap());
        let found = [
            member.get(&format!("{task}attachments/")).authorization(&limited).await,
            member.get(location).authorization(&limited).await,
            member.get(&content_of(&made)).authorization(&limited).await,
            server.upload(&member, &task, "b.txt", b"text").authorization(&limited).await,
            member.delete(location).authorization(&limited).await,
        ];
        assert_eq!(found.map(|reply| reply.status().as_u16()), statuses, "{scope}");
    }
}

// LIM-18, LIM-19, LIM-20
#[tokio::test]
async fn a_download_is_an_attachment_in_a_sandbox_and_comes_in_parts() {
    let server = Server::start(&[]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "with a file"})).await;
    let made = server.upload(&member, &task, "Zoë \"1\".txt", b"0123456789").await.expect(201);
    assert_eq!(made.json()["filename"], "Zoë 1.txt");
    let path = content_of(&made);
    let whole = server.app.viewer().get(&path).await.expect(200);
    assert_eq!(whole.text(), "0123456789");
    for (name, value) in [
        ("content-type", "text/plain; charset=utf-8"),
        ("content-length", "10"),
        ("content-disposition", "attachment; filename=\"Zo_ 1.txt\"; filename*=UTF-8''Zo%C3%AB%201.txt"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
        ("cross-origin-resource-policy", "same-origin"),
        ("cache-control", "private, no-store"),
        ("accept-ranges", "bytes"),
        ("etag", "\"v1-1\""),
    ] {
        assert_eq!(whole.header(name), Some(value), "{name}");
    }
    let head = member.head(&path).header("range", "bytes=0-1").await.expect(200);
    assert_eq!((head.bytes().len(), head.header("content-length")), (0, Some("10")));
    assert_eq!(head.header("content-disposition"), whole.header("content-disposition"));

    for (range, part, said) in [
        ("bytes=2-4", "234", "bytes 2-4/10"),
        ("bytes=7-", "789", "bytes 7-9/10"),
        ("bytes=-2", "89", "bytes 8-9/10"),
    ] {
        let reply = member.get(&path).header("range", range).await.expect(206);
        assert_eq!((reply.text(), reply.header("content-range")), (part, Some(said)), "{range}");
        assert_eq!(reply.header("content-length"), Some(part.len().to_string().as_str()));
        assert_eq!(reply.header("content-security-policy"), whole.header("content-security-policy"));
    }
    for range in ["bytes=0-1,3-4", "bytes=x", "lines=1-2"] {
        assert_eq!(member.get(&path).header("range", range).await.expect(200).text(), "0123456789");
    }
    let past =
        member.get(&path).header("range", "bytes=10-").await.expect_problem(416, "range-not-satisfiable");
    assert_eq!(past.header("content-range"), Some("bytes */10"));
    for (tag, status) in [("\"v1-1\"", 206), ("\"v1-2\"", 200), ("Thu, 01 Jan 2026 00:00:00 GMT", 200)] {
        member.get(&path).header("range", "bytes=0-1").header("if-range", tag).await.expect(status);
    }
    member.get(&path).header("if-none-match", "\"v1-1\"").await.expect(304);

    let empty = server.upload(&member, &task, "empty.txt", b"").await.expect(201);
    assert_eq!(member.get(&content_of(&empty)).await.expect(200).bytes(), b"");
    member.get(&content_of(&empty)).header("range", "bytes=0-").await.expect(416);
}

/// 40 uploads at once, of 1000 bytes each, by people of whom each may have 20 and who all together may have 30.
async fn parallel_uploads(database: Option<databases::FreshPostgres>) {
    let quotas = [
        ("limits.upload_user_quota", "20500"),
        ("limits.upload_org_quota", "30999"),
        ("limits.upload_file", "2KiB"),
    ];
    let server = Server::on(&quotas, database).await;
    let app = &server.app;
    app.set_role("globex", &app.member(), Role::Member).await;
    let task = app.owner().task(json!({"title": "full", "assignee": app.member().id()})).await;
    let content = [b'a'; 1000];
    let elsewhere =
        app.member().post("/orgs/globex/tasks/", json!({"title": "there"})).await.expect(201).id();
    let elsewhere = format!("/orgs/globex/tasks/{elsewhere}/");
    // Three of the member's twenty are in another organisation.
    for _ in 0..3 {
        server.upload(&app.member(), &elsewhere, "a.txt", &content).await.expect(201);
    }
    let mut uploads = tokio::task::JoinSet::new();
    for number in 0..40 {
        let person = if number % 2 == 0 { app.member() } else { app.owner() };
        uploads.spawn(server.upload(&person, &task, "a.txt", &content).into_future());
    }
    let mut made = 0;
    while let Some(reply) = uploads.join_next().await {
        let reply = reply.unwrap();
        match reply.status().as_u16() {
            201 => made += 1,
            _ => drop(reply.expect_problem(413, "quota-exceeded")),
        }
    }
    let list = app.viewer().get(&format!("{task}attachments/?page_size=100")).await.expect(200).json();
    let by = |person: &Person| {
        let of_them = |row: &&Value| row["created_by"] == json!(person.id());
        list["results"].as_array().unwrap().iter().filter(of_them).count()
    };
    let (members, owners) = (by(&app.member()), by(&app.owner()));
    assert_eq!(list["count"], made);
    // Whoever came first: neither quota is passed, and none refuses what it has room for.
    assert!(members <= 17 && owners <= 20, "{members} {owners}");
    assert_eq!(members + owners, 30, "{members} {owners}");
    assert_eq!(server.files(), 33, "what was refused left no file");

    // What is deleted makes room, for exactly as much.
    let full = server.upload(&app.owner(), &task, "a.txt", &content).await;
    full.expect_problem(413, "quota-exceeded");
    let rows = list["results"].as_array().unwrap();
    let owners = rows.iter().find(|row| row["created_by"] == json!(app.owner().id())).unwrap();
    let owners = owners["id"].as_str().unwrap();
    app.admin().delete(&format!("{task}attachments/{owners}/")).await.expect(204);
    let admins = app.admin();
    server.upload(&admins, &task, "a.txt", &content).await.expect(201);
    server.upload(&admins, &task, "a.txt", &[b'a'; 999]).await.expect(201);
    server.upload(&admins, &task, "a.txt", b"a").await.expect_problem(413, "quota-exceeded");
    server.upload(&admins, &task, "a.txt", b"").await.expect(201);
    // The member's own quota, where the organisation has room: 500 bytes are left of it at most.
    for _ in 0..17_usize.saturating_sub(members) {
        server.upload(&app.member(), &elsewhere, "a.txt", &content).await.expect(201);
    }
    server
        .upload(&app.member(), &elsewhere, "a.txt", &[b'a'; 501])
        .await
        .expect_problem(413, "quota-exceeded");
    server.upload(&app.member(), &elsewhere, "a.txt", &[b'a'; 500]).await.expect(201);
}

// LIM-21
#[tokio::test]
async fn no_number_of_uploads_at_once_passes_a_quota() {
    parallel_uploads(None).await;
}

// LIM-21
#[tokio::test]
async fn no_number_of_uploads_at_once_passes_a_quota_on_postgres() {
    let Some(database) = fresh_postgres().await else { return };
    parallel_uploads(Some(database)).await;
}

// LOG-11: the entry commits with the deletion, or neither does.
async fn deletions(database: Option<databases::FreshPostgres>) {
    let server = Server::on(&[], database).await;
    let app = &server.app;
    let member = app.member();
    let task = member.task(json!({"title": "with files"})).await;
    let made = server.upload(&member, &task, "a.txt", b"text").await.expect(201);
    let location = made.header("location").unwrap();
    let entries = async || {
        use bailiwick::{audit::Chain, store::Directory as _};
        let org = app.store().membership(member.id(), "acme").await.unwrap().unwrap().org_id();
        let trail = bailiwick::store::AuditStore::audit_entries(app.store(), Chain::Org(org), 0, 100).await;
        let trail = trail.unwrap().into_iter();
        trail.filter(|entry| entry.event == "upload_delete").collect::<Vec<_>>()
    };
    member.delete(location).header("if-match", "\"v1-9\"").await.expect(412);
    app.viewer().delete(location).await.expect(403);
    assert!(entries().await.is_empty(), "what changes nothing has no entry");
    member.delete(location).await.expect(204);
    member.delete(location).await.expect(404);
    let entries = entries().await;
    let [entry] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!(entry.target_kind.as_deref(), Some("attachment"));
    assert_eq!(entry.target_id.as_deref(), Some(made.id().as_str()));
    assert_eq!(entry.actor_name.as_deref(), Some("member"));
    assert_eq!(server.events("upload_delete").len(), 1);

    // With a task go its attachments, and at the next collection their files.
    for name in ["a.txt", "b.txt"] {
        server.upload(&member, &task, name, b"text").await.expect(201);
    }
    let kept = member.task(json!({"title": "another"})).await;
    server.upload(&member, &kept, "kept.txt", b"text").await.expect(201);
    assert_eq!(server.collect().await, 0, "every file has its row");
    member.delete(&task).await.expect(204);
    assert_eq!((server.files(), server.collect().await, server.files()), (3, 2, 1));
    assert_eq!(server.count(&kept).await, 1);
}

#[tokio::test]
async fn a_deletion_is_audited_and_leaves_no_file() {
    deletions(None).await;
}

#[tokio::test]
async fn a_deletion_is_audited_and_leaves_no_file_on_postgres() {
    let Some(database) = fresh_postgres().await else { return };
    deletions(Some(database)).await;
}

// I9: what cannot be decided is refused, and nothing stays that nobody names.
#[tokio::test]
async fn a_store_that_fails_leaves_no_row_and_a_file_only_until_it_is_collected() {
    let server = Server::start(&[]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "unlucky"})).await;
    // The two looks at the task are writes of nothing: the third is the row.
    for failing in 0..3 {
        let store = server.app.store();
        for _ in 0..failing {
            store.fail_next(Operation::Write, Fault::Delay(Duration::ZERO));
        }
        store.fail_next(Operation::Write, Fault::Unavailable);
        let reply = server.upload(&member, &task, "a.txt", b"text").await;
        reply.expect_problem(503, "unavailable");
        store.mend();
        assert_eq!(server.count(&task).await, 0);
        assert_eq!(server.files(), usize::from(failing == 2), "only then the file was written");
    }
    let files = FileStore::directory(server.directory.path()).unwrap();
    let young = collect(&files, server.app.store(), Timestamp::from_micros(0)).await.unwrap();
    assert_eq!((young.removed, server.files()), (0, 1), "it may be named yet");
    server.app.store().fail_next(Operation::Named, Fault::Unavailable);
    assert!(collect(&files, server.app.store(), in_an_hour()).await.is_err());
    assert_eq!(server.files(), 1, "nobody said that it is not named");
    assert_eq!((server.collect().await, server.files()), (1, 0));
    // What is no file of this store is left alone, and what was begun and not finished is not.
    fs::write(server.directory.path().join("README"), "mine").unwrap();
    fs::write(server.directory.path().join(format!("{NOBODY}#1")), "half").unwrap();
    assert_eq!((server.collect().await, server.files()), (1, 1));
}

// A scanner sees every file: ClamAV's own daemon, with a signature of the test file of the industry.
#[tokio::test]
async fn what_the_scanner_finds_is_refused_and_without_it_nothing_passes() {
    let Some(clamd) = databases::clamd_url() else { return };
    let server = Server::start(&[("uploads.scanner", &clamd)]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "scanned"})).await;
    let eicar = files::eicar();
    let refused = server.upload(&member, &task, "eicar.txt", &eicar).await;
    refused.expect_problem(422, "unsupported-file");
    assert_eq!(server.events("upload_validation")[0]["reason"], "infected");
    assert_eq!((server.files(), server.count(&task).await), (0, json!(0)));
    server.upload(&member, &task, "harmless.txt", b"harmless").await.expect(201);
    server.upload(&member, &task, "a.png", &files::image("png", 4, 4)).await.expect(201);

    let alone = Server::start(&[("uploads.scanner", "clamd://127.0.0.1:1")]).await;
    let member = alone.app.member();
    let task = member.task(json!({"title": "not scanned"})).await;
    let refused = alone.upload(&member, &task, "harmless.txt", b"harmless").await;
    refused.expect_problem(503, "unavailable");
    assert_eq!((alone.files(), alone.count(&task).await), (0, json!(0)));
}

// A store that speaks the protocol of S3.
#[tokio::test]
async fn files_are_kept_in_a_bucket_as_in_a_directory() {
    let Some(endpoint) = databases::s3_url() else { return };
    let prefix = databases::random_name("test-");
    let s3 = [
        ("uploads.s3.bucket", "bailiwick-test"),
        ("uploads.s3.prefix", prefix.as_str()),
        ("uploads.s3.endpoint", endpoint.as_str()),
        ("uploads.s3.access_key_id", "test"),
        ("uploads.s3.secret_access_key", "test"),
    ];
    let server = Server::start(&s3).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "far away"})).await;
    let png = files::image("png", 40, 40);
    let made = server.upload(&member, &task, "a.png", &png).await.expect(201);
    let whole = member.get(&content_of(&made)).await.expect(200);
    assert_eq!(sha256(whole.bytes()), made.json()["sha256"].as_str().unwrap());
    let part = member.get(&content_of(&made)).header("range", "bytes=1-3").await.expect(206);
    assert_eq!(part.bytes(), b"PNG");
    let empty = server.upload(&member, &task, "empty.txt", b"").await.expect(201);
    assert_eq!(member.get(&content_of(&empty)).await.expect(200).bytes(), b"");
    assert_eq!(server.files(), 0, "nothing is in the directory");

    let files = files::s3(&endpoint, &prefix);
    let removed = async || collect(&files, server.app.store(), in_an_hour()).await.unwrap();
    assert_eq!((removed().await.removed, removed().await.kept), (0, 2));
    let stray = bailiwick::id::Id::new(&SystemClock::new(), &bailiwick::clock::OsEntropy);
    files.put(stray, "stray".into()).await.unwrap();
    member.delete(made.header("location").unwrap()).await.expect(204);
    assert_eq!((removed().await.removed, removed().await.kept), (1, 1));
    member.delete(&task).await.expect(204);
    assert_eq!((removed().await.removed, removed().await.kept), (1, 0));

    // One that is out of reach is 503, and no row is made.
    let nowhere = [&s3[..2], &[("uploads.s3.endpoint", "http://127.0.0.1:1")], &s3[3..]].concat();
    let server = Server::start(&nowhere).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "out of reach"})).await;
    let refused = server.upload(&member, &task, "a.txt", b"text").await;
    refused.expect_problem(503, "unavailable");
    assert_eq!(server.count(&task).await, 0);
}

// Contract §3: throttle `uploads`, which reading does not spend.
#[tokio::test]
async fn uploads_have_a_quota_of_their_own() {
    let server = Server::start(&[("throttle.enabled", "true"), ("throttle.rates.uploads", "2/hour")]).await;
    let member = server.app.member();
    let task = member.task(json!({"title": "with files"})).await;
    server.upload(&member, &task, "a.txt", b"text").await.expect(201);
    server.upload(&member, &task, "a.exe", b"text").await.expect_problem(422, "unsupported-file");
    let refused = server.upload(&member, &task, "a.txt", b"text").await.expect_problem(429, "throttled");
    assert_eq!(refused.json()["violated-policies"], json!(["uploads"]));
    member.get(&format!("{task}attachments/")).await.expect(200);
}
