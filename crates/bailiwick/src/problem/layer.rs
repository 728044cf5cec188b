//! The layer that gives problems their bodies.
use tower_layer::Layer;

use super::ProblemService;

/// Turns every error of the services inside into `application/problem+json`.
///
/// - A [`Problem`](super::Problem) in the extensions of a response gets its body, with the id of the request.
/// - An error status without a body, or with one in plain text, becomes the problem that the status means. `Allow`
///   and other headers stay.
/// - A panic is a 500; the connection goes on (RST-10).
/// - A request with a [`Refusal`](super::Refusal) is answered without being passed on.
///
/// Put it inside the layers that every answer must pass (request id, log, security headers), and outside all
/// others.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemLayer(());

impl ProblemLayer {
    /// The layer. There is nothing to set.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for ProblemLayer {
    type Service = ProblemService<S>;

    fn layer(&self, inner: S) -> ProblemService<S> {
        ProblemService::new(inner)
    }
}
