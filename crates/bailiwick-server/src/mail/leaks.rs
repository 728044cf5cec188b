//! Mails to users of whom a token was found in the open.
use std::{
    convert::Infallible,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
};

use bailiwick::{
    authn::{ApiTokens, LeakedToken},
    store::TokenRecord,
};

use super::{LAST_WAIT, Mailer};

/// Tells users that a token of theirs leaked, and that it has ended. Cheap to clone.
///
/// The last clone to be dropped waits a moment for the letters that are being written: nobody reports a token again that
/// has ended, so a server that stops has its owner told first.
#[derive(Clone, Debug)]
pub(crate) struct LeakMails {
    // The first to be dropped: what is written goes into the mailer's queue.
    under_way: Arc<UnderWay>,
    mailer: Mailer,
    /// Never what a request says of its host (HST-05).
    public_url: Option<Arc<str>>,
}

/// Ends when all that holds a clone of its sender has ended.
#[derive(Debug)]
struct UnderWay {
    /// There until it is dropped.
    working: Option<Sender<Infallible>>,
    done: Mutex<Receiver<Infallible>>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        drop(self.working.take());
        let done = self.done.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Err(RecvTimeoutError::Timeout) = done.recv_timeout(LAST_WAIT) {
            tracing::error!("the owner of a leaked token is not told: the server stops");
        }
    }
}

impl LeakMails {
    /// Mails that go by `mailer`, about tokens of the server at `public_url`.
    pub(crate) fn new(mailer: Mailer, public_url: Option<&str>) -> Self {
        let (working, done) = mpsc::channel();
        let under_way = UnderWay { working: Some(working), done: Mutex::new(done) };
        Self { under_way: Arc::new(under_way), mailer, public_url: public_url.map(Into::into) }
    }

    /// Tells the owner of a token that was reported, and has ended by it. It is done later, so that whether the token
    /// lived does not show in the time that the answer takes (TOK-28).
    ///
    /// What is under way is not bounded: each is one live token less.
    pub(crate) fn tell(&self, tokens: ApiTokens, leaked: LeakedToken) {
        // Not a clone of all: that would wait for itself.
        let (working, mailer) = (self.under_way.working.clone(), self.mailer.clone());
        let public_url = self.public_url.clone();
        tokio::spawn(async move {
            if tokens.may_tell(&leaked).await {
                // Whoever has lost a token is told so, also if the letter cannot say how it was called.
                let record = tokens.record_of(&leaked).await.unwrap_or_else(|problem| {
                    tracing::error!(?problem, "the name of a leaked token could not be read");
                    None
                });
                let letter = letter(&leaked, record.as_ref(), public_url.as_deref());
                mailer.send(&leaked.owner.email, "Your API token leaked and was revoked", &letter);
            } else {
                tracing::warn!(token_id = %leaked.id, "the owner of a leaked token is not told: too much mail");
            }
            drop((mailer, working));
        });
    }
}

fn letter(leaked: &LeakedToken, record: Option<&TokenRecord>, public_url: Option<&str>) -> String {
    let LeakedToken { id, owner, reported_at } = leaked;
    let username = &owner.username;
    let at = public_url.map_or_else(String::new, |url| format!(" at {url}"));
    let mut token = format!("  id: {id}\n");
    if let Some(record) = record {
        let name = record.name.as_deref().unwrap_or("none, it was made by a log-in");
        let used = record.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_string());
        // A letter in ASCII is one that whoever reads a file or a terminal can read.
        let display = record.display.replace('…', "...");
        token = format!("  name: {name}\n  text: {display}\n{token}  last used: {used}\n");
    }
    format!(
        "Somebody found an API token of the account\n{username}{at}\nand reported it. It is revoked, and good for \
         nothing any more.\n\n{token}  reported: {reported_at}\n\nWhat to do:\n\
         - Make another for the program that used it, if it is still needed.\n\
         - Take the old one away from where it was found: a file, a log, a chat.\n\
         - Look at what was done in your name since it was made. If that was not you,\n  \
         tell whoever runs the server.\n\
         - If you do not know how it got out, revoke your other tokens too, and set\n  another password.\n"
    )
}
