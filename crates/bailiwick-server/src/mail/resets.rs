//! Mails to users who have lost their password.
use std::{sync::Arc, time::Duration};

use bailiwick::{
    authn::{Accounts, PasswordReset},
    problem::Problem,
    request::Facts,
};
use tokio::sync::Semaphore;

use super::Mailer;

/// Sends users the tokens by which they set another password. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ResetMails {
    mailer: Mailer,
    /// Links begin with it: never with what a request says of its host (HST-05, PWD-19).
    public_url: Option<Arc<str>>,
    under_way: Arc<Semaphore>,
}

/// How many wishes may be under way.
const MOST: usize = 64;

impl ResetMails {
    /// Mails that go by `mailer`, with links to `public_url`.
    pub(crate) fn new(mailer: Mailer, public_url: Option<&str>) -> Self {
        Self { mailer, public_url: public_url.map(Into::into), under_way: Arc::new(Semaphore::new(MOST)) }
    }

    /// Takes the wish of whoever has lost the password to an account with this address. It is fulfilled later, so that
    /// whether there is such an account does not show, also not in time (PWD-13).
    ///
    /// # Errors
    /// 503 if too many wishes are under way.
    pub(crate) fn take(&self, accounts: Accounts, email: String, facts: &Facts) -> Result<(), Problem> {
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return Err(Problem::unavailable().with_retry_after(Duration::from_secs(1)));
        };
        let (this, facts) = (self.clone(), facts.clone());
        tokio::spawn(async move {
            match accounts.begin_reset(&email, &facts).await {
                Ok(resets) => resets.iter().for_each(|reset| this.send(reset)),
                Err(problem) => tracing::error!(?problem, "a token for a lost password could not be made"),
            }
            drop(permit);
        });
        Ok(())
    }

    fn send(&self, PasswordReset { to, text }: &PasswordReset) {
        self.mailer.send(&to.email, "Set a new password", &self.letter(&to.username, text.expose()));
    }

    fn letter(&self, username: &str, token: &str) -> String {
        let minutes = Accounts::RESET_LIFETIME.as_secs() / 60;
        let way = match &self.public_url {
            // Behind the #, it goes to no server and into no log.
            Some(url) => format!("To set one, open this link:\n\n{url}/reset-password#{token}"),
            None => format!("To set one, use this token:\n\n{token}"),
        };
        format!(
            "Somebody, probably you, asked for a new password for the account\n{username}.\n\n{way}\n\n\
             It works once, within {minutes} minutes. If it was not you, ignore this mail:\nyour password stays as it is.\n"
        )
    }
}
