use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Extension, Router, body::Body, routing::any};
use bailiwick_core::{
    audit::Act,
    clock::{Clock, Entropy},
    id::Id,
    identity::{FoundMembership, Principal, Role, UserId},
    request::Facts,
    secret::Secret,
    store::{Directory, NewOrg, NewToken, NewUser, PrincipalStore, Proof, Store, TokenCreation, TokenStore},
};
use bailiwick_store::{OpenOptions, refinery::Runner};
use bailiwick_testkit::{
    FakeClock, Fault, FaultyStore, Operation, SeededEntropy, audit_keys,
    databases::{FreshSqlite, fresh_sqlite},
};
use http::{Method, Request, Response};
use tower::{ServiceBuilder, ServiceExt};

use super::{
    AuthnLayer, LogIn, RefuseLayer, Rejected,
    password::{HashCost, PasswordHasher},
    token::{TokenKind, TokenText, new_api_token},
};
use crate::problem::Problem;
use bailiwick_testkit::act;

const CHEAP: HashCost = HashCost { memory_kib: 8, iterations: 1, parallelism: 1 };

/// A database with one user, `ann`, her organisation `acme`, and her token.
struct World {
    store: FaultyStore,
    clock: FakeClock,
    entropy: SeededEntropy,
    ann: UserId,
    token: TokenText,
    _database: FreshSqlite,
}

impl World {
    async fn new() -> Self {
        let database = fresh_sqlite();
        let options = OpenOptions::default();
        bailiwick_store::migrate(&database.url(), &options, &Runner::new(&[]), &[]).await.unwrap();
        let opened = bailiwick_store::open(&database.url(), &options, audit_keys()).await;
        let store = FaultyStore::new(opened.unwrap());
        let (clock, entropy) = (FakeClock::new(), SeededEntropy::new(1));
        let hasher = PasswordHasher::new(CHEAP, 1, Arc::new(entropy.clone())).unwrap();
        let ann = Id::new(&clock, &entropy);
        let user = NewUser {
            id: ann,
            username: "ann".parse().unwrap(),
            email: "ann@example.com".to_owned(),
            password_hash: hasher.hash(Secret::new("right".to_owned())).await.unwrap(),
            is_staff: false,
            created_at: clock.now(),
        };
        store.create_user(user, act()).await.unwrap();
        let org = NewOrg {
            id: Id::new(&clock, &entropy),
            slug: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            owner: ann,
            created_at: clock.now(),
        };
        store.create_org(org, act()).await.unwrap();
        let (token, new) =
            new_api_token(TokenKind::Personal, ann, Duration::from_secs(60), 20, &clock, &entropy);
        let new = NewToken { name: Some("test".to_owned()), ..new };
        assert_eq!(store.create_token(new, act()).await.unwrap(), TokenCreation::Created);
        Self { store, clock, entropy, ann, token, _database: database }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    fn log_in(&self) -> LogIn {
        let entropy: Arc<dyn Entropy> = Arc::new(self.entropy.clone());
        let hasher = PasswordHasher::new(CHEAP, 1, Arc::clone(&entropy)).unwrap();
        LogIn::new(self.store(), hasher, Arc::new(self.clock.clone()), entropy, Duration::from_secs(60), 2)
    }
}

/// What stood in the extensions of a request between the two layers: that a credential was rejected, whom it proved,
/// and their place.
type Between = (bool, Option<UserId>, Option<FoundMembership>);

/// Asks a small application, and gives its answer and what was seen between the layers.
async fn ask(world: &World, method: Method, path: &str, fields: &[&str]) -> (Response<Body>, Between) {
    let seen: Arc<Mutex<Between>> = Arc::default();
    let note = {
        let seen = Arc::clone(&seen);
        move |request: Request<Body>| {
            let extensions = request.extensions();
            *seen.lock().unwrap() = (
                extensions.get::<Rejected>().is_some(),
                extensions.get::<Principal>().map(Principal::user_id),
                extensions.get::<FoundMembership>().cloned(),
            );
            request
        }
    };
    let handler = any(|principal: Option<Extension<Principal>>| async move {
        principal.map_or_else(|| "nobody".to_owned(), |Extension(principal)| principal.username.clone())
    });
    let layer = AuthnLayer::new(world.store(), Arc::new(world.clock.clone()))
        .credential_in_body([(Method::POST, "/log-in/".to_owned())]);
    let router = Router::new()
        .route("/", handler.clone())
        .route("/log-in", handler.clone())
        .route("/log-in/", handler.clone())
        .route("/orgs/{org}/", handler)
        .layer(
            ServiceBuilder::new()
                .layer(layer)
                .layer(tower::util::MapRequestLayer::new(note))
                .layer(RefuseLayer::new()),
        );
    let mut request = Request::builder().method(method).uri(path);
    for field in fields {
        request = request.header("authorization", *field);
    }
    let response = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    (response, seen)
}

async fn text(response: Response<Body>) -> String {
    let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
    String::from_utf8(bytes.into()).unwrap()
}

#[tokio::test]
async fn a_good_token_names_its_owner_and_none_names_nobody() {
    let world = World::new().await;
    let (response, between) = ask(&world, Method::GET, "/", &[]).await;
    assert_eq!((between, text(response).await.as_str()), ((false, None, None), "nobody"));
    for scheme in ["Token", "bearer"] {
        let field = format!("{scheme} {}", world.token.expose());
        let (response, between) = ask(&world, Method::GET, "/", &[&field]).await;
        assert_eq!((between, text(response).await.as_str()), ((false, Some(world.ann), None), "ann"));
    }
}

// The layers between see what is refused later: a failure is counted, and reaches no handler.
#[tokio::test]
async fn a_rejected_credential_passes_what_counts_and_no_further() {
    let world = World::new().await;
    for (fields, status) in
        [(&["Token x"][..], 401), (&["Basic eDp5"], 401), (&[""], 401), (&["Token a", "Token b"], 400)]
    {
        let (response, between) = ask(&world, Method::GET, "/", fields).await;
        assert_eq!((response.status().as_u16(), between), (status, (true, None, None)), "{fields:?}");
        assert_ne!(text(response).await, "nobody");
    }
}

// I9: not knowing is no reason to let anybody through, nor to call a good token bad.
#[tokio::test]
async fn a_token_that_cannot_be_looked_up_is_503() {
    let world = World::new().await;
    let field = format!("Token {}", world.token.expose());
    for fault in [Fault::Unavailable, Fault::Corrupt, Fault::Refused] {
        world.store.fail_all(Operation::PrincipalOf, fault);
        for path in ["/", "/orgs/acme/"] {
            let (response, between) = ask(&world, Method::GET, path, &[&field]).await;
            let problem = response.extensions().get::<Problem>().unwrap().code();
            assert_eq!((problem.as_str(), between.0, between.1), ("unavailable", true, None));
        }
        world.store.mend();
    }
}

// TOK-04
#[tokio::test]
async fn a_route_with_the_credential_in_its_body_ignores_the_header() {
    let world = World::new().await;
    let field = format!("Token {}", world.token.expose());
    for path in ["/log-in", "/log-in/"] {
        for fields in [&["Token x"][..], &["Token a", "Token b"], &[field.as_str()]] {
            let (response, between) = ask(&world, Method::POST, path, fields).await;
            assert_eq!((between, text(response).await.as_str()), ((false, None, None), "nobody"));
        }
        // Another method of the path is another route.
        let (response, _) = ask(&world, Method::DELETE, path, &["Token x"]).await;
        assert_eq!(response.status(), 401);
    }
    let (response, _) = ask(&world, Method::POST, "/", &["Token x"]).await;
    assert_eq!(response.status(), 401);
}

// The place that is found on the way is the one in the organisation of the path, and says so.
#[tokio::test]
async fn the_place_in_the_organisation_of_the_path_is_found_with_the_token() {
    let world = World::new().await;
    let field = format!("Token {}", world.token.expose());
    let found = |path: &'static str| {
        let (world, field) = (&world, &field);
        async move { ask(world, Method::GET, path, &[field]).await.1 }
    };
    let (_, ann, place) = found("/orgs/acme/").await;
    let place = place.unwrap();
    assert_eq!((ann, &*place.slug), (Some(world.ann), "acme"));
    assert_eq!(place.membership.map(|membership| membership.role()), Some(Role::Owner));
    let (_, ann, place) = found("/orgs/nowhere/").await;
    let place = place.unwrap();
    assert_eq!((ann, &*place.slug, place.membership), (Some(world.ann), "nowhere", None));
    // What can be no slug is not looked up.
    for path in ["/orgs/ACME/", "/orgs/%61cme/", "/orgs/%00/"] {
        assert_eq!(found(path).await, (false, Some(world.ann), None), "{path}");
    }
}

#[tokio::test]
async fn a_log_in_checks_the_password_and_that_the_user_may_come_in() {
    let world = World::new().await;
    let log_in = world.log_in();
    let code = |result: Result<_, Problem>| {
        result.map(|_: super::IssuedToken| ()).map_err(|problem| problem.code().as_str())
    };
    let facts = Facts::new();
    let with =
        |name: &'static str, password: String| log_in.with_password(name, Secret::new(password), &facts);
    assert_eq!(code(with("ann", "right".to_owned()).await), Ok(()));
    assert_eq!(code(with("ANN", "right".to_owned()).await), Ok(()));
    for (name, password) in [("ann", "wrong"), ("ann", ""), ("bob", "right"), ("", "")] {
        assert_eq!(
            code(with(name, password.to_owned()).await),
            Err("invalid-credentials"),
            "{name} {password}"
        );
    }
    assert_eq!(code(with("ann", "x".repeat(257)).await), Err("invalid-credentials"));
    world.store.set_active(&"ann".parse().unwrap(), false, Act::system(world.clock.now())).await.unwrap();
    assert_eq!(code(with("ann", "right".to_owned()).await), Err("invalid-credentials"));
}

#[tokio::test]
async fn a_log_in_keeps_so_many_tokens_and_log_out_ends_one() {
    let world = World::new().await;
    let log_in = world.log_in();
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(
            log_in.with_password("ann", Secret::new("right".to_owned()), &Facts::new()).await.unwrap().text,
        );
        world.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(tokens.iter().map(|token| token.expose().to_owned()).collect::<HashSet<_>>().len(), 3);
    let principal =
        |token: &TokenText| world.store.principal_of(Proof::ApiToken(token.digest()), world.clock.now());
    assert!(principal(&tokens[0]).await.unwrap().is_none(), "two are kept, the oldest went");
    let newest = principal(&tokens[2]).await.unwrap().unwrap();
    let bailiwick_core::identity::Credential::ApiToken(id) = newest.credential else { panic!("a token") };
    log_in.log_out(id, &Facts::new()).await.unwrap();
    log_in.log_out(id, &Facts::new()).await.unwrap();
    assert!(principal(&tokens[2]).await.unwrap().is_none());
    assert!(principal(&tokens[1]).await.unwrap().is_some());
}

// PWD-05
#[tokio::test]
async fn more_callers_than_may_wait_for_a_hash_are_told_to_come_back() {
    // Slow enough that the one thread takes up a job or two while the callers arrive, and no more.
    let cost = HashCost { memory_kib: 16_384, iterations: 2, parallelism: 1 };
    let hasher = PasswordHasher::new(cost, 1, Arc::new(SeededEntropy::new(1))).unwrap();
    let callers = (0..PasswordHasher::QUEUE + 20).map(|_| hasher.verify(Secret::new("x".to_owned()), None));
    let answers = futures_util::future::join_all(callers).await;
    let refused: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
    assert!((15..=20).contains(&refused.len()), "{}", refused.len());
    for problem in refused {
        assert_eq!(problem.status(), 503);
        let response: Response<Body> = problem.answer();
        assert_eq!(response.headers()["retry-after"], "1");
    }
    // Who has been served makes room.
    assert!(!hasher.verify(Secret::new("x".to_owned()), None).await.unwrap());
}

/// What Django made of `right` (PBKDF2 with 1000 iterations).
const OF_DJANGO: &str = "pbkdf2_sha256$1000$seasalt1$tq/taGJHeSM6OnYRPNpBRnputxhErDPRwysXGasAuWk=";

async fn ann_with_a_hash_of_django() -> World {
    let world = World::new().await;
    let hash = Secret::new(OF_DJANGO.to_owned());
    world.store.set_password(&"ann".parse().unwrap(), &hash, Act::system(world.clock.now())).await.unwrap();
    world
}

impl World {
    async fn stored_hash(&self) -> String {
        self.store.login("ann").await.unwrap().unwrap().password_hash.expose().clone()
    }

    async fn lets_in(&self, token: &TokenText) -> bool {
        self.store.principal_of(Proof::ApiToken(token.digest()), self.clock.now()).await.unwrap().is_some()
    }
}

// PWD-04
#[tokio::test]
async fn a_log_in_replaces_a_hash_of_another_format_and_ends_nothing() {
    let world = ann_with_a_hash_of_django().await;
    let log_in = world.log_in();
    let password = || Secret::new("right".to_owned());
    assert_eq!(
        log_in
            .with_password("ann", Secret::new("wrong".to_owned()), &Facts::new())
            .await
            .unwrap_err()
            .status(),
        401
    );
    assert_eq!(world.stored_hash().await, OF_DJANGO);

    let first = log_in.with_password("ann", password(), &Facts::new()).await.unwrap();
    let hash = world.stored_hash().await;
    assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
    let second = log_in.with_password("ann", password(), &Facts::new()).await.unwrap();
    assert_eq!(world.stored_hash().await, hash, "a present hash stays");
    assert_eq!(world.store.calls(Operation::RenewPasswordHash), 1);
    for token in [&first.text, &second.text, &world.token] {
        assert!(world.lets_in(token).await);
    }
}

// PWD-04
#[tokio::test]
async fn a_log_in_replaces_a_hash_of_other_parameters() {
    let world = World::new().await;
    let old = world.stored_hash().await;
    let entropy: Arc<dyn Entropy> = Arc::new(world.entropy.clone());
    let cost = HashCost { memory_kib: 16, ..CHEAP };
    let hasher = PasswordHasher::new(cost, 1, Arc::clone(&entropy)).unwrap();
    let log_in =
        LogIn::new(world.store(), hasher, Arc::new(world.clock.clone()), entropy, Duration::from_secs(60), 2);
    log_in.with_password("ann", Secret::new("right".to_owned()), &Facts::new()).await.unwrap();
    assert_ne!(world.stored_hash().await, old);
    assert!(world.stored_hash().await.starts_with("$argon2id$v=19$m=16,t=1,p=1$"));
}

#[tokio::test]
async fn a_hash_that_cannot_be_replaced_keeps_nobody_out() {
    for fault in [Fault::Unavailable, Fault::NotWritable, Fault::Corrupt, Fault::Refused, Fault::AnswerLost] {
        let world = ann_with_a_hash_of_django().await;
        world.store.fail_next(Operation::RenewPasswordHash, fault);
        let issued =
            world.log_in().with_password("ann", Secret::new("right".to_owned()), &Facts::new()).await;
        assert!(world.lets_in(&issued.unwrap().text).await, "{fault:?}");
        assert_eq!(world.stored_hash().await == OF_DJANGO, fault != Fault::AnswerLost);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn log_ins_at_the_same_time_all_succeed_though_one_replaces_the_hash() {
    let world = ann_with_a_hash_of_django().await;
    let log_in = world.log_in();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let log_in = log_in.clone();
        tasks.spawn(async move {
            log_in.with_password("ann", Secret::new("right".to_owned()), &Facts::new()).await
        });
    }
    while let Some(done) = tasks.join_next().await {
        assert!(done.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_disabled_user_is_refused_and_keeps_their_hash() {
    let world = ann_with_a_hash_of_django().await;
    world.store.set_active(&"ann".parse().unwrap(), false, Act::system(world.clock.now())).await.unwrap();
    let refused = world.log_in().with_password("ann", Secret::new("right".to_owned()), &Facts::new()).await;
    assert_eq!(refused.unwrap_err().status(), 401);
    assert_eq!(world.stored_hash().await, OF_DJANGO);
}
