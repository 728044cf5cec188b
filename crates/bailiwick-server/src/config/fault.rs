//! What is wrong with the settings, said so that no manual is needed.
use std::{error::Error, fmt, path::PathBuf};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The default.
    Default,
    /// The default of `environment = "development"`.
    DevelopmentDefault,
    /// A line of the settings file, counted from 1.
    File {
        /// The settings file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
    /// A file that holds one secret.
    SecretFile(PathBuf),
}

impl Source {
    /// Whether somebody gave the value, as opposed to a default.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !matches!(self, Self::Default | Self::DevelopmentDefault)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::DevelopmentDefault => f.write_str("default in development"),
            Self::File { path, line } => write!(f, "{}, line {line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::SecretFile(path) => write!(f, "file {}", path.display()),
        }
    }
}

/// One thing that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, or what else is wrong, such as the name of a file.
    pub(super) subject: String,
    /// Where it was given, unless the subject says it.
    pub(super) source: Option<Source>,
    /// What is wrong.
    pub(super) why: String,
    /// What was given, unless it may be secret.
    pub(super) given: Option<String>,
    /// What is accepted.
    pub(super) accepted: Option<String>,
    /// What to do.
    pub(super) fix: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.subject)?;
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ": {}", self.why)?;
        for (label, line) in [
            ("given:   ", self.given.as_ref()),
            ("accepted:", self.accepted.as_ref()),
            ("fix:     ", Some(&self.fix)),
        ] {
            if let Some(line) = line {
                write!(f, "\n  {label} {line}")?;
            }
        }
        Ok(())
    }
}

/// Everything that is wrong with the settings, at least one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub(super) Vec<Fault>);

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self(vec![fault])
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "error: {fault}")?;
        }
        Ok(())
    }
}

impl Error for Faults {}

/// `text` in quotes, with control characters escaped and no longer than a line.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.chars().count() <= LONGEST {
        format!("{text:?}")
    } else {
        let start: String = text.chars().take(LONGEST).collect();
        format!("{start:?}… ({} bytes)", text.len())
    }
}
