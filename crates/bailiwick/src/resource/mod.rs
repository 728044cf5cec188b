//! Resources: one declaration, five guarded routes.
//!
//! | route | operation | answer |
//! |---|---|---|
//! | `GET /orgs/{org}/tasks/` | list | 200, a page |
//! | `POST /orgs/{org}/tasks/` | create | 201 with `Location` and `ETag` |
//! | `GET /orgs/{org}/tasks/{id}/` | retrieve | 200 with `ETag`, or 304 |
//! | `PUT`, `PATCH /orgs/{org}/tasks/{id}/` | update | 200 with `ETag` |
//! | `DELETE /orgs/{org}/tasks/{id}/` | delete | 204 |
//!
//! An operation that the rules allow nobody has no route. A resource of the caller's own (`scope = Caller`) has
//! its routes at `/tasks/`, without an organisation.
pub mod answer;
mod body;
mod etag;
mod handlers;
mod page;
mod settings;
#[cfg(test)]
mod tests;
mod url;

use std::fmt;

use axum::{extract::FromRef, routing::MethodRouter};
use bailiwick_core::{
    access::{OperationKind, Rules},
    db::Db,
    model::{Input, Model, Patch, ScopeKind, View, assert_visible},
    request::TENANT_PARAMETER,
};
use http::Method;

pub use self::{
    body::JsonBody,
    etag::ETag,
    handlers::Expected,
    page::{PageBody, Pages, RowPages},
    settings::{InvalidUrl, PublicUrl, Settings},
    url::CanonicalUrl,
};
use crate::{gate, gate::Guarded};

/// A model with routes. This is the whole declaration of what clients may do with it.
///
/// See the guide page "your first resource".
pub trait Resource: Model<Key: From<uuid::Uuid> + fmt::Display> {
    /// The last segment of its path, in the plural: `tasks`.
    const PATH: &'static str;
    /// What creates or replaces a row.
    type New: Input<For = Self>;
    /// What changes a row.
    type Patch: Patch<For = Self>;
    /// What clients see of a row.
    type View: View<Of = Self>;

    /// Who may do what; what is not allowed is denied, and has no route.
    fn rules() -> Rules<Self>;
}

impl<R: Resource> Guarded for R {
    fn rules() -> Rules<R> {
        <R as Resource>::rules()
    }
}

/// The routes of one path: its template, its methods, and their handlers.
pub(crate) struct PathRoutes<S> {
    pub(crate) path: String,
    pub(crate) methods: Vec<Method>,
    pub(crate) router: MethodRouter<S>,
    /// Whether `GET` answers pages of a resource, and so weighs by their size.
    pub(crate) is_list: bool,
}

/// The routes of `R`, relative to the version.
pub(crate) fn routes<R: Resource, S>() -> Vec<PathRoutes<S>>
where
    S: Clone + Send + Sync + 'static,
    gate::Context: FromRef<S>,
    Settings: FromRef<S>,
    Db: FromRef<S>,
{
    // The derive of `View` checks this too, and says it sooner; a view may be written by hand.
    const { assert_visible(R::TABLE, R::View::FIELDS) };
    let rules = <R as Resource>::rules();
    let path = match R::TABLE.scope {
        ScopeKind::Org => format!("/orgs/{{{TENANT_PARAMETER}}}/{}/", R::PATH),
        ScopeKind::Caller => format!("/{}/", R::PATH),
    };
    let begin = |path| PathRoutes { path, methods: Vec::new(), router: MethodRouter::new(), is_list: false };
    let mut collection = begin(path.clone());
    if rules.offers(OperationKind::List) {
        collection.is_list = true;
        collection.methods.push(Method::GET);
        collection.router = collection.router.get(handlers::list::<R>);
    }
    if rules.offers(OperationKind::Create) {
        collection.methods.push(Method::POST);
        collection.router = collection.router.post(handlers::create::<R>);
    }
    let mut item = begin(format!("{path}{{id}}/"));
    if rules.offers(OperationKind::Retrieve) {
        item.methods.push(Method::GET);
        item.router = item.router.get(handlers::retrieve::<R>);
    }
    if rules.offers(OperationKind::Update) {
        item.methods.extend([Method::PUT, Method::PATCH]);
        item.router = item.router.put(handlers::replace::<R>).patch(handlers::patch::<R>);
    }
    if rules.offers(OperationKind::Delete) {
        item.methods.push(Method::DELETE);
        item.router = item.router.delete(handlers::delete::<R>);
    }
    [collection, item].into_iter().filter(|path| !path.methods.is_empty()).collect()
}
