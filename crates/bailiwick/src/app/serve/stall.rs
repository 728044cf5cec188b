//! Gives up on a client that takes none of its answer.
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Sleep, sleep};

/// How long a client may let its answer lie (LIM-11).
pub(super) struct Stall {
    limit: Duration,
    /// Runs while the client takes nothing.
    running: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, running: None }
    }

    /// What became of a step that waits for the client; an error once it has waited too long.
    ///
    /// Over TLS the last bytes of an answer wait for the client in a flush, and not in a write.
    pub(super) fn unless<T>(
        &mut self,
        cx: &mut Context<'_>,
        step: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if step.is_ready() {
            self.running = None;
            return step;
        }
        let limit = self.limit;
        let running = self.running.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(running.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
