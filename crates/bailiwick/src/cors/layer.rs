//! The layers that let pages of other origins in.
use std::sync::Arc;

use tower_layer::Layer;

use super::{Cors, CorsService, PreflightService, policy::Policy};

/// Names the origin of the page on every answer that it may read, errors included (CORS-09).
///
/// Put it outside all that answers, also outside [`ProblemLayer`](crate::problem::ProblemLayer), so that a panic can be
/// read as the 500 that it becomes.
#[derive(Clone, Debug)]
pub struct CorsLayer {
    policy: Arc<Policy>,
}

impl CorsLayer {
    /// Names the origins that `cors` allows.
    pub fn new<Who>(cors: &Cors<Who>) -> Self {
        Self { policy: cors.policy.clone() }
    }
}

impl<S> Layer<S> for CorsLayer {
    type Service = CorsService<S>;

    fn layer(&self, inner: S) -> CorsService<S> {
        CorsService::new(inner, self.policy.clone())
    }
}

/// Answers preflights, and passes on everything else.
///
/// Put it inside [`CorsLayer`], which names the origin on the answer, and inside what every request must pass; outside
/// the throttle and whatever asks for a credential, which no preflight has (CORS-04).
#[derive(Clone, Debug)]
pub struct PreflightLayer {
    policy: Arc<Policy>,
}

impl PreflightLayer {
    /// Answers for the origins that `cors` allows, and refuses all others.
    pub fn new<Who>(cors: &Cors<Who>) -> Self {
        Self { policy: cors.policy.clone() }
    }
}

impl<S> Layer<S> for PreflightLayer {
    type Service = PreflightService<S>;

    fn layer(&self, inner: S) -> PreflightService<S> {
        PreflightService::new(inner, self.policy.clone())
    }
}
