//! Routes: each with a handler that says who may call it.
use axum::{
    extract::FromRef,
    handler::Handler,
    routing::{MethodFilter, MethodRouter},
};
use bailiwick_core::{request::TENANT_PARAMETER, units::ByteSize};
use http::{HeaderValue, Method};

use crate::{
    gate::{self, Gate, TenantMember},
    problem::Problem,
    throttle,
};

/// Handlers by method and path, each guarded by the gate that is its first argument (I6).
///
/// A handler without a gate does not compile:
///
/// ```compile_fail
/// use bailiwick::routes::Routes;
///
/// async fn open_to_all() -> &'static str {
///     "hello"
/// }
/// let _: Routes = Routes::new().get("/hello", open_to_all);
/// ```
///
/// ```
/// use bailiwick::{gate::Anyone, routes::Routes};
///
/// async fn open_to_all(_: Anyone) -> &'static str {
///     "hello"
/// }
/// let _: Routes = Routes::new().get("/hello", open_to_all);
/// ```
#[derive(Debug)]
pub struct Routes<S = crate::app::State> {
    routes: Vec<Route<S>>,
}

#[derive(Debug)]
pub(crate) struct Route<S> {
    pub(crate) method: Method,
    /// The template, beginning and ending in a slash.
    pub(crate) path: String,
    pub(crate) handler: MethodRouter<S>,
    pub(crate) prepare: fn(&mut gate::Context),
    pub(crate) scope: Option<(&'static str, throttle::By)>,
    pub(crate) weight: Option<throttle::Weight>,
    pub(crate) credential_in_body: bool,
    pub(crate) ends_credentials: bool,
    pub(crate) logs_in_browsers: bool,
    /// How long a body may be, and how much of it is in memory at once.
    pub(crate) max_body: Option<(ByteSize, ByteSize)>,
}

/// Argument lists that begin with a gate: what [`Routes`] accepts (I6).
#[diagnostic::on_unimplemented(
    message = "the handler does not say who may call it",
    label = "the first argument of this handler is no gate",
    note = "make the first argument Access<Resource, Operation>, Authenticated or Anyone (see bailiwick::gate)"
)]
pub trait GateFirst {
    /// The gate.
    type Gate: Gate;
}

macro_rules! gate_first {
    ($($argument:ident)*) => {
        impl<M, G: Gate, $($argument),*> GateFirst for (M, G, $($argument,)*) {
            type Gate = G;
        }
    };
}

gate_first!();
gate_first!(A);
gate_first!(A B);
gate_first!(A B C);
gate_first!(A B C D);
gate_first!(A B C D E);
gate_first!(A B C D E F);
gate_first!(A B C D E F H);

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    pub const fn new() -> Self {
        Self { routes: Vec::new() }
    }

    /// Answers `GET` and `HEAD` on `path`, relative to the version: `/orgs/{org}/tasks/{id}/close`.
    ///
    /// # Panics
    /// If the gate needs an organisation and the path names none: routes are built at start. So do the others.
    #[must_use]
    pub fn get<H: Handler<T, S>, T: GateFirst + 'static>(self, path: &str, handler: H) -> Self {
        self.add(Method::GET, MethodFilter::GET, path, handler)
    }

    /// Answers `POST` on `path`.
    #[must_use]
    pub fn post<H: Handler<T, S>, T: GateFirst + 'static>(self, path: &str, handler: H) -> Self {
        self.add(Method::POST, MethodFilter::POST, path, handler)
    }

    /// Answers `PUT` on `path`.
    #[must_use]
    pub fn put<H: Handler<T, S>, T: GateFirst + 'static>(self, path: &str, handler: H) -> Self {
        self.add(Method::PUT, MethodFilter::PUT, path, handler)
    }

    /// Answers `PATCH` on `path`.
    #[must_use]
    pub fn patch<H: Handler<T, S>, T: GateFirst + 'static>(self, path: &str, handler: H) -> Self {
        self.add(Method::PATCH, MethodFilter::PATCH, path, handler)
    }

    /// Answers `DELETE` on `path`.
    #[must_use]
    pub fn delete<H: Handler<T, S>, T: GateFirst + 'static>(self, path: &str, handler: H) -> Self {
        self.add(Method::DELETE, MethodFilter::DELETE, path, handler)
    }

    /// Gives the route added last a throttle scope of its own, whose rate the application's policies name.
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn throttled(mut self, scope: &'static str, by: throttle::By) -> Self {
        self.last().scope = Some((scope, by));
        self
    }

    /// Lets each request to the route added last spend so many units of the caller's general quota (`user` or `anon`), whatever
    /// its answer, instead of one: for what costs more than a row, such as an upload or an export (THR-37). Its scope, if it
    /// has one, counts requests all the same.
    ///
    /// # Panics
    /// If it is zero, or no route was added: routes are built at start.
    #[must_use]
    pub fn weighing(mut self, units: u32) -> Self {
        self.last().weight = Some(throttle::Weight::units(units));
        self
    }

    /// Lets requests to the route added last weigh by the page that they ask for: one unit of the caller's general quota for
    /// each begun page of the default size. It is for handlers that take [`Pages`](crate::resource::Pages) or
    /// [`RowPages`](crate::resource::RowPages); lists of resources do so anyway.
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn weighing_by_page(mut self) -> Self {
        self.last().weight = Some(throttle::Weight::ByPage);
        self
    }

    /// Says that the route added last takes its credential in the body, so that `Authorization` and cookies are ignored
    /// there.
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn credential_in_body(mut self) -> Self {
        self.last().credential_in_body = true;
        self
    }

    /// Says that the route added last does nothing but end credentials: if the counters of the quotas are out of reach, it
    /// passes uncounted, as reads do. Who has lost a credential must not wait for them.
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn ends_credentials(mut self) -> Self {
        self.last().ends_credentials = true;
        self
    }

    /// Says that the route added last takes its credential in the body and answers with the cookie of a session: it is
    /// guarded against forged requests though there is no session yet (CSRF-03).
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn logs_in_browsers(mut self) -> Self {
        self.last().logs_in_browsers = true;
        self.credential_in_body()
    }

    /// Lets the bodies of the route added last be of this size, instead of what the policies say for all.
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn max_body(mut self, limit: ByteSize) -> Self {
        self.last().max_body = Some((limit, limit));
        self
    }

    /// As [`max_body`](Self::max_body), for a handler that passes the body on while it comes, as
    /// [`Uploads`](crate::upload::Uploads) does, and has at most `held` of it in memory: only that much counts towards
    /// [`LimitsLayer::body_memory`](crate::limits::LimitsLayer::body_memory).
    ///
    /// # Panics
    /// If no route was added: routes are built at start.
    #[must_use]
    pub fn spooled_body(mut self, limit: ByteSize, held: ByteSize) -> Self {
        self.last().max_body = Some((limit, held.min(limit)));
        self
    }

    /// These routes and `others`.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.routes.extend(others.routes);
        self
    }

    pub(crate) fn into_inner(self) -> Vec<Route<S>> {
        self.routes
    }

    fn last(&mut self) -> &mut Route<S> {
        self.routes.last_mut().expect("a route was added before it is described")
    }

    fn add<H: Handler<T, S>, T: GateFirst + 'static>(
        mut self,
        method: Method,
        filter: MethodFilter,
        path: &str,
        handler: H,
    ) -> Self {
        assert!(path.starts_with('/'), "the path {path} begins with a slash");
        let path = format!("{}/", path.trim_end_matches('/'));
        assert!(
            !T::Gate::TENANT || names_tenant(&path),
            "the gate of {method} {path} needs an organisation, and the path names none: begin it with /orgs/{{{TENANT_PARAMETER}}}/"
        );
        let handler = MethodRouter::new().on(filter, handler);
        let prepare = T::Gate::prepare;
        self.routes.push(Route {
            method,
            path,
            handler,
            prepare,
            scope: None,
            weight: None,
            credential_in_body: false,
            ends_credentials: false,
            logs_in_browsers: false,
            max_body: None,
        });
        self
    }
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether a path template names an organisation.
fn names_tenant(path: &str) -> bool {
    let tenant = format!("{{{TENANT_PARAMETER}}}");
    path.split('/').any(|segment| segment == tenant)
}

/// Gives a path the answer to methods it does not have: 405 with `Allow`, for whoever may know of the path at all
/// (ERR-23).
pub(crate) fn with_method_not_allowed<S>(
    path: &str,
    methods: &[Method],
    router: MethodRouter<S>,
) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    gate::Context: FromRef<S>,
{
    let mut allowed: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if methods.contains(&Method::GET) {
        allowed.push("HEAD");
    }
    allowed.sort_unstable();
    let allow = HeaderValue::try_from(allowed.join(", ")).expect("methods are ASCII");
    let refuse = move || {
        let problem = Problem::method_not_allowed(allow.clone());
        async move { problem }
    };
    if names_tenant(path) {
        router.fallback(move |_: TenantMember| refuse())
    } else {
        router.fallback(refuse)
    }
}
