//! Settings that are mere text.
use std::{borrow::Cow, path::Path};

use http::{HeaderName, Method};
use serde_json::Value;

use bailiwick::{
    secret::Secret,
    upload::{InvalidScanner, Scanner},
};

use super::super::value::{REDACTED, Setting};

/// Some text on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Text {
    fn accepts() -> Cow<'static, str> {
        "text on one line".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err("the text is empty, longer than 1024 bytes, or has control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// A text that is never shown.
#[derive(Clone, Debug)]
pub struct SecretText(Secret<String>);

impl SecretText {
    /// The text.
    #[must_use]
    pub fn to_secret(&self) -> Secret<String> {
        Secret::new(self.0.expose().clone())
    }
}

impl Setting for SecretText {
    const SECRET: bool = true;

    fn accepts() -> Cow<'static, str> {
        Text::accepts()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        Text::from_text(text.trim_end(), base).map(|Text(text)| Self(Secret::new(text)))
    }

    fn show(&self) -> Value {
        REDACTED.into()
    }
}

/// Where a virus scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerUrl(Scanner);

impl ScannerUrl {
    /// The scanner.
    #[must_use]
    pub fn to_framework(&self) -> Scanner {
        self.0.clone()
    }
}

impl Setting for ScannerUrl {
    fn accepts() -> Cow<'static, str> {
        "`clamd://` with a host and its port, or with the absolute path of a socket".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: InvalidScanner| error.to_string())
    }

    fn show(&self) -> Value {
        self.0.to_string().into()
    }
}

impl Setting for Method {
    fn accepts() -> Cow<'static, str> {
        "a method in capitals such as `GET`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        match text.parse::<Self>() {
            Ok(method) if text.bytes().all(|byte| byte.is_ascii_uppercase()) => Ok(method),
            _ => Err("this is not a method".to_owned()),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

impl Setting for HeaderName {
    fn accepts() -> Cow<'static, str> {
        "the name of a header field such as `x-request-id`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        match text {
            // For a browser it is any field, any but `authorization`, or none, depending on what else is answered.
            "*" => Err("`*` is not the name of a header field: list those that are meant".to_owned()),
            _ => text.parse().map_err(|_| "this is not the name of a header field".to_owned()),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// The code of a finding of `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingCode(String);

impl FindingCode {
    /// The code, such as `DB-001`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for FindingCode {
    fn accepts() -> Cow<'static, str> {
        "the code of a finding such as `DB-001`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let right = text.split_once('-').is_some_and(|(topic, number)| {
            !topic.is_empty()
                && topic.bytes().all(|byte| byte.is_ascii_uppercase())
                && number.len() == 3
                && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if right { Ok(Self(text.to_owned())) } else { Err("this is not the code of a finding".to_owned()) }
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::testing::read;

    #[test]
    fn finding_codes_have_a_topic_and_three_digits() {
        assert!(read::<FindingCode>("DB-001").is_ok());
        for wrong in ["", "DB", "DB-1", "db-001", "-001", "DB-0001", "DB-00x"] {
            assert!(read::<FindingCode>(wrong).is_err(), "{wrong}");
        }
    }
}
