//! What the two ends of one connection tell each other past hyper: the wire below it, and the service above.
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// The state of a connection, shared by the wire and the service.
///
/// Both run in one task, so that no ordering beyond the atomics' own is needed.
#[derive(Debug)]
pub(super) struct Exchange {
    state: AtomicU8,
    /// How many requests hyper has handed to the service.
    requests: AtomicU32,
    /// The number of the first request whose framing is not to be trusted.
    untrusted: AtomicU32,
}

/// No request is being answered, and all of the last answer is written.
const IDLE: u8 = 0;
/// The service has a request.
const BUSY: u8 = 1;
/// The service is done; the end of its answer may still wait in hyper's buffer.
const ANSWERED: u8 = 2;

const NONE: u32 = u32::MAX;

impl Exchange {
    pub(super) fn new() -> Self {
        Self { state: AtomicU8::new(IDLE), requests: AtomicU32::new(0), untrusted: AtomicU32::new(NONE) }
    }

    /// The service takes a request; gives its number.
    pub(super) fn begin(&self) -> u32 {
        self.state.store(BUSY, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// The service has given its whole answer to hyper.
    pub(super) fn answered(&self) {
        self.state.store(ANSWERED, Ordering::Relaxed);
    }

    /// hyper's buffer is empty; says whether that was the end of an answer.
    pub(super) fn flushed(&self) -> bool {
        let ended = self.state.load(Ordering::Relaxed) == ANSWERED;
        if ended {
            self.state.store(IDLE, Ordering::Relaxed);
        }
        ended
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state.load(Ordering::Relaxed) == IDLE
    }

    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The framing of this request, and so of all that follows, is not to be trusted.
    pub(super) fn distrust(&self, request: u32) {
        self.untrusted.store(request, Ordering::Relaxed);
    }

    pub(super) fn is_untrusted(&self, request: u32) -> bool {
        self.untrusted.load(Ordering::Relaxed) == request
    }
}
