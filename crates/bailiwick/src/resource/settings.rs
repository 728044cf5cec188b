//! How resources answer.
use std::{str::FromStr, sync::Arc};

use bailiwick_core::{query::PageSettings, request::Scheme};
use http::{Uri, header, request::Parts};

/// How resources answer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How large pages are.
    pub pages: PageSettings,
    /// How deep JSON may nest. The default is 32 (LIM-07).
    pub json_depth: usize,
    /// Whether a change must name the version it is based on, by `If-Match`. The default is not.
    pub require_if_match: bool,
    /// Where clients reach this server. If that is over https, so is every request, also one that a proxy passes on over
    /// plain http: cookies are `Secure`, and answers carry HSTS. Without it, links are built from the request's `Host`,
    /// which the host check has found on its list.
    pub public_url: Option<PublicUrl>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pages: PageSettings::default(), json_depth: 32, require_if_match: false, public_url: None }
    }
}

impl Settings {
    /// The scheme, host and prefix that links to this server begin with.
    pub(super) fn base_url(&self, parts: &Parts) -> String {
        if let Some(url) = &self.public_url {
            return url.as_str().to_owned();
        }
        let authority = match parts.uri.authority() {
            Some(authority) => authority.as_str(),
            None => {
                parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost")
            }
        };
        match parts.extensions.get::<Scheme>().copied().unwrap_or_default() {
            Scheme::Http => format!("http://{authority}"),
            Scheme::Https => format!("https://{authority}"),
        }
    }
}

/// Where clients reach a server: `https://api.example.com`, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl(Arc<str>);

impl PublicUrl {
    /// The URL's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is reached over TLS.
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }
}

/// The text is no URL that a server can be reached at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a public URL is http:// or https://, a host, and nothing but a path after it")]
pub struct InvalidUrl;

impl FromStr for PublicUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidUrl)?;
        let web = matches!(uri.scheme_str(), Some("http" | "https"));
        let bare = uri.query().is_none() && !text.contains('#') && !text.contains('@');
        if web && bare && uri.authority().is_some_and(|authority| !authority.host().is_empty()) {
            Ok(Self(text.trim_end_matches('/').into()))
        } else {
            Err(InvalidUrl)
        }
    }
}
