//! Settings that name pages and services of the web.
use std::{borrow::Cow, fmt, net::Ipv6Addr, path::Path};

use http::Uri;
use serde_json::Value;

use bailiwick::cors::{InvalidPattern, OriginPattern};

use super::{
    super::value::Setting,
    host::{is_host_name, is_loopback_host},
};

/// An http or https URL of another service or a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUrl(String);

impl WebUrl {
    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins with `https://`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.parts().is_some_and(|(uri, _)| uri.scheme_str() == Some("https"))
    }

    /// Whether it leads to this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.parts().is_some_and(|(_, host)| is_loopback_host(&host))
    }

    fn parts(&self) -> Option<(Uri, String)> {
        web_address(&self.0).ok()
    }
}

impl Setting for WebUrl {
    fn accepts() -> Cow<'static, str> {
        "an http or https URL such as `https://example.com/path`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        web_address(text)?;
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Reads an absolute http or https URL without a user name; the host is in lower case.
fn web_address(text: &str) -> Result<(Uri, String), String> {
    let uri: Uri = text.parse().map_err(|_| "this is not a URL".to_owned())?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "http" && scheme != "https" {
        return Err("the URL begins neither with http:// nor with https://".to_owned());
    }
    let authority = uri.authority().ok_or("the URL has no host")?.as_str();
    if authority.contains('@') {
        return Err("the URL carries a user name or a password".to_owned());
    }
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let port = authority.get(host.len()..).unwrap_or_default();
    if !port.is_empty()
        && !port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    {
        return Err("the port of the URL is not from 1 to 65535".to_owned());
    }
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if !address.map_or_else(|| is_host_name(&host), |address| address.parse::<Ipv6Addr>().is_ok()) {
        return Err("the host of the URL is not a host name".to_owned());
    }
    Ok((uri, host))
}

/// `scheme://host[:port]` in lower case, without the default port: the form of an `Origin` (CORS-40). And the
/// host.
fn origin(text: &str) -> Result<(String, String), String> {
    let (uri, host) = web_address(text)?;
    if !matches!(uri.path_and_query().map(|rest| rest.as_str()), None | Some("" | "/")) || text.contains('#')
    {
        return Err("there is something after the host and the port".to_owned());
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let default_port = if scheme == "https" { 443 } else { 80 };
    let origin = match uri.port_u16().filter(|port| *port != default_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    Ok((origin, host))
}

/// The address by which clients reach the server: scheme, host and port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    url: bailiwick::resource::PublicUrl,
    is_loopback: bool,
}

impl PublicUrl {
    /// The URL as the framework takes it.
    #[must_use]
    pub fn to_framework(&self) -> bailiwick::resource::PublicUrl {
        self.url.clone()
    }

    /// The URL in lower case, without a slash at the end and without a default port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whether it begins with `https://`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.is_https()
    }

    /// Whether it names this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.url.as_str())
    }
}

impl Setting for PublicUrl {
    fn accepts() -> Cow<'static, str> {
        "scheme, host and port such as `https://api.example.com`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let (url, host) = origin(text)?;
        let url = url.parse().map_err(|error: bailiwick::resource::InvalidUrl| error.to_string())?;
        Ok(Self { url, is_loopback: is_loopback_host(&host) })
    }

    fn show(&self) -> Value {
        self.url.as_str().into()
    }
}

/// An origin that may do what other origins may not: `scheme://host[:port]`, lower case, no default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(bailiwick::origin::Origin);

impl Origin {
    /// The origin, byte for byte as a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether its pages come from this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        web_address(self.as_str()).is_ok_and(|(_, host)| is_loopback_host(&host))
    }

    /// The origin as the framework takes it.
    #[must_use]
    pub fn to_framework(&self) -> bailiwick::origin::Origin {
        self.0.clone()
    }
}

impl Setting for Origin {
    fn accepts() -> Cow<'static, str> {
        "`scheme://host[:port]` in lower case and without a default port, such as `https://app.example.com`"
            .into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: bailiwick::origin::InvalidOrigin| error.to_string())
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// An origin whose pages may read answers: `scheme://host[:port]`, lower case, no default port.
///
/// `null` is read so that `check` can refuse it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(Option<Origin>);

impl AllowedOrigin {
    /// The origin; none is what any sandboxed page has.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.0.as_ref()
    }

    /// The text in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("null", Origin::as_str)
    }
}

impl Setting for AllowedOrigin {
    fn accepts() -> Cow<'static, str> {
        Origin::accepts()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        match text {
            "null" => Ok(Self(None)),
            "*" => Err("any origin is meant by cors.allow_all_origins = true".to_owned()),
            _ => Origin::from_text(text, base).map(|origin| Self(Some(origin))),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// A regular expression of such origins.
///
/// One that lets in strangers is read so that `check` can refuse it, and say whom it would let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRegex {
    text: String,
    pattern: Result<OriginPattern, InvalidPattern>,
}

impl OriginRegex {
    /// The text in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern as the framework takes it.
    ///
    /// # Errors
    /// Why nobody may be let in by it.
    pub fn to_framework(&self) -> Result<OriginPattern, InvalidPattern> {
        self.pattern.clone()
    }
}

impl Setting for OriginRegex {
    fn accepts() -> Cow<'static, str> {
        "a regular expression of origins, with ^, $ and escaped dots, such as `^https://[a-z0-9-]+\\.example\\.com$`"
            .into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let pattern = text.parse();
        if let Err(error @ (InvalidPattern::Syntax(_) | InvalidPattern::TooLarge)) = &pattern {
            return Err(error.to_string());
        }
        Ok(Self { text: text.to_owned(), pattern })
    }

    fn show(&self) -> Value {
        self.text.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::testing::read;

    #[test]
    fn the_public_url_has_no_path_and_no_default_port() {
        for (right, kept) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.example.com:443/", "https://api.example.com"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(read::<PublicUrl>(right), Ok(kept.into()), "{right}");
        }
        for wrong in [
            "",
            "api.example.com",
            "ftp://example.com",
            "https://",
            "https://user:pw@example.com",
            "https://example.com/api",
            "https://example.com?x",
            "https://example.com/#x",
            "https://example.com:0",
            "https://example.com:99999",
            "https://example.com:",
            "https://exa_mple.com",
            "https://example.com\n",
        ] {
            assert!(read::<PublicUrl>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_from_names_that_only_look_like_it() {
        let url = |text| PublicUrl::from_text(text, Path::new("")).unwrap();
        for here in [
            "http://localhost",
            "http://localhost:8000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
            "http://[::1]",
        ] {
            assert!(url(here).is_loopback(), "{here}");
        }
        for away in [
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
            "http://[fd00::1]:1",
        ] {
            assert!(!url(away).is_loopback(), "{away}");
        }
    }

    // CORS-40, CORS-41
    #[test]
    fn an_origin_must_be_written_as_a_browser_sends_it() {
        assert_eq!(read::<Origin>("https://app.example.com"), Ok("https://app.example.com".into()));
        assert_eq!(read::<Origin>("http://localhost:5173"), Ok("http://localhost:5173".into()));
        assert_eq!(
            read::<Origin>("https://App.example.com:443/").unwrap_err(),
            "a browser sends this origin as `https://app.example.com`"
        );
        for wrong in
            ["null", "*", "", "app.example.com", "https://*.example.com", "https://app.example.com/x"]
        {
            assert!(read::<Origin>(wrong).is_err(), "{wrong}");
        }
    }
}
