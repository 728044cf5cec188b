//! Accounts and their passwords (contract §2).
use axum::{
    Json,
    extract::State,
    response::{AppendHeaders, IntoResponse, Response},
};
use bailiwick::{
    Input,
    app::Given,
    authn::Accounts,
    cookies::{Cookie, Reach},
    gate::{Anyone, Authenticated},
    problem::Problem,
    resource::JsonBody,
    secret::Secret,
    trace::RequestFacts,
};
use http::{StatusCode, header};

use super::me::User;
use crate::mail::ResetMails;

/// An account to make.
#[derive(Input)]
pub(super) struct NewAccount {
    username: String,
    email: String,
    password: String,
}

/// A password that its owner replaces.
#[derive(Input)]
pub(super) struct Change {
    current_password: String,
    new_password: String,
}

/// The address of somebody who has lost their password.
#[derive(Input)]
pub(super) struct Lost {
    email: String,
}

/// A password in the place of a lost one.
#[derive(Input)]
pub(super) struct Reset {
    token: String,
    new_password: String,
}

/// `POST /auth/register/`
pub(super) async fn register(
    _: Anyone,
    State(accounts): State<Accounts>,
    RequestFacts(facts): RequestFacts,
    JsonBody(NewAccount { username, email, password }): JsonBody<NewAccount>,
) -> Result<(StatusCode, Json<User>), Problem> {
    let user = accounts.register(&username, email, Secret::new(password), &facts).await?;
    Ok((StatusCode::CREATED, Json(User::from(user))))
}

/// `POST /auth/password/`: the session that asks goes on with another cookie, and so with another CSRF token.
pub(super) async fn change(
    Authenticated(caller): Authenticated,
    State(accounts): State<Accounts>,
    reach: Reach,
    RequestFacts(facts): RequestFacts,
    JsonBody(Change { current_password, new_password }): JsonBody<Change>,
) -> Result<Response, Problem> {
    let (current, new) = (Secret::new(current_password), Secret::new(new_password));
    let session = accounts.change_password(&caller, current, new, &facts).await?;
    let done = StatusCode::NO_CONTENT;
    Ok(match session {
        Some(text) => {
            let cookie = (header::SET_COOKIE, Cookie::Session.set(reach, text.expose()));
            (done, AppendHeaders([cookie])).into_response()
        }
        None => done.into_response(),
    })
}

/// `POST /auth/password/reset/`: the answer is the same whatever was sent.
pub(super) async fn ask_for_reset(
    _: Anyone,
    State(accounts): State<Accounts>,
    Given(mails): Given<ResetMails>,
    RequestFacts(facts): RequestFacts,
    JsonBody(Lost { email }): JsonBody<Lost>,
) -> Result<StatusCode, Problem> {
    if accounts.may_send_to(&email, &facts).await? {
        mails.take(accounts, email, &facts)?;
    }
    Ok(StatusCode::ACCEPTED)
}

/// `POST /auth/password/reset/confirm/`
pub(super) async fn reset(
    _: Anyone,
    State(accounts): State<Accounts>,
    RequestFacts(facts): RequestFacts,
    JsonBody(Reset { token, new_password }): JsonBody<Reset>,
) -> Result<StatusCode, Problem> {
    accounts.finish_reset(&token, Secret::new(new_password), &facts).await?;
    Ok(StatusCode::NO_CONTENT)
}
