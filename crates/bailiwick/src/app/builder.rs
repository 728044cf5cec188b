//! Builds an application, decision by decision.
use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    fmt,
    future::Future,
    io,
    marker::PhantomData,
    sync::Arc,
    time::Duration,
};

use axum::{Router, body::Body, routing::MethodRouter};
use bailiwick_core::{
    audit::{Noted, Witness},
    clock::{Clock, Entropy, OsEntropy, SystemClock},
    db::Db,
    meter::Metered,
    model::TableDef,
    secret::Secret,
    store::{CounterStore, Store},
    units::Rate,
};
use bailiwick_store::MemoryCounters;
use http::{Extensions, Method, Request, Response};
use tokio::{net::TcpListener, sync::oneshot};
use tower_service::Service;
use tracing::Level;

use super::{
    operations::Operations,
    serve::{self, RequestBody, ServeOptions},
    stack::Layers,
    state::{Parts, State},
};
use crate::{
    audit::AuditLayer,
    authn::{Authn, AuthnLayer, Built, Guesses, Quotas, issuers::TrustedIssuers, jwks, keys::KeyRing},
    cors::{Cors, Decided as DecidedCors},
    csrf::{Csrf, CsrfLayer},
    gate::{self, Guarded},
    health,
    hosts::AllowedHosts,
    limits::LimitsLayer,
    metrics::Metrics,
    origin::Origin,
    overload::OverloadLayer,
    problem::{self, Problem},
    proxies::{ForwardedBy, ProxiesLayer, TrustedProxies},
    resource::{self, PathRoutes, Resource},
    routes::{Route, Routes, with_method_not_allowed},
    tenancy::{Founding, TenantFrom},
    throttle::{Scope, Throttle, ThrottleLayer, Weight},
    trace::{Format, Log},
};

/// Where the API of version 1 begins.
const BASE: &str = "/api/v1";

/// The quota of log-ins that fail, by account.
const LOGIN_ACCOUNT: &str = "login_account";
/// The quota of mails, by address.
const MAILS: &str = "mails";
/// The quota of mails about leaked tokens, by address.
const LEAK_MAILS: &str = "leak_mails";
/// How often one address is told that a token leaked.
const LEAK_MAILS_RATE: Rate = Rate::per_hour(20);

/// The next decision is where rows are kept.
#[derive(Debug)]
pub enum NeedsStore {}
/// The next decision is how callers prove who they are.
#[derive(Debug)]
pub enum NeedsAuthn {}
/// The next decision is how a request names its tenant.
#[derive(Debug)]
pub enum NeedsTenancy {}
/// Nothing need be decided any more.
#[derive(Debug)]
pub enum Ready {}

/// An application that is being built. The compiler keeps the order of its first three decisions.
pub struct Builder<Stage> {
    decided: Decided,
    stage: PhantomData<fn() -> Stage>,
}

struct Decided {
    store: Option<Arc<dyn Store>>,
    authn: Authn,
    resources: Resources,
    routes: Routes<State>,
    policies: Policies,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    log: Option<Log>,
    given: Extensions,
    watched: Vec<Arc<dyn Metered>>,
}

/// The resources of an application: a list that can be made without a store, so that whoever migrates the database
/// knows their tables.
#[derive(Default)]
pub struct Resources {
    tables: Vec<&'static TableDef>,
    guards: Vec<fn(&mut gate::Context)>,
    paths: Vec<fn() -> Vec<PathRoutes<State>>>,
}

impl Resources {
    /// None yet.
    pub const fn new() -> Self {
        Self { tables: Vec::new(), guards: Vec::new(), paths: Vec::new() }
    }

    /// These and `R`, with its routes.
    #[must_use]
    pub fn resource<R: Resource>(mut self) -> Self {
        self.paths.push(resource::routes::<R, State>);
        self.guarded::<R>()
    }

    /// These and `R`, without routes of its own: for handlers that take an `Access` to it.
    #[must_use]
    pub fn guarded<R: Guarded>(mut self) -> Self {
        self.tables.push(R::TABLE);
        self.guards.push(gate::Context::guard::<R>);
        self
    }

    /// Their tables.
    pub fn tables(&self) -> &[&'static TableDef] {
        &self.tables
    }

    fn extend(&mut self, others: Self) {
        self.tables.extend(others.tables);
        self.guards.extend(others.guards);
        self.paths.extend(others.paths);
    }
}

impl fmt::Debug for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.tables.iter().map(|table| table.name)).finish()
    }
}

/// The limits that an application keeps. Every one has a safe default.
pub struct Policies {
    hosts: AllowedHosts,
    proxies: TrustedProxies,
    forwarded_by: ForwardedBy,
    limits: LimitsLayer,
    overload: OverloadLayer,
    anon: Rate,
    user: Rate,
    scopes: HashMap<&'static str, Rate>,
    failed_log_ins: Rate,
    mails: Rate,
    throttled: bool,
    counters: Option<Arc<dyn CounterStore>>,
    cors: Cors<DecidedCors>,
    csrf_key: Option<Secret<[u8; 32]>>,
    csrf_trusted_origins: Vec<Origin>,
    resources: resource::Settings,
}

impl Policies {
    fn new() -> Self {
        Self {
            hosts: AllowedHosts::parse(["localhost", "127.0.0.1", "[::1]"])
                .expect("the names of the loopback are hosts"),
            proxies: TrustedProxies::default(),
            forwarded_by: ForwardedBy::default(),
            limits: LimitsLayer::new(),
            overload: OverloadLayer::new(),
            anon: Rate::per_minute(60),
            user: Rate::per_minute(600),
            scopes: HashMap::from([("login", Rate::per_minute(5))]),
            failed_log_ins: Rate::new(10, Duration::from_secs(15 * 60))
                .expect("a whole window, and a limit in it"),
            mails: Rate::per_hour(5),
            throttled: true,
            counters: None,
            cors: Cors::same_origin().decide(),
            csrf_key: None,
            csrf_trusted_origins: Vec::new(),
            resources: resource::Settings::default(),
        }
    }

    /// Answers to these hosts only. The default is the loopback.
    #[must_use]
    pub fn hosts(mut self, hosts: AllowedHosts) -> Self {
        self.hosts = hosts;
        self
    }

    /// The proxies in front of the server, and in which fields they say where a request comes from. None by default: then
    /// nobody is believed.
    ///
    /// If [`resource::Settings::public_url`] is https, what did not come over https is refused, see
    /// [`ProxiesLayer::only_https`].
    #[must_use]
    pub fn proxies(mut self, trusted: TrustedProxies, by: ForwardedBy) -> Self {
        self.proxies = trusted;
        self.forwarded_by = by;
        self
    }

    /// Bounds what one request may cost.
    #[must_use]
    pub fn limits(mut self, limits: LimitsLayer) -> Self {
        self.limits = limits;
        self
    }

    /// When requests are refused since the server is busy. `/healthz` is not, whatever is excepted.
    #[must_use]
    pub fn overload(mut self, overload: OverloadLayer) -> Self {
        self.overload = overload;
        self
    }

    /// How often an address without a credential may call; what weighs several counts for as many. The default is 60 a minute.
    #[must_use]
    pub fn throttle_anonymous(mut self, rate: Rate) -> Self {
        self.anon = rate;
        self
    }

    /// How often a user may call; what weighs several counts for as many. The default is 600 a minute.
    #[must_use]
    pub fn throttle_users(mut self, rate: Rate) -> Self {
        self.user = rate;
        self
    }

    /// How often routes that declare this scope may be called. `login` is 5 a minute by default; any other scope
    /// that a route declares must be given.
    #[must_use]
    pub fn throttle_scope(mut self, scope: &'static str, rate: Rate) -> Self {
        self.scopes.insert(scope, rate);
        self
    }

    /// How often the log-in to one account may fail, from wherever it is tried. The default is 10 in 15 minutes.
    #[must_use]
    pub fn throttle_failed_log_ins(mut self, rate: Rate) -> Self {
        self.failed_log_ins = rate;
        self
    }

    /// How often mail that anybody can ask for is sent to one address. The default is 5 an hour.
    #[must_use]
    pub fn throttle_mails(mut self, rate: Rate) -> Self {
        self.mails = rate;
        self
    }

    /// Does not throttle at all.
    ///
    /// # Security
    /// Passwords can then be guessed as fast as they are hashed.
    #[must_use]
    pub fn insecure_no_throttle(mut self) -> Self {
        self.throttled = false;
        self
    }

    /// Where quotas are counted. The default is the memory of this process; several servers of one site share a
    /// [`RedisCounters`](bailiwick_store::RedisCounters), or the counters of
    /// [`open_with_counters`](bailiwick_store::open_with_counters).
    #[must_use]
    pub fn counters(mut self, counters: Arc<dyn CounterStore>) -> Self {
        self.counters = Some(counters);
        self
    }

    /// The key of the CSRF tokens, which all servers of one site share and which is used for nothing else (KEY-07). The
    /// default is one of this process: the tokens of another, or from before a restart, are refused.
    #[must_use]
    pub fn csrf_key(mut self, key: Secret<[u8; 32]>) -> Self {
        self.csrf_key = Some(key);
        self
    }

    /// Other origins whose pages may read answers. None by default.
    #[must_use]
    pub fn cors<Who>(mut self, cors: Cors<Who>) -> Self {
        self.cors = cors.decide();
        self
    }

    /// Other origins whose pages may send requests with a cookie. None by default.
    ///
    /// # Security
    /// See [`Csrf::trusted_origins`].
    #[must_use]
    pub fn csrf_trusted_origins(mut self, origins: impl IntoIterator<Item = Origin>) -> Self {
        self.csrf_trusted_origins = origins.into_iter().collect();
        self
    }

    /// How resources answer.
    #[must_use]
    pub fn resources(mut self, settings: resource::Settings) -> Self {
        self.resources = settings;
        self
    }
}

impl fmt::Debug for Policies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policies").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl<Stage> Builder<Stage> {
    fn next<Next>(self) -> Builder<Next> {
        Builder { decided: self.decided, stage: PhantomData }
    }

    /// Takes the time from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.decided.clock = clock;
        self
    }

    /// Takes randomness from `entropy`.
    #[must_use]
    pub fn entropy(mut self, entropy: Arc<dyn Entropy>) -> Self {
        self.decided.entropy = entropy;
        self
    }
}

impl<Stage> fmt::Debug for Builder<Stage> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("resources", &self.decided.resources).finish_non_exhaustive()
    }
}

impl Builder<NeedsStore> {
    /// Keeps rows, users and tokens in `store`.
    pub fn store(mut self, store: Arc<dyn Store>) -> Builder<NeedsAuthn> {
        self.decided.store = Some(store);
        self.next()
    }
}

impl Builder<NeedsAuthn> {
    /// Lets callers prove who they are by these methods.
    pub fn authenticate(mut self, authn: Authn) -> Builder<NeedsTenancy> {
        self.decided.authn = authn;
        self.next()
    }
}

impl Builder<NeedsTenancy> {
    /// Reads there in which organisation a request acts.
    pub fn tenancy(self, _: TenantFrom) -> Builder<Ready> {
        self.next()
    }
}

impl Builder<Ready> {
    /// Adds a resource and its routes.
    #[must_use]
    pub fn resource<R: Resource>(mut self) -> Self {
        self.decided.resources = self.decided.resources.resource::<R>();
        self
    }

    /// Adds resources and their routes.
    #[must_use]
    pub fn resources(mut self, resources: Resources) -> Self {
        self.decided.resources.extend(resources);
        self
    }

    /// Adds routes with handlers of their own.
    #[must_use]
    pub fn routes(mut self, routes: Routes<State>) -> Self {
        self.decided.routes = self.decided.routes.and(routes);
        self
    }

    /// Changes the limits.
    #[must_use]
    pub fn policies(mut self, change: impl FnOnce(Policies) -> Policies) -> Self {
        self.decided.policies = change(self.decided.policies);
        self
    }

    /// Writes the access log to `log`. The default is JSON on standard output.
    #[must_use]
    pub fn log(mut self, log: Log) -> Self {
        self.decided.log = Some(log);
        self
    }

    /// Gives handlers a value of the application's own, which they take by [`Given`](super::Given): one of each type.
    #[must_use]
    pub fn give<T: Clone + Send + Sync + 'static>(mut self, value: T) -> Self {
        self.decided.given.insert(value);
        self
    }

    /// Shows what `part` measures of itself among the metrics, besides what the parts of the framework do.
    #[must_use]
    pub fn watch(mut self, part: Arc<dyn Metered>) -> Self {
        self.decided.watched.push(part);
        self
    }

    /// Builds the application.
    ///
    /// # Errors
    /// Every mistake of the configuration, all at once.
    pub fn build(self) -> Result<App, BuildError> {
        let Decided { store, authn, resources, routes, mut policies, clock, entropy, log, given, watched } =
            self.decided;
        let store = store.expect("the stage is reached with a store");
        let mut mistakes = Vec::new();

        let log = match log.map_or_else(|| Log::stdout(Format::Json, Level::INFO, Arc::clone(&clock)), Ok) {
            Ok(log) => Some(log),
            Err(error) => {
                mistakes.push(format!("the access log cannot be written: {error}"));
                None
            }
        };
        let metrics = Metrics::new(Arc::clone(&clock));
        let idle = authn.idle();
        let counters = policies.throttled.then(|| {
            policies.counters.take().unwrap_or_else(|| Arc::new(MemoryCounters::new(Arc::clone(&clock))))
        });
        let quotas = counters.as_ref().map_or_else(Quotas::default, |counters| Quotas {
            guesses: Some(Guesses::new(Arc::clone(counters), LOGIN_ACCOUNT, policies.failed_log_ins)),
            mails: Some(Guesses::new(Arc::clone(counters), MAILS, policies.mails)),
            // A quota of its own: nobody who asks for other mail keeps word of a leak from its owner.
            leak_mails: Some(Guesses::new(Arc::clone(counters), LEAK_MAILS, LEAK_MAILS_RATE)),
        });
        let issuers = authn.issuers(&clock).unwrap_or_else(|error| {
            mistakes.push(error.to_string());
            None
        });
        // What no request brings about, such as a key that follows another, is told like what one does.
        let log_hears = log.iter().map(|log| Arc::new(log.clone()) as Arc<dyn Witness>);
        let noted = Noted::by(log_hears.chain([Arc::new(metrics.clone()) as Arc<dyn Witness>]));
        let built = match authn.build(&store, &clock, &entropy, quotas, noted) {
            Ok(built) => Some(built),
            Err(error) => {
                mistakes.push(error.to_string());
                None
            }
        };
        let mut gates = gate::Context::new(Arc::clone(&store));
        for guard in &resources.guards {
            guard(&mut gates);
        }
        let routes = routes.into_inner();
        for route in &routes {
            (route.prepare)(&mut gates);
        }
        let scopes = scopes(&routes, &policies.scopes, &mut mistakes);
        let in_body = marked(&routes, |route| route.credential_in_body);
        let ends_credentials = marked(&routes, |route| route.ends_credentials);
        let browser_log_ins = marked(&routes, |route| route.logs_in_browsers);
        for route in &routes {
            if let Some((limit, held)) = route.max_body {
                let path = format!("{BASE}{}", route.path);
                policies.limits = policies.limits.spooled_body_of(route.method.clone(), &path, limit, held);
            }
        }
        let paths: Vec<PathRoutes<State>> = resources.paths.iter().flat_map(|paths| paths()).collect();
        let weights = weights(&paths, &routes);
        let (api, mut listed) = join(paths, routes, &mut mistakes);

        let (Some(log), Some(Built { log_in, tokens, sessions, families, accounts })) = (log, built) else {
            return Err(BuildError { mistakes });
        };
        if !mistakes.is_empty() {
            return Err(BuildError { mistakes });
        }
        // The store as it is: what it measures goes by the same names whatever stands in front of it.
        metrics.watch(Arc::clone(&store) as Arc<dyn Metered>);
        metrics.watch(Arc::new(log_in.hasher().clone()));
        metrics.watch(Arc::new(log.clone()));
        metrics.watch(Arc::new(policies.limits.clone()));
        // Whoever watches over the process would end one that is merely busy.
        let overload = policies.overload.except([health::PATH]);
        metrics.watch(Arc::new(overload.load()));
        for part in watched {
            metrics.watch(part);
        }
        if counters.is_some() {
            let named = ["anon", "user", LOGIN_ACCOUNT, MAILS, LEAK_MAILS].into_iter();
            named
                .chain(scopes.iter().map(|(.., scope)| scope.name))
                .for_each(|name| metrics.throttle_scope(name));
        }
        let db = Db::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy));
        let throttle = counters.map(|counters| {
            let throttle = Throttle::new(policies.anon, policies.user)
                .scopes(scopes)
                .weights(weights)
                .pages(policies.resources.pages)
                .passing_uncounted(ends_credentials);
            ThrottleLayer::new(throttle, counters)
        });
        let csrf_key = policies.csrf_key.unwrap_or_else(|| Csrf::random_key(&*entropy));
        let own = policies.resources.public_url.as_ref().and_then(|url| Origin::of_url(url.as_str()));
        let csrf = Csrf::new(csrf_key, Arc::clone(&entropy))
            .trusted_origins(policies.csrf_trusted_origins)
            .own_origin(own);
        let mut authn = AuthnLayer::new(Arc::clone(&store), Arc::clone(&clock))
            .credential_in_body(in_body)
            .idle(idle)
            .families(families.clone());
        if let Some(issuers) = &issuers {
            authn = authn.issuers(issuers.clone());
        }
        let is_https = policies.resources.public_url.as_ref().is_some_and(resource::PublicUrl::is_https);
        let proxies = ProxiesLayer::new(policies.proxies).by(policies.forwarded_by);
        // A refusal that cannot be recorded is told before its time is over: it stays a refusal.
        let patience = AuditLayer::PATIENCE.min(policies.limits.time() / 2);
        let layers = Layers {
            entropy: Arc::clone(&entropy),
            proxies: if is_https { proxies.only_https(health::PATH) } else { proxies },
            log,
            metrics: metrics.clone(),
            // Whoever watches over the server is no page of another origin (CORS-43).
            cors: policies.cors.except([health::PATH]),
            overload,
            hosts: policies.hosts,
            limits: policies.limits,
            authn,
            audit: AuditLayer::new(Arc::clone(&store), Arc::clone(&clock)).patience(patience),
            csrf: CsrfLayer::new(csrf.clone()).log_ins(browser_log_ins),
            throttle,
        };
        let founding = Founding::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy));
        let settings = policies.resources;
        let operations = (Arc::clone(&clock), Arc::clone(&entropy));
        let state = State::new(Parts {
            clock,
            entropy,
            db,
            gates,
            settings,
            log_in,
            tokens,
            sessions,
            families: families.clone(),
            csrf,
            accounts,
            founding,
            given,
        });
        let key_ring = families.ring();
        let mut public = problem::router();
        if key_ring.is_some() {
            public = public.merge(jwks::router(families));
            listed.push(RouteInfo::new(Method::GET, jwks::PATH));
        }
        let router = layers.around_routes(api.merge(public).fallback(no_route).with_state(state));
        let router = router.merge(health::router());
        listed.extend([problem::PATH, health::PATH].map(|path| RouteInfo::new(Method::GET, path)));
        let (clock, entropy) = operations;
        let operations = Operations::new(metrics, store, key_ring.clone(), Arc::clone(&clock), entropy);
        Ok(App { router, layers, routes: listed, key_ring, issuers, operations, clock })
    }
}

/// Answers where there is no route. It is set explicitly: axum's own would lie outside of the layers once another
/// router is merged, and a path that does not exist spends quotas and refuses bad credentials like any other.
async fn no_route() -> Problem {
    Problem::not_found()
}

/// The routes that are marked, as layers know them.
fn marked(routes: &[Route<State>], is_marked: impl Fn(&Route<State>) -> bool) -> Vec<(Method, String)> {
    let marked = routes.iter().filter(|route| is_marked(route));
    marked.map(|route| (route.method.clone(), format!("{BASE}{}", route.path))).collect()
}

/// The rate of every scope that a route declares.
fn scopes(
    routes: &[Route<State>],
    rates: &HashMap<&'static str, Rate>,
    mistakes: &mut Vec<String>,
) -> Vec<(Method, String, Scope)> {
    let declared = routes.iter().filter_map(|route| Some((route, route.scope?)));
    declared
        .filter_map(|(route, (name, by))| match rates.get(name) {
            Some(rate) => {
                let scope = Scope { name, rate: *rate, by };
                Some((route.method.clone(), format!("{BASE}{}", route.path), scope))
            }
            None => {
                mistakes.push(format!(
                    "{} {} has the throttle scope {name}, which has no rate",
                    route.method, route.path
                ));
                None
            }
        })
        .collect()
}

/// What weighs more than one: lists of resources by page, and what routes declare.
fn weights(resources: &[PathRoutes<State>], routes: &[Route<State>]) -> Vec<(Method, String, Weight)> {
    let lists = resources.iter().filter(|paths| paths.is_list);
    let lists = lists.map(|list| (Method::GET, &list.path, Weight::ByPage));
    let declared = routes.iter().filter_map(|route| Some((route.method.clone(), &route.path, route.weight?)));
    lists.chain(declared).map(|(method, path, weight)| (method, format!("{BASE}{path}"), weight)).collect()
}

/// One router of all routes, and a list of them; each path answers with and without its last slash, and to other
/// methods with 405.
fn join(
    mut paths: Vec<PathRoutes<State>>,
    routes: Vec<Route<State>>,
    mistakes: &mut Vec<String>,
) -> (Router<State>, Vec<RouteInfo>) {
    paths.extend(routes.into_iter().map(|route| PathRoutes {
        path: route.path,
        methods: vec![route.method],
        router: route.handler,
        is_list: false,
    }));
    let mut taken = HashSet::new();
    let mut by_path: Vec<PathRoutes<State>> = Vec::new();
    for routes in paths {
        let twice: Vec<_> = routes
            .methods
            .iter()
            .filter(|method| !taken.insert(((*method).clone(), routes.path.clone())))
            .collect();
        if let Some(method) = twice.first() {
            mistakes.push(format!("{method} {} is declared twice", routes.path));
            continue;
        }
        let shape = shape(&routes.path);
        if let Some(other) =
            by_path.iter().find(|other| other.path != routes.path && self::shape(&other.path) == shape)
        {
            mistakes
                .push(format!("{} and {} are one path with different parameters", other.path, routes.path));
            continue;
        }
        match by_path.iter_mut().find(|other| other.path == routes.path) {
            Some(other) => {
                other.methods.extend(routes.methods);
                other.router = std::mem::replace(&mut other.router, MethodRouter::new()).merge(routes.router);
            }
            None => by_path.push(routes),
        }
    }
    let mut listed = Vec::new();
    let router = by_path.into_iter().fold(
        Router::new(),
        |router, PathRoutes { path, methods, router: handlers, .. }| {
            let handlers = with_method_not_allowed(&path, &methods, handlers);
            let canonical = format!("{BASE}{path}");
            listed.extend(methods.into_iter().map(|method| RouteInfo::new(method, canonical.as_str())));
            router.route(canonical.trim_end_matches('/'), handlers.clone()).route(&canonical, handlers)
        },
    );
    (router, listed)
}

/// An operation of an application, as a test or a document lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RouteInfo {
    /// The method. That `GET` brings `HEAD` with it is not listed.
    pub method: Method,
    /// The template of the path, in its canonical form: `/api/v1/orgs/{org}/tasks/{id}/`.
    pub path: String,
}

impl RouteInfo {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into() }
    }
}

/// A path template without the names of its parameters: two of one shape would answer the same requests.
fn shape(path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    segments.collect::<Vec<_>>().join("/")
}

/// An application that can be served.
pub struct App {
    router: Router,
    layers: Layers,
    routes: Vec<RouteInfo>,
    key_ring: Option<KeyRing>,
    issuers: Option<TrustedIssuers>,
    operations: Operations,
    clock: Arc<dyn Clock>,
}

impl App {
    /// Begins an application.
    pub fn builder() -> Builder<NeedsStore> {
        let decided = Decided {
            store: None,
            authn: Authn::new(),
            resources: Resources::new(),
            routes: Routes::new(),
            policies: Policies::new(),
            clock: Arc::new(SystemClock::new()),
            entropy: Arc::new(OsEntropy),
            log: None,
            given: Extensions::new(),
            watched: Vec::new(),
        };
        Builder { decided, stage: PhantomData }
    }

    /// Every operation that the application answers, each once.
    pub fn routes(&self) -> &[RouteInfo] {
        &self.routes
    }

    /// The application as a service, for tests and for servers of your own. Requests carry the address they come
    /// from as [`ClientAddr`](bailiwick_core::request::ClientAddr) in their extensions.
    pub fn into_service(
        self,
    ) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static {
        let service = self.layers.around_router::<Body>(self.router);
        tower::util::MapResponse::new(service, |response: Response<_>| response.map(Body::new))
    }

    /// The keys that sign access tokens, if there are any.
    pub fn key_ring(&self) -> Option<&KeyRing> {
        self.key_ring.as_ref()
    }

    /// What is counted of the application.
    pub fn metrics(&self) -> &Metrics {
        self.operations.metrics()
    }

    /// What whoever operates the application asks of it, to be served on a listener of its own.
    pub fn operations(&self) -> Operations {
        self.operations.clone()
    }

    /// Serves as [`serve`](Self::serve) does, and `operations` on a listener of their own: from before the first request until
    /// the last is answered. While requests in flight are finished, it is not ready.
    ///
    /// # Errors
    /// As [`serve::serve`].
    pub async fn serve_with_operations(
        self,
        (listener, options): (TcpListener, ServeOptions),
        (operations_listener, operations): (TcpListener, Operations),
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let readiness = operations.readiness();
        let shutdown = async {
            shutdown.await;
            readiness.end();
        };
        let (ending, ended) = oneshot::channel::<()>();
        let serving = async {
            let served = self.serve(listener, options, shutdown).await;
            drop(ending);
            served
        };
        let beside = operations.serve(operations_listener, async { drop(ended.await) });
        let (served, beside) = tokio::join!(serving, beside);
        served.and(beside)
    }

    /// Serves until `shutdown` is ready, then finishes what is in flight. Meanwhile it [keeps](KeyRing::keep) the keys,
    /// also [those of others](TrustedIssuers::keep), and [watches](crate::overload::Load::watch) how busy it is.
    ///
    /// # Errors
    /// As [`serve::serve`], and if no thread can be started that watches.
    pub async fn serve(
        self,
        listener: TcpListener,
        options: ServeOptions,
        shutdown: impl Future<Output = ()>,
    ) -> io::Result<()> {
        let _watching = self.layers.overload.load().watch(self.clock)?;
        let service = self.layers.around_router::<RequestBody>(self.router);
        let keep = async {
            match &self.key_ring {
                Some(ring) => ring.keep().await,
                None => std::future::pending().await,
            }
        };
        let keep_issuers = async {
            match &self.issuers {
                Some(issuers) => issuers.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            served = serve::serve(listener, service, options, shutdown) => served,
            () = keep_issuers => Err(io::Error::other("the keys of other issuers are kept no longer")),
            () = keep => Err(io::Error::other("the key ring is kept no longer")),
        }
    }
}

impl fmt::Debug for App {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

/// Every mistake of a configuration.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the application cannot be built: {}", mistakes.join("; "))]
pub struct BuildError {
    mistakes: Vec<String>,
}

impl BuildError {
    /// What is wrong, one by one.
    pub fn mistakes(&self) -> &[String] {
        &self.mistakes
    }
}
