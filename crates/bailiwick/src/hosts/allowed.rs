//! The list of host names, and how a `Host` is read.

/// The host names that this server answers to.
///
/// An entry is a name or an address (`api.example.com`, `127.0.0.1`, `[::1]`), or a name with a dot before it,
/// which stands for itself and all of its sub-domains (`.example.com`). `*` stands for every name: it is read, so
/// that `check` can find it and say why it must not be there.
///
/// ```
/// use bailiwick::hosts::AllowedHosts;
///
/// let hosts = AllowedHosts::parse(["localhost", ".example.com"])?;
/// assert!(hosts.allow(b"LOCALHOST:8000") && hosts.allow(b"api.example.com"));
/// assert!(!hosts.allow(b"example.com.attacker.test"));
/// # Ok::<(), bailiwick::hosts::InvalidHost>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedHosts {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Any,
    Exact(String),
    /// The domain without its leading dot.
    WithSubDomains(String),
}

/// An entry of the list is no host name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{entry:?} is no host name; accepted is a name or an address without scheme, port and path, \
     or `.example.com` for a domain with its sub-domains"
)]
pub struct InvalidHost {
    entry: String,
}

impl InvalidHost {
    /// The entry that is wrong.
    pub fn entry(&self) -> &str {
        &self.entry
    }
}

impl AllowedHosts {
    /// Reads the entries of the list. An empty list allows nothing.
    ///
    /// # Errors
    /// The first entry that is no host name.
    pub fn parse(entries: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidHost> {
        let patterns =
            entries.into_iter().map(|entry| Pattern::parse(entry.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether the list is empty: then no request is answered.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether `*` is in the list, so that every host name is answered to.
    pub fn allow_any(&self) -> bool {
        self.patterns.contains(&Pattern::Any)
    }

    /// Whether the value of a `Host` header, with or without a port, is well-formed and in the list.
    pub fn allow(&self, host: &[u8]) -> bool {
        name_of(host).is_some_and(|name| self.patterns.iter().any(|pattern| pattern.matches(name)))
    }
}

impl Pattern {
    fn parse(entry: &str) -> Result<Self, InvalidHost> {
        if entry == "*" {
            return Ok(Self::Any);
        }
        let (name, with_sub_domains) = match entry.strip_prefix('.') {
            Some(name) => (name, true),
            None => (entry, false),
        };
        // The whole entry must be the name: a port in it would never match.
        let is_name = name_of(name.as_bytes()).is_some_and(|read| read.len() == name.len());
        if !is_name || name.starts_with('.') || (with_sub_domains && name.starts_with('[')) {
            return Err(InvalidHost { entry: entry.to_owned() });
        }
        let name = name.to_ascii_lowercase();
        Ok(if with_sub_domains { Self::WithSubDomains(name) } else { Self::Exact(name) })
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact.as_bytes()),
            Self::WithSubDomains(domain) => {
                let Some(split) = name.len().checked_sub(domain.len()) else { return false };
                let (sub_domain, rest) = name.split_at(split);
                rest.eq_ignore_ascii_case(domain.as_bytes()) && matches!(sub_domain, [] | [.., b'.'])
            }
        }
    }
}

/// The name in `name[:port]`, without the dot that may end it; `None` if the form is wrong (HST-01).
fn name_of(host: &[u8]) -> Option<&[u8]> {
    let (name, port) = match host {
        [b'[', ..] => {
            let end = memchr::memchr(b']', host)?;
            let inside = &host[1..end];
            let is_address = inside.contains(&b':')
                && inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            if !is_address {
                return None;
            }
            host.split_at(end + 1)
        }
        _ => {
            let (name, port) = host.split_at(memchr::memchr(b':', host).unwrap_or(host.len()));
            let name = name.strip_suffix(b".").unwrap_or(name);
            let is_name = !name.is_empty()
                && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'));
            if !is_name {
                return None;
            }
            (name, port)
        }
    };
    let is_port = match port {
        [] => true,
        [b':', digits @ ..] => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    is_port.then_some(name)
}
