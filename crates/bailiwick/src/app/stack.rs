//! The order of the layers, written once.
use std::{convert::Infallible, sync::Arc};

use axum::{BoxError, Router, extract::MatchedPath};
use bailiwick_core::{clock::Entropy, request::Facts};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower::{ServiceBuilder, util::MapRequestLayer};
use tower_service::Service;

use crate::{
    audit::AuditLayer,
    authn::{AuthnLayer, RefuseLayer},
    cors::{Cors, CorsLayer, Decided, PreflightLayer},
    csrf::CsrfLayer,
    headers::SecurityHeadersLayer,
    hosts::{AllowedHosts, HostsLayer},
    limits::LimitsLayer,
    metrics::{Metrics, MetricsLayer},
    overload::OverloadLayer,
    problem::ProblemLayer,
    proxies::ProxiesLayer,
    request_id::RequestIdLayer,
    throttle::ThrottleLayer,
    trace::{Log, TraceLayer},
};

/// Whether the controls are there whose cost `bench/run.py --controls` measures. Only a build for it leaves them out, by a flag of
/// the compiler: no feature, which another crate could set.
const CONTROLLED: bool = cfg!(not(bailiwick_bench_uncontrolled));

/// The layers that a request passes, from the outside in, and what breaks if one moves. A test prints it.
pub const STACK: &[(&str, &str)] = &[
    (
        "proxies",
        "outermost: what names, logs, counts, links and sets cookies goes by where a request comes from and how",
    ),
    (
        "request_id",
        "outside all that answers: every answer carries the id, and every line of the log names it",
    ),
    ("trace", "inside the id it logs; outside all else, so that nothing is answered without a line"),
    (
        "metrics",
        "inside trace, which takes out the events that both tell; outside all that answers, so that refusals, panics \
         and requests that are given up are counted",
    ),
    ("headers", "outside all that answers, so that refusals are as protected as answers"),
    ("cors", "outside all that answers, so that a page can read what it was refused for, a panic too"),
    ("problem", "outside all that refuses: it gives each refusal its body, and turns a panic into one"),
    (
        "overload",
        "inside problem and cors, so that a refusal is answered like any other; outside all that does work, so that it costs none",
    ),
    ("hosts", "before anything reads the host to build a link"),
    ("limits", "before anything reads the target, the headers or the body"),
    (
        "preflight",
        "inside what refuses any request; outside the throttle and authn, since it has no credential and spends nothing",
    ),
    ("route", "the router matches first, so that the layers inside know the template"),
    ("authn", "before whatever depends on who asks"),
    (
        "audit",
        "inside authn, to know who is refused, and where; outside all else that refuses by it, so that each refusal leaves its entry",
    ),
    ("throttle", "inside authn, to know whose quota; outside refuse, so that bad credentials are counted"),
    ("refuse", "answers bad credentials, after they were counted and before any gate opens"),
    (
        "csrf",
        "inside refuse, since what a cookie proved must be known; before any gate, so that it tells nothing",
    ),
    ("gate", "the first argument of the handler: no byte of the body is read before it has passed"),
    ("input", "the body, read by the handler once its gate has passed"),
    ("db", "a plan made from the gate's proof"),
];

/// What the layers are made of.
#[derive(Clone)]
pub(super) struct Layers {
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) proxies: ProxiesLayer,
    pub(super) log: Log,
    pub(super) metrics: Metrics,
    pub(super) cors: Cors<Decided>,
    pub(super) overload: OverloadLayer,
    pub(super) hosts: AllowedHosts,
    pub(super) limits: LimitsLayer,
    pub(super) authn: AuthnLayer,
    pub(super) audit: AuditLayer,
    pub(super) csrf: CsrfLayer,
    pub(super) throttle: Option<ThrottleLayer>,
}

impl Layers {
    /// Wraps the routes of the API in what depends on the caller.
    pub(super) fn around_routes(&self, api: Router) -> Router {
        let throttle = self.throttle.clone().filter(|_| CONTROLLED);
        api.layer(
            ServiceBuilder::new()
                .layer(MapRequestLayer::new(note_route))
                .layer(self.authn.clone())
                .layer(self.audit.clone())
                .option_layer(throttle)
                .layer(RefuseLayer::new())
                .layer(self.csrf.clone())
                .into_inner(),
        )
    }

    /// Wraps the router in what every request passes.
    pub(super) fn around_router<B>(
        self,
        router: Router,
    ) -> impl Service<
        Request<B>,
        Response = Response<impl Body<Data = Bytes, Error = axum::Error> + Send + 'static>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + 'static
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (cors, preflight) = (CorsLayer::new(&self.cors), PreflightLayer::new(&self.cors));
        let (overload, limits) = (self.overload, self.limits);
        #[cfg(bailiwick_bench_uncontrolled)]
        let (cors, preflight, overload, limits) = {
            let _ = (cors, preflight, overload, limits);
            let none = tower::layer::util::Identity::new;
            (
                none(),
                none(),
                none(),
                MapRequestLayer::new(|request: Request<B>| request.map(axum::body::Body::new)),
            )
        };
        ServiceBuilder::new()
            .layer(self.proxies)
            .layer(RequestIdLayer::new(self.entropy))
            .layer(TraceLayer::new(self.log))
            .layer(MetricsLayer::new(self.metrics))
            .layer(SecurityHeadersLayer::new())
            .layer(cors)
            .layer(ProblemLayer::new())
            .layer(overload)
            .layer(HostsLayer::new(self.hosts))
            .layer(limits)
            .layer(preflight)
            .service(router)
    }
}

/// Tells the access log which route matched, in its canonical form.
fn note_route<B>(request: Request<B>) -> Request<B> {
    let extensions = request.extensions();
    if let (Some(facts), Some(path)) = (extensions.get::<Facts>(), extensions.get::<MatchedPath>()) {
        let template = path.as_str();
        if template.ends_with('/') {
            facts.set_route(template);
        } else {
            facts.set_route(format!("{template}/"));
        }
    }
    request
}

#[cfg(test)]
mod tests {
    use super::STACK;

    /// How the code above names each layer that it adds.
    const ADDED: &[(&str, &str)] = &[
        ("proxies", ".layer(self.proxies)"),
        ("request_id", ".layer(RequestIdLayer::"),
        ("trace", ".layer(TraceLayer::"),
        ("metrics", ".layer(MetricsLayer::"),
        ("headers", ".layer(SecurityHeadersLayer::"),
        ("cors", ".layer(cors)"),
        ("problem", ".layer(ProblemLayer::"),
        ("overload", ".layer(overload)"),
        ("hosts", ".layer(HostsLayer::"),
        ("limits", ".layer(limits)"),
        ("preflight", ".layer(preflight)"),
        ("route", ".service(router)"),
        ("authn", ".layer(self.authn"),
        ("audit", ".layer(self.audit"),
        ("throttle", ".option_layer(throttle)"),
        ("refuse", ".layer(RefuseLayer::"),
        ("csrf", ".layer(self.csrf"),
    ];

    // What each place is good for is tested over HTTP; this makes the table above the order of the code.
    #[test]
    fn the_table_has_the_layers_in_the_order_of_the_code() {
        let code = include_str!("stack.rs").split("#[cfg(test)]").next().unwrap();
        let (routes, router) = code.split_once("fn around_router").unwrap();
        let mut added: Vec<(usize, &str)> = Vec::new();
        for (name, call) in ADDED {
            // The layers around the router come first, though the code writes those around the routes first.
            let at = router.find(call).or_else(|| routes.find(call).map(|at| at + code.len()));
            added.push((at.unwrap_or_else(|| panic!("{call} is not in the code")), name));
        }
        added.sort_unstable();
        let order: Vec<_> = added.iter().map(|(_, name)| *name).collect();
        let table: Vec<_> = STACK.iter().map(|(name, _)| *name).collect();
        assert_eq!(order, table[..order.len()]);
        // The route is noted by a layer too, and one call puts those around the routes in place.
        assert_eq!(code.matches("layer(").count(), order.len() + 1, "a layer is missing in the table");
        insta::assert_snapshot!(table.join(" > "), @"proxies > request_id > trace > metrics > headers > cors > problem > overload > hosts > limits > preflight > route > authn > audit > throttle > refuse > csrf > gate > input > db");
    }
}
