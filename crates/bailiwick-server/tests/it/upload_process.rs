//! Uploads to the real program: what is read of a body, what a client that leaves leaves, and what survives when the program
//! is killed.
#![cfg(unix)]
use std::{fs, thread, time::Duration};

use bailiwick::{
    clock::{Clock, SystemClock, Timestamp},
    database::{OpenOptions, open},
    upload::FileStore,
};
use bailiwick_server::attachments::collect;
use bailiwick_testkit::audit_keys;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::{
    files::form,
    site::{Connection, Server, Site},
    support::NOBODY,
};

const TASKS: &str = "/api/v1/orgs/acme/tasks/";

/// A site whose `ann` may upload as much as she likes, and a task of hers.
fn site() -> (Site, Server, String) {
    let mut site = Site::new();
    site.set("BAILIWICK_THROTTLE__RATES__UPLOADS", "1000000/s");
    let server = site.serve();
    let made = server.connect().ask("POST", TASKS, &site.token, Some(&json!({"title": "with files"})));
    let id = made.unwrap().json()["id"].as_str().unwrap().to_owned();
    (site, server, format!("{TASKS}{id}/attachments/"))
}

/// The head of an upload, with what it says of the body's length.
fn head(path: &str, token: &str, content_type: &str, length: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {token}\r\n\
         Content-Type: {content_type}\r\n{length}\r\n\r\n"
    )
}

/// Uploads a text; the answer's status. An error if the connection broke.
fn upload(client: &mut Connection, path: &str, token: &str, content: &[u8]) -> std::io::Result<u16> {
    let (content_type, body) = form("a.txt", Some("text/plain"), content);
    client.send(head(path, token, &content_type, &format!("Content-Length: {}", body.len())).as_bytes())?;
    client.send(&body)?;
    Ok(client.answer(false)?.status)
}

fn kept(site: &Site) -> Vec<std::path::PathBuf> {
    fs::read_dir(site.path("attachments")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// File, SHA-256 and size of each row.
fn rows(site: &Site) -> Vec<(String, String, i64)> {
    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    let mut rows = database.prepare("SELECT file, sha256, size FROM attachments").unwrap();
    let rows = rows.query_map([], |row| {
        let file = uuid::Uuid::from_slice(&row.get::<_, Vec<u8>>(0)?).unwrap();
        Ok((file.to_string(), row.get(1)?, row.get(2)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Waits until `is_so`, which a server brings about that nobody waits for.
fn wait_until(is_so: impl Fn() -> bool) {
    let clock = SystemClock::new();
    while !is_so() {
        assert!(clock.monotonic() < Duration::from_secs(20), "it does not come");
        thread::sleep(Duration::from_millis(10));
    }
}

// PIP-02: whoever may not upload is told before they have sent a byte of the file.
#[test]
fn a_body_is_asked_for_only_once_the_caller_may_upload() {
    let (site, server, path) = site();
    let (content_type, body) = form("a.txt", Some("text/plain"), b"text");
    let length = format!("Content-Length: {}\r\nExpect: 100-continue", body.len());
    let nowhere = format!("{TASKS}{NOBODY}/attachments/");
    let elsewhere = path.replace("acme", "globex");
    for (path, token, status) in
        [(&nowhere, site.token.as_str(), 404), (&elsewhere, &site.token, 404), (&path, "bw_pat_none", 401)]
    {
        let mut client = server.connect();
        client.send(head(path, token, &content_type, &length).as_bytes()).unwrap();
        assert_eq!(client.answer(false).unwrap().status, status, "{path}");
    }
    // LIM-02: nor is one that is too large.
    let mut client = server.connect();
    let large = format!("Content-Length: {}\r\nExpect: 100-continue", 6 << 20);
    client.send(head(&path, &site.token, &content_type, &large).as_bytes()).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 413);

    let mut client = server.connect();
    client.send(head(&path, &site.token, &content_type, &length).as_bytes()).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 100);
    client.send(&body).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 201);
    server.stop();
}

// LIM-01, LIM-22
#[test]
fn a_body_may_come_in_chunks_and_who_leaves_in_its_middle_leaves_nothing() {
    let (site, server, path) = site();
    let content = vec![b'a'; 700 << 10];
    let (content_type, body) = form("a.txt", Some("text/plain"), &content);
    let chunked = head(&path, &site.token, &content_type, "Transfer-Encoding: chunked");
    let send = |client: &mut Connection, body: &[u8]| {
        client.send(chunked.as_bytes()).unwrap();
        for piece in body.chunks(50_000) {
            client.send(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            client.send(piece).unwrap();
            client.send(b"\r\n").unwrap();
        }
    };
    // Beyond what is held in memory, and then gone.
    let mut leaving = server.connect();
    send(&mut leaving, &body[..600 << 10]);
    thread::sleep(Duration::from_millis(200));
    assert!(kept(&site).is_empty(), "what has not come whole has no name");
    drop(leaving);

    let mut client = server.connect();
    send(&mut client, &body);
    client.send(b"0\r\n\r\n").unwrap();
    let made = client.answer(false).unwrap();
    assert_eq!((made.status, &made.json()["size"]), (201, &json!(700 << 10)));
    // A form that the client ends too early.
    let mut client = server.connect();
    send(&mut client, &body[..600 << 10]);
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.answer(false).unwrap().status, 400);
    assert_eq!((kept(&site).len(), rows(&site).len()), (1, 1));
    let output = server.stop();
    assert!(!output.out.contains("\"status\":500"), "{}", output.out);
}

// No row without its file, and after the collection no file without its row.
#[test]
fn serial_a_kill_in_a_burst_of_uploads_leaves_every_row_its_file() {
    let (site, mut server, path) = site();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut acknowledged = 0;
    for round in 0..4_u64 {
        let uploaders: Vec<_> = (0..4_u64)
            .map(|number| {
                let (mut client, path, token) = (server.connect(), path.clone(), site.token.clone());
                thread::spawn(move || {
                    let mut done = 0;
                    // Of every size, and no two alike.
                    for turn in 0_usize.. {
                        let content = format!("{round} {number} {turn} ").repeat(1 + turn % 50 * 100);
                        match upload(&mut client, &path, &token, content.as_bytes()) {
                            Ok(201) => done += 1,
                            Ok(other) => panic!("{other}"),
                            Err(_) => break,
                        }
                    }
                    done
                })
            })
            .collect();
        let before = rows(&site).len();
        wait_until(|| rows(&site).len() >= before + 8);
        thread::sleep(Duration::from_millis(37 * (round + 1)));
        server.kill();
        acknowledged += uploaders.into_iter().map(|uploader| uploader.join().unwrap()).sum::<usize>();

        let whole_rows = || {
            let rows = rows(&site);
            assert!(rows.len() >= acknowledged, "{} of {acknowledged} are there", rows.len());
            for (file, sha256, size) in &rows {
                let bytes = fs::read(site.path("attachments").join(file)).unwrap();
                let digest: String =
                    Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!((&digest, i64::try_from(bytes.len()).unwrap()), (sha256, *size), "{file}");
            }
            rows.len()
        };
        // As the crash has left it, and as the next start finds it.
        whole_rows();
        server = site.serve();
        let rows = whole_rows();
        // What a crash left is too young for the server that has just started.
        let collected = runtime.block_on(async {
            let url = format!("sqlite://{}", site.path("bailiwick.db").display());
            let store = open(&url, &OpenOptions::default(), audit_keys()).await.unwrap();
            let files = FileStore::directory(&site.path("attachments")).unwrap();
            let in_an_hour = SystemClock::new().now().saturating_add(Duration::from_secs(3600));
            let young = collect(&files, &*store, Timestamp::from_micros(0)).await.unwrap();
            assert_eq!((young.removed, young.kept), (0, 0));
            collect(&files, &*store, in_an_hour).await.unwrap()
        });
        assert_eq!(collected.kept, rows as u64);
        assert_eq!(kept(&site).len(), rows, "every file has its row");
    }
    server.stop();
}

// What an earlier crash has left goes by itself.
#[test]
fn a_server_that_starts_takes_away_what_is_old_and_has_no_row() {
    let (site, server, path) = site();
    assert_eq!(upload(&mut server.connect(), &path, &site.token, b"kept").unwrap(), 201);
    server.stop();
    let [kept_file] = &kept(&site)[..] else { panic!("one file") };
    let [stray, young, unfinished] =
        ["8", "9", "a#1"].map(|end| site.path("attachments").join(NOBODY.replace("57", &format!("5{end}"))));
    let old = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for (file, is_old) in [(&stray, true), (&young, false), (&unfinished, true)] {
        fs::write(file, "stray").unwrap();
        if is_old {
            fs::File::options().write(true).open(file).unwrap().set_modified(old).unwrap();
        }
    }
    fs::File::options().write(true).open(kept_file).unwrap().set_modified(old).unwrap();
    let server = site.serve();
    wait_until(|| !stray.exists() && !unfinished.exists());
    assert!(kept_file.exists() && young.exists());
    server.stop();
}
