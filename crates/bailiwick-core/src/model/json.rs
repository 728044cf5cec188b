//! Reads JSON strictly: no duplicate keys, no deep nesting, nothing after the value (LIM-07).
//!
//! `serde_json::Value` keeps the last of two equal keys and nests 128 deep; a body that two parsers read
//! differently is a body that two checks decide differently.
use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
#[doc(hidden)]
pub use serde::{Serialize, Serializer, ser::SerializeStruct};

/// A JSON value that keeps its members in order, and borrows what needs no unescaping.
#[derive(Clone, Debug, PartialEq)]
pub enum Json<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number.
    Number(serde_json::Number),
    /// A string.
    String(Cow<'a, str>),
    /// An array.
    Array(Vec<Json<'a>>),
    /// An object; no name occurs twice.
    Object(Vec<(Cow<'a, str>, Json<'a>)>),
}

impl Json<'_> {
    /// What it is, as an error message calls it.
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::String(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }
}

/// The bytes are no JSON that can be accepted.
#[derive(Debug, thiserror::Error)]
#[error("the body is not valid JSON: {0}")]
pub struct Malformed(#[source] serde_json::Error);

/// Reads one JSON value that nests at most `depth` deep: `[[1]]` is 2 deep.
///
/// # Errors
/// If the bytes are no UTF-8, no JSON, nest deeper, name a member twice, or go on after the value.
pub fn parse(bytes: &[u8], depth: usize) -> Result<Json<'_>, Malformed> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Within(depth).deserialize(&mut deserializer).map_err(Malformed)?;
    deserializer.end().map_err(Malformed)?;
    Ok(value)
}

/// How many more levels may open.
#[derive(Clone, Copy)]
struct Within(usize);

impl Within {
    fn one_deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        self.0.checked_sub(1).map(Self).ok_or_else(|| E::custom("nested too deeply"))
    }
}

impl<'de> DeserializeSeed<'de> for Within {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Json<'de>, E> {
        serde_json::Number::from_f64(value).map(Json::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json<'de>, E> {
        Ok(Json::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let within = self.one_deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(within)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Json<'de>, A::Error> {
        let within = self.one_deeper()?;
        let mut members: Vec<(Cow<'de, str>, Json<'de>)> = Vec::new();
        // A set only once a scan would cost more than it: an object of a million members must not cost 10^12.
        let mut seen = std::collections::HashSet::new();
        while let Some(Name(name)) = access.next_key()? {
            let twice = if members.len() < 16 {
                members.iter().any(|(other, _)| *other == name)
            } else {
                if seen.is_empty() {
                    seen.extend(members.iter().map(|(other, _)| other.clone()));
                }
                !seen.insert(name.clone())
            };
            if twice {
                return Err(A::Error::custom("a member is named twice"));
            }
            let value = access.next_value_seed(within)?;
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

/// A member's name, borrowed where it needs no unescaping.
struct Name<'a>(Cow<'a, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a member name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}

/// Why a member's value does not fit: a permanent code, and what would fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The permanent code, for example `too-long`.
    pub code: &'static str,
    /// What is accepted.
    pub detail: Cow<'static, str>,
}

impl Mismatch {
    /// A mismatch with this code and text.
    pub fn new(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { code, detail: detail.into() }
    }

    /// The value is of another JSON type than `expected`.
    pub fn wrong_type(expected: &'static str, value: &Json<'_>) -> Self {
        match value {
            Json::Null => Self::new("null", format!("must be {expected}, not null")),
            other => Self::new("invalid-type", format!("must be {expected}, not {}", other.type_name())),
        }
    }
}

/// Reads one of `names`.
///
/// # Errors
/// If the value is no string or none of the names.
#[doc(hidden)]
pub fn choice<T>(
    value: &Json<'_>,
    names: &[&str],
    from_name: impl FnOnce(&str) -> Option<T>,
) -> Result<T, Mismatch> {
    match value {
        Json::String(name) => from_name(name)
            .ok_or_else(|| Mismatch::new("invalid-choice", format!("must be one of {}", names.join(", ")))),
        other => Err(Mismatch::wrong_type("a string", other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LIM-07
    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for wrong in [
            &b"{\"a\":1,\"a\":2}"[..],
            b"{\"a\":1,\"\\u0061\":2}",
            b"{\"x\":{\"a\":1,\"a\":1}}",
            b"{} {}",
            b"{}x",
            b"",
            b" ",
            b"{",
            b"\xEF\xBB\xBF{}",
            b"\"\xFF\"",
            b"\"\\ud800\"",
            b"{'a':1}",
            b"[1,]",
            b"NaN",
            b"1e999",
            b"\"a\x00b\"",
        ] {
            assert!(parse(wrong, 32).is_err(), "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn nesting_is_limited_exactly() {
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(32).as_bytes(), 32).is_ok());
        assert!(parse(nested(33).as_bytes(), 32).is_err());
        assert!(parse(nested(100_000).as_bytes(), 32).is_err());
    }

    #[test]
    fn a_duplicate_is_found_in_a_large_object_too() {
        let members: Vec<String> = (0..1000).map(|n| format!("\"m{n}\":{n}")).collect();
        assert!(parse(format!("{{{}}}", members.join(",")).as_bytes(), 32).is_ok());
        assert!(parse(format!("{{{},\"m3\":0}}", members.join(",")).as_bytes(), 32).is_err());
        assert!(parse(format!("{{{},\"m999\":0}}", members.join(",")).as_bytes(), 32).is_err());
    }

    #[test]
    fn text_without_escapes_is_borrowed() {
        let Json::String(text) = parse(b"\"plain\"", 32).unwrap() else { panic!("a string") };
        assert!(matches!(text, Cow::Borrowed("plain")));
    }
}
