//! Key sets of real servers and files: fetched once for many, replaced, late, wrong and gone.
use std::{
    fs,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, response::IntoResponse, routing::get};
use bailiwick_core::clock::OsEntropy;
use bailiwick_testkit::FakeClock;
use data_encoding::BASE64URL_NOPAD;
use http::{StatusCode, header};
use serde_json::json;
use tokio::{net::TcpListener, task::JoinSet};

use super::*;
use crate::authn::jwt::{Algorithm, SigningKey, jwks};

const SECOND: Duration = Duration::from_secs(1);

/// What the server of an issuer answers.
#[derive(Clone)]
enum Reply {
    Document(String),
    Kept(String, &'static str),
    Status(StatusCode),
    Redirect(String),
    Never,
}

/// The server of an issuer, which counts how often it is asked.
struct Site {
    url: String,
    asked: Arc<AtomicUsize>,
    reply: Arc<Mutex<Reply>>,
}

impl Site {
    async fn start(reply: Reply) -> Self {
        let (asked, reply) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(reply)));
        let (count, answer) = (Arc::clone(&asked), Arc::clone(&reply));
        let show = get(async move || {
            count.fetch_add(1, Ordering::SeqCst);
            let reply = answer.lock().unwrap().clone();
            // Long enough that whoever asks at the same time does so while this is under way.
            tokio::time::sleep(Duration::from_millis(50)).await;
            match reply {
                Reply::Document(text) => text.into_response(),
                Reply::Kept(text, control) => ([(header::CACHE_CONTROL, control)], text).into_response(),
                Reply::Status(status) => status.into_response(),
                Reply::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
                Reply::Never => future::pending().await,
            }
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().route("/keys", show)).await });
        Self { url, asked, reply }
    }

    fn set(&self, reply: Reply) {
        *self.reply.lock().unwrap() = reply;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn source(&self) -> KeySource {
        KeySource::Url(self.url.parse().unwrap())
    }
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::EdDsa, &OsEntropy).unwrap().0
}

fn documents(keys: &[&SigningKey]) -> String {
    jwks(keys.iter().copied()).unwrap()
}

/// A token of `issuer` for alice, good until 2030.
fn token(issuer: &str, key: &SigningKey) -> String {
    let header = json!({"alg": "EdDSA", "kid": key.kid(), "typ": "at+jwt"});
    let claims = json!({"iss": issuer, "aud": "api", "sub": "alice", "exp": 1_893_456_000});
    let [header, claims] = [header, claims].map(|json| BASE64URL_NOPAD.encode(json.to_string().as_bytes()));
    let signed = format!("{header}.{claims}");
    let signature = BASE64URL_NOPAD.encode(&key.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

struct World {
    clock: FakeClock,
    issuers: TrustedIssuers,
}

impl World {
    fn new(sources: impl IntoIterator<Item = (&'static str, KeySource)>) -> Self {
        let clock = FakeClock::new();
        Self { issuers: trust(sources, &clock).unwrap(), clock }
    }

    /// The status that a request with this token gets, before its user is looked up; 0 if it is of nobody who is trusted.
    async fn status(&self, token: &str) -> u16 {
        match self.issuers.prove(token).await {
            None => 0,
            Some(Ok((proof, _))) => {
                assert!(matches!(proof, Proof::External(name) if name.as_str() == "alice"));
                200
            }
            Some(Err(problem)) => problem.status().as_u16(),
        }
    }
}

fn trust(
    sources: impl IntoIterator<Item = (&'static str, KeySource)>,
    clock: &FakeClock,
) -> Result<TrustedIssuers, InvalidIssuers> {
    let issuers = sources.into_iter().map(|(issuer, keys)| TrustedIssuer {
        tokens: ExternalTokens {
            issuer: issuer.to_owned(),
            audience: "api".to_owned(),
            username_claim: "sub".to_owned(),
            types: ExternalTokens::TYPES.map(str::to_owned).to_vec(),
            leeway: 30 * SECOND,
        },
        keys,
    });
    let clock: Arc<dyn Clock> = Arc::new(clock.clone());
    TrustedIssuers::new(issuers.collect(), Some("own"), &clock)
}

// JWT-34
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_unknown_keys_at_once_are_one_question_and_more_of_them_none_for_half_a_minute() {
    let (first, second) = (key(), key());
    let site = Site::start(Reply::Document(documents(&[&first]))).await;
    let world = Arc::new(World::new([("a", site.source())]));
    assert_eq!(site.asked(), 0, "it starts without asking");
    assert_eq!(world.status(&token("a", &first)).await, 200);
    assert_eq!(site.asked(), 1);

    let together = async |wanted: u16, forged: bool| {
        let mut tasks = JoinSet::new();
        for _ in 0..100 {
            let world = Arc::clone(&world);
            let token = if forged { token("a", &key()) } else { token("a", &second) };
            tasks.spawn(async move { world.status(&token).await });
        }
        while let Some(status) = tasks.join_next().await {
            assert_eq!(status.unwrap(), wanted);
        }
    };
    // The key is new: the first who shows it has it fetched, for all.
    site.set(Reply::Document(documents(&[&first, &second])));
    together(200, false).await;
    assert_eq!(site.asked(), 2);
    together(401, true).await;
    together(401, true).await;
    assert_eq!(site.asked(), 2, "the half minute is not over");
    assert_eq!(world.status(&token("a", &first)).await, 200);
    world.clock.advance(30 * SECOND);
    together(401, true).await;
    assert_eq!(site.asked(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_comes_first_together_waits_for_one_fetch() {
    let first = key();
    let site = Site::start(Reply::Document(documents(&[&first]))).await;
    let world = Arc::new(World::new([("a", site.source())]));
    let mut tasks = JoinSet::new();
    for _ in 0..100 {
        let (world, token) = (Arc::clone(&world), token("a", &first));
        tasks.spawn(async move { world.status(&token).await });
    }
    while let Some(status) = tasks.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert_eq!(site.asked(), 1);
}

// JWT-34: GHSA-675f-rq2r-jw82.
#[tokio::test]
async fn a_set_is_replaced_as_a_whole_and_what_was_verified_is_forgotten() {
    let (first, second) = (key(), key());
    let site = Site::start(Reply::Document(documents(&[&first]))).await;
    let world = World::new([("a", site.source())]);
    assert_eq!(world.status(&token("a", &first)).await, 200);
    site.set(Reply::Document(documents(&[&second])));
    assert_eq!(world.status(&token("a", &second)).await, 200);
    assert_eq!(world.status(&token("a", &first)).await, 401, "the key is gone");
    // No key at all is what the issuer says, too.
    site.set(Reply::Document("{\"keys\":[]}".to_owned()));
    world.clock.advance(30 * SECOND);
    assert_eq!(world.status(&token("a", &first)).await, 401);
    assert_eq!(world.status(&token("a", &second)).await, 401);
}

/// Waits until the site was asked so often.
async fn until_asked(site: &Site, times: usize) {
    for _ in 0..200 {
        if site.asked() == times {
            // And its answer has come.
            tokio::time::sleep(Duration::from_millis(150)).await;
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("asked {} times, not {times}", site.asked());
}

// KEY-04
#[tokio::test]
async fn a_set_is_fetched_again_when_it_is_old_and_nobody_waits_for_that() {
    let (first, second) = (key(), key());
    let old = token("a", &first);
    for (control, seconds) in
        [("public", 300), ("max-age=120", 120), ("max-age=5", 60), ("no-store", 60), ("max-age=999999", 3600)]
    {
        let site = Site::start(Reply::Kept(documents(&[&first]), control)).await;
        let world = World::new([("a", site.source())]);
        assert_eq!(world.status(&old).await, 200);
        site.set(Reply::Kept(documents(&[&second]), control));
        world.clock.advance(seconds * SECOND - Duration::from_millis(1));
        assert_eq!((world.status(&old).await, site.asked()), (200, 1), "{control}");
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(world.status(&old).await, 200, "this one is told what was known");
        until_asked(&site, 2).await;
        assert_eq!(world.status(&old).await, 401, "{control}: the key is gone");
    }
}

// I9
#[tokio::test]
async fn what_cannot_be_read_again_is_used_for_an_hour_more_and_then_nobody_knows() {
    let (first, second) = (key(), key());
    let evil = Site::start(Reply::Document(documents(&[&second]))).await;
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(300 * 1024));
    for wrong in [
        Reply::Status(StatusCode::INTERNAL_SERVER_ERROR),
        Reply::Status(StatusCode::NO_CONTENT),
        Reply::Document("<html>login</html>".to_owned()),
        Reply::Document("{}".to_owned()),
        Reply::Document(huge.clone()),
        Reply::Redirect(evil.url.clone()),
    ] {
        let site = Site::start(Reply::Document(documents(&[&first]))).await;
        let world = World::new([("a", site.source())]);
        assert_eq!(world.status(&token("a", &first)).await, 200);
        site.set(wrong);
        // Whether it is a key of the issuer, nobody can say now.
        assert_eq!(world.status(&token("a", &second)).await, 503);
        assert_eq!(world.status(&token("a", &first)).await, 200);
        world.clock.advance(300 * SECOND);
        assert_eq!(world.status(&token("a", &first)).await, 200);
        until_asked(&site, 3).await;
        // It is not asked again with each request, but after a while.
        for _ in 0..10 {
            assert_eq!(world.status(&token("a", &first)).await, 200);
        }
        assert_eq!(site.asked(), 3);
        world.clock.advance(3600 * SECOND - Duration::from_millis(1));
        assert_eq!(world.status(&token("a", &first)).await, 200);
        until_asked(&site, 4).await;
        world.clock.advance(Duration::from_millis(1));
        assert_eq!(world.status(&token("a", &first)).await, 503);
        world.clock.advance(10 * SECOND);
        site.set(Reply::Document(documents(&[&first])));
        assert_eq!(world.status(&token("a", &first)).await, 200, "it answers again");
    }
    assert_eq!(evil.asked(), 0, "no redirect is followed");
}

#[tokio::test]
async fn an_issuer_that_never_answers_holds_up_nobody_else_and_its_own_for_five_seconds_at_most() {
    let (first, second) = (key(), key());
    let dead = Site::start(Reply::Never).await;
    let site = Site::start(Reply::Document(documents(&[&second]))).await;
    let world = Arc::new(World::new([("a", dead.source()), ("b", site.source())]));
    let waiting = tokio::spawn({
        let (world, token) = (Arc::clone(&world), token("a", &first));
        async move { world.status(&token).await }
    });
    until_asked(&dead, 1).await;
    assert_eq!(world.status(&token("b", &second)).await, 200);
    assert!(!waiting.is_finished());
    let status = tokio::time::timeout(8 * SECOND, waiting).await.expect("it is given up");
    assert_eq!(status.unwrap(), 503);
    // The next one does not wait at all.
    let late = token("a", &first);
    assert_eq!(tokio::time::timeout(SECOND, world.status(&late)).await.expect("it was tried just now"), 503);
    assert_eq!(dead.asked(), 1);
    // What is forged for an issuer whose keys are known is refused all the same.
    assert_eq!(world.status(&token("b", &first)).await, 401);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_break_the_fetch_off_for_the_others() {
    let first = key();
    let site = Site::start(Reply::Document(documents(&[&first]))).await;
    let world = World::new([("a", site.source())]);
    let hasty = tokio::time::timeout(Duration::from_millis(10), world.issuers.prove("")).await;
    assert!(hasty.is_ok(), "what is no token asks nothing");
    let token = token("a", &first);
    assert!(tokio::time::timeout(Duration::from_millis(10), world.status(&token)).await.is_err());
    assert_eq!(world.status(&token).await, 200);
    assert_eq!(site.asked(), 1);
}

#[tokio::test]
async fn each_issuer_has_its_own_keys_and_none_signs_for_another_or_for_this_server() {
    let (first, second) = (key(), key());
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, key: &SigningKey| {
        let path = directory.path().join(name);
        fs::write(&path, documents(&[key])).unwrap();
        KeySource::File(path)
    };
    let world = World::new([("a", file("a", &first)), ("b", file("b", &second))]);
    assert_eq!(world.status(&token("a", &first)).await, 200);
    assert_eq!(world.status(&token("b", &second)).await, 200);
    assert_eq!(world.status(&token("a", &second)).await, 401);
    assert_eq!(world.status(&token("b", &first)).await, 401);
    for other in ["own", "c", "", "A", "a "] {
        assert_eq!(world.status(&token(other, &first)).await, 0, "{other}");
    }
    assert_eq!(world.status("a.b.c").await, 0);
}

#[tokio::test]
async fn a_file_that_is_replaced_is_in_force_within_a_second() {
    let (first, second) = (key(), key());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    fs::write(&path, documents(&[&first])).unwrap();
    let world = World::new([("a", KeySource::File(path.clone()))]);
    assert_eq!(world.status(&token("a", &first)).await, 200);
    fs::write(&path, documents(&[&second])).unwrap();
    assert_eq!(world.status(&token("a", &second)).await, 200, "an unknown key has it read at once");
    assert_eq!(world.status(&token("a", &first)).await, 401);
    fs::write(&path, documents(&[&first])).unwrap();
    assert_eq!(world.status(&token("a", &second)).await, 200, "for less than a second");
    world.clock.advance(SECOND);
    assert_eq!(world.status(&token("a", &second)).await, 401);
    assert_eq!(world.status(&token("a", &first)).await, 200);
    // Half of it, as of somebody who writes it in place.
    let text = documents(&[&first, &second]);
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    world.clock.advance(SECOND);
    assert_eq!(world.status(&token("a", &first)).await, 200);
    fs::remove_file(&path).unwrap();
    world.clock.advance(10 * SECOND);
    assert_eq!(world.status(&token("a", &first)).await, 200);
    world.clock.advance(3600 * SECOND);
    assert_eq!(world.status(&token("a", &first)).await, 503);
}

#[tokio::test]
async fn a_server_that_keeps_its_keys_fetches_them_before_anybody_asks() {
    let first = key();
    let site = Site::start(Reply::Document(documents(&[&first]))).await;
    let world = World::new([("a", site.source())]);
    let keeping = tokio::spawn({
        let issuers = world.issuers.clone();
        async move { issuers.keep().await }
    });
    until_asked(&site, 1).await;
    assert_eq!(world.status(&token("a", &first)).await, 200);
    world.clock.advance(300 * SECOND);
    until_asked(&site, 2).await;
    keeping.abort();
}

#[test]
fn issuers_that_cannot_be_told_apart_or_have_no_keys_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        KeySource::File(path)
    };
    let good = || file("good", "{\"keys\":[]}");
    let refused = |sources: Vec<(&'static str, KeySource)>| {
        trust(sources, &FakeClock::new()).expect_err("it is refused").to_string()
    };
    assert!(trust([("a", good()), ("b", good())], &FakeClock::new()).is_ok());
    assert!(refused(vec![("a", good()), ("a", good())]).contains("twice"));
    assert!(refused(vec![("own", good())]).contains("this server's own"));
    let missing = KeySource::File(directory.path().join("missing"));
    assert!(refused(vec![("a", missing)]).contains("missing cannot be read"));
    assert!(refused(vec![("a", KeySource::File(directory.path().to_owned()))]).contains("cannot be read"));
    assert!(refused(vec![("a", file("text", "no keys"))]).contains("no key set"));
    assert!(refused(vec![("a", file("long", &" ".repeat(300 * 1024)))]).contains("longer than 256 KiB"));
    for url in ["ftp://a.example/keys", "/keys"] {
        assert!(
            refused(vec![("a", KeySource::Url(url.parse().unwrap()))]).contains("no URL of https or http")
        );
    }
}
