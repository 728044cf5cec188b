//! What routes declare about quotas, by template and method.
use std::{num::NonZeroU32, sync::Arc};

use axum::extract::MatchedPath;
use bailiwick_core::query::PageSettings;
use http::{Method, Request};
use smallvec::SmallVec;

use super::Scope;

/// How many units of the general quota, `user` or `anon`, a request spends (THR-37). By default it is one.
///
/// A request costs what it asks for, whatever its answer: one that is refused later was no cheaper to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Always as many.
    Units(NonZeroU32),
    /// By the size of the page that is asked for: one unit for each begun page of the default size, see
    /// [`PageSettings::pages_asked`].
    ByPage,
}

impl Default for Weight {
    fn default() -> Self {
        Self::Units(NonZeroU32::MIN)
    }
}

impl Weight {
    /// Always as many.
    ///
    /// # Panics
    /// If it is zero: weights are declared at start.
    pub const fn units(units: u32) -> Self {
        match NonZeroU32::new(units) {
            Some(units) => Self::Units(units),
            None => panic!("a request costs one unit at least"),
        }
    }

    /// What a request with this query string spends. Without `page_size` nothing is allocated.
    pub(super) fn of(self, query: Option<&str>, pages: &PageSettings) -> NonZeroU32 {
        match (self, query) {
            (Self::Units(units), _) => units,
            (Self::ByPage, None) => NonZeroU32::MIN,
            (Self::ByPage, Some(query)) => pages.pages_asked(form_urlencoded::parse(query.as_bytes())),
        }
    }
}

/// What one method of one route declares.
#[derive(Clone, Debug, Default)]
pub(super) struct Declared {
    pub(super) scopes: SmallVec<[Scope; 1]>,
    pub(super) weight: Weight,
    pub(super) passes_uncounted: bool,
}

/// What all routes declare, by the lengths of their templates: few are as long as another, so that a look costs less than a
/// hash, however many there are. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct DeclaredRoutes(Arc<Vec<Vec<Route>>>);

#[derive(Clone, Debug)]
struct Route {
    method: Method,
    /// Without the trailing slash.
    template: Box<str>,
    declared: Declared,
}

impl DeclaredRoutes {
    /// What the route that a request has taken declares, if it does.
    pub(super) fn of<B>(&self, request: &Request<B>) -> Option<&Declared> {
        let template = request.extensions().get::<MatchedPath>()?.as_str().trim_end_matches('/');
        let method = counted_as(request.method());
        let as_long = self.0.get(template.len())?;
        as_long.iter().find(|route| route.is(method, template)).map(|route| &route.declared)
    }

    /// What `method` of the route declares, to be added to. The trailing slash makes no difference.
    pub(super) fn entry(&mut self, method: &Method, template: &str) -> &mut Declared {
        let (method, template) = (counted_as(method), template.trim_end_matches('/'));
        let lengths = Arc::make_mut(&mut self.0);
        if lengths.len() <= template.len() {
            lengths.resize_with(template.len() + 1, Vec::new);
        }
        let as_long = &mut lengths[template.len()];
        let known = as_long.iter().position(|route| route.is(method, template));
        let place = known.unwrap_or_else(|| {
            let (method, template) = (method.clone(), template.into());
            as_long.push(Route { method, template, declared: Declared::default() });
            as_long.len() - 1
        });
        &mut as_long[place].declared
    }
}

impl Route {
    fn is(&self, method: &Method, template: &str) -> bool {
        self.method == *method && *self.template == *template
    }
}

/// `HEAD` is `GET` without the answer's body: as much work, and so one with it.
fn counted_as(method: &Method) -> &Method {
    if method == Method::HEAD { &Method::GET } else { method }
}
