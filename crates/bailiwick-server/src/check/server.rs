//! Findings about how the server is reached, and what it writes of it.
use std::net::IpAddr;

use super::{Found, Subject, others_may_read};
use crate::{application, config::LogLevel};

pub(super) fn no_hosts(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.server.allowed_hosts.is_empty() {
        found.error(
            "server.allowed_hosts",
            "no host is allowed, so every request would be refused",
            "list the names under which clients reach the server, such as [\"api.example.com\"]",
        );
    }
}

pub(super) fn any_host(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.server.allowed_hosts.iter().any(|host| host.is_any()) {
        found.error_in_production(
            "server.allowed_hosts",
            "`*` lets a request name any host, which poisons links and caches",
            "list the names under which clients reach the server",
        );
    }
}

pub(super) fn hosts_of_a_whole_suffix(subject: &Subject<'_>, found: &mut Found) {
    for host in subject.settings.server.allowed_hosts.iter().map(|host| host.as_str()) {
        if host.strip_prefix('.').is_some_and(|suffix| !suffix.contains('.') && suffix != "localhost") {
            found.warning(
                "server.allowed_hosts",
                format!("`{host}` takes every domain of a whole suffix"),
                "name your own domain, such as `.example.com`",
            );
        }
    }
}

pub(super) fn proxies_everywhere(subject: &Subject<'_>, found: &mut Found) {
    for network in subject.settings.server.trusted_proxies.iter().map(|proxy| proxy.network()) {
        // Two halves of the world are the world, so a very short prefix counts as one.
        if network.prefix_len() < 8 {
            found.error(
                "server.trusted_proxies",
                format!(
                    "{network} is more than your proxies: nearly anybody could say where a request comes from"
                ),
                "list the addresses of your proxies, such as `10.0.0.0/24`",
            );
        }
    }
}

pub(super) fn proxy_that_is_not_trusted(subject: &Subject<'_>, found: &mut Found) {
    let server = &subject.settings.server;
    let is_behind_a_proxy = server.bind.ip().is_loopback()
        && server.tls_cert_file.is_none()
        && server.public_url.as_ref().is_some_and(|url| url.is_https());
    if found.is_production && is_behind_a_proxy && server.trusted_proxies.is_empty() {
        found.warning(
            "server.trusted_proxies",
            format!(
                "{} is reached by a proxy on this machine alone, which nobody believes: all clients share its address, and \
                 one quota",
                server.bind
            ),
            "list the proxy, such as [\"127.0.0.1\"], and let it set X-Forwarded-For, -Proto and -Host",
        );
    }
}

pub(super) fn half_a_certificate(subject: &Subject<'_>, found: &mut Found) {
    let server = &subject.settings.server;
    let (given, missing) = match (&server.tls_cert_file, &server.tls_key_file) {
        (Some(_), None) => ("server.tls_cert_file", "server.tls_key_file"),
        (None, Some(_)) => ("server.tls_key_file", "server.tls_cert_file"),
        _ => return,
    };
    found.error(
        given,
        format!("https takes a certificate and its key, and there is no {missing}: the server would speak plain http"),
        format!("give {missing} too, or remove this one"),
    );
}

pub(super) fn certificate_that_cannot_be_served(subject: &Subject<'_>, found: &mut Found) {
    if let Err(error) = application::tls(subject.settings) {
        found.error(
            "server.tls_cert_file",
            error.to_string(),
            "give the PEM files of one certificate and its key",
        );
    }
}

pub(super) fn exposed_certificate_key(subject: &Subject<'_>, found: &mut Found) {
    if let Some(key) = subject.settings.server.tls_key_file.as_deref().filter(|key| others_may_read(key)) {
        found.error_in_production(
            "server.tls_key_file",
            format!("any user of this machine can read or replace {}", key.display()),
            format!("chmod 600 {}", key.display()),
        );
    }
}

pub(super) fn no_public_url(subject: &Subject<'_>, found: &mut Found) {
    if found.is_production && subject.settings.server.public_url.is_none() {
        found.error(
            "server.public_url",
            "links in answers would be built from what a request says about its host",
            "set it to the address that clients use, such as \"https://api.example.com\"",
        );
    }
}

pub(super) fn public_url_without_https(subject: &Subject<'_>, found: &mut Found) {
    if let Some(url) = &subject.settings.server.public_url
        && found.is_production
        && !url.is_https()
        && !url.is_loopback()
    {
        found.error(
            "server.public_url",
            "tokens and passwords would travel unencrypted",
            "serve https, by a proxy in front of the server, and write https:// here",
        );
    }
}

pub(super) fn plain_http_outside(subject: &Subject<'_>, found: &mut Found) {
    let bind = subject.settings.server.bind;
    let server = &subject.settings.server;
    let is_tls = server.tls_cert_file.is_some() && server.tls_key_file.is_some();
    // Then what comes past the proxies is refused.
    let is_proxied =
        !server.trusted_proxies.is_empty() && server.public_url.as_ref().is_some_and(|url| url.is_https());
    if !bind.ip().is_loopback() && !is_tls && !is_proxied {
        found.error_in_production(
            "server.bind",
            format!("{bind} is reached from other machines, without encryption"),
            "serve https by server.tls_cert_file and server.tls_key_file, or put a proxy with https in front and list it \
             in server.trusted_proxies",
        );
    }
}

pub(super) fn operations_outside(subject: &Subject<'_>, found: &mut Found) {
    let bind = subject.settings.server.operations_bind;
    if !is_inside(bind.ip()) {
        found.error_in_production(
            "server.operations_bind",
            format!("{bind} is reached from everywhere, and /metrics answers anyone"),
            "bind it to 127.0.0.1 or to an address of a private network; where only Prometheus can reach the address, as \
             in a container, accept this finding in check.allow",
        );
    }
}

/// Whether an address belongs to this machine or to a private network.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

pub(super) fn one_address_for_both(subject: &Subject<'_>, found: &mut Found) {
    let (main, operations) = (subject.settings.server.bind, subject.settings.server.operations_bind);
    let overlap =
        main.ip() == operations.ip() || main.ip().is_unspecified() || operations.ip().is_unspecified();
    // Port 0 is any that is free.
    if main.port() == operations.port() && main.port() != 0 && overlap {
        found.error(
            "server.operations_bind",
            format!("{operations} and server.bind {main} are one address: clients would read the metrics, or nobody anything"),
            "give it a port of its own",
        );
    }
}

pub(super) fn long_timeouts(subject: &Subject<'_>, found: &mut Found) {
    let server = &subject.settings.server;
    for (setting, period, seconds) in [
        ("server.header_timeout", server.header_timeout, 60),
        ("server.request_timeout", server.request_timeout, 600),
    ] {
        if period.as_secs() > seconds {
            found.warning(
                setting,
                format!("for {period}, a client that sends nothing keeps a connection busy"),
                format!("lower it to at most {seconds}s"),
            );
        }
    }
}

pub(super) fn talkative_log(subject: &Subject<'_>, found: &mut Found) {
    let level = subject.settings.log.level;
    if found.is_production && level >= LogLevel::Debug {
        found.warning(
            "log.level",
            format!("`{level}` writes details of requests, and slows the server down"),
            "set it to `info`",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::super::tests::{Case, find};

    pub(in crate::check) const CASES: &[Case] = &[
        ("server.allowed_hosts = []", "error HOST-001 server.allowed_hosts", ""),
        ("server.allowed_hosts = ['*']", "error HOST-002 server.allowed_hosts", ""),
        (
            "server.allowed_hosts = ['.com']",
            "warning HOST-003 server.allowed_hosts",
            "server.allowed_hosts = ['.a.com']",
        ),
        (
            "server.trusted_proxies = ['0.0.0.0/0']",
            "error PROXY-001 server.trusted_proxies",
            "server.trusted_proxies = ['10.0.0.0/8']",
        ),
        (
            "server.trusted_proxies = ['::/1']",
            "error PROXY-001 server.trusted_proxies",
            "server.trusted_proxies = ['fd00::/8']",
        ),
        ("server.public_url = ''", "error URL-001 server.public_url", ""),
        (
            "server.public_url = 'http://a.example'",
            "error URL-002 server.public_url",
            "server.public_url = 'http://localhost:8000'",
        ),
        (
            "server.bind = '0.0.0.0:8000'\nserver.trusted_proxies = []",
            "error BIND-001 server.bind",
            "server.bind = '0.0.0.0:8000'\nserver.trusted_proxies = ['10.0.0.2']",
        ),
        (
            "server.bind = '10.0.0.1:80'\nserver.trusted_proxies = []",
            "error BIND-001 server.bind",
            "server.bind = '127.0.0.2:80'",
        ),
        (
            "server.trusted_proxies = []",
            "warning PROXY-002 server.trusted_proxies",
            "server.trusted_proxies = ['10.0.0.2']",
        ),
        (
            "server.operations_bind = '0.0.0.0:9000'",
            "error BIND-002 server.operations_bind",
            "server.operations_bind = '[::1]:9000'",
        ),
        (
            "server.operations_bind = '[2001:db8::1]:9000'",
            "error BIND-002 server.operations_bind",
            "server.operations_bind = '[fd00::1]:9000'",
        ),
        (
            "server.operations_bind = '[::ffff:203.0.113.7]:9000'",
            "error BIND-002 server.operations_bind",
            "server.operations_bind = '10.0.0.7:9000'",
        ),
        (
            "server.operations_bind = '127.0.0.1:8000'",
            "error BIND-003 server.operations_bind",
            "server.operations_bind = '127.0.0.2:8000'",
        ),
        (
            "server.header_timeout = '61s'",
            "warning TIME-001 server.header_timeout",
            "server.header_timeout = '60s'",
        ),
        (
            "server.request_timeout = '1h'",
            "warning TIME-001 server.request_timeout",
            "server.request_timeout = '10m'",
        ),
        ("log.level = 'debug'", "warning LOG-001 log.level", "log.level = 'info'"),
    ];

    // TLS-03
    #[test]
    fn a_certificate_is_served_with_its_key_or_not_at_all() {
        const OUTSIDE: &str = "server.bind = '10.0.0.1:443'\nserver.trusted_proxies = []\n";
        let found = find(&format!("{OUTSIDE}server.tls_cert_file = 'cert.pem'"));
        assert_eq!(found, ["error TLS-001 server.tls_cert_file", "error BIND-001 server.bind"]);
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            #[cfg(unix)]
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            path.display().to_string()
        };
        let made = || rcgen::generate_simple_self_signed(["api.example.com".to_owned()]).unwrap();
        let (one, other) = (made(), made());
        let certificate = file("cert.pem", &one.cert.pem());
        let key = file("key.pem", &one.signing_key.serialize_pem());
        let wrong_key = file("wrong.pem", &other.signing_key.serialize_pem());
        let with = |certificate: &str, key: &str| {
            find(&format!("{OUTSIDE}server.tls_cert_file = '{certificate}'\nserver.tls_key_file = '{key}'"))
        };
        assert_eq!(with(&certificate, &key), [""; 0]);
        let cannot = ["error TLS-002 server.tls_cert_file"];
        assert_eq!(with(&certificate, &wrong_key), cannot);
        assert_eq!(with(&certificate, &certificate), cannot);
        assert_eq!(with(&key, &key), cannot);
        assert_eq!(with("/nowhere/cert.pem", &key), cannot);
        #[cfg(unix)]
        {
            fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            assert_eq!(with(&certificate, &key), ["error TLS-003 server.tls_key_file"]);
        }
    }
}
