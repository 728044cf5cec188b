//! The layers that find out who is asking, and refuse whoever lies.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{clock::Clock, store::Store};
use http::Method;
use tower_layer::Layer;

use super::{AuthnService, Families, RefuseService, SessionLimits, issuers::TrustedIssuers};
use crate::route_set::RouteSet;

/// Reads the credential of each request.
#[derive(Clone)]
pub struct AuthnLayer {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) in_body: RouteSet,
    pub(super) idle: Duration,
    pub(super) families: Option<Families>,
    pub(super) issuers: Option<TrustedIssuers>,
}

impl AuthnLayer {
    /// Accepts the tokens and sessions that `store` knows.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            in_body: RouteSet::default(),
            idle: SessionLimits::default().idle,
            families: None,
            issuers: None,
        }
    }

    /// For how long a session that is used works from then on. The default is 30 minutes.
    #[must_use]
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Accepts access tokens too. Without, there are none.
    #[must_use]
    pub fn families(mut self, families: Families) -> Self {
        self.families = Some(families);
        self
    }

    /// Accepts access tokens of these issuers too. Without, only this server's own.
    #[must_use]
    pub fn issuers(mut self, issuers: TrustedIssuers) -> Self {
        self.issuers = Some(issuers);
        self
    }

    /// Ignores `Authorization` and cookies on these routes, which take the credential in the body: a stale header must not make
    /// a log-in fail (TOK-04). Each is a method and a route template, both with and without the trailing slash.
    #[must_use]
    pub fn credential_in_body(mut self, routes: impl IntoIterator<Item = (Method, String)>) -> Self {
        self.in_body = routes.into_iter().collect();
        self
    }
}

impl std::fmt::Debug for AuthnLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuthnLayer").field("in_body", &self.in_body).finish_non_exhaustive()
    }
}

impl<S> Layer<S> for AuthnLayer {
    type Service = AuthnService<S>;

    fn layer(&self, inner: S) -> AuthnService<S> {
        AuthnService::new(inner, self.clone())
    }
}

/// Answers requests whose credential was [`Rejected`](super::Rejected).
#[derive(Clone, Copy, Debug, Default)]
pub struct RefuseLayer(());

impl RefuseLayer {
    /// The layer. There is nothing to set.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RefuseLayer {
    type Service = RefuseService<S>;

    fn layer(&self, inner: S) -> RefuseService<S> {
        RefuseService::new(inner)
    }
}
