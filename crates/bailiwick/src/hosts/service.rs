//! The service behind [`HostsLayer`](super::HostsLayer).
use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderValue, Request, Response, Version, header, uri::Authority};
use tower_service::Service;

use super::AllowedHosts;
use crate::problem::{Problem, RefusedOr};

/// See [`HostsLayer`](super::HostsLayer).
#[derive(Clone, Debug)]
pub struct HostsService<S> {
    inner: S,
    allowed: Arc<AllowedHosts>,
}

impl<S> HostsService<S> {
    pub(super) fn new(inner: S, allowed: Arc<AllowedHosts>) -> Self {
        Self { inner, allowed }
    }

    fn check<B>(&self, request: &mut Request<B>) -> Result<(), Problem> {
        let mut sent = request.headers().get_all(header::HOST).iter();
        let (host, another) = (sent.next(), sent.next());
        if another.is_some() {
            return Err(Problem::bad_host().with_detail("more than one Host header"));
        }
        // HTTP/2 names the host in the target.
        if host.is_none() && (request.version() <= Version::HTTP_11 || request.uri().authority().is_none()) {
            return Err(Problem::bad_host().with_detail("no Host header"));
        }
        let target = request.uri().authority();
        let sent_twice = host.zip(target).filter(|_| request.version() > Version::HTTP_11);
        if sent_twice.is_some_and(|(host, target)| !is_same(host, target)) {
            return Err(Problem::bad_host().with_detail(":authority and the Host header differ"));
        }
        let named = target.map(|target| target.as_str().as_bytes()).or(host.map(HeaderValue::as_bytes));
        if !named.is_some_and(|named| self.allowed.allow(named)) {
            return Err(Problem::bad_host());
        }
        if let Some(target) = target {
            let target = HeaderValue::from_str(target.as_str()).map_err(|_| Problem::bad_host())?;
            request.headers_mut().insert(header::HOST, target);
        }
        Ok(())
    }
}

fn is_same(host: &HeaderValue, target: &Authority) -> bool {
    host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes())
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for HostsService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RefusedOr<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        match self.check(&mut request) {
            Ok(()) => RefusedOr::passed(self.inner.call(request)),
            Err(problem) => RefusedOr::refused(problem),
        }
    }
}
