//! How busy the server is.
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use bailiwick_core::{
    clock::Clock,
    meter::{Distribution, Meter, Metered, Value, WAIT_BOUNDS},
    request::ShedReason,
};
use tokio::task::AbortHandle;

use super::{queue::Queue, turn::Turn};

/// How often a turn is asked for: often enough for the window of half a second, and ten times a second costs nothing.
const PAUSE: Duration = Duration::from_millis(100);

/// How busy the server is, and who is refused for it. Cheap to clone: it is shared, not copied.
///
/// As something that is [`Metered`] it tells what is in flight, and how long turns are waited for.
#[derive(Clone, Debug)]
pub struct Load(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    max_in_flight: u32,
    max_wait: Duration,
    in_flight: AtomicU32,
    /// Which share of requests is refused, of 65,536.
    refused: AtomicU16,
    /// The shares of the requests so far, added up: whenever they make a whole, one is refused.
    added_up: AtomicU16,
    /// How many were refused so far.
    refusals: AtomicU32,
    turns: Arc<Distribution>,
}

impl Load {
    pub(super) fn new(max_in_flight: u32, max_wait: Duration) -> Self {
        Self(Arc::new(Shared {
            max_in_flight,
            max_wait,
            in_flight: AtomicU32::new(0),
            refused: AtomicU16::new(0),
            added_up: AtomicU16::new(0),
            refusals: AtomicU32::new(0),
            turns: Arc::new(Distribution::new(WAIT_BOUNDS)),
        }))
    }

    /// Watches how long turns of the runtime are waited for in which this is called, which must be that which serves, and has
    /// requests refused by it until what it answers is dropped; then nobody is refused for it any more.
    ///
    /// [`App::serve`](crate::app::App::serve) does. It takes a thread of its own, which sleeps.
    ///
    /// # Errors
    /// If the thread cannot be started.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn watch(&self, clock: Arc<dyn Clock>) -> io::Result<Watching> {
        let turn = Arc::new(Turn::new(Arc::clone(&clock), Arc::clone(&self.0.turns)));
        let taking = tokio::spawn(Arc::clone(&turn).take_each()).abort_handle();
        let (end, ended) = mpsc::channel::<()>();
        let (load, taker) = (self.clone(), taking.clone());
        // No task: it would wait for a turn itself before it could say how long others wait.
        let look = move || {
            let mut queue = Queue::new(load.0.max_wait, clock.monotonic());
            // Without a runtime there are no turns, and nobody to be refused.
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) && !taker.is_finished() {
                let now = clock.monotonic();
                load.refuse(queue.look(now, turn.wait(now)));
                turn.ask(now);
            }
            load.refuse(0);
        };
        thread::Builder::new().name("load".to_owned()).spawn(look)?;
        Ok(Watching { _end: end, taking })
    }

    /// Refuses this share of requests from now on, of 65,536.
    pub(super) fn refuse(&self, share: u16) {
        self.0.refused.store(share, Ordering::Relaxed);
    }

    /// Takes a place for a request, or says of what there is too much.
    pub(super) fn admit(&self) -> Result<Place, ShedReason> {
        let share = self.0.refused.load(Ordering::Relaxed);
        // Mostly nobody is refused, and then nothing is written that the threads share but one number.
        if share > 0 && self.0.added_up.fetch_add(share, Ordering::Relaxed).checked_add(share).is_none() {
            return Err(ShedReason::Queue);
        }
        let room = |taken: u32| (taken < self.0.max_in_flight).then(|| taken + 1);
        match self.0.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room) {
            Ok(_) => Ok(Place { load: self.clone(), counted: AtomicBool::new(true) }),
            Err(_) => Err(ShedReason::InFlight),
        }
    }

    /// Numbers a refusal.
    pub(super) fn refusal(&self) -> u32 {
        self.0.refusals.fetch_add(1, Ordering::Relaxed)
    }

    /// How many requests are in flight.
    pub fn in_flight(&self) -> u32 {
        self.0.in_flight.load(Ordering::Relaxed)
    }
}

impl Metered for Load {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        each(Meter {
            name: "bailiwick_requests_in_flight",
            help: "Requests that the server works on, without those that wait for their clients",
            value: Value::Gauge(self.in_flight().into()),
        });
        each(Meter {
            name: "bailiwick_turn_wait_seconds",
            help: "How long a task waited for a turn of a thread that answers requests",
            value: Value::Distribution(self.0.turns.reading()),
        });
    }
}

/// That a [`Load`] is watched, until this is dropped.
#[derive(Debug)]
#[must_use = "when it is dropped, nobody watches any more"]
pub struct Watching {
    _end: mpsc::Sender<()>,
    taking: AbortHandle,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.taking.abort();
    }
}

/// The place of a request among those in flight, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    load: Load,
    counted: AtomicBool,
}

impl Place {
    /// It waits for its client, and is not counted meanwhile.
    pub(super) fn pause(&self) {
        if self.counted.swap(false, Ordering::Relaxed) {
            self.load.0.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// It goes on, also if all places are taken by now.
    pub(super) fn resume(&self) {
        if !self.counted.swap(true, Ordering::Relaxed) {
            self.load.0.in_flight.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pause();
    }
}
