//! Time and randomness, as inputs (invariant I10).
//!
//! Whatever depends on the time or on chance takes a [`Clock`] or an [`Entropy`]; tests bring their own. This
//! file is one of the two places that may touch the globals; clippy refuses them everywhere else.
use std::{
    cell::RefCell,
    fmt,
    str::FromStr,
    time::{Duration, Instant, SystemTime},
};

use serde::{Serialize, Serializer};

/// A point in time, in microseconds since the Unix epoch, UTC.
///
/// Written as RFC 3339 with `Z`. Microseconds are what PostgreSQL keeps, so a time reads back as it was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 0001-01-01T00:00:00Z, the first moment that RFC 3339 can write.
    pub const MIN: Self = Self(-62_135_596_800_000_000);
    /// 9999-12-30T22:00:00Z, the last moment that can be written in every time zone.
    pub const MAX: Self = Self(253_402_207_200_000_000);

    /// The moment `micros` microseconds after the epoch, clamped to the range that RFC 3339 can write.
    pub const fn from_micros(micros: i64) -> Self {
        if micros < Self::MIN.0 {
            Self::MIN
        } else if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// This moment and `duration` later, at most [`Timestamp::MAX`].
    pub fn saturating_add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The text is no RFC 3339 time between the years 1 and 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is written as in RFC 3339, for example 2026-01-31T09:00:00Z")]
pub struct InvalidTimestamp;

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads RFC 3339 with any offset; what is finer than a microsecond is cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        // jiff also reads ISO 8601's other spellings; RFC 3339 §5.6 has exactly this frame.
        let frame = text.len() >= 20
            && text.is_ascii()
            && text.as_bytes()[4] == b'-'
            && text.as_bytes()[7] == b'-'
            && matches!(text.as_bytes()[10], b'T' | b't')
            && text.as_bytes()[13] == b':'
            && text.as_bytes()[16] == b':'
            && !text.contains('[');
        if !frame {
            return Err(InvalidTimestamp);
        }
        let read: jiff::Timestamp = text.parse().map_err(|_| InvalidTimestamp)?;
        let micros = read.as_microsecond();
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(InvalidTimestamp) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_microsecond(self.0).expect("a Timestamp is within jiff's range");
        write!(f, "{time:.6}")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// The time of day. It may go backwards (RST-08).
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment; it never goes backwards.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// The machine's clock; `monotonic` counts from here.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Gives unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's random numbers.
///
/// Asking for them costs as much as all else that makes an id, so 16 bytes and fewer come from a stock of the thread.
/// Secrets are longer than ids (TOK-23, SES-11), and come from the system directly: none is ever in the stock.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

/// How many random bytes a thread has in stock.
const STOCK_BYTES: usize = 1024;
/// The longest request that the stock answers.
const MAX_FROM_STOCK: usize = 16;

thread_local! {
    /// Random bytes, and how many of them are left.
    static STOCK: RefCell<([u8; STOCK_BYTES], usize)> = const { RefCell::new(([0; STOCK_BYTES], 0)) };
}

impl Entropy for OsEntropy {
    /// # Panics
    /// If the operating system has no randomness to give: nothing secure can be done then.
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > MAX_FROM_STOCK {
            return ask_the_system(bytes);
        }
        STOCK.with_borrow_mut(|(stock, left)| {
            if *left < bytes.len() {
                ask_the_system(stock);
                *left = STOCK_BYTES;
            }
            let rest = *left - bytes.len();
            bytes.copy_from_slice(&stock[rest..*left]);
            *left = rest;
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for randomness")]
fn ask_the_system(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_random_bytes_are_given_twice() {
        let draw = || {
            (0..1000).map(|at| {
                let mut bytes = [0; 24];
                let length = if at % 3 == 0 { 24 } else { 10 + at % 7 };
                OsEntropy.fill(&mut bytes[..length]);
                <[u8; 10]>::try_from(&bytes[..10]).unwrap()
            })
        };
        let drawn: HashSet<_> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(|| draw().collect::<Vec<_>>()));
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(drawn.len(), 4000);
    }

    #[test]
    fn a_time_is_written_in_utc_and_reads_back() {
        let time: Timestamp = "2026-01-31T10:00:00.123456789+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-31T09:00:00.123456Z");
        assert_eq!(time.to_string().parse(), Ok(time));
    }

    #[test]
    fn what_is_no_rfc_3339_time_is_refused() {
        for wrong in [
            "",
            "2026-01-31",
            "2026-01-31 10:00:00Z",
            "2026-01-31T10:00:00",
            "20260131T100000Z",
            "2026-02-30T10:00:00Z",
            "2026-01-31T10:00:00Z[UTC]",
            "0000-12-31T23:59:59Z",
            "-002026-01-31T10:00:00Z",
            "tomorrow",
        ] {
            assert_eq!(wrong.parse::<Timestamp>(), Err(InvalidTimestamp), "{wrong}");
        }
    }

    #[test]
    fn the_ends_of_the_range_can_be_written() {
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!(end.to_string().parse(), Ok(end));
        }
        assert_eq!(Timestamp::from_micros(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::from_micros(i64::MIN), Timestamp::MIN);
    }
}
