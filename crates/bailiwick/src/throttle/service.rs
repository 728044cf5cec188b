//! Spends quotas, and tells what is left of them.
use std::{
    fmt::Write,
    future::Future,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bailiwick_core::{
    identity::Principal,
    request::{ClientAddr, Facts, Tally, ThrottleOutcome},
    store::{Caller, Charge, CounterKey, Verdict},
    units::Rate,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tower_service::Service;

use super::{By, Throttle, ThrottleLayer};
use crate::problem::Problem;

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// See [`ThrottleLayer`].
#[derive(Clone, Debug)]
pub struct ThrottleService<S> {
    inner: S,
    // Cloned for every request, and so as one.
    layer: Arc<ThrottleLayer>,
}

impl<S> ThrottleService<S> {
    pub(super) fn new(inner: S, layer: Arc<ThrottleLayer>) -> Self {
        Self { inner, layer }
    }
}

impl<S, B, R> Service<Request<B>> for ThrottleService<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let charges = self.layer.throttle.charges(&request);
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = Arc::clone(&self.layer);
        Box::pin(async move {
            let verdicts = match layer.counters.spend(&charges).await {
                Ok(verdicts) => verdicts,
                Err(error) if layer.throttle.passes_uncounted(&request) => {
                    tally(&request, &charges, |_| ThrottleOutcome::Uncounted);
                    if layer.uncounted.note() {
                        let (error, uncounted): (&dyn std::error::Error, _) =
                            (&error, layer.uncounted.total());
                        tracing::error!(
                            error,
                            uncounted,
                            "the counters are out of reach: reads pass uncounted"
                        );
                    }
                    return inner.call(request).await;
                }
                Err(error) => {
                    tally(&request, &charges, |_| ThrottleOutcome::Unavailable);
                    let problem = Problem::unavailable().with_retry_after(RETRY).because(error);
                    return Ok(problem.answer());
                }
            };
            tally(&request, &charges, |place| match verdicts.get(place) {
                Some(verdict) if !verdict.allowed => ThrottleOutcome::Refused,
                _ => ThrottleOutcome::Allowed,
            });
            let mut response = if verdicts.iter().all(|verdict| verdict.allowed) {
                inner.call(request).await?
            } else {
                refuse(&charges, &verdicts, request.extensions().get::<Facts>()).answer()
            };
            layer.throttle.tell(response.headers_mut(), &charges, &verdicts);
            Ok(response)
        })
    }
}

/// When to try again while the counters are out of reach: they are looked for all the time.
const RETRY: Duration = Duration::from_secs(3);

impl Throttle {
    /// Whether a request may do without being counted.
    fn passes_uncounted<B>(&self, request: &Request<B>) -> bool {
        request.method().is_safe()
            || self.declared.of(request).is_some_and(|declared| declared.passes_uncounted)
    }

    fn charges<B>(&self, request: &Request<B>) -> Vec<Charge> {
        let extensions = request.extensions();
        let principal = extensions.get::<Principal>();
        let address = || {
            // A request that came by no connection came from a test or from this process itself.
            let client =
                extensions.get::<ClientAddr>().map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |client| client.0);
            Caller::from_address(client)
        };
        let declared = self.declared.of(request);
        let cost = declared
            .map_or(NonZeroU32::MIN, |declared| declared.weight.of(request.uri().query(), &self.pages));
        let mut charges = Vec::with_capacity(2);
        let (general, caller) = match principal {
            Some(principal) => (&self.user, Caller::User(principal.user_id())),
            None => (&self.anon, address()),
        };
        charges.push(charge(general.name, caller, general.rate).costing(cost));
        for scope in declared.into_iter().flat_map(|declared| &declared.scopes) {
            let caller = match (scope.by, principal) {
                (By::Principal, Some(principal)) => Caller::User(principal.user_id()),
                (By::Principal, None) | (By::Address, _) => address(),
            };
            charges.push(charge(scope.name, caller, scope.rate));
        }
        charges
    }
}

fn charge(policy: &'static str, caller: Caller, rate: Rate) -> Charge {
    Charge::new(CounterKey { policy, caller }, rate)
}

/// Has what each quota said counted.
fn tally<B>(request: &Request<B>, charges: &[Charge], outcome: impl Fn(usize) -> ThrottleOutcome) {
    let Some(facts) = request.extensions().get::<Facts>() else { return };
    for (place, charge) in charges.iter().enumerate() {
        facts.tally(Tally::Throttle { scope: charge.key.policy, outcome: outcome(place) });
    }
}

fn refuse(charges: &[Charge], verdicts: &[Verdict], facts: Option<&Facts>) -> Problem {
    let violated = || charges.iter().zip(verdicts).filter(|(_, verdict)| !verdict.allowed);
    let wait = violated().map(|(_, verdict)| verdict.next).max().unwrap_or_default();
    if let Some(facts) = facts
        && let Some((charge, _)) = violated().next_back()
    {
        facts.set_throttled(charge.key.policy);
    }
    Problem::throttled(wait, violated().map(|(charge, _)| charge.key.policy))
}

impl Throttle {
    /// Writes `RateLimit-Policy: "user";q=600;w=60` and `RateLimit: "user";r=599;t=1`.
    fn tell(&self, headers: &mut HeaderMap, charges: &[Charge], verdicts: &[Verdict]) {
        let value = |text: String| HeaderValue::try_from(text).expect("names of policies are plain ASCII");
        let policy = match charges {
            [charge] if charge.key.policy == self.user.name => self.user.policy.clone(),
            [charge] if charge.key.policy == self.anon.name => self.anon.policy.clone(),
            _ => value(listed(charges.iter().map(|charge| policy(charge.key.policy, charge.rate)))),
        };
        let left = charges.iter().zip(verdicts).map(|(charge, verdict)| left(charge.key.policy, verdict));
        headers.insert(RATE_LIMIT_POLICY, policy);
        headers.insert(RATE_LIMIT, value(listed(left)));
    }
}

pub(super) fn policy(name: &str, rate: Rate) -> String {
    format!("\"{name}\";q={};w={}", rate.limit(), rate.window().as_secs())
}

fn left(name: &str, verdict: &Verdict) -> String {
    let mut text = String::with_capacity(32);
    // Written to memory, which cannot fail.
    let _ = write!(text, "\"{name}\";r={}", verdict.remaining);
    if verdict.next > Duration::ZERO {
        let _ = write!(text, ";t={}", seconds_up(verdict.next));
    }
    text
}

/// `a, b`; without a copy of what stands alone.
fn listed(mut items: impl Iterator<Item = String>) -> String {
    let first = items.next().unwrap_or_default();
    items.fold(first, |list, item| list + ", " + &item)
}

/// THR-26: rounded up, so that nobody comes back too early.
fn seconds_up(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
}
