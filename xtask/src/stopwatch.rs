//! The one place of this crate that reads the clock.
use std::{
    fmt,
    time::{Duration, Instant},
};

/// Measures from its start until it is asked.
pub(crate) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "how long a step took is for people to read, and decides nothing"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A duration as people say it: `7s`, `1m 03s`, `1h 02m`.
pub(crate) struct Spoken(pub(crate) Duration);

impl fmt::Display for Spoken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
            (0, 0, s) => write!(out, "{s}s"),
            (0, m, s) => write!(out, "{m}m {s:02}s"),
            (h, m, _) => write!(out, "{h}h {m:02}m"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let spoken = |seconds| Spoken(Duration::from_secs(seconds)).to_string();
        assert_eq!([spoken(0), spoken(7), spoken(63), spoken(3725)], ["0s", "7s", "1m 03s", "1h 02m"]);
    }
}
