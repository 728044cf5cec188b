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
//! A request spends one unit of each, and of `anon` or `user` as many as it weighs ([`Weight`], THR-37): a long page, an upload
//! and a download more than one. Scopes count requests, whatever they weigh.
//!
//! A request passes if all of its quotas have room; else none is spent, and the answer is 429 with the longest wait
//! in `Retry-After`. Every answer tells what is left in `RateLimit` and `RateLimit-Policy` (THR-20, THR-21).
//!
//! # Security
//! If the counters are out of reach, safe methods pass, and so does what only ends a credential; everything else is answered
//! 503 (THR-35). What passed is counted in the metrics, and told in the log at most every ten seconds. The address is that of
//! the connection, or the one that a trusted proxy tells: no header a client can send changes it.
mod declared;
mod layer;
mod service;
#[cfg(test)]
mod tests;
mod uncounted;

use bailiwick_core::{query::PageSettings, units::Rate};
use http::{HeaderValue, Method};

use self::declared::DeclaredRoutes;
pub use self::{declared::Weight, layer::ThrottleLayer, service::ThrottleService};

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
    anon: General,
    user: General,
    pages: PageSettings,
    declared: DeclaredRoutes,
}

/// A quota that every request may spend.
#[derive(Clone, Debug)]
struct General {
    name: &'static str,
    rate: Rate,
    /// What `RateLimit-Policy` says of it alone, which is most of the time.
    policy: HeaderValue,
}

impl General {
    fn new(name: &'static str, rate: Rate) -> Self {
        let policy = HeaderValue::try_from(service::policy(name, rate)).expect("its name is plain ASCII");
        Self { name, rate, policy }
    }
}

impl Throttle {
    /// `anon` for each address, `user` for each user.
    pub fn new(anon: Rate, user: Rate) -> Self {
        let (anon, user) = (General::new("anon", anon), General::new("user", user));
        Self { anon, user, pages: PageSettings::default(), declared: DeclaredRoutes::default() }
    }

    /// Lets requests to these routes pass uncounted if the counters are out of reach, as reads do. Each is a method and a route
    /// template.
    ///
    /// # Security
    /// It is meant for what only ends something: who has lost a credential must not wait for the counters.
    #[must_use]
    pub fn passing_uncounted(mut self, routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        for (method, path) in routes {
            self.declared.entry(&method, &path).passes_uncounted = true;
        }
        self
    }

    /// Gives these routes scopes of their own. Each is a method, a route template, and the scope; the trailing slash
    /// makes no difference, and a scope of `GET` is one of `HEAD`.
    #[must_use]
    pub fn scopes(mut self, routes: impl IntoIterator<Item = (Method, String, Scope)>) -> Self {
        for (method, path, scope) in routes {
            self.declared.entry(&method, &path).scopes.push(scope);
        }
        self
    }

    /// Lets requests to these routes weigh more than one. Each is a method, a route template, and the weight; the trailing
    /// slash makes no difference, `HEAD` weighs as `GET`, and the last weight of a route counts.
    ///
    /// ```
    /// use bailiwick::{throttle::{Throttle, Weight}, units::Rate};
    /// use http::Method;
    ///
    /// let throttle = Throttle::new(Rate::per_minute(60), Rate::per_minute(600)).weights([
    ///     (Method::POST, "/files".to_owned(), Weight::units(5)),
    ///     (Method::GET, "/files".to_owned(), Weight::ByPage),
    /// ]);
    /// # let _ = throttle;
    /// ```
    #[must_use]
    pub fn weights(mut self, routes: impl IntoIterator<Item = (Method, String, Weight)>) -> Self {
        for (method, path, weight) in routes {
            self.declared.entry(&method, &path).weight = weight;
        }
        self
    }

    /// How large pages are, which routes go by that weigh [by page](Weight::ByPage). The default is that of [`PageSettings`].
    #[must_use]
    pub fn pages(mut self, pages: PageSettings) -> Self {
        self.pages = pages;
        self
    }
}

impl Default for Throttle {
    /// 60 a minute for an address, 600 a minute for a user (contract §6).
    fn default() -> Self {
        Self::new(Rate::per_minute(60), Rate::per_minute(600))
    }
}
