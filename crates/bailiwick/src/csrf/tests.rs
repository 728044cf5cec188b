use std::{convert::Infallible, sync::Arc};

use axum::body::Body;
use bailiwick_core::{
    clock::{OsEntropy, Timestamp},
    identity::{ApiTokenId, Credential, Principal, PrincipalParts, Scopes, SessionId, UserId},
    secret::Secret,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tower::{Layer, ServiceExt, service_fn};
use uuid::Uuid;

use super::{Csrf, CsrfLayer};
use crate::{
    cookies::{Cookie, Reach},
    origin::Origin,
};

fn csrf(key: u8) -> Csrf {
    Csrf::new(Secret::new([key; 32]), Arc::new(OsEntropy))
}

fn headers(cookie: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::COOKIE, HeaderValue::try_from(cookie).unwrap());
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers
}

// CSRF-31, CSRF-35
#[test]
fn a_token_is_good_for_one_cookie_under_one_key() {
    let (csrf, reach) = (csrf(1), Reach::Loopback);
    let token = csrf.token(Cookie::Session, "abc");
    let accepts = |csrf: &Csrf, token: &str, cookie: Cookie, sent: &str| {
        csrf.accepts(token, cookie, reach, &headers(sent))
    };
    assert!(accepts(&csrf, &token, Cookie::Session, "bailiwick_session=abc"));
    assert!(!accepts(&csrf, &token, Cookie::Session, "bailiwick_session=abd"));
    assert!(!accepts(&csrf, &token, Cookie::Session, "bailiwick_csrf=abc"));
    assert!(!accepts(&csrf, &token, Cookie::Csrf, "bailiwick_csrf=abc"), "of one purpose, not of another");
    assert!(!accepts(&self::csrf(2), &token, Cookie::Session, "bailiwick_session=abc"));
    for wrong in ["", &token[1..], &format!("{token}A"), &token.replace(&token[..4], "!!!!"), &"A".repeat(64)]
    {
        assert!(!accepts(&csrf, wrong, Cookie::Session, "bailiwick_session=abc"), "{wrong}");
    }
    let of_nothing = csrf.token(Cookie::Session, "");
    assert!(!accepts(&csrf, &of_nothing, Cookie::Session, "bailiwick_session="));
}

// BREACH: what is compressed together with what an attacker chose must not be the same twice.
#[test]
fn no_token_is_like_another() {
    let csrf = csrf(1);
    let tokens: std::collections::HashSet<_> = (0..100).map(|_| csrf.token(Cookie::Session, "abc")).collect();
    assert_eq!(tokens.len(), 100);
    assert!(tokens.iter().all(|token| token.len() == 64));
    assert!(Csrf::may_be_cookie(&csrf.new_cookie()) && !Csrf::may_be_cookie("abc"));
}

async fn status(method: Method, credential: Option<Credential>, token: Option<&str>) -> StatusCode {
    let fields: Vec<_> = token.map(|token| ("x-csrftoken", token)).into_iter().collect();
    status_with(csrf(1), method, credential, &fields).await
}

async fn status_with(
    csrf: Csrf,
    method: Method,
    credential: Option<Credential>,
    fields: &[(&'static str, &str)],
) -> StatusCode {
    let layer = CsrfLayer::new(csrf);
    let service =
        layer.layer(service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(Body::empty()))));
    let mut request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
    *request.headers_mut() = headers("bailiwick_session=abc");
    for (name, value) in fields {
        request.headers_mut().insert(*name, HeaderValue::try_from(*value).unwrap());
    }
    if let Some(credential) = credential {
        request.extensions_mut().insert(Principal::new(PrincipalParts {
            user_id: UserId::from_uuid(Uuid::nil()),
            username: "ann".to_owned(),
            email: String::new(),
            is_staff: false,
            service_of: None,
            created_at: Timestamp::from_micros(0),
            credential,
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        }));
    }
    service.oneshot(request).await.unwrap().status()
}

// CSRF-01. Every combination of what a browser sends is asserted in the tests of the server.
#[tokio::test]
async fn only_what_came_by_cookie_and_changes_something_is_checked() {
    let session = Some(Credential::Session(SessionId::from_uuid(Uuid::nil())));
    let token = Some(Credential::ApiToken(ApiTokenId::from_uuid(Uuid::nil())));
    let good = csrf(1).token(Cookie::Session, "abc");
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(status(method.clone(), session, None).await, StatusCode::FORBIDDEN);
        assert_eq!(status(method.clone(), session, Some(&good)).await, StatusCode::OK);
        assert_eq!(status(method.clone(), token, None).await, StatusCode::OK);
        assert_eq!(status(method, None, None).await, StatusCode::OK);
    }
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        assert_eq!(status(method, session, None).await, StatusCode::OK);
    }
}

// CSRF-14: where browsers find the site is its own origin, behind a proxy too, and no trusted other one.
#[tokio::test]
async fn what_comes_from_the_own_origin_says_that_it_does() {
    let own = || Origin::of_url("https://api.example.com");
    let good = csrf(1).token(Cookie::Session, "abc");
    let session = Some(Credential::Session(SessionId::from_uuid(Uuid::nil())));
    for (site, own_is, trusted_is) in [
        (None, StatusCode::OK, StatusCode::OK),
        (Some("same-origin"), StatusCode::OK, StatusCode::OK),
        (Some("cross-site"), StatusCode::FORBIDDEN, StatusCode::OK),
        (Some("same-site"), StatusCode::FORBIDDEN, StatusCode::OK),
    ] {
        let mut fields = vec![("x-csrftoken", good.as_str()), ("origin", "https://api.example.com")];
        fields.extend(site.map(|site| ("sec-fetch-site", site)));
        let found = status_with(csrf(1).own_origin(own()), Method::POST, session, &fields).await;
        assert_eq!(found, own_is, "{site:?}");
        let found = status_with(csrf(1).trusted_origins(own()), Method::POST, session, &fields).await;
        assert_eq!(found, trusted_is, "{site:?}");
        let found = status_with(csrf(1), Method::POST, session, &fields).await;
        assert_eq!(found, StatusCode::FORBIDDEN, "another origin");
    }
}
