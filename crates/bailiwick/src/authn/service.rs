//! Reads and checks credentials.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use axum::extract::MatchedPath;
use bailiwick_core::{
    audit::{SecurityEvent, SecurityEventKind},
    identity::{FoundMembership, Principal, PrincipalParts, Slug, UserId},
    request::{AuthMethod, AuthOutcome, EndedSession, Facts, TENANT_PARAMETER, Tally, path_parameter},
    store::Proof,
};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tower_service::Service;

use super::{
    AuthnLayer,
    jwt::ExternalClaims,
    session::note_use,
    token::{self, TokenKind},
};
use crate::{
    cookies::{Cookie, Reach},
    problem::{Problem, RefusedOr},
};

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
    R: Send,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let shown = if self.layer.is_in_body(&request) { Ok(Shown::Nothing) } else { read(&request) };
        // The clone is the one that will be ready next time; the one that is ready now takes the request.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = self.layer.clone();
        Box::pin(async move {
            let mut ended = None;
            match shown {
                Ok(Shown::Nothing) => {}
                Ok(Shown::Authorization(shown)) => {
                    let method = shown.method();
                    let found = layer.identify_shown(shown, &mut request).await;
                    tally(&request, method, found.outcome());
                    match found {
                        Found::Somebody => {}
                        Found::Nobody => reject(&mut request, Problem::invalid_token()),
                        Found::Unknown(problem) => reject(&mut request, problem),
                    }
                }
                Ok(Shown::Session(proof, reach)) => {
                    let found = match proof {
                        Some(proof) => layer.identify(proof, &mut request).await,
                        None => Found::Nobody,
                    };
                    tally(&request, AuthMethod::Session, found.outcome());
                    let has_ended = matches!(found, Found::Nobody);
                    // What can be no session is noise. What can be one was perhaps never: a session that has ended leaves
                    // nothing that it could be known by, so this is no entry of the trail.
                    if has_ended
                        && proof.is_some()
                        && let Some(facts) = request.extensions().get::<Facts>()
                    {
                        facts.tell(&SecurityEvent::new(SecurityEventKind::SessionUseAfterExpire));
                    }
                    match found {
                        Found::Somebody => {}
                        Found::Nobody => drop(request.extensions_mut().insert(EndedSession)),
                        Found::Unknown(problem) => reject(&mut request, problem),
                    }
                    ended = Some((reach, has_ended));
                }
                Err(problem) => {
                    tally(&request, AuthMethod::Unknown, AuthOutcome::Failure);
                    reject(&mut request, problem);
                }
            }
            let mut response = inner.call(request).await?;
            if let Some((reach, has_ended)) = ended {
                let headers = response.headers_mut();
                headers.append(header::VARY, HeaderValue::from_static("cookie"));
                if has_ended && !Cookie::Session.is_set_in(reach, headers) {
                    headers.append(header::SET_COOKIE, Cookie::Session.clear(reach));
                }
            }
            Ok(response)
        })
    }
}

/// Has what was shown counted.
fn tally<B>(request: &Request<B>, method: AuthMethod, outcome: AuthOutcome) {
    if let Some(facts) = request.extensions().get::<Facts>() {
        facts.tally(Tally::Authentication { method, outcome });
    }
}

fn reject<B>(request: &mut Request<B>, problem: Problem) {
    request.extensions_mut().insert(Rejected(problem));
}

/// What a request shows of its caller.
enum Shown {
    Nothing,
    Authorization(Authorization),
    /// The cookie of a session; without a proof if it can be none.
    Session(Option<Proof>, Reach),
}

/// What `Authorization` holds.
enum Authorization {
    /// A token that can be looked up.
    Token(Proof),
    /// Perhaps an access token, whose signature is to be verified first.
    Access(Box<str>),
}

impl Authorization {
    fn method(&self) -> AuthMethod {
        match self {
            Self::Token(_) => AuthMethod::ApiToken,
            Self::Access(_) => AuthMethod::AccessToken,
        }
    }
}

/// What came of it.
enum Found {
    Somebody,
    Nobody,
    /// The store or the keys cannot say (I9), or there is more to say than that.
    Unknown(Problem),
}

impl Found {
    fn outcome(&self) -> AuthOutcome {
        match self {
            Self::Somebody => AuthOutcome::Success,
            Self::Nobody => AuthOutcome::Failure,
            // What is wrong with an access token comes as a problem too.
            Self::Unknown(problem) if problem.status().is_client_error() => AuthOutcome::Failure,
            Self::Unknown(_) => AuthOutcome::Unavailable,
        }
    }
}

impl AuthnLayer {
    fn is_in_body<B>(&self, request: &Request<B>) -> bool {
        let headers = request.headers();
        if !headers.contains_key(header::AUTHORIZATION) && !headers.contains_key(header::COOKIE) {
            return false;
        }
        self.in_body.holds(request)
    }

    async fn identify_shown<B>(&self, shown: Authorization, request: &mut Request<B>) -> Found {
        let text = match shown {
            Authorization::Token(proof) => return self.identify(proof, request).await,
            Authorization::Access(text) => text,
        };
        if let Some(issuers) = &self.issuers
            && let Some(proved) = issuers.prove(&text).await
        {
            return match proved {
                Ok((proof, claims)) => self.identify_external(proof, &claims, request).await,
                Err(problem) => Found::Unknown(problem),
            };
        }
        let Some(families) = &self.families else { return Found::Nobody };
        let (proof, user) = match families.prove(&text).await {
            Ok(proved) => proved,
            Err(problem) => return Found::Unknown(problem),
        };
        match self.identify(proof, request).await {
            // JWT-12: the family is the user's whom the token names; else keys have signed what this server has not said.
            Found::Somebody if !is_user(request, user) => {
                request.extensions_mut().remove::<Principal>();
                Found::Nobody
            }
            found => found,
        }
    }

    /// The user whom a token of another issuer names, for as long and with no more rights than that token has.
    async fn identify_external<B>(
        &self,
        proof: Proof,
        claims: &ExternalClaims,
        request: &mut Request<B>,
    ) -> Found {
        let found = self.identify(proof, request).await;
        if let Some(user) = request.extensions().get::<Principal>() {
            let limited = Principal::new(PrincipalParts {
                scopes: claims.scopes.clone(),
                expires_at: claims.expires_at(),
                ..PrincipalParts::clone(user)
            });
            request.extensions_mut().insert(limited);
        }
        found
    }

    async fn identify<B>(&self, proof: Proof, request: &mut Request<B>) -> Found {
        let now = self.clock.now();
        let found = match tenant(request) {
            Some(slug) => {
                let found = self.store.principal_in(proof, now, &slug).await;
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
            None => self.store.principal_of(proof, now).await,
        };
        let principal = match found {
            Ok(Some(principal)) => principal,
            Ok(None) => return Found::Nobody,
            Err(error) => return Found::Unknown(Problem::unavailable().because(error)),
        };
        let Some(principal) = note_use(&*self.store, principal, now, self.idle).await else {
            return Found::Nobody;
        };
        if let Some(facts) = request.extensions().get::<Facts>() {
            facts.set_principal(&principal);
        }
        request.extensions_mut().insert(principal);
        Found::Somebody
    }
}

fn is_user<B>(request: &Request<B>, user: UserId) -> bool {
    request.extensions().get::<Principal>().is_some_and(|principal| principal.user_id() == user)
}

/// The organisation that the request names, if its route names one: it is looked up together with the token.
fn tenant<B>(request: &Request<B>) -> Option<Box<str>> {
    let route = request.extensions().get::<MatchedPath>()?;
    let slug = path_parameter(route.as_str(), request.uri().path(), TENANT_PARAMETER)?;
    Slug::is_plausible(slug).then(|| slug.into())
}

/// What the request shows: `Authorization`, or else the cookie of a session (CSRF-05).
fn read<B>(request: &Request<B>) -> Result<Shown, Problem> {
    let headers = request.headers();
    if let Some(shown) = read_authorization(headers)? {
        return Ok(Shown::Authorization(shown));
    }
    if !headers.contains_key(header::COOKIE) {
        return Ok(Shown::Nothing);
    }
    let reach = Reach::of(request);
    let Some(text) = Cookie::Session.read(reach, headers) else { return Ok(Shown::Nothing) };
    let digest = token::digest_if_plausible(TokenKind::Session, text);
    Ok(Shown::Session(digest.map(Proof::Session), reach))
}

/// The token in `Authorization`, if there is such a field.
fn read_authorization(headers: &HeaderMap) -> Result<Option<Authorization>, Problem> {
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
    let credential = credential.trim_matches(' ');
    // An access token has dots, any other has none.
    if credential.contains('.') && scheme.eq_ignore_ascii_case("bearer") {
        return Ok(Some(Authorization::Access(credential.into())));
    }
    let digest = token::digest_if_plausible_api_token(credential).ok_or_else(Problem::invalid_token)?;
    Ok(Some(Authorization::Token(Proof::ApiToken(digest))))
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
