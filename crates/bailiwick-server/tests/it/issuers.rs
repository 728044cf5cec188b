//! Access tokens of other issuers, on real servers whose settings trust them.
#![cfg(unix)]
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize, PublicKeyComponents},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use bailiwick::clock::{Clock, SystemClock};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::site::{Answer, Server, Site, set_mode};

/// Another issuer: a key of RSA, as Django's simplejwt has it.
struct Issuer {
    name: &'static str,
    pair: KeyPair,
}

impl Issuer {
    fn new(name: &'static str) -> Self {
        Self { name, pair: KeyPair::generate(KeySize::Rsa2048).unwrap() }
    }

    fn document(&self) -> String {
        let parts = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        let [n, e] = [&parts.n, &parts.e].map(|bytes| BASE64URL_NOPAD.encode(bytes));
        let key = json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "1", "n": n, "e": e});
        json!({ "keys": [key] }).to_string()
    }

    /// A token for ann, with this type and these claims besides.
    fn token(&self, typ: &str, claims: Value) -> String {
        let now = SystemClock::new().now().as_micros() / 1_000_000;
        let mut all = json!({"iss": self.name, "aud": "tasks", "sub": "Ann", "iat": now, "exp": now + 300});
        let Value::Object(claims) = claims else { panic!("claims") };
        all.as_object_mut().unwrap().extend(claims);
        let header = json!({"alg": "RS256", "kid": "1", "typ": typ});
        let [header, all] = [header, all].map(|json| BASE64URL_NOPAD.encode(json.to_string().as_bytes()));
        let text = format!("{header}.{all}");
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
        format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
    }

    fn good(&self) -> String {
        self.token("at+jwt", json!({}))
    }
}

/// Answers whoever asks with a document.
fn publish(document: String, address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let _ = connection.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", document.len());
            let _ = connection.write_all(format!("{head}{document}").as_bytes());
        }
    });
}

/// An address at which nobody listens yet.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn trust(site: &Site, tables: &str) {
    let path = site.path("bailiwick.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}{tables}")).unwrap();
}

fn write_keys(site: &Site, name: &str, document: &str) {
    fs::write(site.path(name), document).unwrap();
    set_mode(&site.path(name), 0o600);
}

/// What a request with this access token is answered.
fn ask(server: &Server, method: &str, path: &str, token: &str, body: &str) -> Answer {
    let mut client = server.connect();
    let head = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    client.send(head.as_bytes()).unwrap();
    client.answer(false).unwrap()
}

fn me(server: &Server, token: &str) -> u16 {
    ask(server, "GET", "/me/", token, "").status
}

/// Waits until it is so, and says how long that took.
#[expect(clippy::disallowed_methods, reason = "this measures real servers")]
fn until(what: &str, mut is_so: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{what}: never");
        thread::sleep(Duration::from_millis(10));
    }
    begun.elapsed()
}

// Contract §2
#[test]
fn tokens_of_others_open_what_their_user_may_do_on_every_server_and_end_with_the_user() {
    let (first, second) = (Issuer::new("https://first.example"), Issuer::new("https://second.example"));
    let site = Site::new();
    let address = free_address();
    write_keys(&site, "first.json", &first.document());
    publish(second.document(), address);
    trust(
        &site,
        &format!(
            "[[jwt.trusted_issuers]]\nissuer = 'https://first.example'\naudience = 'tasks'\njwks_file = 'first.json'\n\
             [[jwt.trusted_issuers]]\nissuer = 'https://second.example'\naudience = 'tasks'\ntypes = ['JWT']\n\
             username_claim = 'username'\njwks_url = 'http://{address}/keys'\n"
        ),
    );
    let servers = [site.serve(), site.serve()];
    let simplejwt = |claims: Value| {
        let mut all = json!({"username": "ANN", "token_type": "access", "sub": "7", "jti": "x"});
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        second.token("JWT", all)
    };
    for server in &servers {
        assert_eq!(me(server, &first.good()), 200);
        until("the keys come", || me(server, &simplejwt(json!({}))) == 200);
        // Nobody signs for another, with another type, or for this server.
        let mut forged = Issuer::new("https://first.example");
        assert_eq!(me(server, &forged.good()), 401);
        forged.name = "http://127.0.0.1:8000";
        assert_eq!(me(server, &forged.good()), 401);
        let as_second = Issuer { name: first.name, pair: KeyPair::generate(KeySize::Rsa2048).unwrap() };
        assert_eq!(me(server, &as_second.good()), 401);
        assert_eq!(me(server, &first.token("JWT", json!({}))), 401, "its type is not accepted");
        assert_eq!(me(server, &second.good()), 401, "nor is that of the other one");
        assert_eq!(me(server, &simplejwt(json!({"token_type": "refresh"}))), 401);
        assert_eq!(me(server, &first.token("at+jwt", json!({"aud": "other"}))), 401);
        assert_eq!(me(server, &first.token("at+jwt", json!({"sub": "nobody"}))), 401);
        let old = ask(server, "GET", "/me/", &first.token("at+jwt", json!({"exp": 1_700_000_000})), "");
        assert_eq!((old.status, &old.json()["detail"]), (401, &json!("the token has expired")));
    }
    let server = &servers[0];
    let tasks = "/orgs/acme/tasks/";
    let title = r#"{"title": "by another's token"}"#;
    assert_eq!(ask(server, "POST", tasks, &first.good(), title).status, 201);
    assert_eq!(ask(server, "GET", "/orgs/globex/tasks/", &first.good(), "").status, 404);
    // What the issuer has granted is all that the token is good for.
    let limited = first.token("at+jwt", json!({"scope": "openid tasks:read"}));
    assert_eq!(ask(server, "GET", tasks, &limited, "").status, 200);
    assert_eq!(ask(server, "POST", tasks, &limited, title).status, 403);
    assert_eq!(ask(server, "GET", "/auth/tokens/", &limited, "").status, 403);
    // It has no token, family or session here that could be ended.
    assert_eq!(ask(server, "DELETE", "/auth/token/", &first.good(), "").status, 403);
    let verify = format!(r#"{{"token": "{}"}}"#, first.good());
    assert_eq!(ask(server, "POST", "/auth/jwt/verify/", "x", &verify).status, 401);

    let token = first.good();
    for server in &servers {
        assert_eq!(me(server, &token), 200);
    }
    site.done(&["user", "disable", "ann"], None);
    for server in &servers {
        assert_eq!(me(server, &token), 401, "a command that ends something is in force when it returns");
        assert_eq!(me(server, &simplejwt(json!({}))), 401);
    }
    site.done(&["user", "enable", "ann"], None);
    assert_eq!(me(server, &token), 200, "the issuer has not ended it");

    // The issuer's key is another one now.
    let next = Issuer::new("https://first.example");
    write_keys(&site, "first.json", &next.document());
    for server in &servers {
        let took = until("the old key ends", || me(server, &token) == 401);
        assert!(took < Duration::from_secs(3), "{took:?}");
        assert_eq!(me(server, &next.good()), 200);
    }
}

// I9
#[test]
fn an_issuer_that_cannot_be_reached_keeps_nobody_from_starting_and_lets_nobody_in_until_it_is() {
    let issuer = Issuer::new("https://late.example");
    let site = Site::new();
    let address = free_address();
    trust(
        &site,
        &format!(
            "[[jwt.trusted_issuers]]\nissuer = 'https://late.example'\naudience = 'tasks'\njwks_url = 'http://{address}/'\n"
        ),
    );
    let server = site.serve();
    assert_eq!(me(&server, &issuer.good()), 503);
    publish(issuer.document(), address);
    until("it is reached", || me(&server, &issuer.good()) == 200);
    let output = server.stop();
    let told = |text: &str| output.out.lines().filter(|line| line.contains(text)).count();
    assert_eq!(told("the keys of an issuer cannot be read"), 1, "{}", output.out);
    assert_eq!(told("the keys of an issuer can be read again"), 1, "{}", output.out);
}

#[test]
fn settings_that_trust_nobody_in_particular_are_refused_at_start() {
    let refused = |tables: &str, why: &str| {
        let site = Site::new();
        trust(&site, tables);
        let output = site.run(&["serve"], None);
        assert!(output.code == Some(2) && output.err.contains(why), "{tables}: {}", output.err);
    };
    let table = "[[jwt.trusted_issuers]]\nissuer = 'https://a.example'\naudience = 'b'\n";
    refused(table, "JWT-002");
    refused(&format!("{table}jwks_file = 'missing.json'\n"), "missing.json cannot be read");
    refused(&format!("{table}jwks_url = 'http://a.example/keys'\n"), "JWT-003");
    refused(&format!("{table}jwks_url = 'https://a.example/keys'\njwks_file = 'a'\n"), "JWT-002");
    refused(&format!("{table}jwks_uri = 'https://a.example/keys'\n"), "did you mean");
    refused("[[jwt.trusted_issuers]]\nissuer = 'https://a.example'\njwks_file = 'a'\n", "this is missing");
    let mut site = Site::new();
    trust(&site, &format!("{table}jwks_url = 'https://a.example/keys'\n"));
    let shown = site.done(&["config", "show", "--format", "json"], None);
    assert!(shown.contains("jwt.trusted_issuers[1].jwks_url"), "{shown}");
    site.set("BAILIWICK_JWT__TRUSTED_ISSUERS", "[]");
    let output = site.run(&["config", "show"], None);
    assert!(output.code == Some(2) && output.err.contains("which variables cannot give"), "{}", output.err);
}
