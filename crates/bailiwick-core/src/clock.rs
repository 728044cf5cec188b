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

use jiff::tz::Offset;
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

/// Why a text is no time that can be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTimestamp {
    /// It is not spelt as in RFC 3339.
    #[error("a time is written as in RFC 3339, for example 2026-01-31T09:00:00Z")]
    Malformed,
    /// It is a 30 February, 24:00, or an offset of a day.
    #[error("there is no such date, time of day or offset from UTC")]
    NoSuchTime,
    /// Its seconds are 60, which RFC 3339 allows where a leap second was inserted. Neither the databases nor Unix time
    /// have one, and another moment would be kept than the client wrote.
    #[error("a leap second cannot be kept: seconds are 00 to 59")]
    LeapSecond,
    /// It is before [`Timestamp::MIN`] or after [`Timestamp::MAX`].
    #[error("a time is from 0001-01-01T00:00:00Z to 9999-12-30T22:00:00Z")]
    OutOfRange,
}

impl FromStr for Timestamp {
    type Err = InvalidTimestamp;

    /// Reads RFC 3339 with any offset; what is finer than a microsecond is cut off.
    fn from_str(text: &str) -> Result<Self, InvalidTimestamp> {
        use InvalidTimestamp::{LeapSecond, Malformed, NoSuchTime, OutOfRange};
        let (local, rest) = text.split_at_checked("0000-00-00T00:00:00".len()).ok_or(Malformed)?;
        let (fraction, offset) = rest.split_at(rest.find(['Z', 'z', '+', '-']).ok_or(Malformed)?);
        if !is_spelt(local, "0000-00-00T00:00:00") {
            return Err(Malformed);
        }
        let micros = micros(fraction).ok_or(Malformed)?;
        let offset = read_offset(offset)?;
        if local.ends_with(":60") {
            return Err(LeapSecond);
        }
        // jiff knows the calendar. It reads more spellings than RFC 3339 §5.6 has, and leap seconds as the second before.
        let local: jiff::civil::DateTime = local.parse().map_err(|_| NoSuchTime)?;
        let whole = offset.to_timestamp(local).map_err(|_| OutOfRange)?;
        let micros = whole.as_microsecond() + micros;
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) { Ok(Self(micros)) } else { Err(OutOfRange) }
    }
}

/// Whether `text` has a digit where `pattern` has a zero, and else the same characters in either case.
fn is_spelt(text: &str, pattern: &str) -> bool {
    let fits = |(byte, expected): (u8, u8)| match expected {
        b'0' => byte.is_ascii_digit(),
        _ => byte.eq_ignore_ascii_case(&expected),
    };
    text.len() == pattern.len() && text.bytes().zip(pattern.bytes()).all(fits)
}

/// The microseconds of `.123456`; none are zero.
fn micros(fraction: &str) -> Option<i64> {
    if fraction.is_empty() {
        return Some(0);
    }
    let digits = fraction.strip_prefix('.').filter(|digits| !digits.is_empty())?.as_bytes();
    let six = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    let micros = six.fold(0, |micros, digit| micros * 10 + i64::from(digit.wrapping_sub(b'0')));
    digits.iter().all(u8::is_ascii_digit).then_some(micros)
}

/// Reads `Z` or `+01:00`.
fn read_offset(offset: &str) -> Result<Offset, InvalidTimestamp> {
    if is_spelt(offset, "Z") {
        return Ok(Offset::UTC);
    }
    let (sign, size) = offset.split_at(1);
    if !is_spelt(size, "00:00") {
        return Err(InvalidTimestamp::Malformed);
    }
    let number = |digits: &str| digits.parse::<i32>().map_err(|_| InvalidTimestamp::Malformed);
    let (hours, minutes) = (number(&size[..2])?, number(&size[3..])?);
    if hours > 23 || minutes > 59 {
        return Err(InvalidTimestamp::NoSuchTime);
    }
    let seconds = (hours * 60 + minutes) * 60;
    Offset::from_seconds(if sign == "-" { -seconds } else { seconds })
        .map_err(|_| InvalidTimestamp::NoSuchTime)
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

    /// Fills `bytes` of something that is no secret, such as an id. It may cost less than [`fill`](Self::fill).
    fn fill_public(&self, bytes: &mut [u8]) {
        self.fill(bytes);
    }
}

/// The operating system's random numbers.
///
/// Asking for them costs as much as all else that makes an id, so what is public comes from a stock of the thread. A
/// secret never lies there: it comes from the system when it is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

/// How many random bytes a thread has in stock.
const STOCK_BYTES: usize = 1024;

thread_local! {
    /// Random bytes, and how many of them are left.
    static STOCK: RefCell<([u8; STOCK_BYTES], usize)> = const { RefCell::new(([0; STOCK_BYTES], 0)) };
}

impl Entropy for OsEntropy {
    /// # Panics
    /// If the operating system has no randomness to give: nothing secure can be done then.
    fn fill(&self, bytes: &mut [u8]) {
        ask_the_system(bytes);
    }

    fn fill_public(&self, bytes: &mut [u8]) {
        if bytes.len() > STOCK_BYTES {
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
                match at % 3 {
                    0 => OsEntropy.fill(&mut bytes),
                    _ => OsEntropy.fill_public(&mut bytes[..10 + at % 7]),
                }
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
    fn a_secret_is_never_in_the_stock() {
        OsEntropy.fill_public(&mut [0; 1]);
        let left = || STOCK.with_borrow(|(_, left)| *left);
        let before = left();
        for length in [1, 10, 16, 32] {
            OsEntropy.fill(&mut vec![0; length]);
        }
        assert_eq!(left(), before);
        OsEntropy.fill_public(&mut [0; 16]);
        assert_eq!(left(), before - 16);
        let mut longer = vec![0; STOCK_BYTES + 1];
        OsEntropy.fill_public(&mut longer);
        assert!(longer.iter().any(|byte| *byte != 0));
    }

    #[test]
    fn a_time_is_written_in_utc_and_reads_back() {
        let time: Timestamp = "2026-01-31T10:00:00.123456789+01:00".parse().unwrap();
        assert_eq!(time.to_string(), "2026-01-31T09:00:00.123456Z");
        assert_eq!(time.to_string().parse(), Ok(time));
    }

    // RFC 3339 §5.6
    #[test]
    fn every_spelling_of_rfc_3339_is_read() {
        for (text, utc) in [
            ("2026-01-31t10:00:00z", "2026-01-31T10:00:00.000000Z"),
            ("2026-01-31T10:00:00-00:00", "2026-01-31T10:00:00.000000Z"),
            ("2026-01-31T10:00:00+23:59", "2026-01-30T10:01:00.000000Z"),
            ("2026-01-31T10:00:00-23:59", "2026-02-01T09:59:00.000000Z"),
            ("2026-01-31T10:00:00.5Z", "2026-01-31T10:00:00.500000Z"),
            ("2026-01-31T10:00:00.123456999999999999Z", "2026-01-31T10:00:00.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000000Z"),
            ("9999-12-31T21:59:00+23:59", "9999-12-30T22:00:00.000000Z"),
        ] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), utc, "{text}");
        }
    }

    #[test]
    fn what_is_no_rfc_3339_time_is_refused_and_told_why() {
        use InvalidTimestamp::{LeapSecond, Malformed, NoSuchTime, OutOfRange};
        for (wrong, why) in [
            ("", Malformed),
            ("2026-01-31", Malformed),
            ("2026-01-31 10:00:00Z", Malformed),
            ("2026-01-31T10:00:00", Malformed),
            ("2026-01-31T10:00Z", Malformed),
            ("20260131T100000Z", Malformed),
            ("2026-01-31T10:00:00Z[UTC]", Malformed),
            ("2026-01-31T10:00:00ZZ", Malformed),
            ("2026-01-31T10:00:00.Z", Malformed),
            ("2026-01-31T10:00:00,5Z", Malformed),
            ("2026-01-31T10:00:00+01", Malformed),
            ("2026-01-31T10:00:00+0100", Malformed),
            ("2026-01-31T10:00:00+01:00:00", Malformed),
            ("2026-01-31T10:00:00\u{2212}01:00", Malformed),
            ("2026-01-31T+1:00:00Z", Malformed),
            ("２026-01-31T10:00:00Z", Malformed),
            ("-002026-01-31T10:00:00Z", Malformed),
            ("10000-01-01T00:00:00Z", Malformed),
            ("tomorrow", Malformed),
            ("2026-02-30T10:00:00Z", NoSuchTime),
            ("2025-02-29T10:00:00Z", NoSuchTime),
            ("2026-13-01T10:00:00Z", NoSuchTime),
            ("2026-01-00T10:00:00Z", NoSuchTime),
            ("2026-01-31T24:00:00Z", NoSuchTime),
            ("2026-01-31T10:60:00Z", NoSuchTime),
            ("2026-01-31T10:00:61Z", NoSuchTime),
            ("2026-01-31T10:00:00+24:00", NoSuchTime),
            ("2026-01-31T10:00:00-01:60", NoSuchTime),
            ("2016-12-31T23:59:60Z", LeapSecond),
            ("2026-01-31T10:00:60Z", LeapSecond),
            ("0000-12-31T23:59:59Z", OutOfRange),
            ("0001-01-01T00:00:00+00:01", OutOfRange),
            ("9999-12-30T22:00:00.000001Z", OutOfRange),
            ("9999-12-31T23:59:59-23:59", OutOfRange),
        ] {
            assert_eq!(wrong.parse::<Timestamp>(), Err(why), "{wrong}");
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
