//! Routes that a layer treats in a way of their own.
use std::sync::Arc;

use axum::extract::MatchedPath;
use http::{Method, Request};

/// Methods and route templates, each both with and without the trailing slash. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RouteSet(Arc<[(Method, Box<str>)]>);

impl RouteSet {
    /// Whether the request has taken one of these routes.
    pub(crate) fn holds<B>(&self, request: &Request<B>) -> bool {
        let Some(route) = request.extensions().get::<MatchedPath>() else { return false };
        let taken = route.as_str().trim_end_matches('/');
        self.0.iter().any(|(method, template)| method == request.method() && **template == *taken)
    }
}

impl FromIterator<(Method, String)> for RouteSet {
    fn from_iter<I: IntoIterator<Item = (Method, String)>>(routes: I) -> Self {
        let trimmed = |(method, path): (Method, String)| (method, path.trim_end_matches('/').into());
        Self(routes.into_iter().map(trimmed).collect())
    }
}
