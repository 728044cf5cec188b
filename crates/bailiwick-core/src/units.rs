//! Quantities with a unit: sizes, rates and periods, as settings spell them.
//!
//! Each type is a limit or a lifetime, so none of them can be zero or endless: a limit that is switched off
//! by a typing error is the mistake these types exist to prevent (THR-02). What is accepted is the same
//! everywhere and is said by the error, so that a start-up message needs no manual beside it.
//!
//! ```
//! use bailiwick_core::units::{ByteSize, Period, Rate};
//!
//! let body: ByteSize = "1MiB".parse()?;
//! let login: Rate = "10/15min".parse()?;
//! let idle: Period = "30m".parse()?;
//! assert_eq!(body.as_u64(), 1_048_576);
//! assert_eq!(login.window(), idle.as_duration() / 2);
//! assert!("0/min".parse::<Rate>().is_err());
//! assert!("unlimited".parse::<ByteSize>().is_err());
//! # Ok::<(), bailiwick_core::units::InvalidUnit>(())
//! ```

use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// Why a text is no size, rate or period; its message says what is accepted instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; accepted is {accepts}")]
pub struct InvalidUnit {
    why: &'static str,
    accepts: &'static str,
}

impl InvalidUnit {
    /// What is wrong, without the list of what is accepted.
    #[must_use]
    pub fn why(&self) -> &'static str {
        self.why
    }

    /// What is accepted, with examples.
    #[must_use]
    pub fn accepts(&self) -> &'static str {
        self.accepts
    }
}

const SECOND: u64 = 1;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The units of time, shared by rates and periods. Exactly these: `month`, which a lenient parser reads as
/// minutes (THR-01), is an error.
const TIME_UNITS: [(&str, u64); 10] = [
    ("s", SECOND),
    ("sec", SECOND),
    ("second", SECOND),
    ("m", MINUTE),
    ("min", MINUTE),
    ("minute", MINUTE),
    ("h", HOUR),
    ("hour", HOUR),
    ("d", DAY),
    ("day", DAY),
];

fn seconds_of(unit: &str) -> Option<u64> {
    TIME_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, seconds)| *seconds)
}

/// The largest unit that divides `seconds`, and how often it does.
fn largest_unit(seconds: u64) -> (u64, u64) {
    let unit = [DAY, HOUR, MINUTE].into_iter().find(|unit| seconds.is_multiple_of(*unit)).unwrap_or(SECOND);
    (seconds / unit, unit)
}

/// Splits `15min` into its digits and what follows them. Both parts may be empty.
fn split_number(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `None` stands for a number that does not fit; the caller has made sure that there are only digits.
fn number(digits: &str) -> Option<u64> {
    digits.parse().ok()
}

/// Words by which people try to switch a limit off.
fn means_endless(text: &str) -> bool {
    ["unlimited", "infinite", "infinity", "inf", "none", "never", "off", "no", "max", "-1"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
}

/// A number of bytes, at least 1.
///
/// Reads `1MiB`, `512KiB` or plain bytes such as `65536`, and prints in the largest unit that needs no
/// fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

impl ByteSize {
    /// What [`FromStr`] accepts, in words.
    pub const ACCEPTS: &str =
        "a size of at least one byte such as `1MiB`, `512KiB`, `2GiB`, or plain bytes such as `65536`";

    /// The largest size: what a signed 64-bit column can hold.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// A size of `bytes` bytes.
    ///
    /// # Errors
    /// If it is zero or above [`ByteSize::MAX`].
    pub const fn new(bytes: u64) -> Result<Self, InvalidUnit> {
        match bytes {
            0 => Err(Self::invalid("a size of zero would switch the limit off")),
            1..=Self::MAX_BYTES => Ok(Self(bytes)),
            _ => Err(Self::invalid("the size is too large")),
        }
    }

    const MAX_BYTES: u64 = Self::MAX.0;

    /// A size of `n` KiB, for constants.
    ///
    /// # Panics
    /// If it is zero or above [`ByteSize::MAX`].
    #[must_use]
    pub const fn kib(n: u64) -> Self {
        Self::constant(n, KIB)
    }

    /// A size of `n` MiB, for constants.
    ///
    /// # Panics
    /// If it is zero or above [`ByteSize::MAX`].
    #[must_use]
    pub const fn mib(n: u64) -> Self {
        Self::constant(n, MIB)
    }

    /// A size of `n` GiB, for constants.
    ///
    /// # Panics
    /// If it is zero or above [`ByteSize::MAX`].
    #[must_use]
    pub const fn gib(n: u64) -> Self {
        Self::constant(n, GIB)
    }

    const fn constant(n: u64, unit: u64) -> Self {
        match n.checked_mul(unit) {
            Some(bytes @ 1..=Self::MAX_BYTES) => Self(bytes),
            _ => panic!("a constant size is at least one byte and at most ByteSize::MAX"),
        }
    }

    /// The size in bytes.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    const fn invalid(why: &'static str) -> InvalidUnit {
        InvalidUnit { why, accepts: Self::ACCEPTS }
    }
}

impl FromStr for ByteSize {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if means_endless(text) {
            return Err(Self::invalid("a size cannot be unlimited"));
        }
        let (digits, unit) = split_number(text);
        if digits.is_empty() {
            return Err(Self::invalid("a size starts with a whole number"));
        }
        let unit = match unit {
            "" | "B" => 1,
            "KiB" => KIB,
            "MiB" => MIB,
            "GiB" => GIB,
            "TiB" => TIB,
            // `1MB` is 1,000,000 bytes to some and 1,048,576 to others.
            _ => return Err(Self::invalid("the unit is not one of B, KiB, MiB, GiB, TiB")),
        };
        let bytes = number(digits).and_then(|n| n.checked_mul(unit));
        Self::new(bytes.ok_or(Self::invalid("the size is too large"))?)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
        match units.iter().find(|(_, unit)| self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrBytes;
        impl de::Visitor<'_> for TextOrBytes {
            type Value = ByteSize;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(ByteSize::ACCEPTS)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<ByteSize, E> {
                ByteSize::new(bytes).map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<ByteSize, E> {
                let bytes = u64::try_from(bytes)
                    .map_err(|_| E::custom(ByteSize::invalid("a size is not negative")))?;
                self.visit_u64(bytes)
            }
        }
        deserializer.deserialize_any(TextOrBytes)
    }
}

/// So many requests in a window of time, both at least 1.
///
/// Reads `N/unit` or `N/<k>unit`, such as `60/min` and `10/15min`, and prints the same form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    limit: NonZeroU32,
    seconds: NonZeroU32,
}

impl Rate {
    /// What [`FromStr`] accepts, in words.
    pub const ACCEPTS: &str = "a rate `N/unit` or `N/<k>unit` such as `60/min` or `10/15min`, N and k \
         at least 1, the unit one of s, sec, second, m, min, minute, h, hour, d, day";

    /// The longest window: 365 days.
    pub const MAX_WINDOW: Duration = Duration::from_secs(365 * DAY);

    /// The highest rate: one request a microsecond. Above it the interval between two requests would round to
    /// nothing in integer arithmetic, and the limit would be none (THR-32).
    pub const MAX_PER_SECOND: u32 = 1_000_000;

    /// `limit` requests in each `window`, which is in whole seconds.
    ///
    /// # Errors
    /// If either is zero, the window is no whole number of seconds or longer than [`Rate::MAX_WINDOW`], or
    /// the rate is above [`Rate::MAX_PER_SECOND`].
    pub const fn new(limit: u32, window: Duration) -> Result<Self, InvalidUnit> {
        if window.subsec_nanos() != 0 {
            return Err(Self::invalid("the window is not in whole seconds"));
        }
        Self::of(limit as u64, window.as_secs())
    }

    /// `limit` requests a second, for constants.
    ///
    /// # Panics
    /// If `limit` is zero or above [`Rate::MAX_PER_SECOND`].
    #[must_use]
    pub const fn per_second(limit: u32) -> Self {
        Self::constant(limit, SECOND)
    }

    /// `limit` requests a minute, for constants.
    ///
    /// # Panics
    /// If `limit` is zero or the rate is above [`Rate::MAX_PER_SECOND`].
    #[must_use]
    pub const fn per_minute(limit: u32) -> Self {
        Self::constant(limit, MINUTE)
    }

    /// `limit` requests an hour, for constants.
    ///
    /// # Panics
    /// If `limit` is zero or the rate is above [`Rate::MAX_PER_SECOND`].
    #[must_use]
    pub const fn per_hour(limit: u32) -> Self {
        Self::constant(limit, HOUR)
    }

    /// `limit` requests a day, for constants.
    ///
    /// # Panics
    /// If `limit` is zero.
    #[must_use]
    pub const fn per_day(limit: u32) -> Self {
        Self::constant(limit, DAY)
    }

    const fn constant(limit: u32, seconds: u64) -> Self {
        match Self::of(limit as u64, seconds) {
            Ok(rate) => rate,
            Err(_) => panic!("a constant rate is at least 1 and at most Rate::MAX_PER_SECOND a second"),
        }
    }

    const fn of(limit: u64, seconds: u64) -> Result<Self, InvalidUnit> {
        if limit == 0 {
            return Err(Self::invalid("a rate of zero would refuse everything"));
        }
        if seconds == 0 {
            return Err(Self::invalid("a window of zero would switch the limit off"));
        }
        if seconds > Self::MAX_WINDOW.as_secs() {
            return Err(Self::invalid("the window is longer than 365 days"));
        }
        if limit > u32::MAX as u64 || limit.div_ceil(seconds) > Self::MAX_PER_SECOND as u64 {
            return Err(Self::invalid("the rate is above 1000000 a second, which is no limit"));
        }
        match (NonZeroU32::new(limit as u32), NonZeroU32::new(seconds as u32)) {
            (Some(limit), Some(seconds)) => Ok(Self { limit, seconds }),
            _ => panic!("both were checked to be above zero and to fit"),
        }
    }

    /// How many requests a window admits.
    #[must_use]
    pub const fn limit(self) -> NonZeroU32 {
        self.limit
    }

    /// How long the window is: whole seconds, at least one.
    #[must_use]
    pub const fn window(self) -> Duration {
        Duration::from_secs(self.seconds.get() as u64)
    }

    const fn invalid(why: &'static str) -> InvalidUnit {
        InvalidUnit { why, accepts: Self::ACCEPTS }
    }
}

impl FromStr for Rate {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if means_endless(text) {
            return Err(Self::invalid("a rate cannot be unlimited"));
        }
        let (limit, window) = text.split_once('/').ok_or(Self::invalid("a rate has a slash"))?;
        let (digits, rest) = split_number(limit);
        if digits.is_empty() || !rest.is_empty() {
            return Err(Self::invalid("before the slash stands a whole number"));
        }
        let (times, unit) = split_number(window);
        let unit = seconds_of(unit).ok_or(Self::invalid("after the slash stands a unit of time"))?;
        let times = if times.is_empty() { Some(1) } else { number(times) };
        let seconds = times.and_then(|k| k.checked_mul(unit)).unwrap_or(u64::MAX);
        Self::of(number(digits).unwrap_or(u64::MAX), seconds)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (times, unit) = largest_unit(self.seconds.get().into());
        let unit = match unit {
            DAY => "day",
            HOUR => "hour",
            MINUTE => "min",
            _ => "s",
        };
        match times {
            1 => write!(f, "{}/{unit}", self.limit),
            _ => write!(f, "{}/{times}{unit}", self.limit),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText { expecting: Self::ACCEPTS, parse: str::parse })
    }
}

/// A length of time in whole seconds, at least one: a time-out or a lifetime.
///
/// Reads `30s`, `15m`, `12h`, `90d`, and prints in the largest unit that needs no fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Period(u64);

impl Period {
    /// What [`FromStr`] accepts, in words.
    pub const ACCEPTS: &str = "a length of time of at least one second such as `30s`, `15m`, `12h` or `90d`";

    /// The longest period: 100 years, so that adding one to a date never overflows.
    pub const MAX: Self = Self(36_500 * DAY);

    /// A period of `seconds` seconds.
    ///
    /// # Errors
    /// If it is zero or above [`Period::MAX`].
    pub const fn from_secs(seconds: u64) -> Result<Self, InvalidUnit> {
        match seconds {
            0 => Err(Self::invalid("a length of zero would switch it off")),
            1..=Self::MAX_SECONDS => Ok(Self(seconds)),
            _ => Err(Self::invalid("the length of time is above 100 years, which is no limit")),
        }
    }

    const MAX_SECONDS: u64 = Self::MAX.0;

    /// The period as the standard library's type.
    #[must_use]
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0)
    }

    /// The period in seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0
    }

    const fn invalid(why: &'static str) -> InvalidUnit {
        InvalidUnit { why, accepts: Self::ACCEPTS }
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.as_duration()
    }
}

impl FromStr for Period {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        if means_endless(text) {
            return Err(Self::invalid("a length of time cannot be unlimited"));
        }
        let (digits, unit) = split_number(text);
        if digits.is_empty() {
            return Err(Self::invalid("a length of time starts with a whole number"));
        }
        if unit.is_empty() {
            return Err(Self::invalid("the unit is missing"));
        }
        let unit = seconds_of(unit).ok_or(Self::invalid("the unit is not one of s, m, h, d"))?;
        Self::from_secs(number(digits).and_then(|n| n.checked_mul(unit)).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (times, unit) = largest_unit(self.0);
        let unit = match unit {
            DAY => "d",
            HOUR => "h",
            MINUTE => "m",
            _ => "s",
        };
        write!(f, "{times}{unit}")
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(FromText { expecting: Self::ACCEPTS, parse: str::parse })
    }
}

/// Reads a value from text only: a bare number says no unit, and guessing one would be guessing a limit.
struct FromText<T> {
    expecting: &'static str,
    parse: fn(&str) -> Result<T, InvalidUnit>,
}

impl<T> de::Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<u64, &'static str> {
        text.parse::<ByteSize>().map(ByteSize::as_u64).map_err(|e| e.why())
    }

    fn rate(text: &str) -> Result<(u32, u64), &'static str> {
        text.parse::<Rate>().map(|r| (r.limit().get(), r.window().as_secs())).map_err(|e| e.why())
    }

    fn period(text: &str) -> Result<u64, &'static str> {
        text.parse::<Period>().map(Period::as_secs).map_err(|e| e.why())
    }

    /// Texts that none of the three may accept.
    const NONSENSE: [&str; 22] = [
        "",
        " ",
        "unlimited",
        "Unlimited",
        "none",
        "off",
        "inf",
        "-1",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1e3",
        "1.5MiB",
        "１MiB",
        "0x10",
        "1_000",
        "s",
        "MiB",
        "/min",
        "\0",
    ];

    #[test]
    fn sizes_read_binary_units_and_plain_bytes() {
        assert_eq!(size("1"), Ok(1));
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("10B"), Ok(10));
        assert_eq!(size("512KiB"), Ok(524_288));
        assert_eq!(size("1MiB"), Ok(1_048_576));
        assert_eq!(size("1GiB"), Ok(1_073_741_824));
        assert_eq!(size("2TiB"), Ok(2_199_023_255_552));
        assert_eq!(size("9223372036854775807"), Ok(i64::MAX as u64));
    }

    #[test]
    fn sizes_of_zero_without_end_or_of_an_ambiguous_unit_are_errors() {
        assert_eq!(size("0"), Err("a size of zero would switch the limit off"));
        assert_eq!(size("0MiB"), Err("a size of zero would switch the limit off"));
        assert_eq!(size("unlimited"), Err("a size cannot be unlimited"));
        assert_eq!(size("9223372036854775808"), Err("the size is too large"));
        assert_eq!(size("99999999999999999999999999"), Err("the size is too large"));
        assert_eq!(size("9999999999TiB"), Err("the size is too large"));
        for unit in ["1MB", "1M", "1mib", "1kb", "1KIB", "1Mib", "1PiB", "1MiBs"] {
            assert_eq!(size(unit), Err("the unit is not one of B, KiB, MiB, GiB, TiB"), "{unit}");
        }
        for text in NONSENSE {
            assert!(size(text).is_err(), "{text:?}");
        }
    }

    // THR-02
    #[test]
    fn rates_read_every_unit_and_a_multiple_of_it() {
        for (unit, seconds) in [
            ("s", 1),
            ("sec", 1),
            ("second", 1),
            ("m", 60),
            ("min", 60),
            ("minute", 60),
            ("h", 3_600),
            ("hour", 3_600),
            ("d", 86_400),
            ("day", 86_400),
        ] {
            assert_eq!(rate(&format!("7/{unit}")), Ok((7, seconds)), "{unit}");
            assert_eq!(rate(&format!("7/15{unit}")), Ok((7, 15 * seconds)), "{unit}");
        }
        assert_eq!(rate("1000000/s"), Ok((1_000_000, 1)));
        assert_eq!(rate("1/365day"), Ok((1, 365 * 86_400)));
    }

    // THR-01, THR-02: what Django REST Framework reads as something else is an error here.
    #[test]
    fn rates_that_are_zero_endless_or_guessable_are_errors() {
        for unit in
            ["month", "decade", "mins", "seconds", "S", "Min", "", "min ", "ms", "minutes", "week", "y"]
        {
            assert_eq!(rate(&format!("5/{unit}")), Err("after the slash stands a unit of time"), "{unit}");
        }
        assert_eq!(rate("0/min"), Err("a rate of zero would refuse everything"));
        assert_eq!(rate("00/min"), Err("a rate of zero would refuse everything"));
        assert_eq!(rate("5/0min"), Err("a window of zero would switch the limit off"));
        assert_eq!(rate("5"), Err("a rate has a slash"));
        assert_eq!(rate("unlimited"), Err("a rate cannot be unlimited"));
        for count in ["", "unlimited", "-5", "5.5", "5 ", "５", "1e3"] {
            assert_eq!(
                rate(&format!("{count}/min")),
                Err("before the slash stands a whole number"),
                "{count}"
            );
        }
        assert_eq!(rate("5/min/min"), Err("after the slash stands a unit of time"));
        for limit in ["1000001/s", "4294967296/day", "99999999999999999999999/min"] {
            assert_eq!(rate(limit), Err("the rate is above 1000000 a second, which is no limit"), "{limit}");
        }
        for window in ["366d", "99999999999999999999999min", "9999999999999999999d"] {
            assert_eq!(rate(&format!("5/{window}")), Err("the window is longer than 365 days"), "{window}");
        }
        for text in NONSENSE {
            assert!(rate(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_rate_can_be_made_from_its_parts() {
        assert_eq!(Rate::new(10, Duration::from_secs(900)), "10/15min".parse());
        assert_eq!(Rate::per_minute(60).to_string(), "60/min");
        assert_eq!(Rate::per_second(1).window(), Duration::from_secs(1));
        assert!(Rate::new(0, Duration::from_secs(1)).is_err());
        assert!(Rate::new(1, Duration::ZERO).is_err());
        assert!(Rate::new(1, Duration::from_millis(1_500)).is_err());
    }

    #[test]
    fn periods_read_seconds_minutes_hours_and_days() {
        assert_eq!(period("30s"), Ok(30));
        assert_eq!(period("15m"), Ok(900));
        assert_eq!(period("15min"), Ok(900));
        assert_eq!(period("12h"), Ok(43_200));
        assert_eq!(period("90d"), Ok(7_776_000));
        assert_eq!(period("36500d"), Ok(Period::MAX.as_secs()));
    }

    #[test]
    fn periods_of_zero_without_a_unit_or_without_end_are_errors() {
        assert_eq!(period("0s"), Err("a length of zero would switch it off"));
        assert_eq!(period("30"), Err("the unit is missing"));
        assert_eq!(period("never"), Err("a length of time cannot be unlimited"));
        for unit in ["ms", "M", "H", "w", "y", "months", "h30m"] {
            assert_eq!(period(&format!("1{unit}")), Err("the unit is not one of s, m, h, d"), "{unit}");
        }
        for length in ["36501d", "99999999999999999999s", "18446744073709551615d"] {
            assert_eq!(
                period(length),
                Err("the length of time is above 100 years, which is no limit"),
                "{length}"
            );
        }
        for text in NONSENSE {
            assert!(period(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same_value() {
        for (text, printed) in
            [("1024KiB", "1MiB"), ("1000", "1000"), ("1536", "1536"), ("1536KiB", "1536KiB")]
        {
            let value: ByteSize = text.parse().unwrap();
            assert_eq!(value.to_string(), printed);
            assert_eq!(printed.parse(), Ok(value));
        }
        for (text, printed) in
            [("60/60s", "60/min"), ("10/900s", "10/15min"), ("5/90s", "5/90s"), ("1/24h", "1/day")]
        {
            let value: Rate = text.parse().unwrap();
            assert_eq!(value.to_string(), printed);
            assert_eq!(printed.parse(), Ok(value));
        }
        for (text, printed) in [("3600s", "1h"), ("90s", "90s"), ("48h", "2d"), ("36h", "36h")] {
            let value: Period = text.parse().unwrap();
            assert_eq!(value.to_string(), printed);
            assert_eq!(printed.parse(), Ok(value));
        }
    }

    #[test]
    fn an_error_says_what_is_wrong_and_what_is_accepted() {
        let error = "5/month".parse::<Rate>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "after the slash stands a unit of time; accepted is a rate `N/unit` or `N/<k>unit` such as \
             `60/min` or `10/15min`, N and k at least 1, the unit one of s, sec, second, m, min, minute, h, \
             hour, d, day"
        );
    }

    #[test]
    fn values_deserialise_from_text_and_only_sizes_from_numbers() {
        let size: ByteSize = serde_json::from_str("65536").unwrap();
        assert_eq!(size, ByteSize::kib(64));
        assert_eq!(serde_json::from_str::<ByteSize>("\"64KiB\"").unwrap(), size);
        for bad in ["0", "-1", "1.5", "true", "\"0\"", "null", "[]"] {
            assert!(serde_json::from_str::<ByteSize>(bad).is_err(), "{bad}");
        }
        assert_eq!(serde_json::from_str::<Rate>("\"60/min\"").unwrap(), Rate::per_minute(60));
        assert!(serde_json::from_str::<Rate>("60").is_err());
        assert_eq!(serde_json::from_str::<Period>("\"1m\"").unwrap().as_duration(), Duration::from_secs(60));
        let error = serde_json::from_str::<Period>("60").unwrap_err().to_string();
        assert!(error.contains("such as `30s`"), "{error}");
    }
}
