//! Quotas that several servers share, on Redis and in the database, and what happens when Redis is not there.
use std::{
    net::{SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use bailiwick::clock::{Clock, SystemClock};
use bailiwick_testkit::databases;
use serde_json::json;
use tempfile::TempDir;

use crate::site::{Connection, PASSWORD, Server, Site};

const TASKS: &str = "/api/v1/orgs/acme/tasks/";
/// A page of as many rows as there can be: it costs four units (THR-37).
const WHOLE: &str = "/api/v1/orgs/acme/tasks/?page_size=100";
/// Half as many: two.
const HALF: &str = "/api/v1/orgs/acme/tasks/?page_size=50";
const LOG_IN: &str = "/api/v1/auth/token/";
/// What a call may take beside a time limit, on a machine that has other things to do.
const LEEWAY: Duration = Duration::from_secs(2);

/// A Redis server of the test's own, which it may stop. It keeps nothing.
struct Redis {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Redis {
    /// Starts one, or says that the program is missing, as the suite's own services.
    fn start() -> Option<Self> {
        // Where the suite runs whole, Redis is installed.
        databases::redis_url()?;
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let child = spawn(&directory, port);
        let mut redis = Self { child, port, directory };
        redis.wait();
        Some(redis)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(&self.directory, self.port);
        self.wait();
    }

    fn wait(&mut self) {
        let clock = SystemClock::new();
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(clock.monotonic() < Duration::from_secs(20), "redis-server does not start");
            assert!(matches!(self.child.try_wait(), Ok(None)), "redis-server has ended");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &TempDir, port: u16) -> Child {
    let mut command = Command::new("redis-server");
    command.args([
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
        "--save",
        "",
        "--appendonly",
        "no",
        "--dir",
    ]);
    command.arg(directory.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("redis-server (apt-get install redis-server): {error}"))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How many of `count` requests without a credential, made at once, are not refused for their number.
fn admitted(addresses: &[SocketAddr], count: usize) -> usize {
    passing(addresses, count, "none", |_| TASKS).len()
}

/// Which of `count` requests with this token, made at once, are not refused for their number.
fn passing(
    addresses: &[SocketAddr],
    count: usize,
    token: &str,
    path: impl Fn(usize) -> &'static str + Sync,
) -> Vec<usize> {
    const CALLERS: usize = 20;
    let (next, passed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let others = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            let (next, passed, others, path) = (&next, &passed, &others, &path);
            scope.spawn(move || {
                let mut client = Connection::to(addresses[caller % addresses.len()]);
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= count {
                        return;
                    }
                    match client.ask("GET", path(number), token, None).unwrap().status {
                        200 | 401 => passed.lock().unwrap().push(number),
                        429 => {}
                        other => others.lock().unwrap().push(other),
                    }
                }
            });
        }
    });
    assert_eq!(others.into_inner().unwrap(), [0; 0], "every request is counted");
    passed.into_inner().unwrap()
}

fn sharing(mut site: Site, shared_url: &str) -> Site {
    site.set("BAILIWICK_SHARED__URL", shared_url);
    site.set("BAILIWICK_THROTTLE__RATES__ANON", "60/hour");
    site
}

/// Of five hundred requests to two servers at once, sixty pass; and what one server counts of an account, the other knows.
fn two_servers_share_their_quotas(mut site: Site) {
    site.set("BAILIWICK_THROTTLE__RATES__USER", "60/hour");
    let servers = [site.serve(), site.serve()];
    let addresses = servers.each_ref().map(|server| server.address);
    assert_eq!(admitted(&addresses, 500), 60);
    assert_eq!(admitted(&addresses[..1], 20) + admitted(&addresses[1..], 20), 0);
    // Of pages that cost four, one and two (THR-37), as many as sixty units buy. Many want one unit, so none is left over.
    let mixed = |number: usize| [(4, WHOLE), (1, TASKS), (2, HALF)][number % 3];
    let passed = passing(&addresses, 500, &site.token, |number| mixed(number).1);
    assert_eq!(passed.into_iter().map(|number| mixed(number).0).sum::<usize>(), 60);
    for server in servers {
        server.stop();
    }
    // A quota outlives the servers.
    let server = site.serve();
    assert_eq!(admitted(&[server.address], 20), 0);
    server.stop();

    site.set("BAILIWICK_THROTTLE__RATES__ANON", "1000/s");
    site.set("BAILIWICK_THROTTLE__RATES__LOGIN", "1000/s");
    site.set("BAILIWICK_THROTTLE__RATES__LOGIN_ACCOUNT", "4/hour");
    site.set("BAILIWICK_CHECK__ALLOW", "RATE-002");
    let servers = [site.serve(), site.serve()];
    let [mut one, mut other] = servers.each_ref().map(Server::connect);
    let log_in = |client: &mut Connection, password: &str| {
        let body = json!({"username": "ann", "password": password});
        client.ask("POST", LOG_IN, "", Some(&body)).unwrap().status
    };
    // The address had spent all of its smaller quota: it begins the larger one with nothing, and has some a moment later.
    assert_eq!(one.ask("GET", TASKS, "none", None).unwrap().status, 429);
    thread::sleep(Duration::from_millis(200));
    // A success on one server forgets what failed on the other (PWD-17).
    assert_eq!([log_in(&mut one, "wrong"), log_in(&mut one, "wrong"), log_in(&mut one, "wrong")], [401; 3]);
    assert_eq!(log_in(&mut other, PASSWORD), 200);
    assert_eq!([log_in(&mut one, "wrong"), log_in(&mut other, "wrong")], [401; 2]);
    assert_eq!([log_in(&mut one, "wrong"), log_in(&mut other, "wrong")], [401; 2]);
    assert_eq!([log_in(&mut one, PASSWORD), log_in(&mut other, PASSWORD)], [429; 2]);
    for server in servers {
        server.stop();
    }
}

#[test]
fn serial_two_servers_share_their_quotas_on_redis() {
    let Some(redis) = Redis::start() else { return };
    two_servers_share_their_quotas(sharing(Site::new(), &redis.url()));
}

#[test]
fn serial_two_servers_share_their_quotas_in_sqlite() {
    two_servers_share_their_quotas(sharing(Site::new(), "database"));
}

#[test]
fn serial_two_servers_share_their_quotas_in_postgresql() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(database) = runtime.block_on(databases::fresh_postgres()) else { return };
    two_servers_share_their_quotas(sharing(Site::on(&database.url()), "database"));
}

// THR-35, contract §1
#[test]
fn serial_without_redis_reads_pass_and_log_ins_do_not_until_it_is_back() {
    let Some(mut redis) = Redis::start() else { return };
    let site = sharing(Site::new(), &redis.url());
    let server = site.serve();
    let mut client = server.connect();
    let login = json!({"username": "ann", "password": PASSWORD});
    let mut statuses = || {
        let read = client.ask("GET", TASKS, &site.token, None).unwrap();
        let write = client.ask("POST", TASKS, &site.token, Some(&json!({"title": "x"}))).unwrap().status;
        let log_in = client.ask("POST", LOG_IN, "", Some(&login)).unwrap().status;
        (read.status, read.head.to_ascii_lowercase().contains("ratelimit"), write, log_in)
    };
    assert_eq!(statuses(), (200, true, 201, 200));
    redis.stop();
    for _ in 0..20 {
        assert_eq!(statuses(), (200, false, 503, 503));
    }
    redis.start_again();
    let clock = SystemClock::new();
    while statuses() != (200, true, 201, 200) {
        assert!(clock.monotonic() < Duration::from_secs(10), "the server does not find Redis again");
        thread::sleep(Duration::from_millis(50));
    }
    // Scripts are forgotten by SCRIPT FLUSH, and told again.
    let flushed =
        Command::new("redis-cli").args(["-p", &redis.port.to_string(), "SCRIPT", "FLUSH"]).output().unwrap();
    assert!(flushed.status.success(), "{flushed:?}");
    assert_eq!(statuses(), (200, true, 201, 200));
    let output = server.stop();
    let told = output.out.matches("the counters are out of reach: reads pass uncounted").count();
    assert!((1..=3).contains(&told), "{told}: {}", output.out);
    assert!(output.out.contains("Redis answers again"), "{}", output.out);
}

/// A Redis that stopped answering and keeps its connections.
#[test]
fn serial_a_redis_that_hangs_costs_no_more_than_its_time_limit() {
    let Some(redis) = Redis::start() else { return };
    let site = sharing(Site::new(), &redis.url());
    let server = site.serve();
    let signal = |name: &str| {
        let sent = Command::new("kill").args([name, &redis.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    };
    let mut client = server.connect();
    let mut read = || client.ask("GET", TASKS, &site.token, None).unwrap().status;
    assert_eq!(read(), 200);
    signal("-STOP");
    let clock = SystemClock::new();
    assert_eq!(read(), 200);
    // One waits for 500 ms, and whoever comes while it is looked for, for 1 s at most; then nobody does.
    assert!(clock.monotonic() < Duration::from_millis(500) + LEEWAY, "{:?}", clock.monotonic());
    assert_eq!(read(), 200);
    assert!(clock.monotonic() < Duration::from_millis(1500) + LEEWAY, "{:?}", clock.monotonic());
    let clock = SystemClock::new();
    assert_eq!([(); 50].map(|()| read()), [200; 50]);
    assert!(clock.monotonic() < LEEWAY, "{:?}", clock.monotonic());
    let login = json!({"username": "ann", "password": PASSWORD});
    assert_eq!(server.connect().ask("POST", LOG_IN, "", Some(&login)).unwrap().status, 503);
    signal("-CONT");
    let clock = SystemClock::new();
    while server.connect().ask("POST", LOG_IN, "", Some(&login)).unwrap().status != 200 {
        assert!(clock.monotonic() < Duration::from_secs(10), "the server does not find Redis again");
        thread::sleep(Duration::from_millis(50));
    }
    server.stop();
}

#[test]
fn a_redis_that_cannot_be_used_stops_the_start_and_the_message_says_what_to_do() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("redis://ann:s3cret@{}", silent.local_addr().unwrap());
    for (url, code, words) in [
        ("redis://ann:s3cret@127.0.0.1:1", 3, "no Redis server answers at 127.0.0.1:1"),
        (silent.as_str(), 3, "did not answer in time"),
        ("rediss://:s3cret@127.0.0.1:1/#insecure", 2, "takes any certificate"),
        ("redis://:s3cret@", 2, "names no host"),
    ] {
        let mut site = Site::new();
        site.set("BAILIWICK_SHARED__URL", url);
        let output = site.run(&["serve"], None);
        assert_eq!(output.code, Some(code), "{url}: {}", output.err);
        assert!(output.err.contains(words) && output.err.contains("shared.url"), "{url}: {}", output.err);
        assert!(!output.err.contains("s3cret") && !output.out.contains("s3cret"), "{url}: {}", output.err);
    }
}

#[test]
fn a_redis_that_wants_a_password_says_so_and_takes_it() {
    let Some(redis) = Redis::start() else { return };
    let port = redis.port.to_string();
    let set = Command::new("redis-cli")
        .args(["-p", &port, "CONFIG", "SET", "requirepass", "s3cret"])
        .output()
        .unwrap();
    assert!(set.status.success(), "{set:?}");
    for url in [redis.url(), format!("redis://:wrong@127.0.0.1:{port}")] {
        let mut site = Site::new();
        site.set("BAILIWICK_SHARED__URL", &url);
        let output = site.run(&["serve"], None);
        assert_eq!(output.code, Some(3), "{url}: {}", output.err);
        assert!(
            output.err.contains("does not let us in") && !output.err.contains("wrong@"),
            "{}",
            output.err
        );
    }
    let site = sharing(Site::new(), &format!("redis://:s3cret@127.0.0.1:{port}"));
    let server = site.serve();
    assert_eq!(admitted(&[server.address], 100), 60);
    let output = server.stop();
    assert!(!output.out.contains("s3cret") && !output.err.contains("s3cret"));
}
