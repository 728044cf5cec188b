//! Makes a request of HTTP/2 look as one of HTTP/1.1 does, so that nobody inside has to know of the
//! difference.
use http::{HeaderMap, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};

use crate::problem::Problem;

/// Puts what HTTP/2 says elsewhere where everybody looks for it: the host into `Host`, the target without it,
/// the cookies into one field.
///
/// # Errors
/// Two different hosts (HST-03), or no target.
///
/// # Security
/// `:scheme` is not heeded: whether a request came over https is a matter of the connection.
pub(super) fn settle<B>(request: &mut Request<B>) -> Result<(), Problem> {
    join_cookies(request.headers_mut());
    // It has no path, and nobody serves it.
    if request.method() == Method::CONNECT {
        return Ok(());
    }
    let Some(target) = request.uri().path_and_query().cloned() else {
        return Err(Problem::malformed_request("the request has no :path"));
    };
    name_host(request)?;
    *request.uri_mut() = origin_form(target);
    Ok(())
}

/// Makes `:authority` the `Host`, which must say the same if it was sent too. More than one is left for
/// whoever checks hosts.
fn name_host<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let Some(authority) = request.uri().authority() else { return Ok(()) };
    let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| Problem::bad_host())?;
    let headers = request.headers_mut();
    let mut sent = headers.get_all(header::HOST).iter();
    if sent.any(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_bytes())) {
        return Err(Problem::bad_host().with_detail(":authority and the Host header differ"));
    }
    if !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, authority);
    }
    Ok(())
}

fn origin_form(target: PathAndQuery) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(target);
    Uri::from_parts(parts).expect("a path is a target")
}

/// A client may send its cookies in several fields, to compress them better (RFC 9113 §8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let mut fields = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (fields.next(), fields.next()) else { return };
    let mut joined = first.as_bytes().to_vec();
    for field in std::iter::once(second).chain(fields) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(field.as_bytes());
    }
    let joined =
        HeaderValue::from_bytes(&joined).expect("values of fields are one too with `; ` between them");
    headers.insert(header::COOKIE, joined);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(uri: &str, fields: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    // HST-03
    #[test]
    fn the_host_stands_where_http_1_1_has_it() {
        for fields in [&[][..], &[("host", "Example.com:8443")]] {
            let mut request = request("https://example.com:8443/a?b=c", fields);
            settle(&mut request).unwrap();
            assert_eq!(request.uri(), "/a?b=c");
            let hosts: Vec<_> = request.headers().get_all(header::HOST).iter().collect();
            assert_eq!(hosts.len(), 1);
            assert!(hosts[0].as_bytes().eq_ignore_ascii_case(b"example.com:8443"));
        }
    }

    // HST-03
    #[test]
    fn two_hosts_that_differ_are_refused() {
        for host in ["example.org", "example.com", "example.com:8443.", "", "example.com:8443,example.org"] {
            let mut request = request("https://example.com:8443/", &[("host", host)]);
            assert!(settle(&mut request).is_err(), "{host}");
        }
        let both = [("host", "example.com:8443"), ("host", "example.org")];
        assert!(settle(&mut request("https://example.com:8443/", &both)).is_err());
    }

    #[test]
    fn a_host_alone_is_left_and_two_are_for_the_hosts_control() {
        let mut alone = request("/a", &[("host", "example.com")]);
        settle(&mut alone).unwrap();
        assert_eq!(alone.headers()[header::HOST], "example.com");
        let mut two = request("https://example.com/", &[("host", "example.com"), ("host", "example.com")]);
        settle(&mut two).unwrap();
        assert_eq!(two.headers().get_all(header::HOST).iter().count(), 2);
        let mut none = request("/a", &[]);
        settle(&mut none).unwrap();
        assert!(!none.headers().contains_key(header::HOST));
    }

    #[test]
    fn crumbs_are_one_cookie_field() {
        let mut many =
            request("/", &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3"), ("cookie", "d=\u{e9}")]);
        settle(&mut many).unwrap();
        let cookies: Vec<_> =
            many.headers().get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(cookies, ["a=1; b=2; c=3; d=\u{e9}".as_bytes()]);
    }
}
