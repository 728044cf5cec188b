//! Outgoing mail.
//!
//! A [`Mailer`] takes letters into a queue and answers at once; one thread of its own sends them, by the transport that
//! the settings name. So no answer takes longer because a mail is sent, and none can tell by its time whether one was.
//!
//! It is a part of the server, not of the framework: the framework makes the tokens, and leaves it to the application how
//! they reach people.
//!
//! # Security
//! A letter holds what lets its reader in. It is never logged, also not when it cannot be sent; a file is readable by its
//! owner alone; and a mail server on another machine is spoken to by TLS.
mod resets;
mod transport;

use std::{
    io,
    path::PathBuf,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::Duration,
};

use lettre::{
    Message,
    message::{Mailbox, header::ContentType},
};

pub(crate) use self::resets::ResetMails;
pub(crate) use self::transport::is_opportunistic;
use self::transport::{SendError, Transport};
use crate::config;

/// Sends letters. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Mailer {
    queue: SyncSender<Message>,
    from: Mailbox,
}

/// Why no mail can be sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The sender is no address.
    #[error("mail.from is no address such as `Bailiwick <noreply@example.com>`")]
    From,
    /// The URL names no mail server. It is not repeated here: it may hold a password.
    #[error("mail.transport is no URL of a mail server")]
    Url(#[source] lettre::transport::smtp::Error),
    /// The directory for mails cannot be made.
    #[error("the directory {} cannot be made", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// The system gives no thread to send on.
    #[error("a thread to send mail on cannot be started")]
    Thread(#[source] io::Error),
}

/// How many letters may wait.
const QUEUE: usize = 256;
/// How long to wait before a letter is tried again. Others wait meanwhile: what keeps one from being sent mostly keeps all.
const RETRY_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(25)];

impl Mailer {
    /// A mailer of this transport. Its thread ends with the last clone, once the queue is empty.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub(crate) fn new(settings: &config::Mail) -> Result<Self, MailError> {
        let from = sender(settings).ok_or(MailError::From)?;
        let transport = Transport::of(&settings.transport)?;
        let (queue, letters) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new().name("bailiwick-mail".to_owned());
        thread.spawn(move || work_off(&letters, &transport)).map_err(MailError::Thread)?;
        Ok(Self { queue, from })
    }

    /// Takes a letter to be sent. If that is not possible, the log says so, and nobody else is told.
    pub(crate) fn send(&self, to: &str, subject: &str, text: String) {
        let Ok(to) = to.parse() else {
            tracing::warn!("a mail is not sent: the address of its reader is none");
            return;
        };
        let letter = Message::builder()
            .from(Mailbox::clone(&self.from))
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(None)
            .header(ContentType::TEXT_PLAIN)
            .body(text);
        match letter {
            Ok(letter) => {
                if self.queue.try_send(letter).is_err() {
                    tracing::error!("a mail is not sent: too many wait already");
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "a mail cannot be written");
            }
        }
    }
}

/// Who mail comes from: none if the settings name nobody, and the mail leaves this machine.
pub(crate) fn sender(settings: &config::Mail) -> Option<Mailbox> {
    match (&settings.from, &settings.transport) {
        (Some(from), _) => from.as_str().parse().ok(),
        (None, config::MailTransport::Smtp(_)) => None,
        (None, _) => "Bailiwick <bailiwick@localhost>".parse().ok(),
    }
}

/// Sends one letter after the other, until nobody can bring any more.
fn work_off(letters: &Receiver<Message>, transport: &Transport) {
    for letter in letters {
        if let Err(error) = send(&letter, transport) {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "a mail could not be sent");
        }
    }
}

fn send(letter: &Message, transport: &Transport) -> Result<(), SendError> {
    for wait in RETRY_AFTER {
        match transport.send(letter) {
            Err(error) if error.may_pass() => thread::sleep(wait),
            outcome => return outcome,
        }
    }
    transport.send(letter)
}
