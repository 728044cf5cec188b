//! How a letter leaves.
use std::{
    borrow::Cow,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use bailiwick::{
    clock::{OsEntropy, SystemClock},
    id::Id,
};
use lettre::{
    Message, SmtpTransport, Transport as _,
    transport::smtp::{self, response::Code},
};

use super::MailError;
use crate::config::{MailTransport, is_loopback_host};

pub(super) enum Transport {
    Console,
    Files(PathBuf),
    Smtp(SmtpTransport),
}

/// Why a letter did not leave. It tells nothing of the letter: also not what the mail server says, which may repeat some.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    #[error("the mail server answers {0}")]
    Refused(Code),
    /// Without a source: its text is said already, with what TLS or the network have against it.
    #[error("the mail server cannot be spoken to: {0}")]
    Smtp(smtp::Error),
    /// Its source would repeat what the mail server says.
    #[error("the mail server does not speak SMTP")]
    Gibberish,
    #[error("the mail cannot be written")]
    Write(#[source] io::Error),
}

/// How long the mail server may take for each of its answers.
const TIMEOUT: Duration = Duration::from_secs(10);

impl Transport {
    pub(super) fn of(setting: &MailTransport) -> Result<Self, MailError> {
        match setting {
            MailTransport::Console => Ok(Self::Console),
            MailTransport::Files(directory) => {
                let mut builder = fs::DirBuilder::new();
                builder.recursive(true);
                // Whoever reads what is in it sets passwords.
                #[cfg(unix)]
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                let made = builder.create(directory);
                made.map_err(|error| MailError::Directory(directory.clone(), error))?;
                Ok(Self::Files(directory.clone()))
            }
            MailTransport::Smtp(url) => {
                let builder = SmtpTransport::from_url(&with_tls(url.expose())).map_err(MailError::Url)?;
                Ok(Self::Smtp(builder.timeout(Some(TIMEOUT)).build()))
            }
        }
    }

    pub(super) fn send(&self, letter: &Message) -> Result<(), SendError> {
        match self {
            Self::Console => {
                let text = String::from_utf8_lossy(&letter.formatted()).replace("\r\n", "\n");
                writeln!(io::stderr().lock(), "---- mail\n{text}\n----").map_err(SendError::Write)
            }
            Self::Files(directory) => write(directory, letter).map_err(SendError::Write),
            Self::Smtp(server) => server.send(letter).map(drop).map_err(|error| match error.status() {
                Some(code) => SendError::Refused(code),
                None if error.is_response() => SendError::Gibberish,
                None => SendError::Smtp(error),
            }),
        }
    }
}

impl SendError {
    /// Whether it may go better later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Refused(code) => code.severity == smtp::response::Severity::TransientNegativeCompletion,
            Self::Smtp(error) => !error.is_client(),
            Self::Gibberish | Self::Write(_) => true,
        }
    }
}

/// Writes a letter to a file of its own, which is there whole or not at all. Their names are in the order of their time.
fn write(directory: &Path, letter: &Message) -> io::Result<()> {
    // Such a file is readable by its owner alone.
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(&letter.formatted())?;
    let id: Id<()> = Id::new(&SystemClock::new(), &OsEntropy);
    file.persist_noclobber(directory.join(format!("{id}.eml")))?;
    Ok(())
}

/// The URL of a mail server, with TLS demanded where it says nothing of it: on the way to another machine, others would
/// read along.
fn with_tls(url: &str) -> Cow<'_, str> {
    let is_plain = url.starts_with("smtp://") && tls(url).is_none() && !is_loopback_host(host(url));
    match (is_plain, url.contains('?')) {
        (false, _) => url.into(),
        (true, false) => format!("{url}?tls=required").into(),
        (true, true) => format!("{url}&tls=required").into(),
    }
}

/// Whether a mail server on another machine is spoken to without TLS if it, or somebody on the way, says it has none.
pub(crate) fn is_opportunistic(url: &str) -> bool {
    url.starts_with("smtp://") && tls(url) == Some("opportunistic") && !is_loopback_host(host(url))
}

/// What a URL asks for.
fn tls(url: &str) -> Option<&str> {
    let (_, parameters) = url.split_once('?')?;
    parameters.split('&').find_map(|parameter| parameter.strip_prefix("tls="))
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(host, _)| host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_machine_is_spoken_to_by_tls() {
        for (url, used) in [
            ("smtp://u:p@mail.example.com:587", "smtp://u:p@mail.example.com:587?tls=required"),
            ("smtp://mail.example.com/me?x=y", "smtp://mail.example.com/me?x=y&tls=required"),
            ("smtp://localhost@mail.example.com", "smtp://localhost@mail.example.com?tls=required"),
            ("smtp://mail.example.com?tls=opportunistic", "smtp://mail.example.com?tls=opportunistic"),
            ("smtps://u:p@mail.example.com", "smtps://u:p@mail.example.com"),
            ("smtp://localhost:2525", "smtp://localhost:2525"),
            ("smtp://u:p@[::1]:25", "smtp://u:p@[::1]:25"),
        ] {
            assert_eq!(with_tls(url), used);
        }
        assert!(is_opportunistic("smtp://a.example?tls=opportunistic"));
        for right in ["smtp://a.example", "smtps://a.example", "smtp://127.0.0.1?tls=opportunistic"] {
            assert!(!is_opportunistic(right), "{right}");
        }
    }
}
