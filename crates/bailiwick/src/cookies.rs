//! The two cookies of a browser: which names they have, and how they are read and written.
//!
//! | | over https | on plain http from this machine |
//! |---|---|---|
//! | the session | `__Host-bailiwick_session` | `bailiwick_session` |
//! | what a log-in proves where it comes from with | `__Host-bailiwick_csrf` | `bailiwick_csrf` |
//!
//! # Security
//! A `__Host-` cookie can be set by nobody but this very host, over https (SES-01). Any request that does not name this
//! machine as its host, over plain http, has that name, also behind a proxy that ends TLS: a cookie under the weaker name is
//! not even read there. A proxy that passes on a `Host` of its own, such as `127.0.0.1`, hides that:
//! [`public_url`](crate::resource::Settings::public_url) tells.
use std::{
    convert::Infallible,
    net::{Ipv4Addr, Ipv6Addr},
};

use axum::extract::FromRequestParts;
use bailiwick_core::request::Scheme;
use http::{HeaderMap, HeaderValue, header, request::Parts};

use crate::origin::Origin;

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cookie {
    /// Holds the text of a session.
    Session,
    /// Holds what binds a CSRF token to a browser that has no session yet.
    Csrf,
}

/// How a browser reached this server, as far as its cookies go by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Over https, to this server or a proxy in front of it.
    Https,
    /// Over plain http from this machine, as in development.
    Loopback,
}

impl Reach {
    /// How a request came.
    pub fn of<B>(request: &http::Request<B>) -> Self {
        Self::find(request.headers(), request.extensions())
    }

    pub(crate) fn of_parts(parts: &Parts) -> Self {
        Self::find(&parts.headers, &parts.extensions)
    }

    fn find(headers: &HeaderMap, extensions: &http::Extensions) -> Self {
        let is_plain = extensions.get::<Scheme>().copied().unwrap_or_default() == Scheme::Http;
        if is_plain && host(headers).is_some_and(is_loopback) { Self::Loopback } else { Self::Https }
    }

    /// The origin of this server's own pages, for a request with these headers; none without a host.
    pub(crate) fn own_origin(self, headers: &HeaderMap) -> Option<Origin> {
        host(headers).map(|host| Origin::of_host(host, self == Self::Https))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Reach {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of_parts(parts))
    }
}

impl Cookie {
    /// The cookie's name.
    pub const fn name(self, reach: Reach) -> &'static str {
        match (self, reach) {
            (Self::Session, Reach::Https) => "__Host-bailiwick_session",
            (Self::Session, Reach::Loopback) => "bailiwick_session",
            (Self::Csrf, Reach::Https) => "__Host-bailiwick_csrf",
            (Self::Csrf, Reach::Loopback) => "bailiwick_csrf",
        }
    }

    /// The cookie's value in a request, if it was sent, and once: of two with one name nobody knows which is whose.
    pub fn read(self, reach: Reach, headers: &HeaderMap) -> Option<&str> {
        let name = self.name(reach);
        // Pair by pair: another cookie may hold bytes that are no text.
        let fields = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
        let pairs = fields.flat_map(|field| field.split(|byte| *byte == b';'));
        let mut values = pairs.filter_map(|pair| {
            let (found, value) = std::str::from_utf8(pair).ok()?.split_once('=')?;
            (found.trim() == name).then(|| value.trim())
        });
        let value = values.next()?;
        if values.next().is_some() { None } else { Some(value) }
    }

    /// The `Set-Cookie` that gives it `value`, until the browser is closed.
    ///
    /// # Panics
    /// If `value` holds anything but letters, digits, `-` and `_`.
    pub fn set(self, reach: Reach, value: &str) -> HeaderValue {
        assert!(
            value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)),
            "the value of a cookie is made of characters that need no quotes"
        );
        self.field(reach, value, "")
    }

    /// The `Set-Cookie` that removes it (SES-02).
    pub fn clear(self, reach: Reach) -> HeaderValue {
        self.field(reach, "", "; Max-Age=0")
    }

    /// Whether an answer sets or removes it already: no answer does twice (SES-07).
    pub fn is_set_in(self, reach: Reach, headers: &HeaderMap) -> bool {
        let name = self.name(reach).as_bytes();
        let mut fields = headers.get_all(header::SET_COOKIE).iter();
        fields.any(|field| field.as_bytes().strip_prefix(name).is_some_and(|rest| rest.starts_with(b"=")))
    }

    /// SameSite is written out: browsers are laxer where it is not (SES-04).
    fn field(self, reach: Reach, value: &str, lifetime: &str) -> HeaderValue {
        let name = self.name(reach);
        let secure = if reach == Reach::Https { "; Secure" } else { "" };
        HeaderValue::try_from(format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{lifetime}"))
            .expect("names and values of cookies are plain ASCII")
    }
}

fn host(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::HOST)?.to_str().ok()
}

/// Whether a host, with or without a port, is this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || name.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn reach(host: &str, scheme: Scheme) -> Reach {
        let mut request = Request::builder().header(header::HOST, host).body(()).unwrap();
        request.extensions_mut().insert(scheme);
        Reach::of(&request)
    }

    // SES-01
    #[test]
    fn only_plain_http_on_this_machine_has_cookies_without_the_prefix() {
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:8000", "127.1.2.3", "[::1]", "[::1]:8000"] {
            assert_eq!(reach(host, Scheme::Http), Reach::Loopback, "{host}");
            assert_eq!(reach(host, Scheme::Https), Reach::Https, "{host}");
        }
        for host in ["api.example.com", "localhost.example.com", "10.0.0.1", "[::2]", "", "127.0.0.1.example"]
        {
            assert_eq!(reach(host, Scheme::Http), Reach::Https, "{host}");
        }
        assert_eq!(Reach::of(&Request::new(())), Reach::Https);
    }

    // SES-01, SES-02, SES-04
    #[test]
    fn cookies_are_written_with_every_attribute() {
        assert_eq!(
            Cookie::Session.set(Reach::Https, "a_-1"),
            "__Host-bailiwick_session=a_-1; Path=/; HttpOnly; SameSite=Lax; Secure"
        );
        assert_eq!(
            Cookie::Csrf.set(Reach::Loopback, "a"),
            "bailiwick_csrf=a; Path=/; HttpOnly; SameSite=Lax"
        );
        assert_eq!(
            Cookie::Session.clear(Reach::Https),
            "__Host-bailiwick_session=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0"
        );
    }

    #[test]
    fn a_cookie_is_read_by_its_whole_name_and_only_if_there_is_one() {
        let read = |cookies: &[&str]| {
            let mut headers = HeaderMap::new();
            for cookie in cookies {
                headers.append(header::COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap());
            }
            Cookie::Session.read(Reach::Loopback, &headers).map(str::to_owned)
        };
        assert_eq!(read(&["bailiwick_session=a"]).as_deref(), Some("a"));
        assert_eq!(read(&["x=1; bailiwick_session=a ;y"]).as_deref(), Some("a"));
        assert_eq!(read(&["x=1", "bailiwick_session=a"]).as_deref(), Some("a"));
        assert_eq!(read(&["bailiwick_session="]).as_deref(), Some(""));
        assert_eq!(read(&["theme=\u{e9}; bailiwick_session=a"]).as_deref(), Some("a"));
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, HeaderValue::from_bytes(b"theme=\xe9; bailiwick_session=a").unwrap());
        assert_eq!(Cookie::Session.read(Reach::Loopback, &headers), Some("a"));
        for none in [
            &["__Host-bailiwick_session=a"][..],
            &["xbailiwick_session=a", "Bailiwick_session=a"],
            &["bailiwick_session=a; bailiwick_session=b"],
            &["bailiwick_session=a", "bailiwick_session=a"],
            &["bailiwick_session"],
            &[],
        ] {
            assert_eq!(read(none), None, "{none:?}");
        }
    }

    // SES-07
    #[test]
    fn it_is_seen_whether_an_answer_sets_the_cookie() {
        let mut headers = HeaderMap::new();
        headers.append(header::SET_COOKIE, Cookie::Csrf.clear(Reach::Https));
        assert!(Cookie::Csrf.is_set_in(Reach::Https, &headers));
        assert!(!Cookie::Csrf.is_set_in(Reach::Loopback, &headers));
        assert!(!Cookie::Session.is_set_in(Reach::Https, &headers));
    }
}
