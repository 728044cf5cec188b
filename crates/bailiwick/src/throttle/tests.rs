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
    query::PageSettings,
    request::{ClientAddr, Facts},
    units::Rate,
};
use bailiwick_store::MemoryCounters;
use bailiwick_testkit::{FakeClock, Fault, FaultyCounters, Operation, SeededEntropy};
use http::{Method, Request, Response, StatusCode};
use tower::ServiceExt;

use super::{By, Scope, Throttle, ThrottleLayer, Weight};
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
            .route("/scoped/", handler.clone())
            .route("/orgs/{org}/files", handler.clone())
            .route("/orgs/{org}/files/", handler)
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

/// Files that are listed by page and made for five, in a scope that lets three pass.
fn weighed(user: Rate) -> Throttle {
    let path = || "/orgs/{org}/files/".to_owned();
    let scope = Scope { name: "uploads", rate: Rate::per_minute(3), by: By::Principal };
    Throttle::new(Rate::per_minute(10), user)
        .weights([(Method::GET, path(), Weight::ByPage), (Method::POST, path(), Weight::units(5))])
        .scopes([(Method::POST, path(), scope)])
        .passing_uncounted([(Method::DELETE, path())])
}

/// How many units of `policy` are left, as `RateLimit` says.
fn left(response: &Response<Body>, policy: &str) -> u32 {
    let items = field(response, "ratelimit");
    let start = format!("\"{policy}\";r=");
    let item = items.split(", ").find_map(|item| item.strip_prefix(start.as_str()));
    item.unwrap_or_else(|| panic!("{items}")).split(';').next().unwrap().parse().unwrap()
}

// THR-37
#[tokio::test]
async fn a_request_spends_what_its_route_weighs_and_any_other_one() {
    let lab = Lab::new(weighed(Rate::per_minute(1000)));
    let ann = somebody(1);
    let mut expected = 1000;
    for (method, path, cost) in [
        (Method::POST, "/orgs/acme/files/", 5),
        (Method::POST, "/orgs/globex/files", 5),
        (Method::GET, "/orgs/acme/files/", 1),
        (Method::GET, "/orgs/acme/files?page=3", 1),
        (Method::GET, "/orgs/acme/files/?page_size=25", 1),
        (Method::GET, "/orgs/acme/files/?page_size=26", 2),
        (Method::GET, "/orgs/acme/files/?page_size=100", 4),
        (Method::GET, "/orgs/acme/files?search=a&page_size=1000&page=2", 4),
        (Method::GET, "/orgs/acme/files/?page_size=99999999999999999999999999", 4),
        // However it is written, what the list reads counts.
        (Method::GET, "/orgs/acme/files/?p%61ge%5Fsize=%31%30%30", 4),
        (Method::HEAD, "/orgs/acme/files/?page_size=100", 4),
        // What is no size is no page, and answered so.
        (Method::GET, "/orgs/acme/files/?page_size=", 1),
        (Method::GET, "/orgs/acme/files/?page_size", 1),
        (Method::GET, "/orgs/acme/files/?page_size=0", 1),
        (Method::GET, "/orgs/acme/files/?page_size=-100", 1),
        (Method::GET, "/orgs/acme/files/?page_size=+100", 1),
        (Method::GET, "/orgs/acme/files/?page_size=%FF%00", 1),
        (Method::GET, "/orgs/acme/files/?page_size[]=100", 1),
        (Method::GET, "/orgs/acme/files/?%", 1),
        (Method::GET, "/orgs/acme/files/?page_size=1&page_size=100", 1),
        // By no other method, and on no other route.
        (Method::DELETE, "/orgs/acme/files/?page_size=100", 1),
        (Method::PATCH, "/orgs/acme/files/?page_size=100", 1),
        (Method::GET, "/plain?page_size=100", 1),
        (Method::GET, "/nonsense?page_size=100", 1),
    ] {
        let response = lab.ask(by(&ann, request(method.clone(), path))).await;
        expected -= cost;
        assert_eq!(left(&response, "user"), expected, "{method} {path}");
    }
}

// THR-37
#[tokio::test]
async fn pages_are_as_large_as_they_are_set() {
    let pages = PageSettings { default_size: 10, max_size: 500, ..PageSettings::default() };
    let lab = Lab::new(weighed(Rate::per_minute(1000)).pages(pages));
    let ann = somebody(1);
    let mut expected = 1000;
    for (query, cost) in [("", 1), ("?page_size=25", 3), ("?page_size=500", 50), ("?page_size=501", 50)] {
        let response = lab.ask(by(&ann, get(&format!("/orgs/acme/files/{query}")))).await;
        expected -= cost;
        assert_eq!(left(&response, "user"), expected, "{query}");
    }
}

// THR-37
#[tokio::test]
async fn a_weight_counts_for_the_general_quota_and_a_scope_counts_requests() {
    let lab = Lab::new(weighed(Rate::per_minute(100)));
    let ann = somebody(1);
    let upload = |request| async { lab.ask(request).await };
    for (user, uploads) in [(95, 2), (90, 1), (85, 0)] {
        let response = upload(by(&ann, request(Method::POST, "/orgs/acme/files/"))).await;
        assert_eq!((left(&response, "user"), left(&response, "uploads")), (user, uploads));
    }
    // What the scope refuses costs nothing.
    let refused = upload(by(&ann, request(Method::POST, "/orgs/acme/files/"))).await;
    assert_eq!((refused.status(), left(&refused, "user")), (StatusCode::TOO_MANY_REQUESTS, 85));
    // Whoever has no principal spends the address's in the same way.
    let anonymous = upload(request(Method::POST, "/orgs/acme/files/")).await;
    assert_eq!((left(&anonymous, "anon"), left(&anonymous, "uploads")), (5, 2));
}

// THR-26, THR-37
#[tokio::test]
async fn what_weighs_too_much_now_is_told_when_it_does_not_and_what_weighs_less_still_passes() {
    let lab = Lab::new(weighed(Rate::per_minute(6)));
    let ann = somebody(1);
    let ask = async |path: &str| lab.ask(by(&ann, get(path))).await;
    assert_eq!(left(&ask("/orgs/acme/files/?page_size=100").await, "user"), 2);
    for _ in 0..3 {
        // Two more are needed, one each ten seconds; nothing is spent.
        let refused = ask("/orgs/acme/files/?page_size=100").await;
        assert_eq!((refused.status(), field(&refused, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "20"));
        assert_eq!(field(&refused, "ratelimit"), "\"user\";r=2;t=20");
        assert_eq!(field(&refused, "ratelimit-policy"), "\"user\";q=6;w=60");
    }
    assert_eq!(lab.reached(), 1);
    lab.clock.advance(Duration::from_secs(20) - Duration::from_nanos(1));
    assert_eq!(ask("/orgs/acme/files/?page_size=100").await.status(), 429);
    lab.clock.advance(Duration::from_nanos(1));
    assert_eq!(left(&ask("/orgs/acme/files/?page_size=100").await, "user"), 0);
    lab.clock.advance(Duration::from_secs(10));
    assert_eq!(left(&ask("/orgs/acme/files/").await, "user"), 0);
}

// THR-37
#[tokio::test]
async fn what_weighs_more_than_a_whole_quota_needs_the_whole_quota() {
    let lab = Lab::new(weighed(Rate::per_minute(3)));
    let ann = somebody(1);
    let ask = async |path: &str| lab.ask(by(&ann, get(path))).await;
    assert_eq!(left(&ask("/orgs/acme/files/?page_size=100").await, "user"), 0);
    lab.clock.advance(Duration::from_secs(59));
    let refused = ask("/orgs/acme/files/?page_size=100").await;
    assert_eq!((refused.status(), field(&refused, "retry-after")), (StatusCode::TOO_MANY_REQUESTS, "1"));
    lab.clock.advance(Duration::from_secs(1));
    assert_eq!(left(&ask("/orgs/acme/files/?page_size=100").await, "user"), 0);
}

// THR-33, THR-37
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_at_once_that_weigh_more_and_less_exactly_the_quota_passes() {
    let lab = Lab::new(weighed(Rate::per_hour(60)));
    let ann = somebody(1);
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..600_usize {
        let (query, cost) = [("", 1), ("?page_size=100", 4), ("?page_size=50", 2)][number % 3];
        let request = by(&ann, get(&format!("/orgs/acme/files/{query}")));
        let router = lab.router.clone();
        callers.spawn(async move {
            let status = router.oneshot(request).await.unwrap().status();
            if status == 200 { cost } else { 0 }
        });
    }
    // Two hundred wanted one unit: had one been left, one of them had it.
    assert_eq!(callers.join_all().await.into_iter().sum::<u32>(), 60);
}

#[test]
#[should_panic(expected = "a request costs one unit at least")]
fn nothing_weighs_nothing() {
    let _ = Weight::units(0);
}

// One answer without its body is worth as much as one with it.
#[tokio::test]
async fn a_scope_of_get_counts_head_too() {
    let scope = Scope { name: "exports", rate: Rate::per_minute(2), by: By::Address };
    let lab = Lab::new(Throttle::default().scopes([(Method::GET, "/scoped".to_owned(), scope)]));
    for (method, status) in [(Method::HEAD, 200), (Method::GET, 200), (Method::HEAD, 429), (Method::GET, 429)]
    {
        let response = lab.ask(request(method.clone(), "/scoped/")).await;
        assert_eq!((response.status().as_u16(), left(&response, "exports") < 2), (status, true), "{method}");
    }
    assert_eq!(lab.ask(request(Method::POST, "/scoped/")).await.status(), 200);
}

// THR-35
#[tokio::test]
async fn without_counters_a_weight_makes_no_difference() {
    let lab = Lab::new(weighed(Rate::per_minute(1000)));
    lab.counters.fail_all(Operation::Spend, Fault::Unavailable);
    for (method, status) in
        [(Method::GET, 200), (Method::POST, 503), (Method::DELETE, 200), (Method::PUT, 503)]
    {
        let response = lab.ask(request(method.clone(), "/orgs/acme/files/?page_size=100")).await;
        assert_eq!(response.status(), status, "{method}");
    }
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
