//! The services behind [`CorsLayer`](super::CorsLayer) and [`PreflightLayer`](super::PreflightLayer).
use std::{
    future::{Future, Ready, ready},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready as ready_or_pending},
};

use bailiwick_core::{
    audit::{SecurityEvent, SecurityEventKind},
    request::{DeniedBy, Facts},
};
use futures_util::future::Either;
use http::{Method, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::policy::{Grant, Policy};
use crate::problem::{Problem, RefusedOr};

/// See [`CorsLayer`](super::CorsLayer).
#[derive(Clone, Debug)]
pub struct CorsService<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> CorsService<S> {
    pub(super) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for CorsService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CorsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let grant = self.policy.grant(&request);
        CorsFuture { future: self.inner.call(request), policy: self.policy.clone(), grant }
    }
}

pin_project! {
    /// The future of [`CorsService`].
    #[derive(Debug)]
    pub struct CorsFuture<F> {
        #[pin]
        future: F,
        policy: Arc<Policy>,
        grant: Option<Grant>,
    }
}

impl<F, B, E> Future for CorsFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut response = ready_or_pending!(this.future.poll(cx))?;
        this.policy.stamp(this.grant.take(), response.headers_mut());
        Poll::Ready(Ok(response))
    }
}

/// See [`PreflightLayer`](super::PreflightLayer).
#[derive(Clone, Debug)]
pub struct PreflightService<S> {
    inner: S,
    policy: Arc<Policy>,
}

impl<S> PreflightService<S> {
    pub(super) fn new(inner: S, policy: Arc<Policy>) -> Self {
        Self { inner, policy }
    }
}

/// Answered at once, or as the inner service does.
type Answer<F, B, E> = Either<Ready<Result<Response<B>, E>>, F>;

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for PreflightService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RefusedOr<Answer<S::Future, ResBody, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        if !is_preflight(&request) {
            return RefusedOr::passed(Either::Right(self.inner.call(request)));
        }
        if self.policy.grant(&request).is_none() {
            if let Some(facts) = request.extensions().get::<Facts>() {
                facts.tell(&SecurityEvent::new(SecurityEventKind::MaliciousCors));
                facts.set_denied_by(DeniedBy::Cors);
            }
            return RefusedOr::refused(Problem::forbidden().with_detail("pages of this origin may not call"));
        }
        let mut response = Response::new(ResBody::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        self.policy.allow(request.headers(), response.headers_mut());
        RefusedOr::passed(Either::Left(ready(Ok(response))))
    }
}

/// CORS-04. Other requests with OPTIONS are no preflights (CORS-44).
fn is_preflight<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}
