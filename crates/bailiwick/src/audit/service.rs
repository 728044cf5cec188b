//! The service behind [`AuditLayer`](super::AuditLayer).
use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::extract::MatchedPath;
use bailiwick_core::{
    audit::{Declared, SecurityEvent, SecurityEventKind},
    identity::{FoundMembership, Membership, Principal, UserId},
    request::Facts,
};
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::{runtime::Handle, task::JoinHandle};
use tower_service::Service;

use super::AuditLayer;
use crate::problem::Problem;

/// See [`AuditLayer`].
#[derive(Clone, Debug)]
pub struct AuditService<S> {
    inner: S,
    layer: AuditLayer,
}

impl<S> AuditService<S> {
    pub(super) fn new(inner: S, layer: AuditLayer) -> Self {
        Self { inner, layer }
    }
}

impl<S, B, R> Service<Request<B>> for AuditService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AuditFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let trail = Trail::of(&request, &self.layer);
        AuditFuture { answer: self.inner.call(request), trail, appending: None }
    }
}

pin_project! {
    /// The future of [`AuditService`].
    #[derive(Debug)]
    pub struct AuditFuture<F, R> {
        #[pin]
        answer: F,
        trail: Option<Trail>,
        // The answer, and what it waits for.
        appending: Option<(JoinHandle<()>, Response<R>)>,
    }
}

impl<F, R, E> Future for AuditFuture<F, R>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.appending.is_none() {
            let response = ready!(this.answer.poll(cx))?;
            match this.trail.take().and_then(|trail| trail.append_refusal(&response)) {
                // Almost always: nothing to append, and no task.
                None => return Poll::Ready(Ok(response)),
                Some(appending) => *this.appending = Some((appending, response)),
            }
        }
        let (appending, _) = this.appending.as_mut().expect("it was there, or was just put there");
        // If the task has not come to its end, it has told so itself.
        let _ended = ready!(Pin::new(appending).poll(cx));
        let (_, response) = this.appending.take().expect("a future is not polled after it was ready");
        Poll::Ready(Ok(response))
    }
}

/// What the audit trail has to know of a request. When it is dropped, what was noted meanwhile is appended: also of a request
/// that is given up, since whoever was refused something may leave before the answer.
#[derive(Debug)]
struct Trail {
    layer: AuditLayer,
    facts: Facts,
    user: Option<UserId>,
    /// The caller's place in the organisation that the route names, if it names one.
    place: Option<Option<Membership>>,
    route: Option<MatchedPath>,
}

impl Trail {
    fn of<B>(request: &Request<B>, layer: &AuditLayer) -> Option<Self> {
        let extensions = request.extensions();
        Some(Self {
            layer: layer.clone(),
            facts: extensions.get::<Facts>()?.clone(),
            user: extensions.get::<Principal>().map(Principal::user_id),
            place: extensions.get::<FoundMembership>().map(|found| found.membership),
            route: extensions.get().cloned(),
        })
    }

    /// Begins to append what the request was refused for. What changed something was appended with the change.
    fn append_refusal<R>(self, response: &Response<R>) -> Option<JoinHandle<()>> {
        let mut events = self.facts.take_events_to_append();
        // Else whoever floods the site would fill the trail too.
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            return None;
        }
        if events.is_empty() {
            let denial = self.denial(response)?;
            self.facts.tell(&denial);
            events.push(denial);
        }
        self.append(events)
    }

    /// What a known user was denied: a member in the organisation, an outsider on the site.
    fn denial<R>(&self, response: &Response<R>) -> Option<SecurityEvent> {
        let user = self.user?;
        let is_outsider = matches!(self.place, Some(None));
        let is_denied = match response.status() {
            StatusCode::FORBIDDEN => true,
            // The organisation is not there for them, whether there is one or not.
            StatusCode::NOT_FOUND => is_outsider,
            _ => false,
        };
        if !is_denied {
            return None;
        }
        let org = self.place.flatten().map(|membership| membership.org_id());
        let mut denial = SecurityEvent::new(SecurityEventKind::AuthzFail).of(user).within(org);
        if let Some(route) = &self.route {
            denial = denial.with("route", Declared(route.as_str().to_owned()));
        }
        let permission = response.extensions().get::<Problem>().and_then(Problem::permission);
        let rule = permission.map(|permission| permission.to_string());
        let rule = rule.or_else(|| self.facts.denied_by().map(str::to_owned));
        Some(match rule {
            Some(rule) => denial.with("denied_by", Declared(rule)),
            None => denial,
        })
    }

    /// Begins to append these, in a task of its own: whoever waits for it may go.
    fn append(&self, events: Vec<SecurityEvent>) -> Option<JoinHandle<()>> {
        let AuditLayer { store, clock, patience, under_way } = &self.layer;
        let appending = Appending { facts: self.facts.clone(), user: self.user, missing: events.len() };
        let Ok(permit) = Arc::clone(under_way).try_acquire_owned() else {
            appending.failed(&TooMany);
            return None;
        };
        // A request may be given up by a runtime that is ending.
        let runtime = Handle::try_current().ok()?;
        let (store, patience) = (Arc::clone(store), *patience);
        let act = self.facts.act(clock.now()).unnoted();
        Some(runtime.spawn(async move {
            match tokio::time::timeout(patience, store.append_events(events, act)).await {
                Ok(Ok(())) => appending.done(),
                Ok(Err(error)) => appending.failed(&error),
                Err(late) => appending.failed(&late),
            }
            drop(permit);
        }))
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        let noted = self.facts.take_events_to_append();
        if !noted.is_empty() {
            drop(self.append(noted));
        }
    }
}

/// Others have entries appended already, more than a trail that works ever has at once.
#[derive(Debug, thiserror::Error)]
#[error("too many wait for the audit trail")]
struct TooMany;

/// Events that are being appended. If this is dropped before they are, for whatever reason, the log tells of the loss
/// (LOG-05).
struct Appending {
    facts: Facts,
    user: Option<UserId>,
    /// How many events are not in the trail.
    missing: usize,
}

impl Appending {
    fn done(mut self) {
        self.missing = 0;
    }

    fn failed(self, error: &(dyn Error + 'static)) {
        let missing = self.missing;
        tracing::error!(error, missing, "events are missing from the audit trail");
    }
}

impl Drop for Appending {
    fn drop(&mut self) {
        if self.missing > 0 {
            self.facts.tell(&SecurityEvent::new(SecurityEventKind::AuditLost).of(self.user));
        }
    }
}
