//! What is unsafe about a configuration, said so that it can be acted on.
//!
//! A rule looks at the configuration and makes a [`Finding`]: a permanent code, how grave it is, the setting,
//! the reason and the fix. A [`Report`] gathers them, sets those aside that the operator accepts on purpose,
//! and says whether the application may start. The rules themselves belong to whoever owns the settings; the
//! `bailiwick` server has its own table of them.
//!
//! ```
//! use bailiwick::check::{Finding, Report, Severity};
//!
//! let finding = Finding::new("HOST-001", Severity::Error, "server.allowed_hosts")
//!     .because("no host is allowed, so every request is refused")
//!     .fix("list the names under which clients reach the server");
//! let report = Report::new([finding], &["DB-001"]);
//! assert!(report.has_errors());
//! assert!(report.accepted().is_empty());
//! ```
//!
//! # Security
//! A finding never repeats the value of a secret. A code that is accepted stays visible: the application logs
//! it at every start.
use std::{borrow::Cow, fmt};

use serde::Serialize;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It weakens the protection, or will do nothing; the application starts.
    Warning,
    /// The application must not start.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that is unsafe about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    code: &'static str,
    severity: Severity,
    setting: Cow<'static, str>,
    reason: Cow<'static, str>,
    fix: Cow<'static, str>,
}

impl Finding {
    /// A finding about `setting`. The code is permanent: a topic in capitals and three digits, such as
    /// `HOST-001`.
    #[must_use]
    pub fn new(code: &'static str, severity: Severity, setting: impl Into<Cow<'static, str>>) -> Self {
        Self { code, severity, setting: setting.into(), reason: Cow::Borrowed(""), fix: Cow::Borrowed("") }
    }

    /// Says why it is unsafe.
    #[must_use]
    pub fn because(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.reason = reason.into();
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<Cow<'static, str>>) -> Self {
        self.fix = fix.into();
        self
    }

    /// The permanent code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// How grave it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The setting that it is about.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// Why it is unsafe.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, severity, setting, reason, fix } = self;
        write!(f, "{severity} {code} {setting}: {reason}\n  fix: {fix}")
    }
}

/// The findings about one configuration, the gravest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    open: Vec<Finding>,
    accepted: Vec<Finding>,
}

impl Report {
    /// Gathers `findings`, and sets those aside whose code is in `allowed`.
    #[must_use]
    pub fn new(findings: impl IntoIterator<Item = Finding>, allowed: &[&str]) -> Self {
        let (accepted, mut open): (Vec<_>, Vec<_>) =
            findings.into_iter().partition(|finding| allowed.contains(&finding.code));
        // A stable sort: within a severity the order of the rules stays.
        open.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        Self { open, accepted }
    }

    /// The findings that nobody accepted, the gravest first.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.open
    }

    /// The findings that the operator accepts on purpose, to be logged at every start.
    #[must_use]
    pub fn accepted(&self) -> &[Finding] {
        &self.accepted
    }

    /// Whether there is an error that nobody accepted: then the application must not start.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.open.iter().any(|finding| finding.severity == Severity::Error)
    }
}

#[cfg(test)]
mod tests;
