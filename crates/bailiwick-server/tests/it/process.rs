//! The real program: its log, its end, its refusals to start, and what survives when it is killed.
#![cfg(unix)]
use std::{
    collections::HashMap,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::{Child, ChildStderr, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bailiwick::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::site::{Connection, Output, PASSWORD, Server, Site, finish, set_mode};

const TASKS: &str = "/api/v1/orgs/acme/tasks/";

/// The members of an access-log line, in the order of contract §6.
const LOG_MEMBERS: [&str; 15] = [
    "timestamp",
    "level",
    "event",
    "request_id",
    "method",
    "route",
    "path",
    "status",
    "duration_ms",
    "user_id",
    "org",
    "remote_addr",
    "bytes_out",
    "throttled",
    "denied_by",
];

pub(crate) fn access_lines(output: &Output) -> Vec<(String, Value)> {
    let lines = output.out.lines().map(|line| {
        let json: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        (line.to_owned(), json)
    });
    lines.filter(|(_, json)| json["event"] == "http_request").collect()
}

// Contract §6, LOG-03, LOG-07
#[test]
fn the_access_log_has_a_line_a_request_with_exactly_the_members_of_the_contract_and_no_secret() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let token = &site.token;
    let task = client.ask("POST", TASKS, token, Some(&json!({"title": "title-secret"}))).unwrap();
    assert_eq!(task.status, 201);
    client.ask("GET", &format!("{TASKS}?search=query-secret&token={token}"), token, None).unwrap();
    client.ask("GET", "/api/v1/orgs/globex/tasks/", token, None).unwrap();
    // What cannot be read ends its connection.
    let unread = server.connect().ask("PUT", "/nonsense\u{1b}[31m%0A%22", token, None).unwrap();
    assert_eq!(unread.status, 400);
    let login = json!({"username": "ann", "password": PASSWORD});
    let issued = client.ask("POST", "/api/v1/auth/token/", "x", Some(&login)).unwrap().json();
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nCookie: session=cookie-secret\r\nX-Request-ID: my-own-id\r\n\r\n";
    client.send(head.as_bytes()).unwrap();
    assert_eq!(client.answer(false).unwrap().status, 200);
    let output = server.stop();
    let lines = access_lines(&output);
    assert_eq!(lines.len(), 6, "{}", output.out);
    for (text, line) in &lines {
        assert_eq!(line.as_object().unwrap().len(), LOG_MEMBERS.len(), "{text}");
        let places: Vec<_> =
            LOG_MEMBERS.iter().map(|name| text.find(&format!("\"{name}\":")).unwrap()).collect();
        assert!(places.is_sorted(), "{text}");
        assert_eq!((&line["level"], &line["remote_addr"]), (&json!("info"), &json!("127.0.0.1")));
        assert!(
            line["duration_ms"].is_number() && line["timestamp"].as_str().unwrap().ends_with('Z'),
            "{text}"
        );
    }
    let of = |number: usize, names: [&str; 6]| names.map(|name| lines[number].1[name].clone());
    let names = ["method", "route", "path", "status", "org", "denied_by"];
    assert_eq!(
        of(0, names),
        [
            json!("POST"),
            json!("/api/v1/orgs/{org}/tasks/"),
            json!(TASKS),
            json!(201),
            json!("acme"),
            json!(null)
        ]
    );
    assert_eq!(lines[0].1["bytes_out"], task.body.len());
    assert!(lines[0].1["user_id"].is_string());
    assert_eq!(lines[1].1["path"], TASKS, "no query");
    assert_eq!(of(2, names)[3..], [json!(404), json!(null), json!("membership")]);
    assert_eq!((&lines[3].1["status"], &lines[3].1["route"]), (&json!(400), &json!(null)));
    assert_eq!((&lines[4].1["status"], &lines[4].1["user_id"]), (&json!(200), &json!(null)));
    assert_eq!(lines[5].1["request_id"], "my-own-id");
    let everything = format!("{}{}", output.out, output.err);
    let issued = issued["token"].as_str().unwrap();
    for secret in
        [token.as_str(), issued, PASSWORD, "query-secret", "title-secret", "cookie-secret", "\u{1b}"]
    {
        assert!(!everything.contains(secret), "{secret:?} is in the log:\n{everything}");
    }
}

// Contract §6: `check.allow`, each logged at start.
#[test]
fn what_check_allow_accepts_is_in_the_log_of_every_start() {
    let mut site = Site::new();
    site.set("BAILIWICK_THROTTLE__ENABLED", "false");
    site.set("BAILIWICK_CHECK__ALLOW", "RATE-001");
    for _ in 0..2 {
        let output = site.serve().stop();
        assert!(!output.err.contains("RATE-001"), "{}", output.err);
        let lines: Vec<Value> = output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let accepted: Vec<_> = lines.iter().filter(|line| line["code"] == "RATE-001").collect();
        let [line] = accepted[..] else { panic!("{}", output.out) };
        assert_eq!((&line["level"], &line["event"]), (&json!("warn"), &json!("diagnostic")));
        assert_eq!((&line["severity"], &line["setting"]), (&json!("error"), &json!("throttle.enabled")));
        assert!(line["reason"].is_string() && line["message"].as_str().unwrap().contains("check.allow"));
    }
}

#[test]
fn a_demo_that_other_machines_reach_warns_of_it_as_a_server_does() {
    let site = Site::bare();
    let demo = |bind: &str| {
        let mut command = site.command(None);
        command.args(["demo", "--bind", bind]);
        Server::start(command).stop().err
    };
    let told = demo("0.0.0.0:0");
    assert!(told.contains("warning BIND-001 server.bind: 0.0.0.0:"), "{told}");
    assert!(!demo("127.0.0.1:0").contains("BIND-001"));
}

// TOK-24, PWD-04: who reads the database file can use nothing that is in it.
#[test]
fn no_token_and_no_password_is_in_the_database_file() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let login = json!({"username": "ann", "password": PASSWORD});
    let issued = client.ask("POST", "/api/v1/auth/token/", "", Some(&login)).unwrap().json();
    let issued = issued["token"].as_str().unwrap();
    let made = json!({"name": "deploy", "role": "member"});
    let made = client.ask("POST", "/api/v1/orgs/acme/tokens/", &site.token, Some(&made)).unwrap().json();
    let of_org = made["token"].as_str().unwrap();
    let title = "a title that is in the file";
    assert_eq!(client.ask("POST", TASKS, issued, Some(&json!({"title": title}))).unwrap().status, 201);
    let mut kept = fs::read(site.path("bailiwick.db")).unwrap();
    kept.extend(fs::read(site.path("bailiwick.db-wal")).unwrap());
    let holds = |text: &str| kept.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds(title), "the bytes are those of the database");
    for token in [site.token.as_str(), issued, of_org] {
        let random = token.strip_prefix("bw_pat_").or_else(|| token.strip_prefix("bw_org_")).unwrap();
        // The last four characters are shown on purpose (TOK-25); any longer part is not.
        for part in [token, random, &random[..12], &random[12..24], &random[24..]] {
            assert!(!holds(part), "{part} of a token is in the database");
        }
    }
    assert!(!holds(PASSWORD), "the password is in the database");
    server.stop();
}

// Contract §6: stop accepting, finish what is in flight, exit 0.
#[test]
fn a_request_in_flight_is_answered_before_the_server_ends() {
    let site = Site::new();
    let server = site.serve();
    let body = json!({"title": "in flight"}).to_string();
    let mut client = server.connect();
    let head = format!(
        "POST {TASKS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        site.token,
        body.len()
    );
    client.send(head.as_bytes()).unwrap();
    // The handler waits for the body.
    assert_eq!(client.answer(false).unwrap().status, 100);
    let mut idle = server.connect();
    assert_eq!(idle.ask("GET", "/healthz", "x", None).unwrap().status, 200);
    server.signal("-TERM");
    // Nobody else gets in, and who does nothing is let go.
    assert!(idle.is_closed());
    while std::net::TcpStream::connect(server.address).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    client.send(body.as_bytes()).unwrap();
    let answer = client.answer(false).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    let output = server.end();
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert_eq!(access_lines(&output).len(), 2);
    // What was answered is there.
    let server = site.serve();
    let list = server.connect().ask("GET", TASKS, &site.token, None).unwrap().json();
    assert_eq!((&list["count"], &list["results"][0]["title"]), (&json!(1), &json!("in flight")));
    server.stop();
}

// Who stops it twice does not want to wait.
#[test]
fn a_second_signal_ends_the_server_at_once() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let head = format!(
        "POST {TASKS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Token {}\r\nContent-Type: application/json\r\n\
         Content-Length: 100\r\nExpect: 100-continue\r\n\r\n",
        site.token
    );
    client.send(head.as_bytes()).unwrap();
    // The handler waits for a body that never comes.
    assert_eq!(client.answer(false).unwrap().status, 100);
    server.signal("-TERM");
    while std::net::TcpStream::connect(server.address).is_ok() {
        thread::sleep(Duration::from_millis(5));
    }
    let since = SystemClock::new();
    server.signal("-INT");
    let output = server.end();
    assert!(since.monotonic() < Duration::from_secs(5));
    assert_eq!(output.code, Some(1), "{}", output.err);
    assert!(output.err.contains("told to stop twice"), "{}", output.err);
    assert!(output.out.contains("told to stop twice"), "the log says it too: {}", output.out);
    assert!(client.is_closed());
}

/// A start that is refused: by its exit code, and with words that say what to do.
fn refused(site: &Site, code: i32, words: &[&str]) {
    let output = site.run(&["serve"], None);
    assert_eq!((output.code, output.out.as_str()), (Some(code), ""), "{}", output.err);
    for word in words {
        assert!(output.err.contains(word), "{word:?} is not in: {}", output.err);
    }
}

#[test]
fn a_database_that_cannot_be_used_stops_the_start_and_the_message_says_what_to_do() {
    let mut missing = Site::bare();
    missing.set("BAILIWICK_DATABASE__URL", "sqlite://no/such/directory/app.db");
    refused(&missing, 3, &["no/such/directory", "directory"]);

    // A volume that is not mounted must not become an empty database.
    let unmounted = Site::bare();
    refused(&unmounted, 3, &["there is no database at", "bailiwick.db", "bailiwick migrate"]);
    assert!(!unmounted.path("bailiwick.db").exists());
    fs::write(unmounted.path("bailiwick.db"), "").unwrap();
    set_mode(&unmounted.path("bailiwick.db"), 0o600);
    refused(&unmounted, 3, &["there is no database at"]);
    assert_eq!(fs::metadata(unmounted.path("bailiwick.db")).unwrap().len(), 0);

    let directory = Site::bare();
    fs::create_dir(directory.path("bailiwick.db")).unwrap();
    set_mode(&directory.path("bailiwick.db"), 0o700);
    refused(&directory, 3, &["bailiwick.db"]);

    let letter = Site::bare();
    let text = "this is a letter, not a database, and it is long enough to be looked at as one".repeat(20);
    fs::write(letter.path("bailiwick.db"), &text).unwrap();
    set_mode(&letter.path("bailiwick.db"), 0o600);
    refused(&letter, 3, &["no SQLite database"]);
    assert_eq!(fs::read_to_string(letter.path("bailiwick.db")).unwrap(), text);

    let mut nobody = Site::bare();
    nobody.set("BAILIWICK_DATABASE__URL", "postgres://ann:s3cret@127.0.0.1:1/app");
    let output = nobody.run(&["serve"], None);
    assert_eq!(output.code, Some(3), "{}", output.err);
    assert!(!output.err.contains("s3cret"), "{}", output.err);
}

/// Commands of every kind that opens the database, and would read and write by the schema that it knows.
const COMMANDS: [&[&str]; 7] = [
    &["serve"],
    &["migrate"],
    &["user", "list"],
    &["user", "disable", "ann"],
    &["org", "create", "globex", "--name", "Globex", "--owner", "ann"],
    &["org", "list"],
    &["token", "create", "ann", "--name", "x"],
];

#[test]
fn a_database_of_a_newer_program_is_left_alone_by_every_command_in_the_same_words() {
    for history in ["bailiwick_schema", "app_schema"] {
        let site = Site::new();
        let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
        let newer = format!(
            "INSERT INTO {history} (version, name, applied_on, checksum)
             VALUES (99, 'tomorrow', '2030-01-01T00:00:00Z', '1')"
        );
        assert_eq!(database.execute(&newer, []).unwrap(), 1);
        drop(database);
        let words = format!("the migration V99__tomorrow in {history}, which this program does not know");
        for arguments in COMMANDS {
            let output = site.run(arguments, None);
            assert_eq!(output.code, Some(3), "{arguments:?}: {}", output.err);
            assert!(output.err.contains(&words), "{arguments:?}: {}", output.err);
        }
    }
}

#[test]
fn a_database_that_lacks_a_migration_of_the_application_is_not_written_to() {
    let site = Site::new();
    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    assert!(database.execute("DELETE FROM app_schema", []).unwrap() > 1);
    drop(database);
    let output = site.run(&["user", "disable", "ann"], None);
    assert_eq!(output.code, Some(3), "{}", output.err);
    assert!(
        output.err.contains("lacks V1__tasks") && output.err.contains("bailiwick migrate"),
        "{}",
        output.err
    );
}

#[test]
fn a_file_of_another_application_is_named_and_left_as_it_is() {
    let site = Site::bare();
    let path = site.path("bailiwick.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.execute_batch("CREATE TABLE users (name text); INSERT INTO users VALUES ('precious')").unwrap();
    drop(database);
    set_mode(&path, 0o600);
    let before = fs::read(&path).unwrap();
    for arguments in COMMANDS {
        let output = site.run(arguments, None);
        assert_eq!(output.code, Some(3), "{arguments:?}: {}", output.err);
        for words in [
            "bailiwick.db is no database of Bailiwick",
            "the table users",
            "`database.url`",
            "nothing was changed",
        ] {
            assert!(output.err.contains(words), "{arguments:?}: {words:?} is not in: {}", output.err);
        }
        assert!(!output.err.contains("CREATE TABLE"), "{arguments:?}: {}", output.err);
        assert_eq!(fs::read(&path).unwrap(), before, "{arguments:?}");
    }
}

/// Runs `serve` as a user who may do nothing, also where the test runs as root.
fn as_nobody(site: &Site) -> Output {
    let mut command = site.command(None);
    command.arg("serve");
    let directory = site.path("");
    if fs::metadata(&directory).unwrap().uid() == 0 {
        const NOBODY: u32 = 65_534;
        for path in fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).chain([directory]) {
            std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        // The program itself may stand where only its builder may go.
        let copy = site.path("bailiwick");
        fs::copy(env!("CARGO_BIN_EXE_bailiwick"), &copy).unwrap();
        set_mode(&copy, 0o755);
        let mut of_nobody = Command::new(copy);
        of_nobody.uid(NOBODY).gid(NOBODY).arg("serve");
        command = site.command(Some(of_nobody));
    }
    finish(command, None)
}

#[test]
fn a_database_that_may_not_be_written_stops_the_start() {
    for (mode_of_file, mode_of_directory) in [(0o400, 0o700), (0o000, 0o700), (0o600, 0o500)] {
        let site = Site::new();
        // What SQLite keeps beside the file is made anew.
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(site.path(&format!("bailiwick.db{suffix}")));
        }
        set_mode(&site.path("bailiwick.db"), mode_of_file);
        let copy = site.path("bailiwick");
        fs::copy(env!("CARGO_BIN_EXE_bailiwick"), &copy).unwrap();
        set_mode(&site.path(""), mode_of_directory);
        let output = as_nobody(&site);
        set_mode(&site.path(""), 0o700);
        assert_eq!(output.code, Some(3), "{mode_of_file:o} {mode_of_directory:o}: {}", output.err);
        assert!(output.err.contains("bailiwick.db"), "{}", output.err);
    }
}

#[test]
fn settings_that_cannot_be_read_or_are_misspelt_stop_the_start() {
    let site = Site::bare();
    fs::write(site.path("bailiwick.toml"), "[server\nbind = 1").unwrap();
    refused(&site, 2, &["bailiwick.toml"]);
    fs::write(site.path("bailiwick.toml"), b"\xff\xfe").unwrap();
    refused(&site, 2, &["bailiwick.toml"]);
    fs::write(site.path("bailiwick.toml"), "[sever]\nbind = '127.0.0.1:0'").unwrap();
    refused(&site, 2, &["sever", "server"]);
    fs::remove_file(site.path("bailiwick.toml")).unwrap();
    fs::create_dir(site.path("bailiwick.toml")).unwrap();
    refused(&site, 2, &["bailiwick.toml"]);
    assert!(!site.path("bailiwick.db").exists());
}

#[test]
fn a_database_that_another_holds_is_out_of_reach_and_then_in_reach_again() {
    let site = Site::new();
    let server = site.serve();
    let mut client = server.connect();
    let holder = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = client.ask("POST", TASKS, &site.token, Some(&json!({"title": "x"}))).unwrap();
    assert_eq!((refused.status, &refused.json()["code"]), (503, &json!("unavailable")));
    // Reads do not wait for it.
    assert_eq!(client.ask("GET", TASKS, &site.token, None).unwrap().status, 200);
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(client.ask("POST", TASKS, &site.token, Some(&json!({"title": "x"}))).unwrap().status, 201);
    // Contract §6: what the writer had to say has the shape of the lines of requests.
    let output = server.stop();
    let lines: Vec<Value> = output.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (text, line) in output.out.lines().zip(&lines) {
        assert!(text.starts_with("{\"timestamp\":\"") && line["event"].is_string(), "{text}");
        assert!(["error", "warn", "info"].iter().any(|level| line["level"] == *level), "{text}");
    }
    for (message, who) in [
        ("no transaction can begin", "the writer"),
        ("that a credential was used could not be noted", "who would not wait for it"),
    ] {
        let said = lines.iter().find(|line| line["message"] == message);
        let said = said.unwrap_or_else(|| panic!("{who} says why: {}", output.out));
        assert_eq!((&said["event"], &said["level"]), (&json!("diagnostic"), &json!("error")));
    }
}

/// Starts a command that is to wait for the lock on the database, and waits until it says so.
fn waiting(site: &Site, argument: &str) -> (Child, BufReader<ChildStderr>) {
    let mut command = site.command(None);
    // Nothing is found in the settings, so that this is the first thing it says.
    command.env("BAILIWICK_MAIL__TRANSPORT", "file:mails");
    let mut child = command.arg(argument).stdout(Stdio::null()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.contains("another process holds the database") && line.contains("60 seconds"), "{line}");
    (child, told)
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn a_start_that_waits_for_another_process_says_so_and_ends_when_it_is_told_to() {
    let site = Site::new();
    let holder = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    for (argument, name, code, words) in [
        ("serve", "-TERM", 0, "nothing was served"),
        ("serve", "-INT", 0, "nothing was served"),
        ("migrate", "-TERM", 3, "run `bailiwick migrate` again"),
        ("migrate", "-INT", 3, "run `bailiwick migrate` again"),
    ] {
        let (mut child, mut told) = waiting(&site, argument);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code), "{argument} {name}");
        // Whoever is told of the lock's end, or gives up on it, says something else.
        let mut rest = String::new();
        told.read_to_string(&mut rest).unwrap();
        assert!(rest.contains(words) && !rest.contains("another process holds"), "{argument} {name}: {rest}");
    }
    // Whoever waits long enough goes on.
    let (mut child, _told) = waiting(&site, "migrate");
    holder.execute_batch("ROLLBACK").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// All titles of `acme`, by a walk through its pages, each with how often it is there.
fn titles(server: &Server, token: &str) -> HashMap<String, usize> {
    let mut client = server.connect();
    let mut found: HashMap<String, usize> = HashMap::new();
    let (mut page, mut count) = (1, None);
    loop {
        let list = client.ask("GET", &format!("{TASKS}?page_size=100&page={page}"), token, None).unwrap();
        assert_eq!(list.status, 200, "{list:?}");
        let list = list.json();
        for task in list["results"].as_array().unwrap() {
            *found.entry(task["title"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        assert_eq!(*count.get_or_insert_with(|| list["count"].clone()), list["count"]);
        if list["next"].is_null() {
            let rows: usize = found.values().sum();
            assert_eq!(list["count"], rows, "the kept count is the number of rows");
            return found;
        }
        page += 1;
    }
}

// "full": a disk that takes no more, by a limit on the size of files.
#[test]
fn a_full_disk_refuses_writes_answers_reads_and_loses_nothing() {
    let site = Site::new();
    let mut limited = Command::new("sh");
    // 4096 blocks of 512 bytes. Without the signal, a write above the limit is an error like that of a full disk.
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" serve", env!("CARGO_BIN_EXE_bailiwick")]);
    let server = Server::start(site.command(Some(limited)));
    let mut client = server.connect();
    let mut kept = Vec::new();
    let filler = "x".repeat(10_000);
    let refused = loop {
        let title = format!("task-{}", kept.len());
        let answer = client
            .ask("POST", TASKS, &site.token, Some(&json!({"title": title, "description": filler})))
            .unwrap();
        match answer.status {
            201 => kept.push(title),
            _ => break answer,
        }
        assert!(kept.len() < 1000, "the limit was never met");
    };
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("unavailable")),
        "after {} tasks",
        kept.len()
    );
    let found = titles(&server, &site.token);
    assert!(kept.iter().all(|title| found.get(title) == Some(&1)), "{found:?}");
    server.stop();
    // With room again, all is there and more can be written.
    let server = site.serve();
    let found = titles(&server, &site.token);
    assert!(kept.iter().all(|title| found.get(title) == Some(&1)), "{found:?}");
    let more = server.connect().ask("POST", TASKS, &site.token, Some(&json!({"title": "more"}))).unwrap();
    assert_eq!(more.status, 201);
    server.stop();
}

/// Kills the server in the middle of 1,000 creates by 32 callers; what was answered 201 is there afterwards, once.
fn nothing_acknowledged_is_lost(site: &Site) {
    const CREATES: usize = 1000;
    const CALLERS: usize = 32;
    const KILL_AFTER: usize = 400;
    let server = site.serve();
    let (next, acknowledged) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let address = server.address;
    thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                let mut client = Connection::to(address);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CREATES {
                        return;
                    }
                    let title = format!("task-{number:04}");
                    // The server dies at some point; what it did not answer may be there or not.
                    let Ok(answer) = client.ask("POST", TASKS, &site.token, Some(&json!({"title": title})))
                    else {
                        return;
                    };
                    assert_eq!(answer.status, 201, "{answer:?}");
                    acknowledged.lock().unwrap().push(title);
                }
            });
        }
        while acknowledged.lock().unwrap().len() < KILL_AFTER {
            thread::yield_now();
        }
        server.kill();
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(
        (KILL_AFTER..CREATES).contains(&acknowledged.len()),
        "killed after {} creates",
        acknowledged.len()
    );
    let server = site.serve();
    let found = titles(&server, &site.token);
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let lost: Vec<_> = acknowledged.iter().filter(|title| !found.contains_key(*title)).collect();
    assert!(lost.is_empty(), "{} of {} are lost: {lost:?}", lost.len(), acknowledged.len());
    assert!(found.len() <= acknowledged.len() + CALLERS, "more than was asked for");
    assert_eq!(
        server.connect().ask("POST", TASKS, &site.token, Some(&json!({"title": "more"}))).unwrap().status,
        201
    );
    server.stop();
}

#[test]
fn serial_a_server_that_is_killed_has_lost_nothing_that_it_acknowledged() {
    nothing_acknowledged_is_lost(&Site::new());
}

/// Two servers and the command line on one database.
fn a_change_of_rights_is_in_force_everywhere(site: &Site) {
    const WITHIN: Duration = Duration::from_secs(1);
    let servers = [site.serve(), site.serve()];
    let [mut one, mut other] = servers.each_ref().map(Server::connect);
    let login = json!({"username": "ann", "password": PASSWORD});
    let issued = one.ask("POST", "/api/v1/auth/token/", "", Some(&login)).unwrap().json();
    let issued = issued["token"].as_str().unwrap();
    let status = |client: &mut Connection, token: &str| client.ask("GET", TASKS, token, None).unwrap().status;
    // Both servers have it from the database, and need not ask again.
    for client in [&mut one, &mut other] {
        assert_eq!([(); 20].map(|()| status(client, issued)), [200; 20]);
    }

    // What one server does is in force there at once, and on the other within a second (ACL-09).
    assert_eq!(one.ask("DELETE", "/api/v1/auth/token/", issued, None).unwrap().status, 204);
    assert_eq!(status(&mut one, issued), 401);
    let clock = SystemClock::new();
    while status(&mut other, issued) != 401 {
        assert!(clock.monotonic() < WITHIN, "the other server lets a revoked token in");
    }

    // So it is with a token of an organisation, whoever ends it.
    let tokens = "/api/v1/orgs/acme/tokens/";
    let made = json!({"name": "deploy", "role": "member"});
    let made = one.ask("POST", tokens, &site.token, Some(&made)).unwrap().json();
    let (id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    for client in [&mut one, &mut other] {
        assert_eq!([(); 20].map(|()| status(client, token)), [200; 20]);
    }
    let listed = site.done(&["token", "list", "--org", "acme", "--format", "json"], None);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let found = ["id", "state", "name", "role", "user_id"].map(|member| listed[0][member].clone());
    assert_eq!(found, [json!(id), json!("live"), json!("deploy"), json!("member"), made["user_id"].clone()]);
    let ended = one.ask("DELETE", &format!("{tokens}{id}/"), &site.token, None).unwrap();
    assert_eq!((ended.status, status(&mut one, token)), (204, 401));
    let clock = SystemClock::new();
    while status(&mut other, token) != 401 {
        assert!(clock.monotonic() < WITHIN, "the other server lets a revoked token of an organisation in");
    }

    // What a command does is in force on every server when it returns.
    site.done(&["user", "create", "bob", "--email", "bob@example.com", "--password-stdin"], Some(PASSWORD));
    site.done(&["org", "add-member", "acme", "bob", "--role", "owner"], None);
    let mut both = |token: &str| [&mut one, &mut other].map(|client| status(client, token));
    let mut step = |arguments: &[&str], before: u16, after: u16| {
        assert_eq!(both(&site.token), [before; 2], "before {arguments:?}");
        site.done(arguments, None);
        assert_eq!(both(&site.token), [after; 2], "after {arguments:?}");
    };
    step(&["org", "remove-member", "acme", "ann"], 200, 404);
    step(&["org", "add-member", "acme", "ann", "--role", "viewer"], 404, 200);
    step(&["user", "disable", "ann"], 200, 401);
    for server in servers {
        server.stop();
    }
}

#[test]
fn serial_a_change_of_rights_is_in_force_on_every_server() {
    a_change_of_rights_is_in_force_everywhere(&Site::new());
}

mod postgres {
    use bailiwick_testkit::databases::fresh_postgres;

    use super::*;

    #[test]
    fn serial_a_change_of_rights_is_in_force_on_every_server() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some(database) = runtime.block_on(fresh_postgres()) else { return };
        a_change_of_rights_is_in_force_everywhere(&Site::on(&database.url()));
    }

    #[test]
    fn serial_a_server_that_is_killed_has_lost_nothing_that_it_acknowledged() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let Some(database) = runtime.block_on(fresh_postgres()) else { return };
        nothing_acknowledged_is_lost(&Site::on(&database.url()));
    }
}
