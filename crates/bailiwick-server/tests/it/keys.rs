//! Signing keys and families on real servers: several of them on one database, and the command line beside.
#![cfg(unix)]
use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bailiwick::secret::Secret;
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};
use data_encoding::{BASE64, BASE64URL, HEXLOWER, HEXUPPER};
use serde_json::{Value, json};

use crate::site::{Answer, Connection, PASSWORD, Server, Site};

/// Within this, what one server changes is in force on all (contract §2).
const IN_FORCE: Duration = Duration::from_secs(1);

/// A site where nobody is counted.
fn site() -> Site {
    let mut site = Site::new();
    open_to_tests(&mut site);
    site
}

fn open_to_tests(site: &mut Site) {
    for rate in ["ANON", "LOGIN", "REFRESH"] {
        site.set(&format!("BAILIWICK_THROTTLE__RATES__{rate}"), "1000000/s");
    }
    site.set("BAILIWICK_CHECK__ALLOW", "RATE-002");
}

fn post(client: &mut Connection, path: &str, body: &Value) -> Answer {
    client.ask("POST", &format!("/api/v1/auth/jwt/{path}"), "x", Some(body)).unwrap()
}

fn log_in(client: &mut Connection) -> Value {
    let answer = post(client, "", &json!({"username": "ann", "password": PASSWORD}));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

fn refresh(client: &mut Connection, pair: &Value) -> Answer {
    post(client, "refresh/", &json!({"refresh": pair["refresh"]}))
}

/// What a request with this access token is answered.
fn me(client: &mut Connection, pair: &Value) -> u16 {
    let access = pair["access"].as_str().unwrap();
    let head =
        format!("GET /api/v1/me/ HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {access}\r\n\r\n");
    client.send(head.as_bytes()).unwrap();
    client.answer(false).unwrap().status
}

/// Waits until it is so, and says how long that took.
#[expect(clippy::disallowed_methods, reason = "this measures real servers")]
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < 10 * IN_FORCE, "{what}: never");
        thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

fn list(site: &Site) -> Vec<Value> {
    let text = site.done(&["key", "list", "--format", "json"], None);
    serde_json::from_str::<Value>(&text).unwrap().as_array().unwrap().clone()
}

fn states(site: &Site) -> Vec<String> {
    list(site).iter().map(|key| key["state"].as_str().unwrap().to_owned()).collect()
}

fn kids(server: &Server) -> Vec<String> {
    let mut client = server.connect();
    client.send(b"GET /.well-known/jwks.json HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let keys = client.answer(false).unwrap().json();
    keys["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Two servers on one database; and a site on PostgreSQL, where there is one.
fn on_every_database(test: impl Fn(&Site, &Server, &Server)) {
    let mut sites = vec![Site::new()];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let postgres = runtime.block_on(bailiwick_testkit::databases::fresh_postgres());
    sites.extend(postgres.as_ref().map(|database| Site::on(&database.url())));
    for mut site in sites {
        open_to_tests(&mut site);
        let (one, two) = (site.serve(), site.serve());
        test(&site, &one, &two);
        one.stop();
        two.stop();
    }
}

// JWT-41, JWT-48
#[test]
fn what_ends_a_family_on_one_server_ends_its_access_tokens_on_the_other() {
    on_every_database(|_, one, two| {
        let (mut here, mut there) = (one.connect(), two.connect());
        let first = log_in(&mut here);
        let second = refresh(&mut here, &first).json();
        assert_eq!(
            refresh(&mut there, &first).json()["refresh"],
            second["refresh"],
            "the same on every server"
        );
        let third = refresh(&mut there, &second).json();
        assert_eq!((me(&mut here, &third), me(&mut there, &third)), (200, 200));
        // A grandparent is used again.
        assert_eq!(refresh(&mut here, &first).status, 401);
        assert_eq!(me(&mut here, &third), 401, "at once where it was noticed");
        let took = until("reuse", || me(&mut there, &third) == 401);
        assert!(took < IN_FORCE, "{took:?}");
        assert_eq!(refresh(&mut there, &third).status, 401);

        let pair = log_in(&mut here);
        assert_eq!((me(&mut here, &pair), me(&mut there, &pair)), (200, 200));
        assert_eq!(post(&mut here, "revoke/", &json!({"refresh": pair["refresh"]})).status, 200);
        assert_eq!(me(&mut here, &pair), 401);
        let took = until("revocation", || me(&mut there, &pair) == 401);
        assert!(took < IN_FORCE, "{took:?}");
    });
}

// KEY-04: and the command returns when all servers act on it.
#[test]
fn a_key_that_is_revoked_on_the_command_line_is_over_on_every_server() {
    on_every_database(|site, one, two| {
        let (mut here, mut there) = (one.connect(), two.connect());
        let pair = log_in(&mut here);
        assert_eq!((me(&mut here, &pair), me(&mut there, &pair)), (200, 200));
        let keys = list(site);
        assert_eq!(
            (keys.len(), &keys[0]["state"], &keys[0]["live_tokens"]),
            (1, &json!("active"), &json!(1))
        );
        let stolen = keys[0]["kid"].as_str().unwrap();
        site.done(&["key", "revoke", stolen], None);
        assert_eq!((me(&mut here, &pair), me(&mut there, &pair)), (401, 401));
        for server in [one, two] {
            assert!(!kids(server).contains(&stolen.to_owned()));
        }
        let next = refresh(&mut there, &pair);
        assert_eq!(next.status, 200, "families live on: their tokens are signed by another key");
        assert_eq!(me(&mut here, &next.json()), 200);
        assert_eq!(states(site), ["revoked", "active"]);
        assert_eq!(site.run(&["key", "revoke", stolen], None).code, Some(1));
    });
}

// KEY-02, contract §2
#[test]
fn the_command_line_publishes_promotes_retires_and_says_how_long_to_wait() {
    let site = site();
    let first = list(&site)[0]["kid"].as_str().unwrap().to_owned();
    let server = site.serve();
    assert_eq!(kids(&server), std::slice::from_ref(&first), "migrate has made the first key, and all use it");
    let next = site.done(&["key", "generate"], None).trim().to_owned();
    assert_eq!(kids(&server), [first.clone(), next.clone()]);
    let early = site.run(&["key", "promote", &next], None);
    assert_eq!((early.code, early.out.as_str()), (Some(1), ""));
    assert!(early.err.contains("another 3") && early.err.contains("--now"), "{}", early.err);
    let only = site.run(&["key", "retire", &first], None);
    assert!(only.code == Some(1) && only.err.contains("key rotate"), "{}", only.err);
    for command in ["promote", "retire", "revoke"] {
        let unknown = site.run(&["key", command, "nonsense"], None);
        assert!(unknown.code == Some(1) && unknown.err.contains("key list"), "{command}: {}", unknown.err);
        // A kid is base64url, so one of 64 begins like an option.
        assert_eq!(site.run(&["key", command, "-Nonsense"], None).code, Some(1), "{command}");
        assert_eq!(site.run(&["key", command], None).code, Some(2));
    }
    site.done(&["key", "promote", &next, "--now"], None);
    assert_eq!(states(&site), ["retiring", "active"]);
    assert_eq!(kids(&server).len(), 2, "it verifies through the grace");
    assert_eq!(site.run(&["key", "promote", &next], None).code, Some(1));
    let event = |line: &str| line.contains(&next) && line.contains("active");

    let third = site.done(&["key", "rotate"], None).trim().to_owned();
    assert_eq!(site.done(&["key", "rotate"], None).trim(), third, "it is under way");
    assert_eq!(states(&site), ["retiring", "active", "next"]);
    assert!(list(&site)[2]["promote_at"].is_string());
    assert_eq!(site.done(&["key", "rotate", "--now"], None).trim(), third);
    assert_eq!(states(&site), ["retiring", "retiring", "active"]);
    let table = site.done(&["key", "list"], None);
    assert!(table.starts_with("KID") && table.contains(&third) && table.contains("LIVE TOKENS"), "{table}");
    let log = server.stop().out;
    assert!(log.lines().any(event), "KEY-10: {log}");
}

// Issue: `key rotate` under load, of 100 requests a second.
#[test]
#[expect(clippy::disallowed_methods, reason = "this measures real servers")]
fn keys_are_rotated_under_load_and_no_request_is_refused() {
    const CLIENTS: u32 = 4;
    /// Of each client. Together they ask a third oftener than they must, to make up for moments when the machine is busy.
    const PACE: Duration = Duration::from_millis(30);
    let site = site();
    let (one, two) = (site.serve(), site.serve());
    let (stop, asked, refused) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    let begin = Barrier::new(CLIENTS as usize + 1);
    let rate = thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (here, there) = if number % 2 == 0 { (&one, &two) } else { (&two, &one) };
            let (mut client, mut other) = (here.connect(), there.connect());
            let (stop, asked, refused, begin) = (&stop, &asked, &refused, &begin);
            scope.spawn(move || {
                let first = log_in(&mut client);
                let mut pair = first.clone();
                begin.wait();
                let mut due = Instant::now();
                for round in 0_u32.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if round % 30 == 29 {
                        let next = refresh(&mut client, &pair);
                        assert_eq!(next.status, 200);
                        pair = next.json();
                    }
                    let status = match round % 3 {
                        0 => me(&mut client, &pair),
                        // What one server issued is shown to the other at once.
                        1 => me(&mut other, &pair),
                        _ => me(&mut client, &first),
                    };
                    asked.fetch_add(1, Ordering::Relaxed);
                    refused.fetch_add(u32::from(status != 200), Ordering::Relaxed);
                    due += PACE;
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                }
            });
        }
        let before = list(&site).len();
        begin.wait();
        let begun = Instant::now();
        for _ in 0..3 {
            site.done(&["key", "rotate", "--now"], None);
        }
        let (asked, took) = (asked.load(Ordering::Relaxed), begun.elapsed());
        stop.store(true, Ordering::Relaxed);
        assert_eq!(list(&site).len(), before + 3);
        f64::from(asked) / took.as_secs_f64()
    });
    assert_eq!(refused.load(Ordering::Relaxed), 0, "of {}", asked.load(Ordering::Relaxed));
    assert!(rate >= 100.0, "{rate} requests a second");
    assert_eq!(states(&site), ["retiring", "retiring", "retiring", "active"]);
    one.stop();
    two.stop();
}

// KEY-12
#[test]
fn a_new_master_key_reads_with_the_former_one_and_then_without_it() {
    const NEW: &str = "1b9f04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b4c7";
    let mut site = site();
    let server = site.serve();
    let pair = log_in(&mut server.connect());
    server.stop();
    let former = fs::read_to_string(site.path("master.key")).unwrap().trim().to_owned();
    fs::write(site.path("master.key"), NEW).unwrap();
    let refused = site.run(&["serve"], None);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("secrets.master_key_fallbacks"), "{}", refused.err);
    site.set("BAILIWICK_SECRETS__MASTER_KEY_FALLBACKS", &former);
    let server = site.serve();
    assert_eq!(me(&mut server.connect(), &pair), 200);
    thread::sleep(IN_FORCE);
    server.stop();
    site.set("BAILIWICK_SECRETS__MASTER_KEY_FALLBACKS", "");
    let server = site.serve();
    assert_eq!(me(&mut server.connect(), &pair), 200);
    assert_eq!(refresh(&mut server.connect(), &pair).status, 200);
    server.stop();
}

// TOK-24, JWT-18
#[test]
fn no_token_is_readable_in_the_database_or_the_log() {
    let site = site();
    let server = site.serve();
    let mut client = server.connect();
    let first = log_in(&mut client);
    let second = refresh(&mut client, &first).json();
    assert_eq!(me(&mut client, &second), 200);
    assert_eq!(refresh(&mut client, &json!({"refresh": "bw_rt_x"})).status, 401);
    let mut kept = Vec::new();
    for file in ["bailiwick.db", "bailiwick.db-wal"] {
        kept.extend(fs::read(site.path(file)).unwrap_or_default());
    }
    assert!(kept.len() > 10_000);
    let output = server.stop();
    kept.extend(output.out.into_bytes());
    kept.extend(output.err.into_bytes());
    for pair in [first, second] {
        for token in ["access", "refresh"].map(|name| pair[name].as_str().unwrap()) {
            // The last part alone would do: it is the secret, or the signature.
            let part = token.rsplit(['.', '_']).next().unwrap();
            assert!(!kept.windows(part.len()).any(|window| window == part.as_bytes()), "{token}");
        }
    }
}

/// The private keys in the database, which takes the master key (KEY-12).
fn private_keys(site: &Site) -> Vec<Vec<u8>> {
    let master = fs::read_to_string(site.path("master.key")).unwrap();
    let master = HEXLOWER.decode(master.trim().as_bytes()).unwrap().try_into().unwrap();
    let sealing = Secret::new(master).derive("bailiwick signing keys\u{1}").derive("sealing");
    let cipher = XChaCha20Poly1305::new(&(*sealing.expose()).into());
    let database = rusqlite::Connection::open(site.path("bailiwick.db")).unwrap();
    let mut keys = database.prepare("SELECT kid, sealed_by, sealed FROM signing_keys").unwrap();
    let keys = keys.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
    });
    let open = |(kid, sealed_by, sealed): (String, String, Vec<u8>)| {
        let (nonce, msg) = sealed.split_first_chunk::<24>().unwrap();
        let aad = ["signing_keys", &kid, &sealed_by].join("\0");
        cipher.decrypt(&XNonce::from(*nonce), Payload { msg, aad: aad.as_bytes() }).unwrap()
    };
    keys.unwrap().map(|row| open(row.unwrap())).collect()
}

/// How a key may be written: as it is, in hexadecimal, or in either base64, alone or in the middle of something else.
fn writings(key: &[u8]) -> Vec<Vec<u8>> {
    let whole = [key.to_vec(), HEXLOWER.encode(key).into(), HEXUPPER.encode(key).into()];
    // Base64 writes three bytes at once: where in them the key begins is not known.
    let middle = (0..3).flat_map(|at| {
        let groups = &key[at..key.len() - 2 + at];
        [BASE64.encode(&groups[..groups.len() / 3 * 3]), BASE64URL.encode(&groups[..groups.len() / 3 * 3])]
    });
    whole.into_iter().chain(middle.map(String::into_bytes)).collect()
}

// KEY-12, issue: no private key in the database, the log or the trail.
#[test]
fn no_private_key_is_readable_in_the_database_the_log_or_the_trail() {
    let site = site();
    let server = site.serve();
    let pair = log_in(&mut server.connect());
    assert_eq!(me(&mut server.connect(), &pair), 200);
    site.done(&["key", "rotate", "--now"], None);
    let next = site.done(&["key", "generate"], None).trim().to_owned();
    let keys = private_keys(&site);
    assert!(
        keys.len() == 3 && keys.iter().all(|key| key.len() == 32),
        "Ed25519, of which the seed is the key"
    );
    let mut kept = site.done(&["audit", "export"], None).into_bytes();
    for file in ["bailiwick.db", "bailiwick.db-wal"] {
        kept.extend(fs::read(site.path(file)).unwrap_or_default());
    }
    let output = server.stop();
    kept.extend([output.out, output.err].concat().into_bytes());
    // What stopped the server has copied the log into the file.
    kept.extend(fs::read(site.path("bailiwick.db")).unwrap());
    let has = |needle: &[u8]| kept.windows(needle.len()).any(|window| window == needle);
    assert!(has(next.as_bytes()), "the name of a key is there");
    for (at, writing) in keys.iter().flat_map(|key| writings(key)).enumerate() {
        assert!(!has(&writing), "{at}");
    }
}

// KEY-02, KEY-03: a configuration whose keys would follow each other too fast.
#[test]
fn a_rotation_that_is_faster_than_keys_end_is_refused() {
    let mut site = site();
    site.set("BAILIWICK_JWT__ROTATE_EVERY", "10m");
    let refused = site.run(&["serve"], None);
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("JWT-001") && refused.err.contains("780 s"), "{}", refused.err);
}

// KEY-10: the playbook, as it is printed.
#[test]
fn every_command_of_the_guide_runs() {
    const GUIDE: &str = include_str!("../../../../docs/guide/key-rotation.md");
    let scripts: Vec<_> =
        GUIDE.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(scripts.len() >= 6, "{}", scripts.len());
    let site = site();
    let server = site.serve();
    let pair = log_in(&mut server.connect());
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_bailiwick")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let mut shell = site.command(Some(std::process::Command::new("sh")));
    shell.env("PATH", path).args(["-eu", "-c", &scripts.concat()]);
    let done = crate::site::finish(shell, None);
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(done.out.contains("not yet") && done.err.contains("may be cached for another"), "{}", done.err);
    // The leaked key signed the last of these; what it signed is over, and the user is not logged out.
    let states = states(&site);
    assert!(states.contains(&"revoked".to_owned()) && states.contains(&"active".to_owned()), "{states:?}");
    assert_eq!(me(&mut server.connect(), &pair), 401);
    let next = refresh(&mut server.connect(), &pair);
    assert_eq!((next.status, me(&mut server.connect(), &next.json())), (200, 200));
    server.stop();
}
