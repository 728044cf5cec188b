use std::convert::Infallible;

use axum::body::Body;
use http::{Request, Response, Version, header};
use proptest::proptest;
use tower::{Layer, ServiceExt, service_fn};

use super::{AllowedHosts, HostsLayer};

fn hosts() -> AllowedHosts {
    AllowedHosts::parse(["localhost", "127.0.0.1", "[::1]", ".Example.com"]).unwrap()
}

// HST-01, HST-02
#[test]
fn exact_names_and_sub_domains_are_allowed_with_any_port() {
    for right in [
        "localhost",
        "LocalHost:8000",
        "localhost.",
        "localhost.:80",
        "127.0.0.1:1",
        "[::1]",
        "[::1]:8000",
        "example.com",
        "EXAMPLE.COM",
        "a.example.com",
        "a.b.example.com:443",
        "a.example.com.",
    ] {
        assert!(hosts().allow(right.as_bytes()), "{right}");
    }
}

// HST-01, HST-02
#[test]
fn everything_else_is_not() {
    for wrong in [
        "",
        ":",
        ":80",
        ".",
        "localhost..",
        "localhost:",
        "localhost:x",
        "localhost:80:80",
        "localhost :80",
        "localhost,evil.test",
        "localhost/",
        "user@localhost",
        "localhost@evil.test",
        "http://localhost",
        "evil.test",
        "sub.localhost",
        "xexample.com",
        "example.com.evil.test",
        "127.0.0.10",
        "127.0.0.1.evil.test",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]:",
        "[]",
        "[localhost]",
        "[::1%25eth0]",
        "[0:0:0:0:0:0:0:1]",
        "exämple.com",
        "a_b.example.com",
        "localhost\0",
        "localhost\u{a0}",
    ] {
        assert!(!hosts().allow(wrong.as_bytes()), "{wrong:?}");
    }
    assert!(!hosts().allow(b"localhost\xff"));
    assert!(!AllowedHosts::default().allow(b"localhost"), "an empty list allows nothing");
}

#[test]
fn an_entry_that_could_never_match_is_an_error_that_names_it() {
    for wrong in [
        "",
        ".",
        "..example.com",
        "https://example.com",
        "example.com/",
        "example.com:80",
        "*.example.com",
        "example.com.",
        "exämple.com",
        ".[::1]",
        "[::1]:80",
        "a b",
    ] {
        let error = AllowedHosts::parse(["localhost", wrong]).unwrap_err();
        assert_eq!(error.entry(), wrong);
    }
    assert!(AllowedHosts::parse(["*"]).unwrap().allow_any());
    assert!(!hosts().allow_any());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(host: Vec<u8>) {
        hosts().allow(&host);
    }

    #[test]
    fn a_host_that_is_no_entry_or_sub_domain_is_refused(prefix in "[a-z0-9-]{1,20}") {
        let longer = format!("{prefix}example.com");
        proptest::prop_assert!(!hosts().allow(longer.as_bytes()));
        let sub_domain = format!("{prefix}.example.com");
        proptest::prop_assert!(hosts().allow(sub_domain.as_bytes()));
    }
}

/// The status, and the host that the service inside saw.
async fn ask(version: Version, uri: &str, sent: &[&str]) -> (u16, Option<String>) {
    let inner = service_fn(|request: Request<()>| async move {
        let host = request.headers()[header::HOST].to_str().unwrap().to_owned();
        assert_eq!(request.headers().get_all(header::HOST).iter().count(), 1);
        Ok::<_, Infallible>(Response::new(Body::from(host)))
    });
    let mut request = Request::builder().version(version).uri(uri);
    for host in sent {
        request = request.header(header::HOST, *host);
    }
    let response = HostsLayer::new(hosts()).layer(inner).oneshot(request.body(()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
    (status, (status == 200).then(|| String::from_utf8(body.to_vec()).unwrap()))
}

// HST-03, HST-04
#[tokio::test]
async fn a_missing_doubled_or_strange_host_is_refused() {
    let ok = |host: &str| (200, Some(host.to_owned()));
    assert_eq!(ask(Version::HTTP_11, "/", &["localhost"]).await, ok("localhost"));
    assert_eq!(ask(Version::HTTP_11, "/", &[]).await, (400, None));
    assert_eq!(ask(Version::HTTP_10, "/", &[]).await, (400, None));
    assert_eq!(ask(Version::HTTP_11, "/", &["localhost", "localhost"]).await, (400, None));
    assert_eq!(ask(Version::HTTP_11, "/", &["evil.test"]).await, (400, None));
}

// HST-03
#[tokio::test]
async fn a_target_in_absolute_form_overrides_the_header() {
    let target = "http://a.example.com:80/";
    assert_eq!(ask(Version::HTTP_11, target, &["evil.test"]).await, (200, Some("a.example.com:80".into())));
    assert_eq!(ask(Version::HTTP_11, "http://evil.test/", &["localhost"]).await, (400, None));
    assert_eq!(ask(Version::HTTP_11, "http://user@localhost/", &["localhost"]).await, (400, None));
    assert_eq!(ask(Version::HTTP_11, target, &[]).await, (400, None));
}

// HST-03
#[tokio::test]
async fn http_2_names_the_host_in_its_target_and_nowhere_else_otherwise() {
    let target = "https://a.example.com/";
    let ok = (200, Some("a.example.com".to_owned()));
    assert_eq!(ask(Version::HTTP_2, target, &[]).await, ok);
    assert_eq!(ask(Version::HTTP_2, target, &["A.example.com"]).await, ok);
    assert_eq!(ask(Version::HTTP_2, "/", &["localhost"]).await, (200, Some("localhost".into())));
    assert_eq!(ask(Version::HTTP_2, target, &["localhost"]).await, (400, None));
    assert_eq!(ask(Version::HTTP_2, "/", &[]).await, (400, None));
}
