use std::{convert::Infallible, time::Duration};

use axum::body::Body;
use bailiwick_core::{audit::SecurityEventKind, request::Facts};
use bailiwick_testkit::Heard;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use proptest::{prop_assert, prop_assert_eq, prop_oneof, proptest, strategy::Strategy};
use tower::{Layer, ServiceExt, service_fn};

use super::{Cors, CorsLayer, Decided, PreflightLayer};
use crate::problem::{Problem, ProblemLayer};

const APP: &str = "https://app.example.com";
const PR: &str = "https://pr-7.preview.example.com";
const EVIL: &str = "https://evil.example";

fn listed() -> Cors {
    Cors::same_origin().allow(APP.parse().unwrap())
}

/// Each policy by a name.
fn policies() -> [(&'static str, Cors<Decided>); 5] {
    let pattern = || r"^https://pr-[0-9]+\.preview\.example\.com$".parse().unwrap();
    [
        ("nobody", Cors::same_origin().decide()),
        ("listed", listed().decide()),
        ("matched", listed().allow_matching(pattern()).decide()),
        ("credentials", listed().allow_credentials().decide()),
        ("anyone", Cors::insecure_any_origin().decide()),
    ]
}

/// A service that fails in every way, below both layers as in the stack of an application.
async fn ask<Who>(cors: &Cors<Who>, request: Request<Body>) -> Response<()> {
    let inner = service_fn(|request: Request<Body>| async move {
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        Ok::<_, Infallible>(match status {
            200 => {
                let mut response = Response::new(Body::empty());
                for (name, value) in request.headers() {
                    if let Some(name) = name.as_str().strip_prefix("answer-") {
                        let name = HeaderName::try_from(name).unwrap();
                        response.headers_mut().append(name, value.clone());
                    }
                }
                response
            }
            401 => Problem::unauthenticated().answer(),
            429 => Problem::throttled(Duration::from_secs(1), ["anon"]).answer(),
            500 => panic!("a handler that panics"),
            status => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response
            }
        })
    });
    let inner = ProblemLayer::new().layer(PreflightLayer::new(cors).layer(inner));
    CorsLayer::new(cors).layer(inner).oneshot(request).await.unwrap().map(drop)
}

fn request(method: Method, path: &str, fields: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).unwrap();
        request.headers_mut().append(HeaderName::from_static(name), value);
    }
    request
}

fn preflight(origin: &str) -> Request<Body> {
    let fields = [("origin", origin), ("access-control-request-method", "PATCH")];
    request(Method::OPTIONS, "/405", &fields)
}

/// What an answer says of CORS, one field a line.
fn said(headers: &HeaderMap) -> String {
    let of_cors = |name: &HeaderName| name == header::VARY || name.as_str().starts_with("access-control-");
    let fields = headers.iter().filter(|(name, _)| of_cors(name));
    let mut lines: Vec<_> =
        fields.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines.join("\n")
}

const EXPOSED: &str = "access-control-expose-headers: etag, link, location, retry-after, ratelimit, \
    ratelimit-policy, deprecation, sunset, x-request-id, idempotent-replayed, www-authenticate";
const MAY_SEND: &str = "access-control-allow-headers: authorization, content-type, idempotency-key, if-match, \
    if-none-match, x-csrftoken, x-request-id\n\
    access-control-allow-methods: GET, HEAD, POST, PUT, PATCH, DELETE";

// CORS-01, CORS-03, CORS-05, CORS-09, CORS-11, CORS-43: policies × origins × methods × preflight or not.
#[tokio::test]
async fn every_answer_says_exactly_this() {
    for (name, cors) in policies() {
        for (origin, is_allowed) in [
            (None, false),
            (Some(APP), !matches!(name, "nobody")),
            (Some(PR), matches!(name, "matched" | "anyone")),
            (Some(EVIL), name == "anyone"),
            (Some("null"), name == "anyone"),
        ] {
            let fields: Vec<_> = origin.iter().map(|origin| ("origin", *origin)).collect();
            let vary = if matches!(name, "nobody" | "anyone") { "" } else { "\nvary: Origin" };
            let credentials =
                if name == "credentials" { "access-control-allow-credentials: true\n" } else { "" };
            let allowed = match (name, origin) {
                ("anyone", _) => "access-control-allow-origin: *".to_owned(),
                (_, origin) if is_allowed => format!("access-control-allow-origin: {}", origin.unwrap()),
                _ => String::new(),
            };
            for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::OPTIONS] {
                for status in [200, 201, 204, 304, 400, 401, 403, 404, 405, 408, 413, 429, 431, 500, 503] {
                    let response = ask(&cors, request(method.clone(), &format!("/{status}"), &fields)).await;
                    assert_eq!(response.status(), status);
                    let expected = match allowed.as_str() {
                        "" => vary.trim_start().to_owned(),
                        allowed => format!("{credentials}{allowed}\n{EXPOSED}{vary}"),
                    };
                    assert_eq!(said(response.headers()), expected, "{name}, {origin:?}, {method}, {status}");
                }
            }
            let Some(origin) = origin else { continue };
            let response = ask(&cors, preflight(origin)).await;
            let expected = match allowed.as_str() {
                "" => vary.trim_start().to_owned(),
                allowed => {
                    let (headers, methods) = MAY_SEND.split_once('\n').unwrap();
                    format!(
                        "{credentials}{headers}\n{methods}\n{allowed}\n{EXPOSED}\naccess-control-max-age: 600{vary}"
                    )
                }
            };
            assert_eq!(said(response.headers()), expected, "preflight of {origin} for {name}");
            assert_eq!(response.status(), if is_allowed { 204 } else { 403 });
        }
    }
}

// CORS-04, CORS-44
#[tokio::test]
async fn only_a_preflight_is_answered_in_place_of_whoever_is_asked() {
    let cors = listed();
    let (origin, method) = (("origin", APP), ("access-control-request-method", "GET"));
    for (asked, fields, status) in [
        (Method::OPTIONS, &[origin, method][..], 204),
        (Method::OPTIONS, &[("origin", EVIL), method], 403),
        (Method::OPTIONS, &[("origin", ""), method], 403),
        // CORS-42: of two nobody knows which is meant.
        (Method::OPTIONS, &[origin, origin, method], 403),
        (Method::OPTIONS, &[origin], 418),
        (Method::OPTIONS, &[method], 418),
        (Method::OPTIONS, &[], 418),
        (Method::GET, &[origin, method], 418),
        (Method::POST, &[origin, method], 418),
    ] {
        let response = ask(&cors, request(asked.clone(), "/418", fields)).await;
        assert_eq!(response.status(), status, "{asked} {fields:?}");
    }
}

#[tokio::test]
async fn what_may_be_sent_and_read_is_as_decided() {
    let cors = Cors::same_origin()
        .methods([Method::GET, Method::from_bytes(b"*").unwrap(), Method::PUT])
        .headers([header::AUTHORIZATION, HeaderName::from_static("*")])
        .exposed_headers([HeaderName::from_static("*"), header::ETAG])
        .max_age(Duration::from_millis(7_999))
        .allow(APP.parse().unwrap())
        .allow_credentials();
    let headers = ask(&cors, preflight(APP)).await.headers().clone();
    // CORS-02: a `*` would be the name of a field.
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_METHODS], "GET, PUT");
    assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_HEADERS], "authorization");
    assert_eq!(headers[header::ACCESS_CONTROL_EXPOSE_HEADERS], "etag");
    assert_eq!(headers[header::ACCESS_CONTROL_MAX_AGE], "7");
    let silent = listed().methods([]).headers([]).exposed_headers([]);
    let headers = ask(&silent, preflight(APP)).await.headers().clone();
    assert_eq!(
        said(&headers),
        format!("access-control-allow-origin: {APP}\naccess-control-max-age: 600\nvary: Origin")
    );
}

// CORS-27
#[tokio::test]
async fn a_private_network_is_opened_to_whom_it_was_decided_and_who_asks() {
    let open = listed().allow_private_network();
    let asks = ("access-control-request-private-network", "true");
    let method = ("access-control-request-method", "GET");
    for (cors, origin, fields, is_open) in [
        (&open, APP, &[asks][..], true),
        (&open, APP, &[], false),
        (&open, APP, &[("access-control-request-private-network", "false")], false),
        (&open, EVIL, &[asks], false),
        (&listed(), APP, &[asks], false),
    ] {
        let fields = [&[("origin", origin), method], fields].concat();
        let response = ask(cors, request(Method::OPTIONS, "/", &fields)).await;
        let opened = response.headers().get("access-control-allow-private-network");
        assert_eq!(opened.is_some_and(|value| value == "true"), is_open, "{fields:?}");
    }
}

// CORS-43
#[tokio::test]
async fn a_path_that_is_excepted_is_for_nobody() {
    for cors in
        [listed().except(["/healthz/"]).decide(), Cors::insecure_any_origin().except(["/healthz"]).decide()]
    {
        for (path, is_allowed) in
            [("/healthz", false), ("/healthz/", false), ("/healthz/x", true), ("/", true)]
        {
            let headers = ask(&cors, request(Method::GET, path, &[("origin", APP)])).await.headers().clone();
            assert_eq!(headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN), is_allowed, "{path}");
            let fields = [("origin", APP), ("access-control-request-method", "GET")];
            let response = ask(&cors, request(Method::OPTIONS, path, &fields)).await;
            assert_eq!(response.status(), if is_allowed { 204 } else { 403 }, "{path}");
        }
    }
}

// HDR-08
#[tokio::test]
async fn a_handler_can_add_to_vary_and_says_nothing_of_cors() {
    let vary = async |sent: &[&str]| {
        let fields: Vec<_> = sent.iter().map(|value| ("answer-vary", *value)).collect();
        let response = ask(&listed(), request(Method::GET, "/", &fields)).await;
        let fields = response.headers().get_all(header::VARY).iter();
        fields.map(|field| field.to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(vary(&[]).await, ["Origin"]);
    assert_eq!(vary(&["Accept"]).await, ["Accept", "Origin"]);
    assert_eq!(vary(&["Accept, origin"]).await, ["Accept, origin"]);
    assert_eq!(vary(&["Accept", "ORIGIN"]).await, ["Accept", "ORIGIN"]);
    assert_eq!(vary(&["*"]).await, ["*"]);
    assert_eq!(vary(&["X-Origin"]).await, ["X-Origin", "Origin"]);

    let fields = [
        ("origin", EVIL),
        ("answer-access-control-allow-origin", EVIL),
        ("answer-access-control-allow-credentials", "true"),
        ("answer-access-control-expose-headers", "*"),
    ];
    for (name, cors) in policies() {
        let headers = ask(&cors, request(Method::GET, "/", &fields)).await.headers().clone();
        assert!(!said(&headers).contains(EVIL), "{name}");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS), "{name}");
    }
}

// LOG-06
#[tokio::test]
async fn a_preflight_of_a_stranger_is_noted_and_nothing_else_is() {
    for (request, is_noted) in [
        (preflight(EVIL), true),
        (preflight("null"), true),
        (preflight(APP), false),
        (request(Method::GET, "/", &[("origin", EVIL)]), false),
        (request(Method::OPTIONS, "/", &[("origin", EVIL)]), false),
    ] {
        let (facts, heard, mut request) = (Facts::new(), Heard::default(), request);
        facts.add_witness(heard.witness());
        request.extensions_mut().insert(facts.clone());
        ask(&listed(), request).await;
        assert_eq!(heard.kinds(), if is_noted { &[SecurityEventKind::MaliciousCors][..] } else { &[] });
        assert_eq!(facts.denied_by(), is_noted.then_some("cors"));
    }
}

/// Origins as an attacker would choose them: near to the allowed ones, and anything.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let near = prop_oneof![
        r"https?://[a-z.]{0,8}app\.example\.com[a-z.:/@#?]{0,8}",
        r"[hH]ttps?://pr-[0-9x]{0,3}.preview.example.com(\.evil\.example)?",
        r"https://(app|APP|pr-1|evil)[.x](preview\.)?example\.com\.?(:[0-9]{0,5})?",
        r"(null|\*|file://|, |https://app\.example\.com){1,3}",
    ];
    prop_oneof![near.prop_map(String::into_bytes), proptest::collection::vec(proptest::num::u8::ANY, 0..60),]
}

// CORS-01, CORS-42: the promise, held against a list that is compared in another way.
proptest! {
    #[test]
    fn no_origin_is_reflected_that_is_not_allowed(origin in hostile()) {
        let Ok(value) = HeaderValue::from_bytes(&origin) else { return Ok(()) };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let is_listed = origin == APP.as_bytes();
        let is_matched = origin.strip_prefix(b"https://pr-").and_then(|rest| rest.strip_suffix(b".preview.example.com"))
            .is_some_and(|number| !number.is_empty() && number.iter().all(u8::is_ascii_digit));
        for (name, cors) in policies() {
            for method in [Method::GET, Method::OPTIONS] {
                let mut request = request(method, "/", &[("access-control-request-method", "GET")]);
                request.headers_mut().insert(header::ORIGIN, value.clone());
                let response = runtime.block_on(ask(&cors, request));
                let allowed = response.headers().get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
                match name {
                    "nobody" => prop_assert_eq!(allowed, None),
                    "anyone" => prop_assert_eq!(allowed.unwrap(), "*"),
                    "matched" => prop_assert_eq!(allowed.is_some(), is_listed || is_matched),
                    _ => prop_assert_eq!(allowed.is_some(), is_listed),
                }
                if let Some(allowed) = allowed.filter(|_| name != "anyone") {
                    prop_assert_eq!(allowed, &value, "byte for byte");
                }
                let has_credentials = response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_CREDENTIALS);
                prop_assert!(!has_credentials || (name == "credentials" && is_listed));
            }
        }
    }
}
