//! The layer that believes proxies.
use tower_layer::Layer;

use super::{ProxiesService, TrustedProxies};

/// Learns from trusted proxies where a request comes from. Put it outermost: whatever names, logs, counts or links goes by
/// what it finds out.
#[derive(Clone, Debug)]
pub struct ProxiesLayer {
    pub(super) trusted: TrustedProxies,
    pub(super) by: ForwardedBy,
    pub(super) https: Option<OnlyHttps>,
}

/// In which fields proxies say where a request comes from. The others are not read: a client could send what a proxy does
/// not overwrite (PRX-03).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedBy {
    /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The site is reached over https alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct OnlyHttps {
    /// A path that is answered all the same.
    pub(super) except: &'static str,
}

impl ProxiesLayer {
    /// A layer that believes `trusted` by the `X-Forwarded` fields.
    pub fn new(trusted: TrustedProxies) -> Self {
        Self { trusted, by: ForwardedBy::default(), https: None }
    }

    /// In which fields the proxies say it.
    #[must_use]
    pub fn by(mut self, by: ForwardedBy) -> Self {
        self.by = by;
        self
    }

    /// The site is reached over https alone. Without trusted proxies, every request is taken to have come so, whoever ends
    /// TLS; with them, one that did not is answered with 403 `https-required`, and never redirected: its client would go on
    /// sending its credential in the clear (TLS-01). Only `except` is answered, for health checks.
    ///
    /// It is refused by [`ProblemLayer`](crate::problem::ProblemLayer), which must stand inside this layer.
    #[must_use]
    pub fn only_https(mut self, except: &'static str) -> Self {
        self.https = Some(OnlyHttps { except });
        self
    }
}

impl<S> Layer<S> for ProxiesLayer {
    type Service = ProxiesService<S>;

    fn layer(&self, inner: S) -> ProxiesService<S> {
        ProxiesService::new(inner, self.clone())
    }
}
