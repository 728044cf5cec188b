//! How one value is read, from text or from TOML, and how it is shown.
use std::{
    borrow::Cow,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use bailiwick::{
    clock::Timestamp,
    units::{ByteSize, Period, Rate},
};

/// A type that a setting can have.
///
/// Text is the common form: defaults in the table, environment variables and secret files are all read by
/// [`from_text`](Setting::from_text), and so is a TOML string. Errors say only what is wrong; what is
/// accepted is said once, by [`accepts`](Setting::accepts).
pub trait Setting: Sized {
    /// Whether the value must not be shown. Then it can also come from a file, by the key `<key>_file`.
    const SECRET: bool = false;

    /// What is accepted, in words and with an example.
    fn accepts() -> Cow<'static, str>;

    /// Reads the value from text. Relative paths start at `base`.
    ///
    /// # Errors
    /// What is wrong with it, never repeating the text.
    fn from_text(text: &str, base: &Path) -> Result<Self, String>;

    /// Reads the value from TOML.
    ///
    /// # Errors
    /// What is wrong with it, never repeating the value.
    fn from_toml(value: &DeValue<'_>, base: &Path) -> Result<Self, String> {
        match value {
            DeValue::String(text) => Self::from_text(text, base),
            other => Err(format!("this is {}, not text in quotes", name_of_type(other))),
        }
    }

    /// The value as `config show` prints it; a secret as `[redacted]`, an optional one that is unset as null.
    fn show(&self) -> Value;

    /// Whether this very value is a secret, or has one in it: of a type that can hold secrets, not every value does.
    fn holds_secret(&self) -> bool {
        Self::SECRET
    }
}

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "[redacted]";

/// Names a TOML type in an error.
pub(super) fn name_of_type(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A TOML value as a person would recognise it in an error message.
pub(super) fn as_given(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(truth) => truth.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(entries) => {
            let entries: Vec<_> = entries.iter().map(|entry| as_given(entry.get_ref())).collect();
            format!("[{}]", entries.join(", "))
        }
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// A setting that may be absent: unset, or empty text, so that an environment variable can take a value away.
impl<T: Setting> Setting for Option<T> {
    const SECRET: bool = T::SECRET;

    fn accepts() -> Cow<'static, str> {
        T::accepts()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::from_text(text, base).map(Some) }
    }

    fn from_toml(value: &DeValue<'_>, base: &Path) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => Self::from_text(text, base),
            None => T::from_toml(value, base).map(Some),
        }
    }

    fn show(&self) -> Value {
        self.as_ref().map_or(Value::Null, T::show)
    }

    fn holds_secret(&self) -> bool {
        self.as_ref().is_some_and(T::holds_secret)
    }
}

/// A list: a TOML array, or text with commas between the entries, or text that is an array. An entry that stands there
/// twice is a slip: another one was meant.
impl<T: Setting + PartialEq> Setting for Vec<T> {
    const SECRET: bool = T::SECRET;

    fn accepts() -> Cow<'static, str> {
        format!("a list, each entry {}", T::accepts()).into()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        let text = text.trim();
        if text.starts_with('[') && text.ends_with(']') && !is_bracketed_address(text) {
            // Every JSON array of scalars is a TOML array as well.
            let document = format!("list = {text}");
            let table = DeTable::parse(&document)
                .map_err(|_| "the text begins like a list but cannot be read".to_owned())?;
            let list = table.get_ref().get("list").ok_or("the text is no list")?;
            return Self::from_toml(list.get_ref(), base);
        }
        let entries = text.split([',', '\n']).map(str::trim).filter(|entry| !entry.is_empty());
        distinct(entries.map(|entry| T::from_text(entry, base)))
    }

    fn from_toml(value: &DeValue<'_>, base: &Path) -> Result<Self, String> {
        let DeValue::Array(entries) = value else {
            return Err(format!("this is {}, not a list in brackets", name_of_type(value)));
        };
        distinct(entries.iter().map(|entry| T::from_toml(entry.get_ref(), base)))
    }

    fn show(&self) -> Value {
        self.iter().map(T::show).collect()
    }

    fn holds_secret(&self) -> bool {
        self.iter().any(T::holds_secret)
    }
}

/// Collects the entries of a list, of which no two are the same.
fn distinct<T: PartialEq>(entries: impl Iterator<Item = Result<T, String>>) -> Result<Vec<T>, String> {
    let mut list = Vec::new();
    for (at, entry) in entries.enumerate() {
        let in_entry = |why: &str| format!("entry {}: {why}", at + 1);
        let entry = entry.map_err(|why| in_entry(&why))?;
        if let Some(first) = list.iter().position(|other| *other == entry) {
            return Err(in_entry(&format!("this is the same as entry {}", first + 1)));
        }
        list.push(entry);
    }
    Ok(list)
}

/// `[::1]` alone is a host, not a list.
fn is_bracketed_address(text: &str) -> bool {
    text[1..text.len() - 1].parse::<std::net::Ipv6Addr>().is_ok()
}

impl Setting for bool {
    fn accepts() -> Cow<'static, str> {
        "`true` or `false`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map_err(|_| "this is neither `true` nor `false`".to_owned())
    }

    fn from_toml(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        value
            .as_bool()
            .ok_or_else(|| format!("this is {}, not a boolean without quotes", name_of_type(value)))
    }

    fn show(&self) -> Value {
        (*self).into()
    }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whole<const MIN: u32, const MAX: u32>(u32);

impl<const MIN: u32, const MAX: u32> Whole<MIN, MAX> {
    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    fn new(number: u64) -> Result<Self, String> {
        match u32::try_from(number) {
            Ok(number) if (MIN..=MAX).contains(&number) => Ok(Self(number)),
            _ if number < MIN.into() => Err(format!("the number is below {MIN}")),
            _ => Err(format!("the number is above {MAX}")),
        }
    }
}

impl<const MIN: u32, const MAX: u32> Setting for Whole<MIN, MAX> {
    fn accepts() -> Cow<'static, str> {
        format!("a whole number from {MIN} to {MAX}").into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("this is not a whole number".to_owned());
        }
        Self::new(text.parse().unwrap_or(u64::MAX))
    }

    fn from_toml(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let DeValue::Integer(number) = value else {
            return Err(format!("this is {}, not a whole number without quotes", name_of_type(value)));
        };
        if number.as_str().starts_with('-') {
            return Err("the number is negative".to_owned());
        }
        // What does not fit 64 bits is above every maximum.
        Self::new(u64::from_str_radix(number.as_str(), number.radix()).unwrap_or(u64::MAX))
    }

    fn show(&self) -> Value {
        self.0.into()
    }
}

/// Implements [`Setting`] for a type of `bailiwick::units`, which say in their own words what they
/// accept.
macro_rules! unit_setting {
    ($($unit:ident),*) => {$(
        impl Setting for $unit {
            fn accepts() -> Cow<'static, str> {
                $unit::ACCEPTS.into()
            }
            fn from_text(text: &str, _: &Path) -> Result<Self, String> {
                text.parse::<$unit>().map_err(|error| error.why().to_owned())
            }
            fn show(&self) -> Value {
                self.to_string().into()
            }
        }
    )*};
}
unit_setting!(Rate, Period);

impl Setting for ByteSize {
    fn accepts() -> Cow<'static, str> {
        Self::ACCEPTS.into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse::<Self>().map_err(|error| error.why().to_owned())
    }

    fn from_toml(value: &DeValue<'_>, base: &Path) -> Result<Self, String> {
        match value {
            // Plain bytes need no quotes; the text of a decimal TOML integer is digits, with a sign if
            // negative.
            DeValue::Integer(bytes) if bytes.radix() == 10 => Self::from_text(bytes.as_str(), base),
            DeValue::String(text) => Self::from_text(text, base),
            other => Err(format!("this is {}, not a size", name_of_type(other))),
        }
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }
}

impl Setting for std::net::SocketAddr {
    fn accepts() -> Cow<'static, str> {
        "an IP address with a port, such as `127.0.0.1:8000` or `[::1]:8000`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map_err(|_| "this is not an IP address with a port".to_owned())
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }
}

impl Setting for PathBuf {
    fn accepts() -> Cow<'static, str> {
        "a path; a relative one starts at the directory of the settings file".into()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        if text.is_empty() || text.contains('\0') {
            return Err("this is not a path".to_owned());
        }
        Ok(from_base(base, text))
    }

    fn show(&self) -> Value {
        self.to_string_lossy().into()
    }
}

/// `path` as seen from `base`; the `.` components that a join leaves are dropped, so that messages read well.
pub(super) fn from_base(base: &Path, path: &str) -> PathBuf {
    base.join(path).components().filter(|part| !matches!(part, Component::CurDir)).collect()
}

impl Setting for Timestamp {
    fn accepts() -> Cow<'static, str> {
        "a time in RFC 3339 such as `2027-01-31T09:00:00Z`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map_err(|_| "this is not a time in RFC 3339".to_owned())
    }

    fn from_toml(value: &DeValue<'_>, base: &Path) -> Result<Self, String> {
        match value {
            DeValue::Datetime(time) => Self::from_text(&time.to_string(), base),
            DeValue::String(text) => Self::from_text(text, base),
            other => Err(format!("this is {}, not a time", name_of_type(other))),
        }
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml<T: Setting>(value: &str) -> Result<T, String> {
        let document = format!("key = {value}");
        T::from_toml(DeTable::parse(&document).unwrap().get_ref()["key"].get_ref(), Path::new(""))
    }

    fn text<T: Setting>(text: &str) -> Result<T, String> {
        T::from_text(text, Path::new(""))
    }

    type Small = Whole<2, 5>;

    #[test]
    fn whole_numbers_keep_to_their_range_and_notation() {
        assert_eq!(toml::<Small>("2").unwrap().get(), 2);
        assert_eq!(toml::<Small>("0x5").unwrap().get(), 5);
        assert_eq!(text::<Small>("3").unwrap().get(), 3);
        assert_eq!(toml::<Small>("1"), Err("the number is below 2".to_owned()));
        assert_eq!(toml::<Small>("-3"), Err("the number is negative".to_owned()));
        assert_eq!(toml::<Small>("6"), Err("the number is above 5".to_owned()));
        assert_eq!(
            toml::<Small>("99999999999999999999999999999999999999999999"),
            Err("the number is above 5".to_owned())
        );
        for wrong in ["\"3\"", "3.0", "true", "[3]"] {
            assert!(toml::<Small>(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "+3", "3 ", "３", "0x3", "1e1", "three"] {
            assert_eq!(text::<Small>(wrong), Err("this is not a whole number".to_owned()), "{wrong}");
        }
    }

    #[test]
    fn lists_come_from_arrays_commas_or_lines() {
        let expected = [2, 3].map(Whole::<2, 5>);
        assert_eq!(toml::<Vec<Small>>("[2, 3]").unwrap(), expected);
        for list in ["2,3", " 2 , 3 ,", "[2,3]", "[2, 3]", "2\n3\n"] {
            assert_eq!(text::<Vec<Small>>(list).unwrap(), expected, "{list}");
        }
        assert!(text::<Vec<Small>>("").unwrap().is_empty());
        assert!(text::<Vec<Small>>("[]").unwrap().is_empty());
        assert_eq!(text::<Vec<Small>>("2,9"), Err("entry 2: the number is above 5".to_owned()));
        for list in ["2,3,2", "[2, 3, 2]"] {
            assert_eq!(text::<Vec<Small>>(list), Err("entry 3: this is the same as entry 1".to_owned()));
        }
        assert_eq!(
            toml::<Vec<Small>>("[2, \"x\"]").unwrap_err(),
            "entry 2: this is text, not a whole number without quotes"
        );
        assert_eq!(toml::<Vec<Small>>("2").unwrap_err(), "this is a number, not a list in brackets");
        assert_eq!(text::<Vec<Small>>("[2,").unwrap_err(), "entry 1: this is not a whole number");
        assert_eq!(
            text::<Vec<Small>>("[2,,]").unwrap_err(),
            "the text begins like a list but cannot be read"
        );
    }

    #[test]
    fn an_empty_text_unsets_an_optional_value() {
        assert_eq!(text::<Option<Small>>("").unwrap(), None);
        assert_eq!(toml::<Option<Small>>("\"\"").unwrap(), None);
        assert_eq!(toml::<Option<Small>>("4").unwrap(), Some(Whole(4)));
        assert_eq!(text::<Option<Small>>("").unwrap().show(), Value::Null);
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named_by_its_type() {
        assert_eq!(toml::<bool>("\"true\"").unwrap_err(), "this is text, not a boolean without quotes");
        assert_eq!(toml::<Period>("30").unwrap_err(), "this is a number, not text in quotes");
        assert_eq!(toml::<ByteSize>("1.5").unwrap_err(), "this is a number, not a size");
        assert_eq!(toml::<ByteSize>("0").unwrap_err(), "a size of zero would switch the limit off");
        assert_eq!(toml::<ByteSize>("65536").unwrap(), ByteSize::kib(64));
        assert!(toml::<ByteSize>("-1").is_err());
    }

    #[test]
    fn relative_paths_start_at_the_base() {
        let read = |text| PathBuf::from_text(text, Path::new("/etc/bailiwick"));
        assert_eq!(read("master.key").unwrap(), Path::new("/etc/bailiwick/master.key"));
        assert_eq!(read("./master.key").unwrap(), Path::new("/etc/bailiwick/master.key"));
        assert_eq!(read("/run/secrets/key").unwrap(), Path::new("/run/secrets/key"));
        assert!(read("").is_err());
        assert!(read("a\0b").is_err());
    }

    #[test]
    fn times_may_stand_with_or_without_quotes() {
        let time: Timestamp = "2027-01-31T09:00:00Z".parse().unwrap();
        assert_eq!(toml::<Timestamp>("2027-01-31T09:00:00Z").unwrap(), time);
        assert_eq!(toml::<Timestamp>("\"2027-01-31T10:00:00+01:00\"").unwrap(), time);
        assert!(toml::<Timestamp>("2027-01-31").is_err());
    }
}
