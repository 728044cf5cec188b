//! How a body fares, and until when its request may take.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use super::memory::Held;

/// How a body fares, as the layer sees it from outside.
#[derive(Clone, Debug)]
pub(super) struct Progress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    event: AtomicU8,
    /// How many bytes have come.
    received: AtomicU64,
    began: Instant,
    /// When the client began to be waited for, or when all had come: in microseconds since the request began.
    at: AtomicU64,
    held: Held,
}

/// The last thing that happened to a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// Nothing that matters: it was not read, or it was read as far as it came.
    Calm = 0,
    /// Somebody waits for the client to send more.
    Awaited = 1,
    /// All of it has come, or nobody reads more of it.
    Whole = 2,
    /// It is longer than its limit.
    TooLarge = 3,
    /// It is compressed, and somebody wanted to read it.
    Encoded = 4,
    /// There is no memory for it.
    NoRoom = 5,
}

/// How long a request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// The handler, once it has the whole body; and the client, if it takes its time.
    pub(super) request: Duration,
    /// The client, to send anything at all.
    pub(super) pause: Duration,
    /// How many bytes a second it sends at least, beyond that.
    pub(super) rate: u64,
}

/// This moment, as the timers of the runtime count it: a test that stops them stops this too.
pub(super) fn now() -> Instant {
    tokio::time::sleep(Duration::ZERO).deadline()
}

impl Progress {
    /// Nothing has come yet of a body that holds `held`. The request begins now.
    pub(super) fn new(held: Held) -> Self {
        Self(Arc::new(Shared {
            event: AtomicU8::new(Event::Calm as u8),
            received: AtomicU64::new(0),
            began: now(),
            at: AtomicU64::new(0),
            held,
        }))
    }

    pub(super) fn held(&self) -> &Held {
        &self.0.held
    }

    pub(super) fn set(&self, event: Event) {
        // With the time that belongs to it.
        self.0.event.store(event as u8, Ordering::Release);
    }

    fn set_now(&self, event: Event) {
        let at = now().saturating_duration_since(self.0.began).as_micros();
        self.0.at.store(u64::try_from(at).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.set(event);
    }

    /// More has come; how much in all.
    pub(super) fn receive(&self, bytes: usize) -> u64 {
        let bytes = bytes as u64;
        self.0.received.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// The client is waited for, from now on if it was not before.
    pub(super) fn wait(&self) {
        if self.last() != Event::Awaited {
            self.set_now(Event::Awaited);
        }
    }

    /// All has come, just now if it had not before.
    pub(super) fn whole(&self) {
        if self.last() != Event::Whole {
            self.set_now(Event::Whole);
        }
    }

    /// Nobody reads it any more, so that nobody waits for the client either: the time of the handler begins.
    pub(super) fn let_go(&self) {
        if !matches!(self.last(), Event::Calm | Event::Awaited) {
            return;
        }
        // Where a runtime ends with all that is in it, there is no time any more.
        match Handle::try_current() {
            Ok(_) => self.set_now(Event::Whole),
            Err(_) => self.set(Event::Calm),
        }
    }

    pub(super) fn last(&self) -> Event {
        match self.0.event.load(Ordering::Acquire) {
            0 => Event::Calm,
            1 => Event::Awaited,
            2 => Event::Whole,
            3 => Event::TooLarge,
            4 => Event::Encoded,
            _ => Event::NoRoom,
        }
    }

    /// When the request began.
    pub(super) fn began(&self) -> Instant {
        self.0.began
    }

    /// Until when the request may take, if nothing more happens.
    pub(super) fn due(&self, times: &Times) -> Instant {
        let event = self.last();
        let at = self.0.began + Duration::from_micros(self.0.at.load(Ordering::Relaxed));
        if event == Event::Whole {
            return at + times.request;
        }
        let received = self.0.received.load(Ordering::Relaxed);
        let sending = Duration::from_micros(received.saturating_mul(1_000_000) / times.rate.max(1));
        let due = self.0.began + times.request + sending;
        if event == Event::Awaited { due.min(at + times.pause) } else { due }
    }
}
