//! Log-in of a browser, and its sessions (contract §2).
use axum::{
    Json,
    extract::{Path, State},
    response::{AppendHeaders, IntoResponse, Response},
};
use bailiwick::{
    authn::{Browser, Sessions},
    clock::Timestamp,
    cookies::{Cookie, Reach},
    csrf::Csrf,
    gate::{Anyone, Authenticated},
    identity::{Credential, Principal, SessionId},
    problem::Problem,
    resource::{JsonBody, Pages},
    secret::Secret,
    store::SessionRecord,
    trace::RequestFacts,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{auth::Credentials, me::User};

/// What proves to this server that a request comes from one of its own pages.
#[derive(Serialize)]
struct CsrfBody {
    csrf_token: String,
}

/// The session that a browser has.
#[derive(Serialize)]
pub(super) struct SessionBody {
    user: User,
    csrf_token: String,
    /// If it is not used again.
    expires_at: Timestamp,
}

/// One of the caller's sessions.
#[derive(Serialize)]
struct ListedSession {
    id: SessionId,
    created_at: Timestamp,
    last_seen_at: Timestamp,
    user_agent: String,
    address: String,
    current: bool,
}

/// `GET /auth/csrf/`: a token for the session of the browser, or for its log-in if it has none.
pub(super) async fn csrf_token(
    Anyone(caller): Anyone,
    State(csrf): State<Csrf>,
    reach: Reach,
    headers: HeaderMap,
) -> Response {
    let sent = Cookie::Csrf.read(reach, &headers).filter(|value| Csrf::may_be_cookie(value));
    let cookie = sent.map_or_else(|| csrf.new_cookie(), str::to_owned);
    let session = caller.as_ref().and_then(session_of).and(Cookie::Session.read(reach, &headers));
    let csrf_token = match session {
        Some(session) => csrf.token(Cookie::Session, session),
        None => csrf.token(Cookie::Csrf, &cookie),
    };
    let set = AppendHeaders([(header::SET_COOKIE, Cookie::Csrf.set(reach, &cookie))]);
    (set, Json(CsrfBody { csrf_token })).into_response()
}

/// `POST /auth/session/`: logs a browser in.
pub(super) async fn begin(
    _: Anyone,
    State(sessions): State<Sessions>,
    State(csrf): State<Csrf>,
    reach: Reach,
    browser: Browser,
    RequestFacts(facts): RequestFacts,
    JsonBody(Credentials { username, password }): JsonBody<Credentials>,
) -> Result<Response, Problem> {
    let begun = sessions.begin(&username, Secret::new(password), browser, &facts).await?;
    let cookies = AppendHeaders([
        (header::SET_COOKIE, Cookie::Session.set(reach, begun.text.expose())),
        // What was good for the log-in is good for nothing after it (CSRF-03).
        (header::SET_COOKIE, Cookie::Csrf.clear(reach)),
    ]);
    let body = SessionBody::new(&begun.principal, begun.text.expose(), &csrf);
    Ok((cookies, Json(body)).into_response())
}

/// `GET /auth/session/`: the session that the request was made with.
pub(super) async fn show(
    Authenticated(caller): Authenticated,
    State(csrf): State<Csrf>,
    reach: Reach,
    headers: HeaderMap,
) -> Result<Json<SessionBody>, Problem> {
    // Another kind of credential is no session.
    session_of(&caller).ok_or_else(Problem::unauthenticated)?;
    let text = Cookie::Session.read(reach, &headers).ok_or_else(Problem::unauthenticated)?;
    Ok(Json(SessionBody::new(&caller, text, &csrf)))
}

/// `DELETE /auth/session/`: logs the browser out.
pub(super) async fn end(
    Authenticated(caller): Authenticated,
    State(sessions): State<Sessions>,
    reach: Reach,
    RequestFacts(facts): RequestFacts,
) -> Result<Response, Problem> {
    let session = session_of(&caller).ok_or_else(Problem::unauthenticated)?;
    sessions.end(caller.user_id(), session, &facts).await?;
    Ok((StatusCode::NO_CONTENT, forget(reach)).into_response())
}

/// `GET /auth/sessions/`
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(sessions): State<Sessions>,
    pages: Pages,
) -> Result<Response, Problem> {
    let current = session_of(&caller);
    let listed = sessions.of(caller.user_id()).await?.into_iter();
    pages.answer(listed.map(|session| ListedSession::new(session, current)).collect())
}

/// `DELETE /auth/sessions/{id}/`
pub(super) async fn end_one(
    Authenticated(caller): Authenticated,
    State(sessions): State<Sessions>,
    reach: Reach,
    RequestFacts(facts): RequestFacts,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    // What is no id is the id of nothing.
    let id: SessionId = id.parse().map_err(|_| Problem::not_found())?;
    if !sessions.end(caller.user_id(), id, &facts).await? {
        return Err(Problem::not_found());
    }
    let gone = StatusCode::NO_CONTENT;
    let is_current = session_of(&caller) == Some(id);
    Ok(if is_current { (gone, forget(reach)).into_response() } else { gone.into_response() })
}

/// `DELETE /auth/sessions/`: ends all but the one that the request was made with.
pub(super) async fn end_others(
    Authenticated(caller): Authenticated,
    State(sessions): State<Sessions>,
    RequestFacts(facts): RequestFacts,
) -> Result<StatusCode, Problem> {
    sessions.end_others(&caller, &facts).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl SessionBody {
    fn new(principal: &Principal, session: &str, csrf: &Csrf) -> Self {
        Self {
            user: User::from(principal),
            csrf_token: csrf.token(Cookie::Session, session),
            expires_at: principal.expires_at,
        }
    }
}

impl ListedSession {
    fn new(session: SessionRecord, current: Option<SessionId>) -> Self {
        let SessionRecord { id, created_at, last_seen_at, user_agent, address, .. } = session;
        Self { id, created_at, last_seen_at, user_agent, address, current: current == Some(id) }
    }
}

fn session_of(caller: &Principal) -> Option<SessionId> {
    match caller.credential {
        Credential::Session(id) => Some(id),
        _ => None,
    }
}

fn forget(reach: Reach) -> AppendHeaders<[(HeaderName, HeaderValue); 1]> {
    AppendHeaders([(header::SET_COOKIE, Cookie::Session.clear(reach))])
}
