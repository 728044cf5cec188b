//! Times as the database keeps them and as JSON shows them.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Microseconds since the Unix epoch; `2026-11-24T04:32:26.000125Z` in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Micros(pub i64);

const PER_SECOND: i64 = 1_000_000;
const PER_DAY: i64 = 86_400 * PER_SECOND;

impl Micros {
    /// The current time.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
        Self(i64::try_from(since.as_micros()).expect("the clock is before the year 294247"))
    }

    fn write(self, text: &mut [u8; 27]) -> &str {
        let (days, in_day) = (self.0.div_euclid(PER_DAY), self.0.rem_euclid(PER_DAY));
        let (year, month, day) = civil(days);
        let (seconds, micros) = (in_day / PER_SECOND, in_day % PER_SECOND);
        *text = *b"0000-00-00T00:00:00.000000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], day);
        put(&mut text[11..13], seconds / 3600);
        put(&mut text[14..16], seconds / 60 % 60);
        put(&mut text[17..19], seconds % 60);
        put(&mut text[20..26], micros);
        std::str::from_utf8(text).expect("ASCII digits are UTF-8")
    }

    /// Reads `YYYY-MM-DDTHH:MM:SS[.ffffff]Z`.
    fn read(text: &str) -> Option<Self> {
        let (date_time, fraction) = match text.strip_suffix('Z')?.split_once('.') {
            Some((whole, fraction)) if (1..=6).contains(&fraction.len()) => (whole.as_bytes(), fraction),
            Some(_) => return None,
            None => (text.strip_suffix('Z')?.as_bytes(), "0"),
        };
        let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
        if date_time.len() != 19 || marks.iter().any(|&(at, mark)| date_time[at] != mark) {
            return None;
        }
        let number = |from: usize, to: usize| digits(&date_time[from..to]);
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        let days = days_from_civil(year, month, day);
        // A date that does not come back as itself is not on the calendar.
        if civil(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        let micros = digits(fraction.as_bytes())? * 10_i64.pow(6 - u32::try_from(fraction.len()).ok()?);
        Some(Self(days * PER_DAY + (hour * 3600 + minute * 60 + second) * PER_SECOND + micros))
    }
}

fn put(place: &mut [u8], mut number: i64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |sum, c| c.is_ascii_digit().then(|| sum * 10 + i64::from(c - b'0')))
}

/// The proleptic Gregorian date of a day number (Howard Hinnant, "chrono-compatible low-level date algorithms").
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day number of a proleptic Gregorian date, the inverse of [`civil`].
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

impl Serialize for Micros {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.write(&mut [0; 27]))
    }
}

impl<'de> Deserialize<'de> for Micros {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Micros;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an RFC 3339 time in UTC, with Z")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Micros, E> {
                Micros::read(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::Micros;

    #[test]
    fn times_come_back_as_they_went() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
            (1_795_494_746_125_000, "2026-11-24T04:32:26.125000Z"),
            (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
        ] {
            assert_eq!(Micros(micros).write(&mut [0; 27]), text);
            assert_eq!(Micros::read(text), Some(Micros(micros)));
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Z",
            "2026-02-30T00:00:00Z",
            "2026-11-24T24:00:00Z",
            "2026-11-24T04:32:26+01:00",
            "2026-11-24 04:32:26Z",
            "2026-11-24T04:32:26.Z",
            "2026-1é-24T04:32:26Z",
        ] {
            assert_eq!(Micros::read(text), None, "{text}");
        }
    }
}
