//! https by certificate files: what is spoken, and what becomes of a certificate that is replaced.
#![cfg(unix)]
use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
    thread,
    time::Duration,
};

use bailiwick::clock::{Clock, SystemClock};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject},
    version::{TLS12, TLS13},
};

use crate::site::{Server, Site, set_mode};

/// A certificate of its own and its key, in PEM.
pub(crate) fn certificate() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A site over https alone, with this certificate.
pub(crate) fn site((certificate, key): &(String, String)) -> Site {
    let mut site = Site::new();
    put(&site, certificate, key);
    site.set("BAILIWICK_SERVER__TLS_CERT_FILE", site.path("cert.pem").to_str().unwrap());
    site.set("BAILIWICK_SERVER__TLS_KEY_FILE", site.path("key.pem").to_str().unwrap());
    site.set("BAILIWICK_SERVER__PUBLIC_URL", "https://localhost");
    site
}

fn put(site: &Site, certificate: &str, key: &str) {
    fs::write(site.path("cert.pem"), certificate).unwrap();
    fs::write(site.path("key.pem"), key).unwrap();
    set_mode(&site.path("key.pem"), 0o600);
}

pub(crate) type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection of a client that trusts this certificate and no other, and speaks HTTP/1.1.
fn connect(server: &Server, trusted: &str, versions: &[&'static SupportedProtocolVersion]) -> Stream {
    connect_by(server, trusted, versions, b"http/1.1")
}

/// The same, for a client that speaks this protocol.
pub(crate) fn connect_by(
    server: &Server,
    trusted: &str,
    versions: &[&'static SupportedProtocolVersion],
    protocol: &[u8],
) -> Stream {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(trusted.as_bytes()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let client = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let socket = TcpStream::connect(server.address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    StreamOwned::new(client, socket)
}

/// The answer to a request on a connection that ends with it.
fn get(stream: &mut Stream, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

// TLS-03, HDR-02
#[test]
fn https_is_spoken_by_tls_1_2_and_1_3_and_nothing_is_said_in_the_clear() {
    let pair = certificate();
    let site = site(&pair);
    let server = site.serve();
    for version in [&TLS12, &TLS13] {
        let mut stream = connect(&server, &pair.0, &[version]);
        let answer = get(&mut stream, "/api/v1/me/").unwrap().to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 401 "), "{answer}");
        assert!(answer.contains("\r\nstrict-transport-security: max-age="), "{answer}");
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    }
    let mut clear = server.connect();
    clear.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(clear.answer(false).is_err(), "plain http is not answered");
    let other = certificate();
    assert!(
        get(&mut connect(&server, &other.0, &[&TLS13]), "/healthz").is_err(),
        "another certificate is not its own"
    );
}

#[test]
fn a_replaced_certificate_is_served_without_a_restart_and_a_broken_one_never() {
    let (first, second) = (certificate(), certificate());
    let site = site(&first);
    let server = site.serve();
    let mut kept = connect(&server, &first.0, &[&TLS13]);
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut byte = [0];
    kept.read_exact(&mut byte).unwrap();
    let is_served = |trusted: &str| get(&mut connect(&server, trusted, &[&TLS13]), "/healthz").is_ok();
    // In the middle of being replaced, the two do not fit together.
    fs::write(site.path("cert.pem"), &second.0).unwrap();
    thread::sleep(Duration::from_secs(7));
    assert!(is_served(&first.0));
    put(&site, &second.0, &second.1);
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    while !is_served(&second.0) {
        assert!(clock.monotonic() - begun < Duration::from_secs(15), "the new certificate is not served");
        thread::sleep(Duration::from_millis(200));
    }
    assert!(!is_served(&first.0));
    // A connection from before lives on.
    kept.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    kept.read_to_string(&mut rest).unwrap();
    assert_eq!(rest.matches("TTP/1.1 200").count(), 2, "{rest}");
    fs::remove_file(site.path("key.pem")).unwrap();
    thread::sleep(Duration::from_secs(6));
    assert!(is_served(&second.0));
    let output = server.stop();
    assert_eq!(output.out.matches("another certificate is served from now on").count(), 1, "{}", output.out);
    assert_eq!(output.out.matches("that cannot be served").count(), 2, "{}", output.out);
}

// LIM-11
#[test]
fn a_handshake_that_never_ends_keeps_no_place_and_no_server_from_stopping() {
    let pair = certificate();
    let mut site = site(&pair);
    site.set("BAILIWICK_SERVER__HEADER_TIMEOUT", "1s");
    site.set("BAILIWICK_SERVER__MAX_CONNECTIONS", "2");
    let server = site.serve();
    let silent: Vec<_> = [(); 2].map(|()| TcpStream::connect(server.address).unwrap()).into();
    thread::sleep(Duration::from_millis(1800));
    assert!(get(&mut connect(&server, &pair.0, &[&TLS13]), "/healthz").unwrap().starts_with("HTTP/1.1 200 "));
    drop(silent);
    let _silent = TcpStream::connect(server.address).unwrap();
    thread::sleep(Duration::from_millis(200));
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    server.stop();
    assert!(clock.monotonic() - begun < Duration::from_secs(5));
}

#[test]
fn a_certificate_that_cannot_be_served_stops_the_start() {
    let (pair, other) = (certificate(), certificate());
    let site = site(&(pair.0, other.1));
    let output = site.run(&["serve"], None);
    assert_eq!(output.code, Some(2), "{}", output.err);
    assert!(output.err.contains("TLS-002 server.tls_cert_file"), "{}", output.err);
}
