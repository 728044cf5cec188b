//! The service behind [`ProblemLayer`](super::ProblemLayer).
use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use bailiwick_core::request::RequestId;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{CONTENT_TYPE, Cause, Code, Problem, ProblemBody, Refusal, challenge, render};

const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");

/// A handler panicked. Its message goes to the log.
#[derive(Debug, thiserror::Error)]
#[error("a handler panicked: {0}")]
struct Panicked(String);

impl Panicked {
    fn new(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "no message".to_owned()))
    }

    fn answer<B: Default>(payload: &(dyn Any + Send)) -> Response<B> {
        Problem::internal().because(Self::new(payload)).answer()
    }
}

/// See [`ProblemLayer`](super::ProblemLayer).
#[derive(Clone, Debug)]
pub struct ProblemService<S> {
    inner: S,
}

impl<S> ProblemService<S> {
    pub(super) fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for ProblemService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Default,
{
    type Response = Response<ProblemBody<ResBody>>;
    type Error = S::Error;
    type Future = ProblemFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let asked = Asked {
            method: match *request.method() {
                Method::HEAD => Asks::Head,
                Method::PATCH => Asks::Patch,
                _ => Asks::Other,
            },
            request_id: request.extensions().get::<RequestId>().cloned(),
        };
        // The look-up of an absent extension is a hash; only the server's own connections put it there.
        let step = match request.extensions_mut().remove::<Refusal>() {
            Some(Refusal(problem)) => Step::Refused { problem: Some(problem) },
            // State behind `&mut self` that a panic leaves half-changed belongs to the inner service, which is
            // cloned for every request.
            None => match catch_unwind(AssertUnwindSafe(|| self.inner.call(request))) {
                Ok(future) => Step::Running { future },
                Err(payload) => {
                    Step::Refused { problem: Some(Problem::internal().because(Panicked::new(&*payload))) }
                }
            },
        };
        ProblemFuture { step, asked }
    }
}

/// What the answer's form depends on.
#[derive(Debug)]
struct Asked {
    method: Asks,
    request_id: Option<RequestId>,
}

#[derive(Debug, PartialEq, Eq)]
enum Asks {
    Head,
    Patch,
    Other,
}

pin_project! {
    /// The future of [`ProblemService`].
    #[derive(Debug)]
    pub struct ProblemFuture<F> {
        #[pin]
        step: Step<F>,
        asked: Asked,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StepProjection]
    enum Step<F> {
        Running { #[pin] future: F },
        Refused { problem: Option<Problem> },
    }
}

impl<F, B, E> Future for ProblemFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = Result<Response<ProblemBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = match this.step.project() {
            // A future that panicked is not polled again: it is answered for here.
            StepProjection::Running { future } => match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(Ok(response))) => response,
                Ok(Poll::Ready(Err(error))) => return Poll::Ready(Err(error)),
                Err(payload) => Panicked::answer(&*payload),
            },
            StepProjection::Refused { problem } => {
                problem.take().expect("a future is not polled after it was ready").answer()
            }
        };
        Poll::Ready(Ok(this.asked.finish(response)))
    }
}

impl Asked {
    fn finish<B>(&self, mut response: Response<B>) -> Response<ProblemBody<B>> {
        let status = response.status();
        if status == StatusCode::NOT_MODIFIED {
            // axum's router has measured the body that a 304 does not have: the length would have to be that of the
            // 200 (RFC 9110 §8.6).
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        if !status.is_client_error() && !status.is_server_error() {
            return response.map(ProblemBody::inner);
        }
        let request_id = self.request_id.as_ref();
        let body = match response.extensions_mut().remove::<Problem>() {
            Some(mut problem) => {
                // Both are for the log layer alone.
                if let Some(Cause(cause)) = problem.0.cause.take() {
                    response.extensions_mut().insert(Cause(cause));
                }
                if let Some(permission) = problem.0.denied_by {
                    response.extensions_mut().insert(permission);
                }
                render::problem(&problem, request_id)
            }
            None if has_own_body(&response) => return response.map(ProblemBody::inner),
            None => {
                strip(response.headers_mut());
                match Code::of_bare_status(status) {
                    Some(code) => {
                        if status == StatusCode::UNAUTHORIZED
                            && !response.headers().contains_key(header::WWW_AUTHENTICATE)
                        {
                            challenge(response.headers_mut(), code);
                        }
                        render::problem(&Problem::new(code), request_id)
                    }
                    None => render::unlisted(status, request_id),
                }
            }
        };
        self.dress(response, body)
    }

    fn dress<B>(&self, response: Response<B>, body: Bytes) -> Response<ProblemBody<B>> {
        let mut response = response.map(drop);
        let status = response.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
        // axum's router has measured the body that was not there yet.
        headers.remove(header::CONTENT_LENGTH);
        // The router adds it to whatever the fallback of a path answers. To whom the path does not exist (404), it has no
        // methods either (ERR-23).
        if let Some(allow) = headers.remove(header::ALLOW)
            && status == StatusCode::METHOD_NOT_ALLOWED
        {
            headers.insert(header::ALLOW, spaced(&allow));
        }
        if self.method == Asks::Patch
            && let Some(accepted) = headers.get(header::ACCEPT).cloned()
        {
            headers.insert(ACCEPT_PATCH, accepted);
        }
        let body = if self.method == Asks::Head {
            // As GET, with the body left out (ERR-24).
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
            Bytes::new()
        } else {
            body
        };
        response.map(|()| ProblemBody::problem(body))
    }
}

/// A list as it is written everywhere here: the router puts no spaces into its own.
fn spaced(list: &HeaderValue) -> HeaderValue {
    let Ok(text) = list.to_str() else { return list.clone() };
    let members: Vec<_> = text.split(',').map(str::trim).collect();
    HeaderValue::try_from(members.join(", ")).expect("a header's text with spaces in it is one too")
}

/// Whether an error is a problem document already, such as one that was passed on from another server. Any other body
/// is replaced: it may repeat what the client sent, or say what only the log may know (I7).
fn has_own_body<B>(response: &Response<B>) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|content_type| *content_type == CONTENT_TYPE)
}

/// Takes away what described the body that is replaced.
fn strip(headers: &mut http::HeaderMap) {
    for name in [header::CONTENT_ENCODING, header::TRANSFER_ENCODING, header::ETAG, header::LAST_MODIFIED] {
        headers.remove(name);
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
