//! Mails to users who have lost their password.
use std::{collections::BTreeMap, sync::Arc, time::Duration};

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

/// Of how many accounts one mail tells at most.
const MOST_ACCOUNTS: usize = 10;
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
                Ok(resets) => this.send(&accounts, &resets, &facts).await,
                Err(problem) => tracing::error!(?problem, "a token for a lost password could not be made"),
            }
            drop(permit);
        });
        Ok(())
    }

    /// Sends one mail to each address, though it may be that of several accounts: whoever gives a stranger's address to many
    /// accounts floods nobody. The wish itself has paid for the first; further ones, to the same address written otherwise,
    /// are counted like it.
    async fn send(&self, accounts: &Accounts, resets: &[PasswordReset], facts: &Facts) {
        let mut letters: BTreeMap<&str, Vec<&PasswordReset>> = BTreeMap::new();
        for reset in resets {
            letters.entry(&reset.to.email).or_default().push(reset);
        }
        for (number, (address, resets)) in letters.into_iter().enumerate() {
            if number > 0 && !matches!(accounts.may_send_to(address, facts).await, Ok(true)) {
                return;
            }
            let newest = &resets[resets.len().saturating_sub(MOST_ACCOUNTS)..];
            let letters: Vec<_> =
                newest.iter().map(|reset| self.letter(&reset.to.username, reset.text.expose())).collect();
            self.mailer.send(address, "Set a new password", &letters.join("\n\n"));
        }
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
