//! The service behind [`OverloadLayer`](super::OverloadLayer).
use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bailiwick_core::request::{DeniedBy, Facts, ShedReason, Tally};
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{AnswerBody, AskedBody, Load, load::Place};
use crate::problem::{Problem, RefusedOr};

/// See [`OverloadLayer`](super::OverloadLayer).
#[derive(Clone, Debug)]
pub struct OverloadService<S> {
    inner: S,
    load: Load,
    excepted: Arc<[Box<str>]>,
}

impl<S> OverloadService<S> {
    pub(super) fn new(inner: S, load: Load, excepted: Arc<[Box<str>]>) -> Self {
        Self { inner, load, excepted }
    }

    fn admit<B>(&self, request: &Request<B>) -> Result<Option<Arc<Place>>, Problem> {
        let path = request.uri().path();
        let path = path.strip_suffix('/').unwrap_or(path);
        if self.excepted.iter().any(|excepted| **excepted == *path) {
            return Ok(None);
        }
        match self.load.admit() {
            Ok(place) => Ok(Some(Arc::new(place))),
            Err(reason) => {
                if let Some(facts) = request.extensions().get::<Facts>() {
                    facts.set_denied_by(DeniedBy::Overload);
                    facts.tally(Tally::Shed { reason });
                }
                Err(self.busy(reason))
            }
        }
    }

    /// The answer. Those who are refused together are not to come back together.
    fn busy(&self, reason: ShedReason) -> Problem {
        let wait = Duration::from_secs(1 + u64::from(self.load.refusal() % 4));
        let detail = match reason {
            ShedReason::InFlight => "the server has as many requests to answer as it can",
            _ => "the server is busy",
        };
        Problem::unavailable().with_detail(detail).with_retry_after(wait)
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for OverloadService<S>
where
    S: Service<Request<AskedBody<ReqBody>>, Response = Response<ResBody>>,
    ReqBody: Body<Data = Bytes>,
    ResBody: Default,
{
    type Response = Response<AnswerBody<ResBody>>;
    type Error = S::Error;
    type Future = OverloadFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let place = match self.admit(&request) {
            Ok(place) => place,
            Err(problem) => return OverloadFuture { answer: RefusedOr::refused(problem), place: None },
        };
        let request = request.map(|body| {
            // What has no body never waits for its client.
            let of_body = if body.is_end_stream() { None } else { place.clone() };
            AskedBody::new(body, of_body)
        });
        OverloadFuture { answer: RefusedOr::passed(self.inner.call(request)), place }
    }
}

pin_project! {
    /// The future of [`OverloadService`].
    #[derive(Debug)]
    pub struct OverloadFuture<F> {
        #[pin]
        answer: RefusedOr<F>,
        place: Option<Arc<Place>>,
    }
}

impl<F, B, E> Future for OverloadFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.answer.poll(cx));
        let place = this.place.take();
        Poll::Ready(response.map(|response| response.map(|body| AnswerBody::new(body, place))))
    }
}
