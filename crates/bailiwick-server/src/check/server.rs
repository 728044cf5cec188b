//! Findings about how the server is reached, and what it writes of it.
use std::net::IpAddr;

use super::{Found, Subject};
use crate::config::LogLevel;

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
    // Neither a certificate nor the proxies in the settings are in force yet: they do not make it better.
    if !bind.ip().is_loopback() {
        found.error_in_production(
            "server.bind",
            format!("{bind} is reached from other machines, without encryption"),
            "bind to 127.0.0.1, behind a proxy with https on this machine; where only such a proxy can reach the \
             address, as in a container, accept this finding in check.allow",
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
        ("server.bind = '0.0.0.0:8000'", "error BIND-001 server.bind", "server.bind = '[::1]:8000'"),
        ("server.bind = '10.0.0.1:80'", "error BIND-001 server.bind", "server.bind = '127.0.0.2:80'"),
        // What is not in force yet mends nothing.
        (
            "server.bind = '10.0.0.1:80'\nserver.trusted_proxies = ['10.0.0.2']",
            "error BIND-001 server.bind",
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

    #[test]
    fn a_certificate_that_is_not_served_does_not_count_as_one() {
        let found = find("server.bind = '10.0.0.1:80'\nserver.tls_cert_file = 'cert.pem'");
        assert_eq!(found, ["error SET-002 server.tls_cert_file", "error BIND-001 server.bind"]);
    }
}
