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
mod leaks;
mod resets;
mod transport;

use std::{
    convert::Infallible,
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender},
    },
    thread,
    time::Duration,
};

use bailiwick::{
    clock::{OsEntropy, SystemClock},
    id::Id,
};
use lettre::{
    Message,
    message::{
        Body, Mailbox,
        header::{ContentTransferEncoding, ContentType},
    },
};

pub(crate) use self::leaks::LeakMails;
pub(crate) use self::resets::ResetMails;
pub(crate) use self::transport::is_opportunistic;
use self::transport::{SendError, Transport};
use crate::config;

/// Sends letters. Cheap to clone.
///
/// The last clone to be dropped waits a moment for the letters that are in the queue: what was taken before a server
/// stops leaves with it, if the way is free.
#[derive(Clone, Debug)]
pub(crate) struct Mailer {
    queue: Arc<Queue>,
    from: Mailbox,
}

#[derive(Debug)]
struct Queue {
    /// There until the last clone is dropped.
    letters: Option<SyncSender<Message>>,
    /// Ends with the thread.
    done: Mutex<Receiver<Infallible>>,
}

/// How long a server that stops waits for its last letters.
const LAST_WAIT: Duration = Duration::from_secs(3);

impl Drop for Queue {
    fn drop(&mut self) {
        drop(self.letters.take());
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(LAST_WAIT) {
            tracing::error!("mail that waits to be sent is lost: the server stops");
        }
    }
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
    /// A mailer of this transport.
    ///
    /// # Errors
    /// Names the setting that is wrong.
    pub(crate) fn new(settings: &config::Mail) -> Result<Self, MailError> {
        let from = sender(settings).ok_or(MailError::From)?;
        let transport = Transport::of(&settings.transport)?;
        let (queue, letters) = mpsc::sync_channel(QUEUE);
        let thread = thread::Builder::new().name("bailiwick-mail".to_owned());
        let (working, done) = mpsc::channel();
        let work = move || {
            work_off(&letters, &transport);
            drop::<Sender<Infallible>>(working);
        };
        thread.spawn(work).map_err(MailError::Thread)?;
        Ok(Self { queue: Arc::new(Queue { letters: Some(queue), done: Mutex::new(done) }), from })
    }

    /// Takes a letter to be sent. If that is not possible, the log says so, and nobody else is told.
    pub(crate) fn send(&self, to: &str, subject: &str, text: &str) {
        let Ok(to) = to.parse() else {
            tracing::warn!("a mail is not sent: the address of its reader is none");
            return;
        };
        let letter = Message::builder()
            .from(Mailbox::clone(&self.from))
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(self.message_id()))
            .header(ContentType::TEXT_PLAIN)
            .body(body(text));
        match letter {
            Ok(letter) => {
                let queue = self.queue.letters.as_ref();
                if queue.is_none_or(|queue| queue.try_send(letter).is_err()) {
                    tracing::error!("a mail is not sent: too many wait already");
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "a mail cannot be written");
            }
        }
    }

    /// An id that nothing else has, and that does not tell the name of this machine.
    fn message_id(&self) -> String {
        let id: Id<()> = Id::new(&SystemClock::new(), &OsEntropy);
        format!("<{id}@{}>", self.from.email.domain())
    }
}

/// A text as it is, lines ending as mail wants it. Other encodings would break a long link in two, which whoever reads a
/// file or a terminal would have to mend.
fn body(text: &str) -> Body {
    let fits = text.is_ascii() && text.lines().all(|line| line.len() <= LONGEST_LINE);
    if fits {
        let bytes = text.replace('\n', "\r\n").into_bytes();
        Body::dangerous_pre_encoded(bytes, ContentTransferEncoding::SevenBit)
    } else {
        Body::new(text.to_owned())
    }
}

/// RFC 5322 §2.1.1.
const LONGEST_LINE: usize = 998;

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
