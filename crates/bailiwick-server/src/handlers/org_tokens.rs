//! The API tokens that an organisation owns (contract §2).
use std::time::Duration;

use axum::{
    extract::{Path, State},
    response::Response,
};
use bailiwick::{
    Input,
    access::{Create, Delete, List, Update},
    authn::{ApiTokens, NewOrgToken},
    gate::{ACCOUNT, Access},
    identity::{Role, UserId},
    problem::{FieldError, Problem},
    resource::{CanonicalUrl, JsonBody, Pages, answer},
    store::OrgTokenRecord,
    trace::RequestFacts,
};
use http::StatusCode;
use serde::Serialize;

use super::tokens::{Rotation, TokenView, lifetime, overlap, scopes, successor, token_id};
use crate::resources::OrgToken;

/// A token to make.
#[derive(Input)]
pub(super) struct New {
    #[input(chars(1..=100))]
    name: String,
    role: Role,
    scopes: Option<Vec<String>>,
    expires_in_days: Option<i64>,
}

/// A token, as the admins of its organisation see it.
#[derive(Serialize)]
struct OrgTokenView {
    #[serde(flatten)]
    token: TokenView,
    role: Role,
    /// What is named where a row names its maker.
    user_id: UserId,
    created_by: UserId,
}

/// A token that was just made: the one time that its text is seen.
#[derive(Serialize)]
struct NewOrgTokenView<'t> {
    token: &'t str,
    #[serde(flatten)]
    view: OrgTokenView,
}

/// `GET /orgs/{org}/tokens/`
pub(super) async fn list(
    access: Access<OrgToken, List>,
    State(tokens): State<ApiTokens>,
    pages: Pages,
) -> Result<Response, Problem> {
    pages.answer(tokens.of_org(&access).await?.into_iter().map(OrgTokenView::from).collect())
}

/// `POST /orgs/{org}/tokens/`
pub(super) async fn create(
    access: Access<OrgToken, Create>,
    State(tokens): State<ApiTokens>,
    url: CanonicalUrl,
    RequestFacts(facts): RequestFacts,
    JsonBody(new): JsonBody<New>,
) -> Result<Response, Problem> {
    let mut errors = Vec::new();
    let scopes = scopes(new.scopes.as_deref(), &mut errors);
    if scopes.names().is_some_and(|mut names| names.any(|name| name == ACCOUNT)) {
        let detail = "a token of an organisation has no account: leave out the scope account";
        errors.push(FieldError::body("#/scopes", "invalid-choice", detail));
    }
    let lifetime = lifetime(new.expires_in_days, &mut errors);
    if !errors.is_empty() {
        return Err(Problem::validation(errors));
    }
    let made = tokens.create_for_org(&access, new.name, new.role, scopes, lifetime, &facts).await?;
    created(&url.child(&made.record.token.id.to_string()), made)
}

/// `DELETE /orgs/{org}/tokens/{id}/`
pub(super) async fn end(
    access: Access<OrgToken, Delete>,
    State(tokens): State<ApiTokens>,
    RequestFacts(facts): RequestFacts,
    Path((_, id)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    tokens.end_of_org(&access, token_id(&id)?, &facts).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /orgs/{org}/tokens/{id}/rotate/`
pub(super) async fn rotate(
    access: Access<OrgToken, Update>,
    State(tokens): State<ApiTokens>,
    url: CanonicalUrl,
    RequestFacts(facts): RequestFacts,
    Path((_, id)): Path<(String, String)>,
    rotation: Option<JsonBody<Rotation>>,
) -> Result<Response, Problem> {
    let overlap: Duration = overlap(rotation)?;
    let made = tokens.rotate_of_org(&access, token_id(&id)?, overlap, &facts).await?;
    created(&successor(&url, &id, made.record.token.id), made)
}

fn created(location: &str, made: NewOrgToken) -> Result<Response, Problem> {
    let NewOrgToken { text, record } = made;
    let view = OrgTokenView::from(record);
    answer::created(location, None, &NewOrgTokenView { token: text.expose(), view })
}

impl From<OrgTokenRecord> for OrgTokenView {
    fn from(record: OrgTokenRecord) -> Self {
        let OrgTokenRecord { token, user_id, role, created_by } = record;
        Self { token: TokenView::from(token), role, user_id, created_by }
    }
}
