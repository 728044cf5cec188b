//! A real browser, which pages of other origins try to abuse.
//!
//! `tests/browser/` has its script, and the one npm package that drives Debian's Chromium.
use std::{
    env,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use bailiwick_testkit::databases::TEST_ALL;
use serde_json::{Value, json};

use crate::{
    process::access_lines,
    site::{Output, PASSWORD, Site, finish},
};

/// Names the program of a Chromium.
const CHROMIUM: &str = "BAILIWICK_TEST_CHROMIUM";
const TASKS: &str = "/api/v1/orgs/acme/tasks/";
/// With a `=` in it, a form can send a body that reads as a log-in in JSON.
const OF_ATTACKER: &str = "the=password-of-an-attacker";

/// The Chromium to use. Without one, says so: the test that asked is to end there.
fn chromium() -> Option<PathBuf> {
    if let Some(program) = env::var_os(CHROMIUM).filter(|program| !program.is_empty()) {
        return Some(program.into());
    }
    assert!(env::var(TEST_ALL).as_deref() != Ok("1"), "{TEST_ALL}=1, but {CHROMIUM} names no browser");
    #[expect(clippy::print_stdout, reason = "a test that skips says so, where the runner looks for it")]
    let () = println!("skipped: {CHROMIUM} names no Chromium");
    None
}

/// Serves an empty page on a port of its own, for as long as the test runs.
fn serve_page() -> SocketAddr {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 37\r\n\
        Connection: close\r\n\r\n<!doctype html><title>A page</title>\n";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            // A browser opens connections that it may never use: nobody else waits for one of them.
            thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
                if stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(ANSWER);
                }
            });
        }
    });
    address
}

/// The same page by two names: one of the same site as the server, and one of another.
fn origins(page: SocketAddr) -> Value {
    json!({
        "same_site": format!("http://localhost:{}", page.port()),
        "cross_site": format!("http://127.0.0.1:{}", page.port()),
    })
}

/// Runs one of the scripts.
fn run(script: &str, input: &Value) -> Output {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    // A page that hangs is given up by the script itself; this is for what it did not think of.
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", "150", "node", script, &input.to_string()]);
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command, None)
}

// CSRF-01, CSRF-03, CSRF-10, CSRF-12, SES-04. No origin is allowed by CORS here: what that changes is tested below.
#[test]
fn serial_a_page_of_another_origin_changes_nothing_and_a_trusted_one_does() {
    let Some(chromium) = chromium() else { return };
    let (foreign, trusted) = (origins(serve_page()), origins(serve_page()));
    let mut site = Site::new();
    // Nobody in production may trust an origin of plain http.
    site.set("BAILIWICK_SERVER__ENVIRONMENT", "development");
    let trusted_origins = ["same_site", "cross_site"].map(|name| trusted[name].as_str().unwrap());
    site.set("BAILIWICK_CSRF__TRUSTED_ORIGINS", &trusted_origins.join(","));
    // Everybody here has one address.
    site.set("BAILIWICK_THROTTLE__RATES__ANON", "1000/min");
    site.set("BAILIWICK_THROTTLE__RATES__LOGIN", "100/min");
    let attacker = ["user", "create", "bob", "--email", "bob@example.com", "--password-stdin"];
    site.done(&attacker, Some(OF_ATTACKER));
    let server = site.serve();

    let input = json!({
        "executable": chromium,
        "server": format!("http://localhost:{}", server.address.port()),
        "foreign": foreign,
        "trusted": trusted,
        "credential": site.token,
        "victim": { "username": "ann", "password": PASSWORD },
        "attacker": { "username": "bob", "password": OF_ATTACKER },
    });
    let output = run("forgery.mjs", &input);
    let log = server.stop();
    assert_eq!(output.code, Some(0), "{}\n{}", output.out, output.err);

    // What was fended off did arrive, each as often as it was sent and answered as it had to be.
    let answered: Value = serde_json::from_str(&output.out).unwrap();
    let mut found = serde_json::Map::new();
    for (_, line) in access_lines(&log) {
        if line["method"] == "POST" && line["path"] == TASKS {
            let count = found.entry(line["status"].to_string()).or_insert(json!(0));
            *count = json!(count.as_u64().unwrap() + 1);
        }
    }
    assert_eq!(Value::Object(found), answered, "{}", log.out);
}

// CORS-01, CORS-04 to CORS-10, CSRF-06
#[test]
fn serial_a_page_reads_answers_if_its_origin_is_allowed_and_changes_by_cookie_if_it_is_trusted_too() {
    let Some(chromium) = chromium() else { return };
    let [foreign, allowed, trusted] = [(); 3].map(|()| origins(serve_page()));
    let mut site = Site::new();
    // Nobody in production may allow an origin of plain http.
    site.set("BAILIWICK_SERVER__ENVIRONMENT", "development");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let readers = [&allowed["same_site"], &allowed["cross_site"], &trusted["same_site"]].map(text);
    site.set("BAILIWICK_CORS__ALLOWED_ORIGINS", &readers.join(","));
    site.set("BAILIWICK_CORS__ALLOW_CREDENTIALS", "true");
    site.set("BAILIWICK_CSRF__TRUSTED_ORIGINS", &text(&trusted["same_site"]));
    let server = site.serve();

    let input = json!({
        "executable": chromium,
        "server": format!("http://localhost:{}", server.address.port()),
        "foreign": foreign,
        "allowed": allowed,
        "trusted": trusted,
        "credential": site.token,
        "user": { "username": "ann", "password": PASSWORD },
    });
    let output = run("cors.mjs", &input);
    let log = server.stop();
    assert_eq!(output.code, Some(0), "{}\n{}\n{}", output.out, output.err, log.out);

    // The browser did ask, and what it was refused for was noted.
    let lines = access_lines(&log);
    let preflights = |status: u16| {
        lines.iter().filter(|(_, line)| line["method"] == "OPTIONS" && line["status"] == status).count()
    };
    assert!(preflights(204) > 0 && preflights(403) > 0, "{}", log.out);
    assert_eq!(log.out.matches("\"malicious_cors\"").count(), preflights(403), "{}", log.out);
    assert!(lines.iter().all(|(_, line)| line["method"] != "OPTIONS" || line["throttled"].is_null()));
}
