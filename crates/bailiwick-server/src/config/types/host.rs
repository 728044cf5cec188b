//! Settings that name hosts and networks.
use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use ipnet::IpNet;
use serde_json::Value;

use super::super::value::Setting;

/// A host that the server answers for: exact, or `.example.com` for a domain and all of its sub-domains
/// (HST-02).
///
/// `*`, any host, is read so that `check` can refuse it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// The pattern in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every host matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl Setting for HostPattern {
    fn accepts() -> Cow<'static, str> {
        "a host name without scheme and port such as `api.example.com`, an address such as `[::1]`, or \
         `.example.com` for a domain with its sub-domains"
            .into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err("this is a URL, not a host".to_owned());
        }
        let host = text.to_ascii_lowercase();
        let right = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None if host.contains(':') => {
                return Err("a host here has no port, and an IPv6 address has brackets".to_owned());
            }
            None => host == "*" || is_host_name(host.strip_prefix('.').unwrap_or(&host)),
        };
        if right { Ok(Self(host)) } else { Err("this is not a host".to_owned()) }
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Labels of letters, digits and inner hyphens, in ASCII (international names as punycode), or an IPv4
/// address.
pub(super) fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A network whose members may say for whom they forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// The network.
    #[must_use]
    pub fn network(self) -> IpNet {
        self.0
    }
}

impl Setting for TrustedProxy {
    fn accepts() -> Cow<'static, str> {
        "a network or an address such as `10.0.0.0/8`, `10.1.2.3` or `fd00::/8`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => {
                text.parse::<IpNet>().map_err(|_| "this is neither a network nor an address".to_owned())?
            }
        };
        Ok(Self(network.trunc()))
    }

    fn show(&self) -> Value {
        self.0.to_string().into()
    }
}

/// `localhost`, a name below it, or an address of this machine, with or without brackets.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::testing::read;

    // HST-01, HST-02
    #[test]
    fn hosts_are_names_or_addresses_without_scheme_and_port() {
        for (right, kept) in [
            ("localhost", "localhost"),
            ("API.Example.com", "api.example.com"),
            (".example.com", ".example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("*", "*"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(read::<HostPattern>(right), Ok(kept.into()), "{right}");
        }
        let long = "a".repeat(64);
        for wrong in [
            "",
            ".",
            "..",
            "a..b",
            "*.example.com",
            "https://example.com",
            "example.com:8000",
            "::1",
            "[::1]:80",
            "[nonsense]",
            "exa mple.com",
            "bücher.example",
            "-a.example",
            "example.com/",
            "a_b",
            "example.com.",
            &long,
        ] {
            assert!(read::<HostPattern>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn proxies_are_networks_and_single_addresses() {
        assert_eq!(read::<TrustedProxy>("10.1.2.3/8"), Ok("10.0.0.0/8".into()));
        assert_eq!(read::<TrustedProxy>("10.1.2.3"), Ok("10.1.2.3/32".into()));
        assert_eq!(read::<TrustedProxy>("::1"), Ok("::1/128".into()));
        assert_eq!(read::<TrustedProxy>("0.0.0.0/0"), Ok("0.0.0.0/0".into()));
        for wrong in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "*", "10.0.0.0-10.0.0.9"] {
            assert!(read::<TrustedProxy>(wrong).is_err(), "{wrong}");
        }
    }
}
