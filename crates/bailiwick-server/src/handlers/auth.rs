//! Log-in for a token, and log-out (contract §2).
use axum::{Json, extract::State};
use bailiwick::{
    Input,
    authn::LogIn,
    clock::Timestamp,
    gate::{AnyCredential, Anyone},
    identity::Credential,
    problem::Problem,
    resource::JsonBody,
    secret::Secret,
    trace::RequestFacts,
};
use http::StatusCode;
use serde::Serialize;

/// A user name and a password.
#[derive(Input)]
pub(super) struct Credentials {
    pub(super) username: String,
    pub(super) password: String,
}

/// A token, shown once.
#[derive(Serialize)]
pub(super) struct TokenBody {
    token: String,
    expires_at: Timestamp,
}

/// `POST /auth/token/`
pub(super) async fn obtain_token(
    _: Anyone,
    State(log_in): State<LogIn>,
    RequestFacts(facts): RequestFacts,
    JsonBody(Credentials { username, password }): JsonBody<Credentials>,
) -> Result<Json<TokenBody>, Problem> {
    let issued = log_in.with_password(&username, Secret::new(password), &facts).await?;
    Ok(Json(TokenBody { token: issued.text.expose().to_owned(), expires_at: issued.expires_at }))
}

/// `DELETE /auth/token/`: ends the token that the request was made with.
pub(super) async fn revoke_token(
    AnyCredential(principal): AnyCredential,
    State(log_in): State<LogIn>,
    RequestFacts(facts): RequestFacts,
) -> Result<StatusCode, Problem> {
    match principal.credential {
        Credential::ApiToken(token) => log_in.log_out(token, &facts).await?,
        // Another kind of credential has no token that could be ended here.
        _ => return Err(Problem::forbidden()),
    }
    Ok(StatusCode::NO_CONTENT)
}
