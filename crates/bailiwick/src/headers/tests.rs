use std::convert::Infallible;

use bailiwick_core::request::Scheme;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower::{Layer, ServiceExt, service_fn};

use super::SecurityHeadersLayer;

type Empty = http_body_util::Empty<bytes::Bytes>;

/// The headers that leave when a handler set these.
async fn sent(scheme: Scheme, set: &[(&'static str, &'static str)]) -> HeaderMap {
    let set = set.to_vec();
    let inner = service_fn(move |_: Request<Empty>| {
        let mut response = Response::new(Empty::new());
        for (name, value) in &set {
            response.headers_mut().append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let mut request = Request::new(Empty::new());
    request.extensions_mut().insert(scheme);
    SecurityHeadersLayer::new().layer(inner).oneshot(request).await.unwrap().headers().clone()
}

fn as_text(headers: &HeaderMap) -> Vec<String> {
    let mut lines: Vec<_> =
        headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

// HDR-01, HDR-03
#[tokio::test]
async fn an_answer_of_the_api_carries_the_headers() {
    assert_eq!(
        as_text(&sent(Scheme::Http, &[("content-type", "application/json")]).await),
        [
            "cache-control: no-store",
            "content-security-policy: default-src 'none'; frame-ancestors 'none'",
            "content-type: application/json",
            "cross-origin-resource-policy: same-origin",
            "referrer-policy: no-referrer",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
        ]
    );
}

// HDR-02
#[tokio::test]
async fn https_is_promised_over_https_only() {
    let hsts = "strict-transport-security";
    let secure = sent(Scheme::Https, &[(hsts, "max-age=0")]).await;
    assert_eq!(secure[hsts], "max-age=63072000; includeSubDomains");
    assert_eq!(secure.get_all(hsts).iter().count(), 1);
    assert!(!sent(Scheme::Http, &[(hsts, "max-age=1")]).await.contains_key(hsts));
}

// HDR-03
#[tokio::test]
async fn a_page_may_use_no_features_and_shares_no_window() {
    let headers = sent(Scheme::Http, &[("content-type", "text/html; charset=utf-8")]).await;
    assert_eq!(headers["cross-origin-opener-policy"], "same-origin");
    assert!(headers.contains_key("permissions-policy"));
}

// HDR-05, HDR-07, HDR-08
#[tokio::test]
async fn a_handler_may_choose_where_it_knows_better_and_nowhere_else() {
    let set = [
        ("cache-control", "max-age=300"),
        ("content-security-policy", "default-src 'self'"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("referrer-policy", "same-origin"),
        ("x-content-type-options", "none"),
        ("x-frame-options", "SAMEORIGIN"),
        ("x-frame-options", "ALLOWALL"),
        ("server", "bailiwick/0.1"),
        ("x-powered-by", "Rust"),
    ];
    assert_eq!(
        as_text(&sent(Scheme::Http, &set).await),
        [
            "cache-control: max-age=300",
            "content-security-policy: default-src 'self'",
            "cross-origin-resource-policy: cross-origin",
            "referrer-policy: same-origin",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
        ]
    );
}
