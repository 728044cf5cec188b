//! The five handlers that every resource has.
use std::convert::Infallible;

use axum::{
    extract::{FromRef, FromRequestParts, RawPathParams, State},
    response::Response,
};
use bailiwick_core::{
    access::{Create, Delete, List, Retrieve, Update},
    db::{Db, DbError},
    id::Id,
    model::{self, Assignments},
    query::Precondition,
};
use http::{HeaderMap, StatusCode, request::Parts};

use super::{CanonicalUrl, ETag, JsonBody, Resource, RowPages, Settings, answer, etag};
use crate::{gate::Access, problem::Problem};

pub(super) async fn list<R: Resource>(
    access: Access<R, List>,
    State(db): State<Db>,
    pages: RowPages<R>,
) -> Result<Response, Problem> {
    pages.answer::<R::View>(&access, &db).await
}

pub(super) async fn retrieve<R: Resource>(
    access: Access<R, Retrieve>,
    State(db): State<Db>,
    Key(key): Key<R>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let row = db.retrieve(&access, key).await?;
    let tag = ETag::of(&row);
    answer::found(&headers, tag, || R::View::from(row))
}

pub(super) async fn create<R: Resource>(
    access: Access<R, Create>,
    State(db): State<Db>,
    url: CanonicalUrl,
    JsonBody(new): JsonBody<R::New>,
) -> Result<Response, Problem> {
    let row = db.create(&access, model::Body::into_assignments(new)).await?;
    let (tag, key) = (ETag::of(&row), row.key());
    answer::created(&url.child(&key.to_string()), tag, &R::View::from(row))
}

pub(super) async fn replace<R: Resource>(
    access: Access<R, Update>,
    State(db): State<Db>,
    Key(key): Key<R>,
    expected: Expected,
    JsonBody(new): JsonBody<R::New>,
) -> Result<Response, Problem> {
    change(&access, &db, key, expected, model::Body::into_assignments(new)).await
}

pub(super) async fn patch<R: Resource>(
    access: Access<R, Update>,
    State(db): State<Db>,
    Key(key): Key<R>,
    expected: Expected,
    JsonBody(patch): JsonBody<R::Patch>,
) -> Result<Response, Problem> {
    change(&access, &db, key, expected, model::Body::into_assignments(patch)).await
}

async fn change<R: Resource>(
    access: &Access<R, Update>,
    db: &Db,
    key: R::Key,
    expected: Expected,
    assignments: Assignments<R>,
) -> Result<Response, Problem> {
    let (precondition, answer) = expected.into_parts();
    let row = db.update(access, key, assignments, precondition).await.map_err(answer)?;
    let tag = ETag::of(&row);
    answer::changed(tag, &R::View::from(row))
}

pub(super) async fn delete<R: Resource>(
    access: Access<R, Delete>,
    State(db): State<Db>,
    Key(key): Key<R>,
    expected: Expected,
) -> Result<StatusCode, Problem> {
    let (precondition, answer) = expected.into_parts();
    db.delete(&access, key, precondition).await.map_err(answer)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The key in the path. What is no key names nothing, and is answered so.
pub(super) struct Key<R: Resource>(R::Key);

impl<R: Resource, S: Send + Sync> FromRequestParts<S> for Key<R> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let parameters =
            RawPathParams::from_request_parts(parts, state).await.map_err(|_| Problem::not_found())?;
        let id = parameters.iter().find(|(name, _)| *name == "id").map(|(_, value)| value);
        let id: Id<R> = id.and_then(|id| id.parse().ok()).ok_or_else(Problem::not_found)?;
        Ok(Self(id.as_uuid().into()))
    }
}

/// What the client expects of the row that a handler is to change or delete, by `If-Match` and `If-None-Match`; or what is
/// wrong with how it says so.
#[derive(Debug)]
pub struct Expected(Result<Precondition, Problem>);

impl Expected {
    /// The precondition, and how the store's refusal is answered.
    ///
    /// What cannot be read, or is demanded and absent, is a precondition that no row meets: the store says first whether
    /// there is such a row and whether the caller may write it (CND-04).
    pub fn into_parts(self) -> (Precondition, impl FnOnce(DbError) -> Problem) {
        let (precondition, wrong) = match self.0 {
            Ok(precondition) => (precondition, None),
            Err(problem) => (Precondition::never(), Some(problem)),
        };
        let answer = |error| match (error, wrong) {
            (DbError::Stale, Some(problem)) => problem,
            (error, _) => error.into(),
        };
        (precondition, answer)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Expected
where
    Settings: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self(etag::precondition(&parts.headers, Settings::from_ref(state).require_if_match)))
    }
}
