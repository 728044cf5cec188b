use std::{convert::Infallible, net::IpAddr};

use bailiwick_core::request::{ClientAddr, Scheme};
use http::{HeaderValue, Request, header};
use proptest::proptest;
use tower::{Layer, ServiceExt, service_fn};

use super::{ForwardedBy, ProxiesLayer, TrustedProxies};
use crate::problem::Refusal;

const FIELDS: [&str; 4] = ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"];

fn trusted() -> TrustedProxies {
    TrustedProxies::new(["10.0.0.0/8", "192.0.2.9/32", "fd00::/8"].map(|network| network.parse().unwrap()))
}

fn layer() -> ProxiesLayer {
    ProxiesLayer::new(trusted())
}

/// What the service inside sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    address: Option<IpAddr>,
    is_https: bool,
    host: String,
    uri: String,
    is_refused: bool,
}

async fn seen(layer: ProxiesLayer, peer: &str, uri: &str, fields: &[(&'static str, &[u8])]) -> Seen {
    let inner = service_fn(|request: Request<()>| async move {
        for field in FIELDS {
            assert!(!request.headers().contains_key(field), "{field} is left for handlers to read");
        }
        let extensions = request.extensions();
        Ok::<_, Infallible>(Seen {
            address: extensions.get().map(|ClientAddr(address)| *address),
            is_https: extensions.get::<Scheme>() == Some(&Scheme::Https),
            host: String::from_utf8_lossy(request.headers()[header::HOST].as_bytes()).into_owned(),
            uri: request.uri().to_string(),
            is_refused: extensions.get::<Refusal>().is_some(),
        })
    });
    let mut request = Request::builder().uri(uri).header(header::HOST, "inside.test").body(()).unwrap();
    request.extensions_mut().insert(ClientAddr(peer.parse().unwrap()));
    for (name, value) in fields {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    layer.layer(inner).oneshot(request).await.unwrap()
}

async fn address(by: ForwardedBy, peer: &str, fields: &[(&'static str, &[u8])]) -> String {
    seen(layer().by(by), peer, "/", fields).await.address.unwrap().to_string()
}

// PRX-01, PRX-02, PRX-03, THR-09, THR-10, THR-11
#[tokio::test]
async fn the_client_is_the_right_most_address_that_is_no_trusted_proxys() {
    let by_x = async |peer: &str, fields: &[&str]| {
        let fields: Vec<_> = fields.iter().map(|value| (FIELDS[0], value.as_bytes())).collect();
        address(ForwardedBy::XForwarded, peer, &fields).await
    };
    const PROXY: &str = "10.0.0.1";
    for (peer, fields, client) in [
        // Nobody who calls by themselves is believed, whatever they send.
        ("198.51.100.7", &["1.1.1.1"][..], "198.51.100.7"),
        ("198.51.100.7", &["10.0.0.1"], "198.51.100.7"),
        ("2001:db8::7", &["1.1.1.1, 10.0.0.1"], "2001:db8::7"),
        // The proxy's word counts; what stands left of it does not.
        (PROXY, &["198.51.100.7"], "198.51.100.7"),
        (PROXY, &["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        (PROXY, &["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        (PROXY, &["1.1.1.1,2.2.2.2", "3.3.3.3 ,  198.51.100.7"], "198.51.100.7"),
        (PROXY, &["10.9.9.9, 198.51.100.7"], "198.51.100.7"),
        // A chain of proxies.
        (PROXY, &["1.1.1.1, 198.51.100.7, 10.2.3.4"], "198.51.100.7"),
        (PROXY, &["1.1.1.1, 198.51.100.7, 192.0.2.9, 10.2.3.4"], "198.51.100.7"),
        ("fd00::1", &["198.51.100.7, fd12::4"], "198.51.100.7"),
        // All of them are proxies: the farthest calls for itself.
        (PROXY, &["10.7.7.7, 10.2.3.4"], "10.7.7.7"),
        // What cannot be read ends it: it is the nearest that can.
        (PROXY, &["198.51.100.7, unknown"], PROXY),
        (PROXY, &["198.51.100.7, unknown, 10.2.3.4"], "10.2.3.4"),
        (PROXY, &["198.51.100.7,"], PROXY),
        (PROXY, &["198.51.100.7", ""], PROXY),
        (PROXY, &["198.51.100.7/32"], PROXY),
        (PROXY, &["198.51.100.007"], PROXY),
        (PROXY, &["localhost"], PROXY),
        (PROXY, &[], PROXY),
        // With a port, and in all the forms of an address.
        (PROXY, &["198.51.100.7:4711"], "198.51.100.7"),
        (PROXY, &["2001:db8::7"], "2001:db8::7"),
        (PROXY, &["[2001:db8::7]"], "2001:db8::7"),
        (PROXY, &["[2001:db8::7]:4711"], "2001:db8::7"),
        (PROXY, &["::ffff:198.51.100.7"], "198.51.100.7"),
        (PROXY, &["198.51.100.7, ::ffff:10.2.3.4"], "198.51.100.7"),
        ("::ffff:10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
        (PROXY, &["[198.51.100.7]"], PROXY),
    ] {
        assert_eq!(by_x(peer, fields).await, client, "{peer} {fields:?}");
    }
    for (sent, client) in [
        (&b"198.51.100.7, \xff"[..], PROXY),
        // What a client makes up does not hide what a proxy added.
        (b"\xff, 198.51.100.7", "198.51.100.7"),
        (b"\xff\xfe\xc3\x28,198.51.100.7, 10.2.3.4", "198.51.100.7"),
    ] {
        assert_eq!(address(ForwardedBy::XForwarded, PROXY, &[(FIELDS[0], sent)]).await, client, "{sent:?}");
    }
}

// A client that breaks the grammar of what a proxy goes on with has no quota but its own, since it is answered nothing else.
#[tokio::test]
async fn forwarded_that_cannot_be_read_is_refused_where_it_is_read() {
    for (by, peer, field, is_refused) in [
        (ForwardedBy::Forwarded, "10.0.0.1", &b"for=6.6.6.6;x=\", for=198.51.100.7"[..], true),
        (ForwardedBy::Forwarded, "10.0.0.1", b"\xff, for=198.51.100.7", true),
        (ForwardedBy::Forwarded, "10.0.0.1", b"for=198.51.100.7", false),
        (ForwardedBy::Forwarded, "10.0.0.1", b"for=unknown", false),
        (ForwardedBy::Forwarded, "198.51.100.7", b"\xff", false),
        (ForwardedBy::XForwarded, "10.0.0.1", b"\xff", false),
    ] {
        let seen = seen(layer().by(by), peer, "/", &[(FIELDS[3], field)]).await;
        assert_eq!(seen.is_refused, is_refused, "{by:?} {peer} {field:?}");
    }
}

// PRX-03; RFC 7239 §4 to §7
#[tokio::test]
async fn forwarded_is_read_by_its_grammar_and_from_the_right() {
    const PROXY: &str = "10.0.0.1";
    for (fields, client) in [
        (&["for=198.51.100.7"][..], "198.51.100.7"),
        (&["For=\"198.51.100.7:4711\";proto=https"], "198.51.100.7"),
        (&["for=\"[2001:db8::7]:4711\""], "2001:db8::7"),
        (&["proto=https; for=\"[2001:db8::7]\""], "2001:db8::7"),
        (&["for=1.1.1.1, for=198.51.100.7"], "198.51.100.7"),
        (&["for=1.1.1.1", "for=198.51.100.7;by=10.0.0.1"], "198.51.100.7"),
        (&["for=198.51.100.7, for=10.2.3.4"], "198.51.100.7"),
        (&["for=\"198\\.51.100.7\""], "198.51.100.7"),
        (&["for=198.51.100.7, for=unknown"], PROXY),
        (&["for=198.51.100.7, for=_hidden"], PROXY),
        (&["for=198.51.100.7, proto=https"], PROXY),
        // A quotation mark that a client left open does not swallow what a proxy added.
        (&["for=6.6.6.6;x=\", for=198.51.100.7"], PROXY),
        (&["for=6.6.6.6;x=\", for=\"198.51.100.7\""], PROXY),
        (&["for=6.6.6.6;x=\"", "for=198.51.100.7"], "198.51.100.7"),
        // Nor does anything else that is against the grammar.
        (&["for=198.51.100.7;for=6.6.6.6"], PROXY),
        (&["for=198.51.100.7,"], PROXY),
        (&["for=198.51.100.7;"], PROXY),
        (&["for=198.51.100.7 6.6.6.6"], PROXY),
        (&["for =198.51.100.7"], PROXY),
        (&["for=[2001:db8::7]"], PROXY),
        (&["for"], PROXY),
        (&[""], PROXY),
        (&[], PROXY),
    ] {
        let fields: Vec<_> = fields.iter().map(|value| (FIELDS[3], value.as_bytes())).collect();
        assert_eq!(address(ForwardedBy::Forwarded, PROXY, &fields).await, client, "{fields:?}");
    }
}

// PRX-03
#[tokio::test]
async fn fields_of_the_other_kind_are_not_read() {
    let (x, forwarded): ((_, &[u8]), (_, &[u8])) = ((FIELDS[0], b"1.1.1.1"), (FIELDS[3], b"for=2.2.2.2"));
    assert_eq!(address(ForwardedBy::XForwarded, "10.0.0.1", &[x, forwarded]).await, "1.1.1.1");
    assert_eq!(address(ForwardedBy::XForwarded, "10.0.0.1", &[forwarded]).await, "10.0.0.1");
    assert_eq!(address(ForwardedBy::Forwarded, "10.0.0.1", &[x, forwarded]).await, "2.2.2.2");
    assert_eq!(address(ForwardedBy::Forwarded, "10.0.0.1", &[x]).await, "10.0.0.1");
}

// PRX-04, PRX-05
#[tokio::test]
async fn a_client_came_over_https_only_if_the_proxy_that_it_called_says_so() {
    for (peer, address, proto, is_https) in [
        ("10.0.0.1", "1.1.1.1", &["https"][..], true),
        ("10.0.0.1", "1.1.1.1", &["HTTPS"], true),
        ("10.0.0.1", "1.1.1.1", &[], false),
        ("10.0.0.1", "1.1.1.1", &["http"], false),
        ("10.0.0.1", "1.1.1.1", &["wss"], false),
        ("198.51.100.7", "1.1.1.1", &["https"], false),
        // What the client sent stands left of what the proxy adds.
        ("10.0.0.1", "1.1.1.1", &["https, http"], false),
        ("10.0.0.1", "1.1.1.1", &["https", "http"], false),
        // Of a chain, the proxy that the client called tells; where only one does, it is taken at its word.
        ("10.0.0.1", "1.1.1.1, 10.2.3.4", &["https, http"], true),
        ("10.0.0.1", "1.1.1.1, 10.2.3.4", &["https, http, https"], false),
        ("10.0.0.1", "1.1.1.1, 10.2.3.4", &["https"], true),
        ("10.0.0.1", "1.1.1.1, 10.2.3.4, 10.3.3.3", &["http, https"], false),
    ] {
        let mut fields: Vec<(_, &[u8])> = vec![(FIELDS[0], address.as_bytes())];
        fields.extend(proto.iter().map(|proto| (FIELDS[1], proto.as_bytes())));
        assert_eq!(seen(layer(), peer, "/", &fields).await.is_https, is_https, "{fields:?}");
    }
    let by = layer().by(ForwardedBy::Forwarded);
    for (field, is_https) in [
        ("for=1.1.1.1;proto=https", true),
        ("for=1.1.1.1;proto=https, for=10.2.3.4;proto=http", true),
        ("for=6.6.6.6;proto=https, for=1.1.1.1;proto=http", false),
        ("for=1.1.1.1", false),
        ("proto=https", true),
    ] {
        let seen = seen(by.clone(), "10.0.0.1", "/", &[(FIELDS[3], field.as_bytes())]).await;
        assert_eq!(seen.is_https, is_https, "{field}");
    }
}

#[tokio::test]
async fn the_host_that_a_client_named_is_the_host() {
    let hosts = async |peer: &str, uri: &str, field: &'static str, value: &str| {
        let by = if field == FIELDS[3] { ForwardedBy::Forwarded } else { ForwardedBy::XForwarded };
        let fields: [(_, &[u8]); 2] = [(FIELDS[0], b"1.1.1.1"), (field, value.as_bytes())];
        let seen = seen(layer().by(by), peer, uri, &fields).await;
        (seen.host, seen.uri)
    };
    let pair = |host: &str, uri: &str| (host.to_owned(), uri.to_owned());
    let x = FIELDS[2];
    assert_eq!(hosts("10.0.0.1", "/a?b", x, "api.test").await, pair("api.test", "/a?b"));
    assert_eq!(hosts("10.0.0.1", "http://inside.test/a?b", x, "api.test").await, pair("api.test", "/a?b"));
    assert_eq!(hosts("10.0.0.1", "/", x, "evil.test, api.test").await, pair("api.test", "/"));
    assert_eq!(hosts("198.51.100.7", "/", x, "evil.test").await, pair("inside.test", "/"));
    let field = "for=1.1.1.1;host=\"api.test:8443\"";
    assert_eq!(hosts("10.0.0.1", "/", FIELDS[3], field).await, pair("api.test:8443", "/"));
}

// TLS-01
#[tokio::test]
async fn a_site_of_https_alone_refuses_what_came_in_the_clear() {
    let https = layer().only_https("/healthz");
    let refused = async |layer: &ProxiesLayer, peer, uri, proto: &[&[u8]]| {
        let fields: Vec<_> = proto.iter().map(|proto| (FIELDS[1], *proto)).collect();
        let seen = seen(layer.clone(), peer, uri, &fields).await;
        (seen.is_refused, seen.is_https)
    };
    assert_eq!(refused(&https, "10.0.0.1", "/", &[b"https"]).await, (false, true));
    assert_eq!(refused(&https, "10.0.0.1", "/", &[b"http"]).await, (true, false));
    assert_eq!(refused(&https, "10.0.0.1", "/", &[]).await, (true, false));
    for health in ["/healthz", "/healthz/"] {
        assert_eq!(refused(&https, "10.0.0.1", health, &[]).await, (false, false));
    }
    // Whoever comes past the proxies has sent everything in the clear.
    assert_eq!(refused(&https, "198.51.100.7", "/", &[b"https"]).await, (true, false));
    // Without trusted proxies nobody tells how a client came.
    let untold = ProxiesLayer::new(TrustedProxies::default());
    assert_eq!(refused(&untold.clone().only_https("/healthz"), "10.0.0.1", "/", &[]).await, (false, true));
    assert_eq!(refused(&untold, "10.0.0.1", "/", &[b"https"]).await, (false, false));
}

proptest! {
    /// Whatever stands in the fields, a client that no proxy speaks for is itself; and one that a proxy speaks for cannot
    /// change what the proxy adds.
    #[test]
    fn no_bytes_change_whose_request_it_is(
        sent in proptest::collection::vec(proptest::collection::vec(0x20_u8..0x7f, 0..60), 0..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        // As a proxy adds it to what it was sent.
        let added = |addition: &[u8]| {
            let mut all = sent.clone();
            match all.last_mut() {
                Some(last) => last.extend([b", ", addition].concat()),
                None => all.push(addition.to_vec()),
            }
            all
        };
        let client = |by, peer, field, values: &[Vec<u8>]| {
            let fields: Vec<(_, &[u8])> = values.iter().map(|value| (field, value.as_slice())).collect();
            runtime.block_on(address(by, peer, &fields))
        };
        for (by, field) in [(ForwardedBy::XForwarded, FIELDS[0]), (ForwardedBy::Forwarded, FIELDS[3])] {
            assert_eq!(client(by, "198.51.100.7", field, &sent), "198.51.100.7");
        }
        let by_x = client(ForwardedBy::XForwarded, "10.0.0.1", FIELDS[0], &added(b"198.51.100.7"));
        assert_eq!(by_x, "198.51.100.7");
        // What is against the grammar is nobody's word: then it is the proxy's own.
        let by = client(ForwardedBy::Forwarded, "10.0.0.1", FIELDS[3], &added(b"for=\"198.51.100.7\""));
        assert!(by == "198.51.100.7" || by == "10.0.0.1", "{by}");
    }
}
