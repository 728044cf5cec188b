//! Where log lines go: through a buffer in memory to a thread that writes them out.
use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use bailiwick_core::{
    clock::Clock,
    meter::{Meter, Metered, Value},
};
use tracing::{Event, Level};

use super::line::Line;

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line, for programs.
    #[default]
    Json,
    /// Text, for people at a terminal.
    Pretty,
}

/// A log that never makes its writers wait.
///
/// Lines are kept in memory, at most 1 MiB of them, and a thread writes them out a few milliseconds later, many at
/// once. When the sink is slower than the lines come, lines are dropped and counted, and a line says how many
/// (LOG-05). Cheap to clone: it is shared, not copied.
#[derive(Clone)]
pub struct Log(Arc<Handle>);

/// Ends the thread when the last clone of the log goes.
struct Handle {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Wakes the thread.
    filled: Condvar,
    /// Wakes those who wait until all is written.
    emptied: Condvar,
    dropped: AtomicU64,
    clock: Arc<dyn Clock>,
    format: Format,
    level: Level,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    /// Dropped since the last line that said so.
    lost: u64,
    /// The thread is writing what it took out of the buffer.
    writing: bool,
    hurry: bool,
    closed: bool,
}

/// The most bytes that wait in memory.
const CAPACITY: usize = 1 << 20;
/// How long the thread lets lines gather. Waking it for each line would cost the request a context switch.
const GATHER: Duration = Duration::from_millis(5);

impl Log {
    /// A log that writes lines of `level` and above to `sink`.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn new(
        sink: impl Write + Send + 'static,
        format: Format,
        level: Level,
        clock: Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
            dropped: AtomicU64::new(0),
            clock,
            format,
            level,
        });
        let of_thread = shared.clone();
        thread::Builder::new().name("bailiwick-log".to_owned()).spawn(move || of_thread.write_out(sink))?;
        Ok(Self(Arc::new(Handle { shared })))
    }

    /// A log that writes to the standard output.
    ///
    /// # Errors
    /// If the thread cannot be started.
    pub fn stdout(format: Format, level: Level, clock: Arc<dyn Clock>) -> io::Result<Self> {
        Self::new(io::stdout(), format, level, clock)
    }

    /// How many lines were dropped, because the sink was too slow or refused them.
    pub fn dropped(&self) -> u64 {
        self.0.shared.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines so far are written, at most `limit`; says whether they are. Call it before the process
    /// ends.
    pub fn flush(&self, limit: Duration) -> bool {
        let mut state = self.0.shared.lock();
        state.hurry = true;
        self.0.shared.filled.notify_one();
        let waiting = |state: &mut State| !state.buffer.is_empty() || state.writing;
        let (mut state, timeout) = self
            .0
            .shared
            .emptied
            .wait_timeout_while(state, limit, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        state.hurry = false;
        !timeout.timed_out()
    }

    /// Writes what a part of the program has to say, for a `tracing` subscriber that shares this log: a line with the
    /// `event` `diagnostic`, the `target`, the `message`, and the fields of `event`.
    pub fn diagnostic(&self, event: &Event<'_>) {
        self.line(*event.metadata().level(), "diagnostic", |line| {
            line.text("target", Some(event.metadata().target()));
            event.record(line);
        });
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.0.shared.clock
    }

    pub(super) fn takes(&self, level: Level) -> bool {
        level <= self.0.shared.level
    }

    /// Writes one line: `fill` puts its members into it.
    pub(super) fn line(&self, level: Level, event: &str, fill: impl FnOnce(&mut Line<'_>)) {
        if !self.takes(level) {
            return;
        }
        Line::with(self.0.shared.format, self.clock().now(), level, event, fill, |line| {
            self.0.shared.push(line);
        });
    }
}

// LOG-05
impl Metered for Log {
    fn meters(&self, each: &mut dyn FnMut(Meter)) {
        each(Meter {
            name: "bailiwick_log_lines_dropped_total",
            help: "Lines of the log that were dropped, because they came faster than they could be written, or could not be",
            value: Value::Counter(self.dropped()),
        });
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The thread writes what is left and ends. Waiting for it here could hang on a dead terminal.
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.lock();
        if state.buffer.len() + line.len() > CAPACITY {
            state.lost += 1;
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.buffer.is_empty();
        state.buffer.extend_from_slice(line);
        let half_full = state.buffer.len() > CAPACITY / 2;
        drop(state);
        if was_empty || half_full {
            self.filled.notify_one();
        }
    }

    /// The life of the thread.
    fn write_out(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        loop {
            let mut state = self.lock();
            while state.buffer.is_empty() && !state.closed {
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let gather =
                |state: &mut State| !state.closed && !state.hurry && state.buffer.len() <= CAPACITY / 2;
            let gathered = self.filled.wait_timeout_while(state, GATHER, gather);
            let (mut state, _) = gathered.unwrap_or_else(PoisonError::into_inner);
            let closed = state.closed;
            let lost = std::mem::take(&mut state.lost);
            std::mem::swap(&mut batch, &mut state.buffer);
            state.writing = true;
            drop(state);

            if lost > 0 {
                let now = self.clock.now();
                let fill = |line: &mut Line<'_>| line.number("count", lost);
                Line::with(self.format, now, Level::WARN, "log_lines_dropped", fill, |line| {
                    batch.extend_from_slice(line);
                });
            }
            if sink.write_all(&batch).and_then(|()| sink.flush()).is_err() {
                let lines = memchr::memchr_iter(b'\n', &batch).count();
                self.dropped.fetch_add(lines as u64, Ordering::Relaxed);
            }
            batch.clear();

            self.lock().writing = false;
            self.emptied.notify_all();
            if closed {
                return;
            }
        }
    }
}
