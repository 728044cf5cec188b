//! The service behind [`CsrfLayer`](super::CsrfLayer).
use std::task::{Context, Poll};

use bailiwick_core::{
    audit::{SecurityEvent, SecurityEventKind},
    identity::{Credential, Principal},
    request::{DeniedBy, Facts},
};
use http::{HeaderMap, HeaderName, Request, Response, header};
use tower_service::Service;

use super::CsrfLayer;
use crate::{
    cookies::{Cookie, Reach},
    problem::{Code, Problem, RefusedOr},
};

const X_CSRF_TOKEN: HeaderName = HeaderName::from_static("x-csrftoken");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// See [`CsrfLayer`].
#[derive(Clone, Debug)]
pub struct CsrfService<S> {
    inner: S,
    layer: CsrfLayer,
}

impl<S> CsrfService<S> {
    pub(super) fn new(inner: S, layer: CsrfLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, B, R> Service<Request<B>> for CsrfService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RefusedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.layer.check(&request) {
            Ok(()) => RefusedOr::passed(self.inner.call(request)),
            Err(reason) => {
                let extensions = request.extensions();
                if let Some(facts) = extensions.get::<Facts>() {
                    let user_id = extensions.get::<Principal>().map(Principal::user_id);
                    facts.note(SecurityEvent::new(SecurityEventKind::MaliciousCsrf).of(user_id));
                    facts.set_denied_by(DeniedBy::Csrf);
                }
                RefusedOr::refused(Problem::new(Code::CsrfFailed).with_detail(reason))
            }
        }
    }
}

impl CsrfLayer {
    fn check<B>(&self, request: &Request<B>) -> Result<(), &'static str> {
        if request.method().is_safe() {
            return Ok(());
        }
        let is_log_in = self.log_ins.holds(request);
        if !is_log_in && !came_by_cookie(request) {
            return Ok(());
        }
        let (headers, reach) = (request.headers(), Reach::of(request));
        self.check_source(headers, reach)?;
        let token = only(headers, &X_CSRF_TOKEN)?.ok_or("X-CSRFToken is missing")?;
        let accepts = |cookie| self.csrf.accepts(token, cookie, reach, headers);
        if accepts(Cookie::Session) || (is_log_in && accepts(Cookie::Csrf)) {
            Ok(())
        } else {
            Err("X-CSRFToken was not made for the cookie of this request")
        }
    }

    /// What the browser says of where the request came from. Where it says nothing, the token alone decides.
    fn check_source(&self, headers: &HeaderMap, reach: Reach) -> Result<(), &'static str> {
        let origin = only(headers, &header::ORIGIN)?;
        if origin.is_some_and(|origin| self.csrf.trusts(origin)) {
            return Ok(());
        }
        let is_own = |origin: &str| {
            self.csrf.is_own(origin) || reach.own_origin(headers).is_some_and(|own| own.as_str() == origin)
        };
        if origin.is_some_and(|origin| !is_own(origin)) {
            return Err("Origin is neither this host nor one that is trusted");
        }
        match only(headers, &SEC_FETCH_SITE)? {
            None | Some("same-origin" | "none") => Ok(()),
            Some(_) => Err("Sec-Fetch-Site says that another site sent the request"),
        }
    }
}

fn came_by_cookie<B>(request: &Request<B>) -> bool {
    let principal = request.extensions().get::<Principal>();
    principal.is_some_and(|principal| matches!(principal.credential, Credential::Session(_)))
}

/// The field's value, if it was sent; one that was sent twice or is no text says nothing that could be believed.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, &'static str> {
    let mut fields = headers.get_all(name).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    match (field.to_str(), fields.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err("Origin, Sec-Fetch-Site and X-CSRFToken may each be sent once, as plain text"),
    }
}
