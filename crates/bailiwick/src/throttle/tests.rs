use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::any};
use bailiwick_core::{
    clock::Timestamp,
    id::Id,
    identity::{Credential, Principal, PrincipalParts, Scopes},
    request::{ClientAddr, Facts},
    units::Rate,
};
use bailiwick_store::MemoryCounters;
use bailiwick_testkit::{FakeClock, Fault, FaultyCounters, Operation, SeededEntropy};
use http::{Method, Request, Response, StatusCode};
use tower::ServiceExt;

use super::{By, Scope, Throttle, ThrottleLayer};
use crate::problem::Problem;

/// Two routes behind a throttle, and how often they were reached.
struct Lab {
    clock: FakeClock,
    counters: FaultyCounters,
    router: Router,
    reached: Arc<AtomicUsize>,
}

impl Lab {
    fn new(throttle: Throttle) -> Self {
        let clock = FakeClock::new();
        let counters = FaultyCounters::new(Arc::new(MemoryCounters::new(Arc::new(clock.clone()))));
        let reached = Arc::new(AtomicUsize::new(0));
        let count = reached.clone();
        let handler = any(move || {
            count.fetch_add(1, Ordering::Relaxed);
            async { "reached" }
        });
        let router = Router::new()
            .route("/plain", handler.clone())
            .route("/scoped", handler.clone())
            .route("/scoped/", handler)
            .layer(ThrottleLayer::new(throttle, Arc::new(counters.clone())));
        Self { clock, counters, router, reached }
    }

    async fn ask(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.unwrap()
    }

    fn reached(&self) -> usize {
        self.reached.load(Ordering::Relaxed)
    }
}

fn request(method: Method, path: &str) -> Request<Body> {
    Request::builder().method(method).uri(path).body(Body::empty()).unwrap()
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path)
}

fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    let address: IpAddr = address.parse().unwrap();
    request.extensions_mut().insert(ClientAddr(address));
    request
}

fn by(principal: &Principal, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(principal.clone());
    request
}

fn somebody(seed: u64) -> Principal {
    let (clock, entropy) = (FakeClock::new(), SeededEntropy::new(seed));
    Principal::new(PrincipalParts {
        user_id: Id::new(&clock, &entropy),
        username: "ann".to_owned(),
        email: "ann@example.com".to_owned(),
        is_staff: false,
        service_of: None,
        created_at: Timestamp::from_micros(0),
        credential: Credential::ApiToken(Id::new(&clock, &entropy)),
        scopes: Scopes::ALL,
        last_used_at: None,
        expires_at: Timestamp::MAX,
    })
}

fn field<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

fn scoped(by: By) -> Throttle {
    let scope = Scope { name: "login", rate: Rate::per_minute(2), by };
    // With a slash or without: one route.
    Throttle::new(Rate::per_minute(10), Rate::per_minute(20)).scopes([(
        Method::POST,
        "/scoped/".to_owned(),
        scope,
    )])
}

#[tokio::test]
async fn whoever_has_no_principal_is_counted_by_address_and_whoever_has_one_by_it() {
    let lab = Lab::new(Throttle::new(Rate::per_minute(2), Rate::per_minute(3)));
    let (ann, bob) = (somebody(1), somebody(2));
    for (request, expected) in [
        (from("192.0.2.1", get("/plain")), "\"anon\";r=1;t=30"),
        (from("192.0.2.1", get("/plain")), "\"anon\";r=0;t=30"),
        (from("192.0.2.2", get("/plain")), "\"anon\";r=1;t=30"),
        (by(&ann, from("192.0.2.1", get("/plain"))), "\"user\";r=2;t=20"),
        (by(&ann, from("192.0.2.9", get("/plain"))), "\"user\";r=1;t=20"),
        (by(&bob, from("192.0.2.1", get("/plain"))), "\"user\";r=2;t=20"),
    ] {
        let response = lab.ask(request).await;
        assert_eq!((response.status(), field(&response, "ratelimit")), (StatusCode::OK, expected));
    }
    let refused = lab.ask(from("192.0.2.1", get("/plain"))).await;
    assert_eq!(refused.status(), 429);
    assert_eq!(lab.reached(), 6);
}

#[tokio::test]
async fn a_request_that_is_refused_reaches_nothing_and_says_why() {
    let lab = Lab::new(Throttle::new(Rate::per_minute(1), Rate::per_minute(1)));
    lab.ask(get("/plain")).await;
    lab.clock.advance(Duration::from_millis(500));
    let mut request = get("/plain");
    let facts = Facts::new();
    request.extensions_mut().insert(facts.clone());
    let refused = lab.ask(request).await;
    assert_eq!(refused.status(), 429);
    let problem = refused.extensions().get::<Problem>().unwrap();
    assert_eq!(problem.code().as_str(), "throttled");
    // 59.5 s, rounded up (THR-26).
    assert_eq!((field(&refused, "retry-after"), field(&refused, "ratelimit")), ("60", "\"anon\";r=0;t=60"));
    assert_eq!(field(&refused, "ratelimit-policy"), "\"anon\";q=1;w=60");
    assert_eq!((facts.throttled(), lab.reached()), (Some("anon"), 1));
}

#[tokio::test]
async fn a_scope_belongs_to_one_method_of_one_route_with_and_without_its_slash() {
    let lab = Lab::new(scoped(By::Address));
    for (method, path, has_scope) in [
        (Method::POST, "/scoped", true),
        (Method::POST, "/scoped/", true),
        (Method::GET, "/scoped", false),
        (Method::POST, "/plain", false),
        (Method::POST, "/nonsense", false),
    ] {
        let response = lab.ask(request(method.clone(), path)).await;
        assert_eq!(field(&response, "ratelimit-policy").contains("login"), has_scope, "{method} {path}");
    }
    let third = lab.ask(request(Method::POST, "/scoped")).await;
    assert_eq!(third.status(), 429);
}

#[tokio::test]
async fn a_scope_counts_whom_it_says() {
    let ann = somebody(1);
    for (by_whom, second_address) in [(By::Address, 200), (By::Principal, 429)] {
        let lab = Lab::new(scoped(by_whom));
        let post = |address| by(&ann, from(address, request(Method::POST, "/scoped")));
        for _ in 0..2 {
            assert_eq!(lab.ask(post("192.0.2.1")).await.status(), 200);
        }
        assert_eq!(lab.ask(post("192.0.2.1")).await.status(), 429);
        assert_eq!(lab.ask(post("192.0.2.2")).await.status(), second_address, "{by_whom:?}");
        // Without a principal, both count the address.
        let anonymous = lab.ask(from("192.0.2.3", request(Method::POST, "/scoped"))).await;
        assert_eq!(field(&anonymous, "ratelimit"), "\"anon\";r=9;t=6, \"login\";r=1;t=30");
    }
}

#[tokio::test]
async fn what_one_quota_refuses_the_others_keep() {
    let lab = Lab::new(scoped(By::Address));
    for _ in 0..5 {
        lab.ask(request(Method::POST, "/scoped")).await;
    }
    let left = lab.ask(get("/plain")).await;
    // Two were let through, three were not, and this is the third.
    assert_eq!(field(&left, "ratelimit"), "\"anon\";r=7;t=6");
}

// THR-35
#[tokio::test]
async fn without_counters_safe_methods_pass_and_nothing_else_does() {
    let lab = Lab::new(Throttle::default());
    lab.counters.fail_all(Operation::Spend, Fault::Unavailable);
    for (method, status) in [
        (Method::GET, 200),
        (Method::HEAD, 200),
        (Method::OPTIONS, 200),
        (Method::POST, 503),
        (Method::PUT, 503),
        (Method::PATCH, 503),
        (Method::DELETE, 503),
        (Method::from_bytes(b"BREW").unwrap(), 503),
    ] {
        let before = lab.reached();
        let response = lab.ask(request(method.clone(), "/plain")).await;
        assert_eq!(response.status(), status, "{method}");
        assert_eq!(lab.reached() - before, usize::from(status == 200), "{method}");
        assert_eq!(field(&response, "ratelimit"), "", "nothing is known");
    }
}
