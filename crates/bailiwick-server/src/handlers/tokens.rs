//! The caller's API tokens (contract §2).
use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bailiwick::{
    Input,
    app::Given,
    authn::{ApiTokens, Families, NamedToken},
    clock::Timestamp,
    gate::{Anyone, Authenticated},
    identity::{ApiTokenId, Scopes},
    problem::{FieldError, Problem},
    resource::{CanonicalUrl, JsonBody, Pages, answer},
    store::TokenRecord,
    trace::RequestFacts,
};
use http::StatusCode;
use serde::Serialize;

use super::MAX_TOKEN_DAYS;
use crate::{mail::LeakMails, scopes};

/// A token to make.
#[derive(Input)]
pub(super) struct NewToken {
    #[input(chars(1..=100))]
    name: String,
    scopes: Option<Vec<String>>,
    expires_in_days: Option<i64>,
}

/// How a token is put in the place of another.
#[derive(Input)]
pub(super) struct Rotation {
    overlap_seconds: Option<i64>,
}

/// A text that somebody found where no token should be.
#[derive(Input)]
pub(super) struct Leak {
    token: String,
}

/// A token, as its owner sees it.
#[derive(Serialize)]
pub(super) struct TokenView {
    id: ApiTokenId,
    /// None for a token that a log-in made.
    name: Option<String>,
    /// None for all that the owner may do.
    scopes: Option<Vec<String>>,
    display: String,
    created_at: Timestamp,
    expires_at: Timestamp,
    last_used_at: Option<Timestamp>,
}

/// A token that was just made: the one time that its text is seen.
#[derive(Serialize)]
struct NamedTokenView<'t> {
    token: &'t str,
    #[serde(flatten)]
    view: TokenView,
}

/// The longest overlap: a week.
const MAX_OVERLAP_SECONDS: i64 = 7 * 24 * 60 * 60;

/// `GET /auth/tokens/`
pub(super) async fn list(
    Authenticated(caller): Authenticated,
    State(tokens): State<ApiTokens>,
    pages: Pages,
) -> Result<Response, Problem> {
    pages.answer(tokens.of(caller.user_id()).await?.into_iter().map(TokenView::from).collect())
}

/// `POST /auth/tokens/`
pub(super) async fn create(
    Authenticated(caller): Authenticated,
    State(tokens): State<ApiTokens>,
    url: CanonicalUrl,
    RequestFacts(facts): RequestFacts,
    JsonBody(new): JsonBody<NewToken>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let scopes = scopes(new.scopes.as_deref(), &mut errors);
    let lifetime = lifetime(new.expires_in_days, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::validation(errors));
    }
    let made = tokens.create(&caller, new.name, scopes, lifetime, &facts).await?;
    created(&url.child(&made.record.id.to_string()), made)
}

/// `DELETE /auth/tokens/{id}/`
pub(super) async fn end(
    Authenticated(caller): Authenticated,
    State(tokens): State<ApiTokens>,
    RequestFacts(facts): RequestFacts,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    if tokens.end(caller.user_id(), token_id(&id)?, &facts).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found())
    }
}

/// `POST /auth/tokens/{id}/rotate/`
pub(super) async fn rotate(
    Authenticated(caller): Authenticated,
    State(tokens): State<ApiTokens>,
    url: CanonicalUrl,
    RequestFacts(facts): RequestFacts,
    Path(id): Path<String>,
    rotation: Option<JsonBody<Rotation>>,
) -> Result<Response, Problem> {
    let overlap = overlap(rotation)?;
    let made = tokens.rotate(&caller, token_id(&id)?, overlap, &facts).await?;
    created(&successor(&url, &id, made.record.id), made)
}

/// `POST /auth/tokens/report-leak/`: the answer is the same whatever was sent. Scanners find refresh tokens too; one of them
/// ends its family.
pub(super) async fn report_leak(
    _: Anyone,
    State(tokens): State<ApiTokens>,
    State(families): State<Families>,
    Given(mails): Given<LeakMails>,
    RequestFacts(facts): RequestFacts,
    JsonBody(leak): JsonBody<Leak>,
) -> Result<StatusCode, Problem> {
    if let Some(leaked) = tokens.report_leak(&leak.token, &facts).await? {
        mails.tell(tokens, leaked);
    }
    families.report_leak(&leak.token, &facts).await?;
    Ok(StatusCode::ACCEPTED)
}

fn created(location: &str, made: NamedToken) -> Result<Response, Problem> {
    let NamedToken { text, record } = made;
    answer::created(location, None, &NamedTokenView { token: text.expose(), view: TokenView::from(record) })
}

/// Where the token is that was put in the place of `id` by a request for `url`.
pub(super) fn successor(url: &CanonicalUrl, id: &str, new: ApiTokenId) -> String {
    let all = url.as_str().trim_end_matches("rotate/").trim_end_matches(&format!("{id}/"));
    format!("{all}{new}/")
}

/// What a token may be used for; what is wrong with it is added to `errors`.
pub(super) fn scopes(sent: Option<&[String]>, errors: &mut Vec<FieldError>) -> Scopes {
    match sent {
        None => Scopes::ALL,
        Some([]) => {
            let detail = "names at least one scope; leave it out for all rights";
            errors.push(FieldError::body("#/scopes", "too-short", detail));
            Scopes::only([])
        }
        Some(names) => scopes::parse(names.iter().map(String::as_str)).unwrap_or_else(|error| {
            errors.push(FieldError::body("#/scopes", "invalid-choice", error.to_string()));
            Scopes::only([])
        }),
    }
}

/// How long a token lives, if that was sent.
pub(super) fn lifetime(expires_in_days: Option<i64>, errors: &mut Vec<FieldError>) -> Option<Duration> {
    let days = expires_in_days.map(|days| (days, 1..=MAX_TOKEN_DAYS));
    let days = bounded("#/expires_in_days", days, errors)?;
    Some(Duration::from_secs(days.saturating_mul(24 * 60 * 60)))
}

/// For how long a token works on that is put in the place of another.
pub(super) fn overlap(rotation: Option<JsonBody<Rotation>>) -> Result<Duration, Problem> {
    let mut errors = Vec::new();
    let overlap_seconds = rotation.and_then(|JsonBody(rotation)| rotation.overlap_seconds);
    let seconds = overlap_seconds.map(|seconds| (seconds, 0..=MAX_OVERLAP_SECONDS));
    let overlap = bounded("#/overlap_seconds", seconds, &mut errors).unwrap_or(0);
    if errors.is_empty() { Ok(Duration::from_secs(overlap)) } else { Err(Problem::validation(errors)) }
}

/// What is no id is the id of nothing.
pub(super) fn token_id(text: &str) -> Result<ApiTokenId, Problem> {
    text.parse().map_err(|_| Problem::not_found())
}

/// A whole number within its bounds, if one was sent.
fn bounded(
    pointer: &str,
    sent: Option<(i64, std::ops::RangeInclusive<i64>)>,
    errors: &mut Vec<FieldError>,
) -> Option<u64> {
    let (number, bounds) = sent?;
    if !bounds.contains(&number) {
        let detail = format!("must be between {} and {}", bounds.start(), bounds.end());
        errors.push(FieldError::body(pointer, "out-of-range", detail));
    }
    u64::try_from(number).ok()
}

impl From<TokenRecord> for TokenView {
    fn from(record: TokenRecord) -> Self {
        Self {
            id: record.id,
            name: record.name,
            scopes: record.scopes.names().map(|names| names.map(str::to_owned).collect()),
            display: record.display,
            created_at: record.created_at,
            expires_at: record.expires_at,
            last_used_at: record.last_used_at,
        }
    }
}
