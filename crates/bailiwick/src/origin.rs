//! Origins, as browsers send them.
use std::{fmt, str::FromStr};

use http::Uri;

/// `scheme://host[:port]` in lower case and without a default port, byte for byte as a browser sends it in `Origin`
/// (CORS-40, CSRF-10).
///
/// ```
/// use bailiwick::origin::Origin;
///
/// assert!("https://app.example.com".parse::<Origin>().is_ok());
/// for wrong in ["https://app.example.com/", "https://App.example.com", "https://example.com:443", "null", "*"] {
///     assert!(wrong.parse::<Origin>().is_err(), "{wrong}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(Box<str>);

impl Origin {
    /// The origin's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin of the pages under an absolute URL.
    pub(crate) fn of_url(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        Some(Self::of_host(uri.authority()?.as_str(), uri.scheme_str()? == "https"))
    }

    /// The origin of a page of this server: of `host`, as a `Host` header names it, over https or plain http.
    pub(crate) fn of_host(host: &str, is_https: bool) -> Self {
        let (scheme, default_port) = if is_https { ("https", ":443") } else { ("http", ":80") };
        let host = host.strip_suffix(default_port).unwrap_or(host).to_ascii_lowercase();
        Self(format!("{scheme}://{host}").into())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is no origin that could be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidOrigin {
    /// Sandboxed frames and files all have the origin `null`, so it would let in anybody (CORS-41).
    #[error("`null` is the origin of any sandboxed page")]
    Null,
    /// It is no `http://` or `https://` URL with a host.
    #[error("an origin begins with https:// or http:// and names a host")]
    NoOrigin,
    /// It has a path, a query or a fragment.
    #[error("there is something after the host and the port")]
    More,
    /// No browser would send it in this form.
    #[error("a browser sends this origin as `{0}`")]
    OtherForm(Box<str>),
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        if text.eq_ignore_ascii_case("null") {
            return Err(InvalidOrigin::Null);
        }
        let uri: Uri = text.parse().map_err(|_| InvalidOrigin::NoOrigin)?;
        let authority = uri.authority().ok_or(InvalidOrigin::NoOrigin)?;
        let has_port =
            authority.as_str().rsplit_once(']').map_or(authority.as_str(), |(_, rest)| rest).contains(':');
        if has_port && authority.port_u16().is_none() {
            return Err(InvalidOrigin::NoOrigin);
        }
        let is_https = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(InvalidOrigin::NoOrigin),
        };
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]_".contains(&byte);
        if authority.host().is_empty() || !authority.as_str().bytes().all(is_host) {
            return Err(InvalidOrigin::NoOrigin);
        }
        let sent = Self::of_host(authority.as_str(), is_https);
        let begins = text.find("://").map_or(text.len(), |at| at + "://".len() + authority.as_str().len());
        match text.get(begins..).unwrap_or_default() {
            "" => {}
            "/" => return Err(InvalidOrigin::OtherForm(sent.0)),
            _ => return Err(InvalidOrigin::More),
        }
        if *sent.0 == *text { Ok(sent) } else { Err(InvalidOrigin::OtherForm(sent.0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // CSRF-10, CORS-40, CORS-41
    #[test]
    fn only_what_a_browser_sends_is_an_origin() {
        for right in [
            "https://example.com",
            "http://localhost:3000",
            "https://a.b-c.example:8443",
            "http://127.0.0.1:5173",
            "http://[::1]:8000",
        ] {
            assert_eq!(right.parse::<Origin>().map(|origin| origin.to_string()), Ok(right.to_owned()));
        }
        for (wrong, why) in [
            ("null", InvalidOrigin::Null),
            ("NULL", InvalidOrigin::Null),
            ("", InvalidOrigin::NoOrigin),
            ("*", InvalidOrigin::NoOrigin),
            ("example.com", InvalidOrigin::NoOrigin),
            ("ftp://example.com", InvalidOrigin::NoOrigin),
            ("https://", InvalidOrigin::NoOrigin),
            ("https://*.example.com", InvalidOrigin::NoOrigin),
            ("https://user@example.com", InvalidOrigin::NoOrigin),
            ("https://example.com:", InvalidOrigin::NoOrigin),
            ("https://example.com:x", InvalidOrigin::NoOrigin),
            ("https://example.com:65536", InvalidOrigin::NoOrigin),
            ("https://example.com/", InvalidOrigin::OtherForm("https://example.com".into())),
            ("https://example.com/a", InvalidOrigin::More),
            ("https://example.com?a", InvalidOrigin::More),
            ("https://example.com#a", InvalidOrigin::More),
            ("https://Example.com", InvalidOrigin::OtherForm("https://example.com".into())),
            ("https://example.com:443", InvalidOrigin::OtherForm("https://example.com".into())),
            ("http://example.com:80", InvalidOrigin::OtherForm("http://example.com".into())),
        ] {
            assert_eq!(wrong.parse::<Origin>(), Err(why), "{wrong}");
        }
    }

    #[test]
    fn the_origin_of_a_host_is_without_its_default_port() {
        for (host, is_https, origin) in [
            ("API.example.com", true, "https://api.example.com"),
            ("api.example.com:443", true, "https://api.example.com"),
            ("api.example.com:80", true, "https://api.example.com:80"),
            ("localhost:8000", false, "http://localhost:8000"),
            ("[::1]:80", false, "http://[::1]"),
        ] {
            assert_eq!(Origin::of_host(host, is_https).as_str(), origin);
        }
    }
}
