//! Access tokens and the refresh tokens that go with them (contract §2).
use axum::{Json, extract::State};
use bailiwick::{
    Input,
    authn::{Families, TokenPair, jwt::AccessClaims},
    gate::Anyone,
    problem::Problem,
    resource::JsonBody,
    secret::Secret,
    trace::RequestFacts,
};
use serde::Serialize;
use zeroize::Zeroizing;

use super::auth::Credentials;

/// A refresh token.
#[derive(Input)]
pub(super) struct RefreshToken {
    refresh: String,
}

/// An access token.
#[derive(Input)]
pub(super) struct AccessToken {
    token: String,
}

/// A pair of tokens.
#[derive(Serialize)]
pub(super) struct PairBody {
    access: String,
    refresh: String,
    token_type: &'static str,
    expires_in: u64,
}

/// What an access token says.
#[derive(Serialize)]
pub(super) struct Verified {
    active: bool,
    #[serde(flatten)]
    claims: AccessClaims,
}

/// What there is to say of a family that has ended.
#[derive(Serialize)]
pub(super) struct Ended {}

impl From<TokenPair> for PairBody {
    fn from(pair: TokenPair) -> Self {
        Self {
            access: pair.access.expose().clone(),
            refresh: pair.refresh.expose().to_owned(),
            token_type: "Bearer",
            expires_in: pair.expires_in.as_secs(),
        }
    }
}

/// `POST /auth/jwt/`
pub(super) async fn obtain(
    _: Anyone,
    State(families): State<Families>,
    RequestFacts(facts): RequestFacts,
    JsonBody(Credentials { username, password }): JsonBody<Credentials>,
) -> Result<Json<PairBody>, Problem> {
    Ok(Json(families.log_in(&username, Secret::new(password), &facts).await?.into()))
}

/// `POST /auth/jwt/refresh/`
pub(super) async fn refresh(
    _: Anyone,
    State(families): State<Families>,
    RequestFacts(facts): RequestFacts,
    JsonBody(RefreshToken { refresh }): JsonBody<RefreshToken>,
) -> Result<Json<PairBody>, Problem> {
    Ok(Json(families.refresh(&Zeroizing::new(refresh), &facts).await?.into()))
}

/// `POST /auth/jwt/verify/`
pub(super) async fn verify(
    _: Anyone,
    State(families): State<Families>,
    JsonBody(AccessToken { token }): JsonBody<AccessToken>,
) -> Result<Json<Verified>, Problem> {
    let claims = families.verify(&token).await?;
    Ok(Json(Verified { active: true, claims: AccessClaims::clone(&claims) }))
}

/// `POST /auth/jwt/revoke/`: alike for every text, so that nobody learns which is a token (RFC 7009).
pub(super) async fn revoke(
    _: Anyone,
    State(families): State<Families>,
    RequestFacts(facts): RequestFacts,
    JsonBody(RefreshToken { refresh }): JsonBody<RefreshToken>,
) -> Result<Json<Ended>, Problem> {
    families.revoke(&Zeroizing::new(refresh), &facts).await?;
    Ok(Json(Ended {}))
}
