use std::{
    convert::Infallible,
    io::{self, Write},
    net::Ipv4Addr,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use axum::body::Body;
use bailiwick_core::{
    audit::{Act, Noted, SecurityEvent, SecurityEventKind, Target, Witness},
    clock::{Clock, Timestamp},
    id::Id,
    request::{ClientAddr, Facts, RequestId, Unread},
};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::Level;

use super::{Format, Log, TraceLayer};
use crate::problem::{Problem, ProblemLayer};

/// A clock that moves 1.5 ms each time somebody measures.
#[derive(Default)]
struct Ticking(Mutex<Duration>);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        "2026-01-31T09:00:00.5Z".parse().unwrap()
    }

    fn monotonic(&self) -> Duration {
        let mut time = self.0.lock().unwrap();
        *time += Duration::from_micros(1500);
        *time
    }
}

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink {
    fn log(&self, format: Format, level: Level) -> Log {
        Log::new(self.clone(), format, level, Arc::new(Ticking::default())).unwrap()
    }

    fn text(&self, log: &Log) -> String {
        assert!(log.flush(Duration::from_secs(5)));
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self, log: &Log) -> Vec<Value> {
        self.text(log).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn request(uri: &str) -> Request<Body> {
    let mut request =
        Request::builder().uri(uri).header("authorization", "Token secret").body(Body::empty()).unwrap();
    request.extensions_mut().insert(RequestId::from_client(b"request-0001").unwrap());
    request.extensions_mut().insert(ClientAddr(Ipv4Addr::LOCALHOST.into()));
    request
}

/// Serves one request to its end.
async fn serve<S>(log: &Log, service: S, request: Request<Body>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let service = TraceLayer::new(log.clone()).layer(ProblemLayer::new().layer(service));
    service.oneshot(request).await.unwrap().into_body().collect().await.unwrap();
}

#[tokio::test]
async fn a_request_is_one_line_with_every_member_in_its_place() {
    let (sink, user) = (Sink::default(), Id::from_uuid(uuid::Uuid::from_u128(7)));
    let log = sink.log(Format::Json, Level::INFO);
    let service = service_fn(move |request: Request<Body>| async move {
        let facts = request.extensions().get::<Facts>().unwrap();
        facts.set_user(user);
        facts.set_org("acme");
        facts.set_route("/orgs/{org}/tasks");
        facts.set_throttled("user");
        facts.set_denied_by("tasks.create");
        Ok(Response::new(Body::from("12345")))
    });
    serve(&log, service, request("/orgs/acme/tasks?token=secret")).await;
    assert_eq!(
        sink.text(&log),
        "{\"timestamp\":\"2026-01-31T09:00:00.500000Z\",\"level\":\"info\",\"event\":\"http_request\",\
         \"request_id\":\"request-0001\",\"method\":\"GET\",\"route\":\"/orgs/{org}/tasks\",\
         \"path\":\"/orgs/acme/tasks\",\"status\":200,\"duration_ms\":1.500,\
         \"user_id\":\"00000000-0000-0000-0000-000000000007\",\"org\":\"acme\",\"remote_addr\":\"127.0.0.1\",\
         \"bytes_out\":5,\"throttled\":\"user\",\"denied_by\":\"tasks.create\"}\n"
    );
}

#[tokio::test]
async fn what_is_not_known_is_null() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let mut bare = Request::new(Body::empty());
    bare.extensions_mut().insert(Unread { waited: Duration::from_secs(10) });
    serve(&log, service_fn(|_| async { Ok(Problem::headers_too_large().answer()) }), bare).await;
    let line = &sink.lines(&log)[0];
    assert_eq!(line.as_object().unwrap().len(), 15);
    for member in
        ["request_id", "method", "route", "path", "user_id", "org", "remote_addr", "throttled", "denied_by"]
    {
        assert_eq!(line[member], Value::Null, "{member}");
    }
    assert_eq!(line["status"], 431);
    assert_eq!(line["duration_ms"], 10_001.5, "the wait for what did not come is part of it");
}

// LOG-03, LOG-04
#[tokio::test]
async fn nothing_secret_or_deceptive_is_written() {
    for format in [Format::Json, Format::Pretty] {
        let sink = Sink::default();
        let log = sink.log(format, Level::TRACE);
        let path = format!("/a%0d%0a\u{202e}é{}?password=secret", "x".repeat(5000));
        serve(&log, service_fn(|_| async { Ok(Response::new(Body::from("secret"))) }), request(&path)).await;
        let text = sink.text(&log);
        assert!(!text.contains("secret") && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("\\u202e") && text.len() < 3000, "{text}");
        assert_eq!(text.lines().count(), 1);
    }
}

// LOG-03: who mistakes a token for a part of the address finds it in no log.
#[tokio::test]
async fn a_token_in_the_target_is_not_written() {
    let random = "zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17";
    for format in [Format::Json, Format::Pretty] {
        for prefix in ["bw_pat_", "bw_org_", "bw_rt_"] {
            let sink = Sink::default();
            let log = sink.log(format, Level::TRACE);
            for path in [
                format!("/{prefix}{random}"),
                format!("/a/{prefix}{random}/b/{prefix}{random}"),
                format!("/Token%20{prefix}{random}%0A"),
                format!("/bw_{prefix}{random}"),
                format!("/{}/{prefix}{random}", "x".repeat(2030)),
                format!("/{}{random}/", prefix.replace('_', "%5F")),
                format!("/%62w{}{random}", prefix[2..].replace('_', "%5f")),
                format!("/{}{random}/%FF", prefix.replace('_', "%255F")),
                format!("/{prefix}%7A{}", &random[1..]),
            ] {
                serve(&log, service_fn(|_| async { Ok(Response::new(Body::empty())) }), request(&path)).await;
            }
            let mut tokenish = request("/");
            *tokenish.method_mut() = format!("{prefix}{random}").parse().unwrap();
            serve(&log, service_fn(|_| async { Ok(Response::new(Body::empty())) }), tokenish).await;
            let text = sink.text(&log);
            assert!(!text.contains(&random[..12]) && !text.contains("0mLq17"), "{text}");
            assert!(text.contains(&format!("/a/{prefix}[redacted]/b/{prefix}[redacted]")), "{text}");
            assert!(text.contains(&format!("/Token%20{prefix}[redacted]%0A")), "{text}");
        }
    }
    let jwt = format!("eyJhbGciOiJFZERTQSJ9.{random}.{random}");
    for encoded in [jwt.clone(), jwt.replace('.', "%2E"), jwt.replace("eyJ", "ey%4A")] {
        let sink = Sink::default();
        let log = sink.log(Format::Json, Level::TRACE);
        let path = format!("/orgs/{encoded}/");
        serve(&log, service_fn(|_| async { Ok(Response::new(Body::empty())) }), request(&path)).await;
        assert_eq!(sink.lines(&log)[0]["path"], "/orgs/eyJ[redacted]/", "{path}");
    }
    // What only begins like one is written as it came.
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let path = "/bw_/bw_pat_/bw_pat_short/bw__x/abw_pat/BW_PAT_x";
    serve(&log, service_fn(|_| async { Ok(Response::new(Body::empty())) }), request(path)).await;
    assert_eq!(sink.lines(&log)[0]["path"], path);
}

// LOG-04
#[tokio::test]
async fn a_long_method_is_cut_off() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let mut long = request("/");
    *long.method_mut() = "B".repeat(5000).parse().unwrap();
    serve(&log, service_fn(|_| async { Ok(Response::new(Body::empty())) }), long).await;
    assert_eq!(sink.lines(&log)[0]["method"], format!("{}…", "B".repeat(32)));
}

#[tokio::test]
async fn a_client_that_goes_away_is_logged() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let stuck = service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>());
    let given_up = TraceLayer::new(log.clone()).layer(stuck).oneshot(request("/slow"));
    assert!(tokio::time::timeout(Duration::from_millis(10), given_up).await.is_err());
    // One that goes away in the middle of the answer: as far as it came.
    let pieces = [Ok::<_, Infallible>("123"), Ok("456")];
    let streams = service_fn(move |_: Request<Body>| async move {
        Ok::<_, Infallible>(Response::new(Body::from_stream(futures_util::stream::iter(pieces))))
    });
    let response = TraceLayer::new(log.clone()).layer(streams).oneshot(request("/long")).await.unwrap();
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    let lines = sink.lines(&log);
    assert_eq!((&lines[0]["status"], &lines[0]["path"]), (&json!(499), &json!("/slow")));
    assert_eq!((&lines[1]["status"], &lines[1]["bytes_out"]), (&json!(200), &json!(3)));
}

#[tokio::test]
async fn the_cause_of_a_failure_is_logged_under_the_id_of_its_request() {
    #[derive(Debug, thiserror::Error)]
    #[error("the task was not stored")]
    struct Outer(#[source] io::Error);
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let failing = service_fn(|_| async {
        Ok(Problem::unavailable().because(Outer(io::Error::other("disk\nfull"))).answer())
    });
    serve(&log, failing, request("/")).await;
    let denying = service_fn(|_| async { Ok(Problem::forbidden().because(io::Error::other("no")).answer()) });
    serve(&log, denying, request("/")).await;
    let panicking = service_fn(|_: Request<Body>| async { panic!("out of \u{1b}[31mluck") });
    serve(&log, panicking, request("/")).await;

    let lines = sink.lines(&log);
    let of = |event: &str| lines.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    let failures = of("request_failed");
    assert_eq!(failures.len(), 2, "the cause of a 403 is worth no error line");
    assert_eq!(failures[0]["cause"], "the task was not stored: disk\nfull");
    assert_eq!(failures[1]["cause"], "a handler panicked: out of \u{1b}[31mluck");
    for line in failures {
        assert_eq!((&line["level"], &line["request_id"]), (&json!("error"), &json!("request-0001")));
    }
    let levels: Vec<_> = of("http_request").iter().map(|line| line["level"].clone()).collect();
    assert_eq!(levels, ["error", "info", "error"]);
}

#[tokio::test]
async fn lines_below_the_level_are_not_written() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::WARN);
    for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        let answer = service_fn(move |_| async move {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            Ok(response)
        });
        serve(&log, answer, request("/")).await;
    }
    let lines = sink.lines(&log);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["status"], 502);
}

#[tokio::test]
async fn people_get_text_without_what_is_not_known() {
    let sink = Sink::default();
    let log = sink.log(Format::Pretty, Level::INFO);
    serve(&log, service_fn(|_| async { Ok(Response::new(Body::empty())) }), request("/healthz")).await;
    assert_eq!(
        sink.text(&log),
        "2026-01-31T09:00:00.500000Z info  http_request request_id=request-0001 method=GET path=/healthz \
         status=200 duration_ms=1.500 remote_addr=127.0.0.1 bytes_out=0\n"
    );
}

// LOG-02: what no request brings about, such as a key that follows another, is the same line.
#[test]
fn an_event_without_a_request_is_a_line_like_any_other() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let act = Act::system("2026-01-31T09:00:00Z".parse().unwrap());
    let event = SecurityEvent::new(SecurityEventKind::KeyPromoted).on(Target::key("2026-01-a"));
    act.noted_in(Noted::by([Arc::new(log.clone()) as Arc<dyn Witness>])).recorded(&[event]);
    assert_eq!(
        sink.text(&log),
        "{\"timestamp\":\"2026-01-31T09:00:00.500000Z\",\"level\":\"info\",\"event\":\"key_promoted\",\
         \"request_id\":null,\"user_id\":null,\"credential_id\":null,\"remote_addr\":null,\"kid\":\"2026-01-a\"}\n"
    );
}

#[tokio::test]
async fn what_happens_after_the_line_of_its_request_is_told_all_the_same() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    let facts: Arc<Mutex<Option<Facts>>> = Arc::default();
    let kept = Arc::clone(&facts);
    let service = service_fn(move |request: Request<Body>| {
        *kept.lock().unwrap() = request.extensions().get::<Facts>().cloned();
        async { Ok(Response::new(Body::empty())) }
    });
    serve(&log, service, request("/")).await;
    let facts = facts.lock().unwrap().take().unwrap();
    let act = facts.act("2026-01-31T09:00:01Z".parse().unwrap());
    act.recorded(&[SecurityEvent::new(SecurityEventKind::PasswordResetRequested)]);
    let lines = sink.lines(&log);
    let [line, late] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(
        (&line["event"], &late["event"]),
        (&json!("http_request"), &json!("authn_password_reset_requested"))
    );
    assert_eq!((&late["request_id"], &late["remote_addr"]), (&json!("request-0001"), &json!("127.0.0.1")));
}

/// Does not write until it is allowed to.
struct Blocked(mpsc::Receiver<()>, Sink);

impl Write for Blocked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// LOG-05
#[test]
fn a_slow_sink_loses_lines_and_not_time() {
    let (allow, allowed) = mpsc::channel();
    let sink = Sink::default();
    let log =
        Log::new(Blocked(allowed, sink.clone()), Format::Json, Level::INFO, Arc::new(Ticking::default()))
            .unwrap();
    let text = "x".repeat(1000);
    for number in 0..5000 {
        log.line(Level::INFO, "test", |line| {
            line.number("number", number);
            line.text("text", Some(&text));
        });
    }
    assert!(!log.flush(Duration::from_millis(20)), "the sink is stuck");
    let dropped = log.dropped();
    assert!((2000..4500).contains(&dropped), "{dropped}");
    drop(allow);
    let lines = sink.lines(&log);
    let said: u64 = lines.iter().filter_map(|line| line["count"].as_u64()).sum();
    assert_eq!(said, dropped);
    assert_eq!(lines.iter().filter(|line| line["event"] == "test").count() as u64, 5000 - dropped);
}

// LOG-05
#[test]
fn a_broken_sink_is_survived_and_counted() {
    struct Broken;
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let log = Log::new(Broken, Format::Json, Level::INFO, Arc::new(Ticking::default())).unwrap();
    for _ in 0..3 {
        log.line(Level::INFO, "test", |_| {});
        assert!(log.flush(Duration::from_secs(5)));
    }
    assert_eq!(log.dropped(), 3);
}

/// A subscriber that writes all events into a log.
struct Subscriber(Log);

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.0.diagnostic(event);
    }
}

// Contract §6, LOG-04
#[test]
fn what_no_request_tells_has_the_shape_of_every_other_line() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    tracing::subscriber::with_default(Subscriber(log.clone()), || {
        tracing::warn!(jobs = 3, error = %"a\nb", "it \u{1b}[31m failed");
        tracing::debug!("not for this log");
    });
    let lines = sink.lines(&log);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["level"], &line["event"]), (&"warn".into(), &"diagnostic".into()));
    assert_eq!((&line["jobs"], &line["error"]), (&3.into(), &"a\nb".into()));
    assert_eq!((&line["message"], &line["target"]), (&"it \u{1b}[31m failed".into(), &module_path!().into()));
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert!(text.starts_with("{\"timestamp\":\"") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_is_in_memory_is_written_when_the_log_goes() {
    let sink = Sink::default();
    let log = sink.log(Format::Json, Level::INFO);
    log.line(Level::INFO, "test", |_| {});
    drop(log);
    for _ in 0..500 {
        if sink.0.lock().unwrap().ends_with(b"}\n") {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the line was not written");
}
