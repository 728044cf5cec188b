//! Settings that are one of a few words.
use std::{borrow::Cow, fmt, path::Path};

use serde_json::Value;

use super::super::value::Setting;

/// Declares a setting that is one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// The word in the settings.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Setting for $name {
            fn accepts() -> Cow<'static, str> {
                let words: &[&str] = &[$(concat!("`", $word, "`")),+];
                match words {
                    [one] => (*one).into(),
                    [first @ .., last] => format!("{} or {last}", first.join(", ")).into(),
                    [] => "nothing".into(),
                }
            }
            fn from_text(text: &str, _: &Path) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err("there is no such choice".to_owned()),
                }
            }
            fn show(&self) -> Value {
                self.as_str().into()
            }
        }
    };
}

choice! {
    /// What the server is for, which decides defaults and how strict `check` is.
    pub enum Environment {
        /// Serves people: the strict defaults.
        Production = "production",
        /// Runs on a developer's machine.
        Development = "development",
    }
}

choice! {
    /// In which fields proxies say where a request comes from.
    pub enum ForwardedBy {
        /// `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`.
        XForwarded = "x-forwarded",
        /// `Forwarded` (RFC 7239).
        Forwarded = "forwarded",
    }
}

choice! {
    /// Who may register.
    pub enum RegistrationMode {
        /// Nobody; users are made by the command line.
        Closed = "closed",
        /// Whoever holds an invitation.
        Invited = "invited",
        /// Anyone.
        Open = "open",
    }
}

choice! {
    /// What signs the access tokens.
    pub enum SigningAlgorithm {
        /// Ed25519.
        EdDsa = "EdDSA",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// RSA PKCS#1 v1.5.
        Rs256 = "RS256",
        /// A shared secret.
        Hs256 = "HS256",
    }
}

choice! {
    /// What happens to a page size above the cap.
    pub enum OverLimit {
        /// The cap is used.
        Cap = "cap",
        /// The request is refused with 422.
        Reject = "reject",
    }
}

choice! {
    /// Who may read the documentation.
    pub enum DocsAccess {
        /// Anyone.
        Public = "public",
        /// Signed-in users.
        Authenticated = "authenticated",
        /// Staff.
        Staff = "staff",
        /// Nobody: 404.
        Off = "off",
    }
}

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

choice! {
    /// Which log lines are written: these and all graver ones.
    pub enum LogLevel {
        /// Only what needs somebody's attention.
        Error = "error",
        /// What may come to need it.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::testing::read;

    #[test]
    fn choices_list_what_can_be_chosen() {
        assert_eq!(Environment::accepts(), "`production` or `development`");
        assert_eq!(RegistrationMode::accepts(), "`closed`, `invited` or `open`");
        assert_eq!(read::<LogLevel>("warn"), Ok("warn".into()));
        for wrong in ["", "Warn", "warn ", "warning"] {
            assert!(read::<LogLevel>(wrong).is_err(), "{wrong}");
        }
    }
}
