//! How long a task waits for its turn.
use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use bailiwick_core::{clock::Clock, meter::Distribution};
use tokio::{sync::Notify, time::sleep};

use super::queue::Wait;

/// A turn that is asked for from outside of the runtime, and taken by a task within it, on the way that a request goes.
pub(super) struct Turn {
    /// When it was asked for, in microseconds; [`NONE`] if it was taken.
    asked: AtomicU64,
    /// How long was waited for the last one, in microseconds.
    waited: AtomicU64,
    ring: Notify,
    clock: Arc<dyn Clock>,
    seen: Arc<Distribution>,
}

const NONE: u64 = u64::MAX;

/// The shortest time that a timer counts.
const TICK: Duration = Duration::from_millis(1);

impl Turn {
    pub(super) fn new(clock: Arc<dyn Clock>, seen: Arc<Distribution>) -> Self {
        Self { asked: AtomicU64::new(NONE), waited: AtomicU64::new(0), ring: Notify::new(), clock, seen }
    }

    /// Asks for the next turn, at the time `now`, if the last one was taken.
    pub(super) fn ask(&self, now: Duration) {
        if self.asked.load(Ordering::Acquire) == NONE {
            self.asked.store(micros(now), Ordering::Release);
            self.ring.notify_one();
        }
    }

    /// How long was, or is, waited for the one that was asked for last.
    pub(super) fn wait(&self, now: Duration) -> Wait {
        match self.asked.load(Ordering::Acquire) {
            NONE => Wait::Over(Duration::from_micros(self.waited.load(Ordering::Relaxed))),
            asked => Wait::SoFar(now.saturating_sub(Duration::from_micros(asked))),
        }
    }

    /// Takes each turn that is asked for.
    ///
    /// A request waits until some thread looks at the sockets, and then in the queue of that thread. So does this: timers are looked
    /// at with the sockets, and then it goes to the end of the queue.
    pub(super) async fn take_each(self: Arc<Self>) {
        loop {
            self.ring.notified().await;
            sleep(TICK).await;
            to_the_end_of_the_queue().await;
            let asked = Duration::from_micros(self.asked.load(Ordering::Acquire));
            let waited = self.clock.monotonic().saturating_sub(asked + TICK);
            self.seen.record(waited);
            self.waited.store(micros(waited), Ordering::Relaxed);
            self.asked.store(NONE, Ordering::Release);
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(NONE - 1)
}

/// Waits for everything that is in the queue of the thread. What wakes itself while it runs goes to the end of that queue;
/// what a timer or a socket wakes may go first, and `tokio::task::yield_now` waits for these.
pub(super) async fn to_the_end_of_the_queue() {
    let mut asked = false;
    poll_fn(|cx| {
        if asked {
            return Poll::Ready(());
        }
        asked = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
