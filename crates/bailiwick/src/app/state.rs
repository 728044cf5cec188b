//! What handlers can take by `State`.
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use bailiwick_core::{
    clock::{Clock, Entropy},
    db::Db,
};
use http::{Extensions, request::Parts as Head};

use crate::{
    authn::{Accounts, ApiTokens, Families, LogIn, Sessions},
    csrf::Csrf,
    gate,
    problem::Problem,
    resource,
    tenancy::Founding,
};

/// The state of an application's router: everything a handler can take by `State<…>`. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Parts>);

pub(super) struct Parts {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) db: Db,
    pub(super) gates: gate::Context,
    pub(super) settings: resource::Settings,
    pub(super) log_in: LogIn,
    pub(super) tokens: ApiTokens,
    pub(super) sessions: Sessions,
    pub(super) families: Families,
    pub(super) csrf: Csrf,
    pub(super) accounts: Accounts,
    pub(super) founding: Founding,
    pub(super) given: Extensions,
}

impl State {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("db", &self.0.db).finish_non_exhaustive()
    }
}

macro_rules! from_state {
    ($($field:ident: $type:ty),+ $(,)?) => {
        $(impl FromRef<State> for $type {
            fn from_ref(state: &State) -> Self {
                state.0.$field.clone()
            }
        })+
    };
}

from_state! {
    db: Db,
    gates: gate::Context,
    settings: resource::Settings,
    log_in: LogIn,
    tokens: ApiTokens,
    sessions: Sessions,
    families: Families,
    csrf: Csrf,
    accounts: Accounts,
    founding: Founding,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// What the application gave its handlers by [`Builder::give`](super::Builder::give), as an argument of theirs.
///
/// A handler that asks for what was not given answers 500.
#[derive(Clone, Copy, Debug)]
pub struct Given<T>(pub T);

impl<T: Clone + Send + Sync + 'static> FromRequestParts<State> for Given<T> {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Head, state: &State) -> Result<Self, Problem> {
        let given = state.0.given.get::<T>().cloned().map(Self);
        given.ok_or_else(|| Problem::internal().because(NotGiven(std::any::type_name::<T>())))
    }
}

/// A defect of the application.
#[derive(Debug, thiserror::Error)]
#[error("a handler asks for a {0}, which the application was not given")]
struct NotGiven(&'static str);
