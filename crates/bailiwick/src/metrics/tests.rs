use std::{
    convert::Infallible,
    future::{Future, pending},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Waker},
    time::Duration,
};

use axum::body::Body;
use bailiwick_core::{
    audit::{Act, Noted, SecurityEvent, SecurityEventKind, Witness},
    clock::{Clock, Timestamp},
    meter::{Distribution, Meter, Metered, Value},
    request::{AuthMethod, AuthOutcome, Facts, Scheme, Tally, ThrottleOutcome, Unread},
};
use bailiwick_testkit::Scrape;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use super::{Metrics, MetricsLayer};
use crate::{
    problem::{Problem, ProblemLayer},
    trace::{Format, Log, TraceLayer},
};

const TOOK: &str = "http_server_request_duration_seconds_count";
const EVENTS: &str = "bailiwick_security_events_total";

/// A clock that moves 30 ms each time somebody measures.
#[derive(Default)]
struct Ticking(Mutex<Duration>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        "2026-01-31T09:00:00.5Z".parse().unwrap()
    }

    fn monotonic(&self) -> Duration {
        let mut time = self.0.lock().unwrap();
        *time += Duration::from_millis(30);
        *time
    }
}

fn metrics() -> Metrics {
    Metrics::new(Arc::new(Ticking::default()))
}

fn scrape(metrics: &Metrics) -> Scrape {
    let text = metrics.render();
    Scrape::parse(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

fn get(uri: &str) -> Request<Body> {
    Request::builder().uri(uri).body(Body::empty()).unwrap()
}

/// Serves one request to its end.
async fn serve<S>(metrics: &Metrics, service: S, request: Request<Body>) -> StatusCode
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let service = MetricsLayer::new(metrics.clone()).layer(ProblemLayer::new().layer(service));
    let response = service.oneshot(request).await.unwrap();
    let status = response.status();
    response.into_body().collect().await.unwrap();
    status
}

/// Asks a future once whether it is ready.
fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

async fn fine(_: Request<Body>) -> Result<Response<Body>, Infallible> {
    Ok(Response::new(Body::from("12345")))
}

// MET-01, MET-02
#[tokio::test]
async fn a_request_is_one_observation_with_the_attributes_of_the_convention() {
    let metrics = metrics();
    let routed = |request: Request<Body>| async move {
        request.extensions().get::<Facts>().unwrap().set_route("/orgs/{org}/tasks/");
        Ok(Response::new(Body::from("12345")))
    };
    let mut request = get("/orgs/acme/tasks/?q=secret");
    request.extensions_mut().insert(Scheme::Https);
    serve(&metrics, service_fn(routed), request).await;
    let text = metrics.render();
    let labels = "http_request_method=\"GET\",url_scheme=\"https\",network_protocol_version=\"1.1\",\
                  http_response_status_code=\"200\",http_route=\"/orgs/{org}/tasks/\"";
    let bounds = [
        "0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5", "0.75", "1", "2.5", "5", "7.5", "10",
    ];
    for (place, bound) in bounds.into_iter().chain(["+Inf"]).enumerate() {
        // It took 30 ms.
        let count = u32::from(place >= 3);
        let line =
            format!("http_server_request_duration_seconds_bucket{{{labels},le=\"{bound}\"}} {count}\n");
        assert!(text.contains(&line), "{line} is not in:\n{text}");
    }
    assert!(text.contains(&format!("http_server_request_duration_seconds_sum{{{labels}}} 0.03\n")), "{text}");
    assert!(text.contains(&format!("{TOOK}{{{labels}}} 1\n")), "{text}");
    assert!(text.contains("process_start_time_seconds 1769850000\n"), "{text}");
    assert!(!text.contains("secret") && !text.contains("acme"), "{text}");
}

// MET-03
#[tokio::test]
async fn without_a_route_there_is_no_label_for_it() {
    let metrics = metrics();
    serve(&metrics, service_fn(|_| async { Ok(Problem::not_found().answer()) }), get("/nowhere")).await;
    let scrape = scrape(&metrics);
    assert_eq!(scrape.value(TOOK, &[("http_response_status_code", "404")]), 1.0);
    let labels = scrape.labels("http_server_request_duration_seconds");
    assert!(!labels.contains("http_route") && !labels.contains("error_type"), "{labels:?}");
}

#[tokio::test]
async fn failures_panics_and_clients_that_go_are_told_apart() {
    let metrics = metrics();
    let unavailable = service_fn(|_| async { Ok(Problem::unavailable().answer()) });
    assert_eq!(serve(&metrics, unavailable, get("/")).await, 503);
    let panics = service_fn(|request: Request<Body>| async move {
        assert_ne!(request.uri(), "/", "on purpose");
        fine(request).await
    });
    assert_eq!(serve(&metrics, panics, get("/")).await, 500);

    // The client goes before the answer begins.
    let never = service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let mut waiting = Box::pin(MetricsLayer::new(metrics.clone()).layer(never).oneshot(get("/")));
    assert!(is_pending(&mut waiting));
    assert_eq!(scrape(&metrics).value("http_server_active_requests", &[]), 1.0);
    drop(waiting);

    let scrape = scrape(&metrics);
    let failed = |status: &str, error: &str| {
        scrape.value(TOOK, &[("http_response_status_code", status), ("error_type", error)])
    };
    assert_eq!((failed("503", "503"), failed("500", "500"), failed("499", "client_gone")), (1.0, 1.0, 1.0));
    assert_eq!(scrape.value(TOOK, &[]), 3.0);
    assert_eq!(scrape.value("http_server_active_requests", &[]), 0.0);
}

#[tokio::test]
async fn a_request_is_active_until_its_answer_has_ended() {
    let metrics = metrics();
    let service = MetricsLayer::new(metrics.clone()).layer(service_fn(fine));
    let response = service.oneshot(get("/")).await.unwrap();
    let active =
        |scrape: &Scrape| scrape.value("http_server_active_requests", &[("http_request_method", "GET")]);
    let before = scrape(&metrics);
    assert_eq!((active(&before), before.value(TOOK, &[])), (1.0, 0.0));
    drop(response);
    let after = scrape(&metrics);
    assert_eq!((active(&after), after.value(TOOK, &[])), (0.0, 1.0));
}

#[tokio::test]
async fn of_a_request_that_could_not_be_read_the_wait_counts_and_the_method_does_not() {
    let metrics = metrics();
    let mut request = get("/");
    request.extensions_mut().insert(Unread { waited: Duration::from_secs(6) });
    serve(&metrics, service_fn(|_| async { Ok(Problem::request_timeout().answer()) }), request).await;
    let scrape = scrape(&metrics);
    assert_eq!(scrape.value(TOOK, &[("http_request_method", "_OTHER")]), 1.0);
    assert_eq!(scrape.value("http_server_request_duration_seconds_sum", &[]), 6.03);
}

#[tokio::test]
async fn what_was_noted_is_counted_and_the_log_tells_it_all_the_same() {
    let metrics = metrics();
    let lines: Arc<Mutex<Vec<u8>>> = Arc::default();
    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let clock = Arc::new(Ticking::default());
    let log = Log::new(Sink(lines.clone()), Format::Json, tracing::Level::INFO, clock).unwrap();
    let noting = |request: Request<Body>| async move {
        let facts = request.extensions().get::<Facts>().unwrap();
        facts.note(SecurityEvent::new(SecurityEventKind::TokenReuse));
        facts.note(SecurityEvent::new(SecurityEventKind::TokenReuse));
        let (method, outcome) = (AuthMethod::Session, AuthOutcome::Failure);
        facts.tally(Tally::Authentication { method, outcome });
        for outcome in [ThrottleOutcome::Allowed, ThrottleOutcome::Refused, ThrottleOutcome::Allowed] {
            facts.tally(Tally::Throttle { scope: "anon", outcome });
        }
        if request.uri() == "/never" {
            pending::<()>().await;
        }
        fine(request).await
    };
    let service =
        || TraceLayer::new(log.clone()).layer(MetricsLayer::new(metrics.clone()).layer(service_fn(noting)));
    service().oneshot(get("/")).await.unwrap().into_body().collect().await.unwrap();
    // What was noted before the client went has happened.
    let mut waiting = Box::pin(service().oneshot(get("/never")));
    assert!(is_pending(&mut waiting));
    drop(waiting);

    let scrape = scrape(&metrics);
    assert_eq!(scrape.value(EVENTS, &[("event", "authn_token_reuse")]), 4.0);
    assert_eq!(scrape.value(EVENTS, &[]), 4.0);
    let sessions = [("method", "session"), ("outcome", "failure")];
    assert_eq!(scrape.value("bailiwick_authentications_total", &sessions), 2.0);
    let decisions = |outcome| {
        scrape.value("bailiwick_throttle_decisions_total", &[("scope", "anon"), ("outcome", outcome)])
    };
    assert_eq!((decisions("allowed"), decisions("refused"), decisions("uncounted")), (4.0, 2.0, 0.0));
    assert!(log.flush(Duration::from_secs(5)));
    let lines = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
    assert_eq!(lines.matches("authn_token_reuse").count(), 4, "{lines}");
}

#[test]
fn an_event_without_a_request_is_counted() {
    let metrics = metrics();
    let act = Act::system(Ticking::default().now());
    let event = SecurityEvent::new(SecurityEventKind::KeyRetired);
    act.noted_in(Noted::by([Arc::new(metrics.clone()) as Arc<dyn Witness>])).recorded(&[event]);
    let scrape = scrape(&metrics);
    assert_eq!((scrape.value(EVENTS, &[("event", "key_retired")]), scrape.value(EVENTS, &[])), (1.0, 1.0));
}

#[test]
fn what_has_not_happened_is_shown_as_nought() {
    let metrics = metrics();
    metrics.throttle_scope("login");
    let text = metrics.render();
    for line in [
        "bailiwick_security_events_total{event=\"authn_token_reuse\"} 0\n",
        "bailiwick_security_events_total{event=\"malicious_csrf\"} 0\n",
        "bailiwick_authentications_total{method=\"password\",outcome=\"failure\"} 0\n",
        "bailiwick_throttle_decisions_total{scope=\"login\",outcome=\"refused\"} 0\n",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    let of_events = scrape(&metrics).label_values("event").len();
    assert_eq!(of_events, SecurityEventKind::ALL.len());
}

#[tokio::test]
async fn whatever_clients_send_the_series_stay_the_same() {
    let metrics = metrics();
    let versions = [Version::HTTP_10, Version::HTTP_11];
    let send = async |number: usize| {
        let method = Method::from_bytes(format!("M{number}").as_bytes()).unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("http://host-{number}.example/{number}?{number}"))
            .version(versions[number % 2])
            .header("host", format!("host-{number}.example"))
            .header("user-agent", format!("agent {number}"))
            .header("x-request-id", format!("request-{number}"))
            .body(Body::empty())
            .unwrap();
        serve(&metrics, service_fn(|_| async { Ok(Problem::not_found().answer()) }), request).await;
    };
    for number in 0..10 {
        send(number).await;
    }
    let series = scrape(&metrics).series();
    for number in 10..10_000 {
        send(number).await;
    }
    let scrape = scrape(&metrics);
    assert_eq!(scrape.series(), series);
    assert_eq!(scrape.value(TOOK, &[("http_request_method", "_OTHER")]), 10_000.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_requests_at_once_none_is_lost() {
    let metrics = metrics();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let metrics = metrics.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let slow = |request| async {
                        tokio::task::yield_now().await;
                        fine(request).await
                    };
                    serve(&metrics, service_fn(slow), get("/")).await;
                }
            })
        })
        .collect();
    for task in tasks {
        // Somebody looks meanwhile.
        scrape(&metrics);
        task.await.unwrap();
    }
    let scrape = scrape(&metrics);
    assert_eq!(scrape.value(TOOK, &[]), 2000.0);
    assert_eq!(scrape.value("http_server_active_requests", &[]), 0.0);
}

/// A part with a meter of every kind.
#[derive(Debug)]
struct Part(u64);

impl Metered for Part {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        let sizes = Distribution::new(&[1.0, 2.0]);
        [1, 2, 3].into_iter().for_each(|size| sizes.record_count(size));
        each(Meter { name: "part_things_total", help: "Things", value: Value::Counter(self.0) });
        each(Meter { name: "part_waiting", help: "Who waits", value: Value::Gauge(self.0 + 1) });
        each(Meter { name: "part_sizes", help: "Sizes", value: Value::Distribution(sizes.reading()) });
    }
}

#[test]
fn parts_are_read_when_somebody_looks_and_a_name_is_shown_once() {
    let metrics = metrics();
    metrics.watch(Arc::new(Part(7)));
    metrics.watch(Arc::new(Part(70)));
    let text = metrics.render();
    for lines in [
        "# HELP part_things_total Things.\n# TYPE part_things_total counter\npart_things_total 7\n",
        "# TYPE part_waiting gauge\npart_waiting 8\n",
        "part_sizes_bucket{le=\"1\"} 1\npart_sizes_bucket{le=\"2\"} 2\npart_sizes_bucket{le=\"+Inf\"} 3\n\
         part_sizes_sum 6.0\npart_sizes_count 3\n",
    ] {
        assert!(text.contains(lines), "{lines} is not in:\n{text}");
    }
    assert!(!text.contains(" 70\n"), "{text}");
    scrape(&metrics);
}
