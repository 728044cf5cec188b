use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::any};
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body::Frame;
use tower::{Layer, ServiceExt, service_fn};

use super::{ByteSize, LimitsLayer};
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
    static KIB: [u8; 1024] = [b'a'; 1024];
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
    for lengths in [&["5", "6"][..], &["x"], &["-1"], &["+5"], &[""], &["5, 5"], &["99999999999999999999"]] {
        let mut request = post();
        for length in lengths {
            request = request.header(header::CONTENT_LENGTH, *length);
        }
        assert_eq!(ask(request.body(Body::empty()).unwrap()).await.status(), 400, "{lengths:?}");
    }
    let both = post().header(header::CONTENT_LENGTH, "5").header(header::TRANSFER_ENCODING, "chunked");
    assert_eq!(ask(both.body(Body::empty()).unwrap()).await.status(), 400);
    let twice = post().header(header::CONTENT_LENGTH, "5").header(header::CONTENT_LENGTH, "5");
    assert_eq!(ask(twice.body(Body::from("abcde")).unwrap()).await.status(), 200);
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
