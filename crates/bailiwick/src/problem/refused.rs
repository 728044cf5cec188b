//! The future of a service that may refuse a request at once.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;

use super::Problem;

pin_project! {
    /// The inner service's future, or the problem with which a layer refused the request. It saves every control
    /// from writing the same future.
    #[derive(Debug)]
    pub struct RefusedOr<F> {
        #[pin]
        step: Step<F>,
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

impl<F> RefusedOr<F> {
    /// Answers as `future` does.
    pub fn passed(future: F) -> Self {
        Self { step: Step::Running { future } }
    }

    /// Answers with `problem`.
    pub fn refused(problem: Problem) -> Self {
        Self { step: Step::Refused { problem: Some(problem) } }
    }
}

impl<F, B, E> Future for RefusedOr<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Default,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.project().step.project() {
            StepProjection::Running { future } => future.poll(cx),
            StepProjection::Refused { problem } => {
                let problem = problem.take().expect("a future is not polled after it was ready");
                Poll::Ready(Ok(problem.answer()))
            }
        }
    }
}
