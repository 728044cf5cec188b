//! How a command fails: with an exit code for scripts, and a message with a fix for people.
use std::{fmt::Display, process::ExitCode};

use bailiwick::{error::StoreError, store::DirectoryError};

use crate::{
    application::NoMasterKey,
    config::{Faults, HOW_TO_MAKE_A_KEY},
};

/// Why a command did not do what it was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    exit: Exit,
    /// Empty where the answer on standard output says it all.
    message: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    No = 1,
    Refused = 2,
    OutOfReach = 3,
}

impl Failure {
    /// The answer is no, and has been given on standard output.
    pub(super) fn answered_no() -> Self {
        Self { exit: Exit::No, message: String::new() }
    }

    /// The answer is no: what was asked for cannot be, as things are.
    pub(super) fn no(what: impl Display, fix: impl Display) -> Self {
        Self { exit: Exit::No, message: message(what, fix) }
    }

    /// Wrong usage, or settings that are refused.
    pub(super) fn refused(what: impl Display, fix: impl Display) -> Self {
        Self { exit: Exit::Refused, message: message(what, fix) }
    }

    /// The database, or something else outside of the program, is out of reach.
    pub(super) fn out_of_reach(what: impl Display, fix: impl Display) -> Self {
        Self { exit: Exit::OutOfReach, message: message(what, fix) }
    }

    /// Tells the person, and gives the code for the script.
    pub(super) fn report(self) -> ExitCode {
        if !self.message.is_empty() {
            super::output::tell(&self.message);
        }
        ExitCode::from(self.exit as u8)
    }

    #[cfg(test)]
    pub(super) fn message(&self) -> &str {
        &self.message
    }
}

fn message(what: impl Display, fix: impl Display) -> String {
    let fix = fix.to_string();
    if fix.is_empty() { format!("error: {what}") } else { format!("error: {what}\n  fix: {fix}") }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self { exit: Exit::Refused, message: faults.to_string() }
    }
}

impl From<NoMasterKey> for Failure {
    fn from(error: NoMasterKey) -> Self {
        Self::refused(error, HOW_TO_MAKE_A_KEY)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let fix = match &error {
            StoreError::Unavailable(_) => {
                "see that the database runs and that no other program holds it, then try again"
            }
            StoreError::NotWritable(_) => {
                "make room on the disk, or make the database writable for this user"
            }
            StoreError::Corrupt(_) | StoreError::Refused(_) => {
                "see that the database has the schema of this version: `bailiwick migrate --check`"
            }
            _ => "see that the database runs",
        };
        Self::out_of_reach(with_causes(&error), fix)
    }
}

impl From<DirectoryError> for Failure {
    fn from(error: DirectoryError) -> Self {
        let fix = match error {
            DirectoryError::Store(error) => return error.into(),
            DirectoryError::Taken => "choose another one; names do not differ by case alone",
            DirectoryError::NoSuchUser => "`bailiwick user list` shows the users",
            DirectoryError::NoSuchOrg => "`bailiwick org list` shows the organisations",
            DirectoryError::NoMember => "`bailiwick org add-member` makes one",
            DirectoryError::LastOwner => "make another member an owner first",
            _ => "",
        };
        Self::no(error, fix)
    }
}

/// An error with what caused it, on one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some errors repeat their cause in their own words.
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
