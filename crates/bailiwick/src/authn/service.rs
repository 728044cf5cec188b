//! Reads and checks credentials.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::extract::MatchedPath;
use bailiwick_core::{
    identity::{FoundMembership, Slug},
    request::{Facts, TENANT_PARAMETER, path_parameter},
    store::Proof,
};
use http::{HeaderMap, Request, Response, header};
use tower_service::Service;

use super::{AuthnLayer, token};
use crate::problem::{Problem, RefusedOr};

/// A credential that proves nobody, in the extensions of the request.
#[derive(Clone, Debug)]
pub struct Rejected(Problem);

/// See [`AuthnLayer`].
#[derive(Clone, Debug)]
pub struct AuthnService<S> {
    inner: S,
    layer: AuthnLayer,
}

impl<S> AuthnService<S> {
    pub(super) fn new(inner: S, layer: AuthnLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, B, R> Service<Request<B>> for AuthnService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let credential =
            if self.is_in_body(&request) { Ok(None) } else { read_authorization(request.headers()) };
        // The clone is the one that will be ready next time; the one that is ready now takes the request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        Box::pin(async move {
            match credential {
                Ok(None) => {}
                Ok(Some(proof)) => layer.identify(proof, &mut request).await,
                Err(problem) => drop(request.extensions_mut().insert(Rejected(problem))),
            }
            inner.call(request).await
        })
    }
}

impl<S> AuthnService<S> {
    fn is_in_body<B>(&self, request: &Request<B>) -> bool {
        if !request.headers().contains_key(header::AUTHORIZATION) {
            return false;
        }
        let Some(route) = request.extensions().get::<MatchedPath>() else { return false };
        self.layer.in_body.iter().any(|(method, path)| {
            method == request.method() && path.trim_end_matches('/') == route.as_str().trim_end_matches('/')
        })
    }
}

impl AuthnLayer {
    async fn identify<B>(&self, proof: Proof, request: &mut Request<B>) {
        let found = match tenant(request) {
            Some(slug) => {
                let found = self.store.principal_in(proof, self.clock.now(), &slug).await;
                found.map(|found| {
                    let (principal, membership) = found?;
                    request.extensions_mut().insert(FoundMembership {
                        user_id: principal.user_id(),
                        slug,
                        membership,
                    });
                    Some(principal)
                })
            }
            None => self.store.principal_of(proof, self.clock.now()).await,
        };
        match found {
            Ok(Some(principal)) => {
                if let Some(facts) = request.extensions().get::<Facts>() {
                    facts.set_user(principal.user_id());
                }
                request.extensions_mut().insert(principal);
            }
            Ok(None) => drop(request.extensions_mut().insert(Rejected(Problem::invalid_token()))),
            Err(error) => {
                request.extensions_mut().insert(Rejected(Problem::unavailable().because(error)));
            }
        }
    }
}

/// The organisation that the request names, if its route names one: it is looked up together with the token.
fn tenant<B>(request: &Request<B>) -> Option<Box<str>> {
    let route = request.extensions().get::<MatchedPath>()?;
    let slug = path_parameter(route.as_str(), request.uri().path(), TENANT_PARAMETER)?;
    Slug::is_plausible(slug).then(|| slug.into())
}

/// The digest of the token in `Authorization`, if there is such a field.
fn read_authorization(headers: &HeaderMap) -> Result<Option<Proof>, Problem> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(Problem::malformed_request("Authorization may be sent once"));
    }
    let text = field.to_str().map_err(|_| Problem::invalid_token())?;
    let (scheme, credential) = text.split_once(' ').ok_or_else(Problem::invalid_token)?;
    // ERR-37: a scheme in another case is still that scheme, never "no credential".
    if !scheme.eq_ignore_ascii_case("token") && !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Problem::invalid_token());
    }
    let digest =
        token::digest_if_plausible(credential.trim_matches(' ')).ok_or_else(Problem::invalid_token)?;
    Ok(Some(Proof::ApiToken(digest)))
}

/// See [`RefuseLayer`](super::RefuseLayer).
#[derive(Clone, Debug)]
pub struct RefuseService<S> {
    inner: S,
}

impl<S> RefuseService<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for RefuseService<S>
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        match request.extensions_mut().remove::<Rejected>() {
            Some(Rejected(problem)) => RefusedOr::refused(problem),
            None => RefusedOr::passed(self.inner.call(request)),
        }
    }
}
