//! Limits how often one caller may call.
//!
//! Each caller has a quota under each policy that applies to a request, counted by the generic cell rate algorithm
//! (THR-30):
//!
//! | policy | spent by | caller |
//! |---|---|---|
//! | `anon` | every request without a principal, a failed credential included | the address |
//! | `user` | every request with one, whatever its answer | the user |
//! | a scope, such as `login` | every request to the routes that declare it, besides the above | as the scope says |
//!
//! A request passes if all of its quotas have room; else none is spent, and the answer is 429 with the longest wait
//! in `Retry-After`. Every answer tells what is left in `RateLimit` and `RateLimit-Policy` (THR-20, THR-21).
//!
//! # Security
//! If the counters are out of reach, safe methods pass, and so does what only ends a credential; everything else is answered
//! 503 (THR-35). What passed is counted in the metrics, and told in the log at most every ten seconds. The address is that of
//! the connection, or the one that a trusted proxy tells: no header a client can send changes it.
mod layer;
mod service;
#[cfg(test)]
mod tests;
mod uncounted;

use std::sync::Arc;

use bailiwick_core::units::Rate;
use http::Method;

pub use self::{layer::ThrottleLayer, service::ThrottleService};

/// Whose quota a scope spends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The address's.
    Address,
    /// The principal's; the address's where there is none.
    Principal,
}

/// A quota of its own for some routes.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Its name in settings, headers and logs.
    pub name: &'static str,
    /// How large it is.
    pub rate: Rate,
    /// Whose it is.
    pub by: By,
}

/// The quotas of everyone.
#[derive(Clone, Debug)]
pub struct Throttle {
    anon: Rate,
    user: Rate,
    scoped: Arc<[ScopedRoute]>,
    passing: Arc<[(Method, Box<str>)]>,
}

#[derive(Clone, Debug)]
struct ScopedRoute {
    method: Method,
    path: Box<str>,
    scope: Scope,
}

impl Throttle {
    /// `anon` for each address, `user` for each user.
    pub fn new(anon: Rate, user: Rate) -> Self {
        Self { anon, user, scoped: Arc::new([]), passing: Arc::new([]) }
    }

    /// Lets requests to these routes pass uncounted if the counters are out of reach, as reads do. Each is a method and a route
    /// template.
    ///
    /// # Security
    /// It is meant for what only ends something: who has lost a credential must not wait for the counters.
    #[must_use]
    pub fn passing_uncounted(mut self, routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        let trimmed = |(method, path): (Method, String)| (method, path.trim_end_matches('/').into());
        self.passing = routes.into_iter().map(trimmed).collect();
        self
    }

    /// Gives these routes scopes of their own. Each is a method, a route template, and the scope; the trailing slash
    /// makes no difference.
    #[must_use]
    pub fn scopes(mut self, routes: impl IntoIterator<Item = (Method, String, Scope)>) -> Self {
        let scoped = routes.into_iter().map(|(method, path, scope)| {
            let path = path.trim_end_matches('/').into();
            ScopedRoute { method, path, scope }
        });
        self.scoped = scoped.collect();
        self
    }

    fn scopes_of(&self, method: &Method, template: &str) -> impl Iterator<Item = &Scope> {
        let template = template.trim_end_matches('/');
        self.scoped
            .iter()
            .filter(move |route| route.method == *method && *route.path == *template)
            .map(|route| &route.scope)
    }
}

impl Default for Throttle {
    /// 60 a minute for an address, 600 a minute for a user (contract §6).
    fn default() -> Self {
        Self::new(Rate::per_minute(60), Rate::per_minute(600))
    }
}
