use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::any};
use bailiwick_core::request::{ClientAddr, Facts, ShedReason, Tally};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Frame;
use tokio::{sync::Semaphore, time::sleep};
use tower::{Layer, ServiceExt, service_fn};

use super::{ByteSize, LimitsLayer, progress::now};
use crate::problem::Problem;

/// A handler that reads the whole body, and makes a problem of its own of what goes wrong.
async fn read(request: Request<Body>) -> Result<String, Problem> {
    match axum::body::to_bytes(request.into_body(), usize::MAX).await {
        Ok(body) => Ok(format!("{} bytes", body.len())),
        Err(_) => Err(Problem::malformed_request("as this handler sees it")),
    }
}

async fn ask(request: Request<Body>) -> Response<Body> {
    let app = Router::new().route("/", any(read)).fallback(read);
    LimitsLayer::new().max_body(ByteSize::kib(1)).layer(app).oneshot(request).await.unwrap()
}

fn post() -> http::request::Builder {
    Request::builder().method(Method::POST).uri("/")
}

/// A body that declares no length, and comes in pieces.
fn streamed(pieces: &[&'static [u8]]) -> Body {
    let pieces: Vec<_> = pieces.iter().map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece))).collect();
    Body::from_stream(futures_util::stream::iter(pieces))
}

/// A body of which nothing comes, ever.
struct Stuck;

impl http_body::Body for Stuck {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

// LIM-01
#[tokio::test]
async fn a_body_is_read_up_to_its_limit_and_no_further() {
    let fits = ask(post().body(streamed(&[&KIB])).unwrap()).await;
    assert_eq!(fits.status(), 200);
    for pieces in [&[&KIB[..], b"b"][..], &[b"b", &KIB], &[b"", &[0; 4096]]] {
        let response = ask(post().body(streamed(pieces)).unwrap()).await;
        assert_eq!(response.status(), 413);
        assert_eq!(response.headers()[header::CONNECTION], "close");
        assert_eq!(response.extensions().get::<Problem>().unwrap().detail(), Some("at most 1024 bytes"));
    }
}

// LIM-01, LIM-02
#[tokio::test]
async fn a_body_that_declares_too_much_is_refused_before_it_is_read() {
    let declared =
        |length: &str| post().header(header::CONTENT_LENGTH, length).body(Body::new(Stuck)).unwrap();
    let response = ask(declared("1025")).await;
    assert_eq!(response.status(), 413);
    assert_eq!(response.headers()[header::CONNECTION], "close");
    assert_eq!(ask(declared("18446744073709551615")).await.status(), 413);
}

// LIM-05
#[tokio::test]
async fn the_body_of_a_route_may_be_longer_than_all_others() {
    let layer = || {
        let layer = LimitsLayer::new().max_body(ByteSize::kib(1));
        layer.max_body_of(Method::POST, "/orgs/{org}/files/", ByteSize::kib(4))
    };
    static BODY: [u8; 4096] = [b'a'; 4096];
    for (method, path, status) in [
        (Method::POST, "/orgs/acme/files/", 200),
        (Method::POST, "/orgs/acme/files", 200),
        (Method::PUT, "/orgs/acme/files/", 413),
        (Method::POST, "/orgs/acme/files/1/", 413),
        (Method::POST, "/orgs/acme/", 413),
        (Method::POST, "/x/orgs/acme/files/", 413),
        (Method::POST, "/orgs/acme/Files/", 413),
    ] {
        let declared = Request::builder().method(method.clone()).uri(path).header("content-length", "4096");
        let chunked = Request::builder().method(method.clone()).uri(path);
        for request in [
            declared.body(Body::from(&BODY[..])).unwrap(),
            chunked.body(streamed(&[&BODY[..1000], &BODY[1000..]])).unwrap(),
        ] {
            let response = layer().layer(Router::new().fallback(read)).oneshot(request).await.unwrap();
            assert_eq!(response.status(), status, "{method} {path}");
        }
    }
    let longer = post().uri("/orgs/acme/files/").body(streamed(&[&BODY, b"b"])).unwrap();
    let response = layer().layer(Router::new().fallback(read)).oneshot(longer).await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.extensions().get::<Problem>().unwrap().detail(), Some("at most 4096 bytes"));
}

// LIM-10
#[tokio::test]
async fn a_length_that_is_doubtful_is_refused() {
    for lengths in
        [&["5", "6"][..], &["5", "5"], &["x"], &["-1"], &["+5"], &[""], &["5, 5"], &["99999999999999999999"]]
    {
        let mut request = post();
        for length in lengths {
            request = request.header(header::CONTENT_LENGTH, *length);
        }
        assert_eq!(ask(request.body(Body::empty()).unwrap()).await.status(), 400, "{lengths:?}");
    }
    let both = post().header(header::CONTENT_LENGTH, "5").header(header::TRANSFER_ENCODING, "chunked");
    assert_eq!(ask(both.body(Body::empty()).unwrap()).await.status(), 400);
}

// LIM-09
#[tokio::test]
async fn a_compressed_body_is_refused_once_it_is_read() {
    for coding in ["gzip", "identity, gzip", "unheard-of"] {
        let response =
            ask(post().header(header::CONTENT_ENCODING, coding).body(Body::from("x")).unwrap()).await;
        assert_eq!(response.status(), 415);
        assert_eq!(response.headers()[header::ACCEPT_ENCODING], "identity");
    }
    let response =
        ask(post().header(header::CONTENT_ENCODING, "Identity").body(Body::from("x")).unwrap()).await;
    assert_eq!(response.status(), 200);
    // ERR-23: a handler that refuses for a better reason is heard.
    let gate =
        service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Problem::not_found().answer::<Body>()) });
    let request = post().header(header::CONTENT_ENCODING, "gzip").body(Body::from("x")).unwrap();
    assert_eq!(LimitsLayer::new().layer(gate).oneshot(request).await.unwrap().status(), 404);
}

// LIM-06
#[tokio::test]
async fn a_long_target_long_headers_and_many_parameters_are_refused() {
    let get = |uri: String| Request::builder().uri(uri).body(Body::empty()).unwrap();
    assert_eq!(ask(get(format!("/{}", "a".repeat(8191)))).await.status(), 200);
    assert_eq!(ask(get(format!("/{}", "a".repeat(8192)))).await.status(), 414);
    assert_eq!(ask(get(format!("/?{}", "a".repeat(8192)))).await.status(), 414);
    assert_eq!(ask(get(format!("/?{}", ["a=1"; 100].join("&")))).await.status(), 200);
    assert_eq!(ask(get(format!("/?{}", ["a=1"; 101].join("&")))).await.status(), 400);

    let with = |fields: usize, bytes: usize| {
        let mut request = Request::builder().uri("/");
        for number in 0..fields {
            request = request.header(format!("x-{number:03}"), "v".repeat(bytes));
        }
        request.body(Body::empty()).unwrap()
    };
    assert_eq!(ask(with(100, 1)).await.status(), 200);
    assert_eq!(ask(with(101, 1)).await.status(), 431);
    assert_eq!(ask(with(16, 1024 - 9)).await.status(), 200);
    assert_eq!(ask(with(16, 1024 - 8)).await.status(), 431);
}

// ERR-25
#[tokio::test]
async fn no_tunnel_is_opened() {
    let request =
        Request::builder().method(Method::CONNECT).uri("example.com:443").body(Body::empty()).unwrap();
    let response = ask(request).await;
    assert_eq!(response.status(), 405);
    assert!(response.headers().contains_key(header::ALLOW));
}

// LIM-11
#[tokio::test(start_paused = true)]
async fn a_slow_client_is_told_so_and_a_slow_handler_is_not_its_fault() {
    let layer = LimitsLayer::new().request_timeout(Duration::from_secs(2));
    let app = layer.layer(Router::new().route("/", any(read)));
    let response = app.oneshot(post().body(Body::new(Stuck)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 408);
    assert_eq!(response.headers()[header::CONNECTION], "close");

    let slow = layer.layer(service_fn(|request: Request<Body>| async move {
        axum::body::to_bytes(request.into_body(), 10).await.unwrap();
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    }));
    for body in [Body::empty(), Body::from("x"), streamed(&[b"x"])] {
        let response = slow.clone().oneshot(post().body(body).unwrap()).await.unwrap();
        assert_eq!(response.status(), 503);
    }
}

/// A body that comes in so many pieces of this size, each so long after the one before.
fn paced(pieces: usize, size: usize, apart: Duration) -> Body {
    let piece = Bytes::from(vec![b'a'; size]);
    Body::from_stream(futures_util::stream::unfold(pieces, move |left| {
        let piece = piece.clone();
        async move {
            sleep(apart).await;
            Some((Ok::<_, Infallible>(piece), left.checked_sub(1)?))
        }
    }))
}

/// A body of which a byte comes, and then nothing.
fn stuck_after(wait: Duration) -> Body {
    use futures_util::StreamExt;
    let begun = futures_util::stream::once(async move {
        sleep(wait).await;
        Ok::<_, Infallible>(Bytes::from_static(b"a"))
    });
    Body::from_stream(begun.chain(futures_util::stream::pending()))
}

/// The status of the answer to `body`, of a handler that takes so long once it has read it; and when it came, in seconds.
async fn answered_after(body: Body, handling: Duration) -> (u16, u64) {
    let began = now();
    let handler = service_fn(move |request: Request<Body>| async move {
        let read = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        sleep(handling).await;
        Ok::<_, Infallible>(Response::new(Body::from(read.unwrap_or_default())))
    });
    let response = LimitsLayer::new().layer(handler).oneshot(post().body(body).unwrap()).await.unwrap();
    (response.status().as_u16(), (now() - began).as_secs())
}

const SECOND: Duration = Duration::from_secs(1);

// LIM-11
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_for_ten_seconds_is_told_so() {
    assert_eq!(answered_after(Body::new(Stuck), SECOND).await, (408, 10));
    for wait in [1, 9] {
        assert_eq!(answered_after(stuck_after(wait * SECOND), SECOND).await, (408, u64::from(wait) + 10));
    }
    assert_eq!(answered_after(paced(2, 100_000, 9 * SECOND), SECOND).await, (200, 28));
}

// LIM-11: whatever the rate, thirty seconds are allowed; beyond, as long as the least rate takes.
#[tokio::test(start_paused = true)]
async fn a_trickle_is_cut_off_and_a_slow_client_that_goes_on_is_not() {
    assert_eq!(answered_after(paced(1000, 1, SECOND), SECOND).await, (408, 30));
    // Half of the least rate: of 59 seconds, 30 are given, and 29 and a half were sent.
    assert_eq!(answered_after(paced(256, 4 << 10, SECOND), SECOND).await, (408, 59));
    // A mebibyte in 64 seconds, and in 128.
    assert_eq!(answered_after(paced(63, 16 << 10, SECOND), SECOND).await, (200, 65));
    assert_eq!(answered_after(paced(127, 8 << 10, SECOND), SECOND).await, (200, 129));
}

#[tokio::test(start_paused = true)]
async fn the_handler_has_its_time_from_when_the_body_is_whole() {
    let slow = || paced(63, 16 << 10, SECOND);
    assert_eq!(answered_after(slow(), 29 * SECOND).await, (200, 93));
    assert_eq!(answered_after(slow(), 31 * SECOND).await, (503, 94));
    assert_eq!(answered_after(Body::from("x"), 29 * SECOND).await, (200, 29));
    assert_eq!(answered_after(Body::from("x"), 31 * SECOND).await, (503, 30));
    assert_eq!(answered_after(Body::empty(), 31 * SECOND).await, (503, 30));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_waits_for_no_client_is_at_fault_itself() {
    let layer = LimitsLayer::new();
    // It never reads, or gives up reading, and then has its own time.
    for read_for in [0, 2] {
        let handler = layer.layer(service_fn(move |request: Request<Body>| async move {
            let body = request.into_body();
            let _ = tokio::time::timeout(read_for * SECOND, axum::body::to_bytes(body, 10)).await;
            std::future::pending::<Result<Response<Body>, Infallible>>().await
        }));
        let began = now();
        let response = handler.oneshot(post().body(Body::new(Stuck)).unwrap()).await.unwrap();
        assert_eq!((response.status().as_u16(), (now() - began).as_secs()), (503, 30 + u64::from(read_for)));
    }
    let no_time = LimitsLayer::new().body_pause(Duration::ZERO).request_timeout(Duration::ZERO);
    let handler = no_time.layer(service_fn(async |_: Request<Body>| {
        std::future::pending::<Result<Response<Body>, Infallible>>().await
    }));
    assert_eq!(handler.oneshot(post().body(Body::new(Stuck)).unwrap()).await.unwrap().status(), 503);
}

/// A handler that reads the body and keeps it until it may go.
fn keeping(
    layer: &LimitsLayer,
    go: &Arc<Semaphore>,
) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    let go = Arc::clone(go);
    layer.layer(service_fn(move |request: Request<Body>| {
        let go = Arc::clone(&go);
        async move {
            assert_ne!(request.uri().path(), "/panic", "as planned");
            let read = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            let Ok(kept) = read else { return Ok(Problem::malformed_request("as it sees it").answer()) };
            go.acquire().await.unwrap().forget();
            Ok::<_, Infallible>(Response::new(Body::from(kept)))
        }
    }))
}

fn go(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits))
}

static KIB: [u8; 1024] = [b'a'; 1024];

// LIM-11: whether the length is declared or not.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_bodies_at_once_exactly_so_many_are_held() {
    let layer = LimitsLayer::new().body_memory(ByteSize::kib(10));
    for body in [|| Body::from(&KIB[..]), || streamed(&[&KIB[..500], &KIB[500..]])] {
        let go = go(0);
        let service = keeping(&layer, &go);
        let asked: Vec<_> =
            (0..100).map(|_| tokio::spawn(service.clone().oneshot(post().body(body()).unwrap()))).collect();
        // Those that come in pieces may take from each other what both would need, and all the others pass.
        while asked.iter().filter(|asked| !asked.is_finished()).count() > 10 {
            assert!(layer.memory.held() <= 10 << 10);
            sleep(Duration::from_millis(1)).await;
        }
        go.add_permits(100);
        let mut answered = 0;
        for asked in asked {
            let response = asked.await.unwrap().unwrap();
            if response.status() == 200 {
                answered += 1;
                continue;
            }
            assert_eq!(
                (response.status().as_u16(), &response.headers()[header::RETRY_AFTER]),
                (503, &"1".parse().unwrap())
            );
            assert_eq!(response.headers()[header::CONNECTION], "close");
        }
        assert!((1..=10).contains(&answered), "{answered}");
        assert_eq!(layer.memory.held(), 0);
    }
}

#[tokio::test]
async fn a_body_is_held_from_when_it_is_read_and_until_the_answer_is_there() {
    let layer = LimitsLayer::new();
    let go = go(0);
    let service = keeping(&layer, &go);
    let mut asked = Box::pin(service.oneshot(post().body(Body::from(&KIB[..])).unwrap()));
    assert_eq!(layer.memory.held(), 0);
    assert!(futures_util::poll!(&mut asked).is_pending());
    assert_eq!(layer.memory.held(), 1024);
    go.add_permits(1);
    let response = asked.await.unwrap();
    assert_eq!((response.status().as_u16(), layer.memory.held()), (200, 0));
    // Of one that nobody reads, nothing is.
    let gate = layer.layer(service_fn(|_: Request<Body>| async {
        sleep(Duration::from_millis(1)).await;
        Ok::<_, Infallible>(Problem::not_found().answer::<Body>())
    }));
    let mut asked = Box::pin(gate.oneshot(post().body(Body::from(&KIB[..])).unwrap()));
    assert!(futures_util::poll!(&mut asked).is_pending());
    assert_eq!(layer.memory.held(), 0);
}

// A promise costs a client nothing, and may not keep anything from others.
#[tokio::test]
async fn what_is_promised_takes_no_memory_and_what_comes_takes_up_to_twice_as_much() {
    let promised = |sent: usize, length: u64| {
        let sent = futures_util::stream::iter([Ok::<_, Infallible>(Bytes::from(vec![b'a'; sent]))]);
        let never = futures_util::stream::pending();
        Promised { inner: Body::from_stream(futures_util::StreamExt::chain(sent, never)), length }
    };
    for (sent, length, held) in [
        (0, 1 << 20, 0),
        (1, 1 << 20, 2),
        (60, 100, 100),
        (100_000, 1 << 20, 200_000),
        (600_000, 1 << 20, 1 << 20),
    ] {
        let layer = LimitsLayer::new();
        let service = keeping(&layer, &go(0));
        let mut asked = Box::pin(service.oneshot(post().body(Body::new(promised(sent, length))).unwrap()));
        assert!(futures_util::poll!(&mut asked).is_pending());
        assert_eq!(layer.memory.held(), held, "{sent} of {length}");
    }
}

/// A body of a known length that stops on the way.
struct Promised {
    inner: Body,
    length: u64,
}

impl http_body::Body for Promised {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.length -= frame.data_ref().map_or(0, Bytes::len) as u64;
        }
        polled
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.length)
    }
}

#[tokio::test]
async fn whatever_becomes_of_a_request_its_memory_is_free() {
    let layer = LimitsLayer::new();
    let service = keeping(&layer, &go(0));
    let panicking = Request::builder().uri("/panic").body(Body::from("x")).unwrap();
    assert!(tokio::spawn(service.clone().oneshot(panicking)).await.unwrap_err().is_panic());
    let mut given_up = Box::pin(service.oneshot(post().body(Body::from(&KIB[..])).unwrap()));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    assert_eq!(layer.memory.held(), 1024);
    drop(given_up);
    assert_eq!(layer.memory.held(), 0);
    let broken =
        Body::from_stream(futures_util::stream::iter([Ok(Bytes::from_static(&KIB)), Err("cut off")]));
    let cut_off = keeping(&layer, &go(0)).oneshot(post().body(broken).unwrap()).await.unwrap();
    assert_eq!((cut_off.status().as_u16(), layer.memory.held()), (400, 0));
}

#[tokio::test]
async fn a_body_that_is_passed_on_holds_what_is_in_memory_of_it() {
    let layer = LimitsLayer::new().body_memory(ByteSize::kib(2)).max_body(ByteSize::kib(1));
    let layer = layer.spooled_body_of(Method::PUT, "/files/", ByteSize::kib(64), ByteSize::kib(2));
    let put = |body: Body| Request::builder().method(Method::PUT).uri("/files/").body(body).unwrap();
    let service = keeping(&layer, &go(2));
    let long: &'static [u8] = Box::leak(vec![b'a'; 64 << 10].into_boxed_slice());
    for body in [Body::from(long), streamed(&[&long[..1], &long[1..9000], &long[9000..]])] {
        assert_eq!(service.clone().oneshot(put(body)).await.unwrap().status(), 200);
    }
    let mut held = Box::pin(service.clone().oneshot(put(Body::from(long))));
    assert!(futures_util::poll!(&mut held).is_pending());
    assert_eq!(layer.memory.held(), 2048);
    assert_eq!(service.oneshot(put(Body::from("x"))).await.unwrap().status(), 503);
}

#[tokio::test]
async fn one_address_leaves_the_others_their_room_and_who_is_refused_is_noted() {
    let layer = LimitsLayer::new().body_memory(ByteSize::kib(8)).max_body(ByteSize::kib(1));
    let service = keeping(&layer, &go(0));
    let from = |address: &str, facts: &Facts| {
        let mut request = post().body(Body::from(&KIB[..])).unwrap();
        request.extensions_mut().insert(ClientAddr(address.parse().unwrap()));
        request.extensions_mut().insert(facts.clone());
        Box::pin(service.clone().oneshot(request))
    };
    let facts = Facts::new();
    let mut first = from("192.0.2.1", &facts);
    assert!(futures_util::poll!(&mut first).is_pending());
    assert_eq!(facts.denied_by(), None);
    assert_eq!(from("192.0.2.1", &facts).await.unwrap().status(), 503);
    assert_eq!(facts.denied_by(), Some("overload"));
    let mut tallies = Vec::new();
    facts.each_tally(|tally| tallies.push(*tally));
    assert_eq!(tallies, [Tally::Shed { reason: ShedReason::BodyMemory }]);
    assert!(futures_util::poll!(&mut from("192.0.2.2", &facts)).is_pending());
}

#[tokio::test]
async fn a_connection_of_http_2_is_not_closed_for_one_body() {
    let service = keeping(&LimitsLayer::new().body_memory(ByteSize::kib(1)), &go(1));
    let request = post().version(http::Version::HTTP_2).body(Body::from(vec![0; 1025])).unwrap();
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), response.headers().get(header::CONNECTION)), (503, None));
}
