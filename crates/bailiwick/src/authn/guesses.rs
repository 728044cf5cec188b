//! How often an account may be tried.
use std::sync::Arc;

use bailiwick_core::{
    request::{Facts, Tally, ThrottleOutcome},
    store::{Caller, Charge, CounterKey, CounterStore},
    units::Rate,
};

use super::login::unavailable;
use crate::problem::Problem;

/// Counts what is tried on an account, wherever it comes from, and whether there is such an account or not (PWD-13,
/// PWD-14). Cheap to clone.
///
/// # Security
/// No answer tells the count: who attacks an account would read how often others try it (THR-25). Whoever is let in by a
/// session or a token that they have already is not counted.
#[derive(Clone)]
pub struct Guesses {
    counters: Arc<dyn CounterStore>,
    policy: &'static str,
    rate: Rate,
}

/// A try that is under way.
#[derive(Debug)]
#[must_use]
pub(super) struct Try {
    charge: Charge,
    /// Whether none is left after it, for now.
    is_last: bool,
}

impl Try {
    /// Whether none is left after it, for now: if this one fails, whoever goes on is refused.
    pub(super) fn is_last(&self) -> bool {
        self.is_last
    }
}

impl Guesses {
    /// At most `rate` tries of each account that fail.
    pub fn new(counters: Arc<dyn CounterStore>, policy: &'static str, rate: Rate) -> Self {
        Self { counters, policy, rate }
    }

    /// Counts a try of the account called `name`. It is counted before it is decided: of many at once, no more are decided
    /// than may fail.
    ///
    /// # Errors
    /// 429 if too many have failed, also for the right password; 503 if the counters are out of reach (THR-35).
    pub(super) async fn begin(&self, name: &str, facts: &Facts) -> Result<Try, Problem> {
        let tally = |outcome| facts.tally(Tally::Throttle { scope: self.policy, outcome });
        let key = CounterKey { policy: self.policy, caller: Caller::from_account(name) };
        let charge = Charge::new(key, self.rate);
        let verdicts = self.counters.spend(std::slice::from_ref(&charge)).await.map_err(|error| {
            tally(ThrottleOutcome::Unavailable);
            unavailable(error)
        })?;
        match verdicts.iter().find(|verdict| !verdict.allowed) {
            None => {
                tally(ThrottleOutcome::Allowed);
                Ok(Try { charge, is_last: verdicts.iter().any(|verdict| verdict.remaining == 0) })
            }
            Some(refused) => {
                tally(ThrottleOutcome::Refused);
                tracing::warn!(policy = self.policy, "the hidden quota of an account is used up");
                Err(Problem::throttled(refused.next, [] as [&str; 0]))
            }
        }
    }

    /// Forgets the tries of an account that has proved itself (PWD-17).
    pub(super) async fn succeeded(&self, Try { charge, .. }: Try) {
        if let Err(error) = self.counters.refill(&charge.key).await {
            // The proof stands. What was counted runs out by itself.
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, policy = self.policy, "tries that ended well could not be forgotten");
        }
    }

    /// Takes back a try that nobody could decide: what is counted are failures of whoever tries, not of the server. Nothing
    /// is learnt by such a try, however often it is made.
    pub(super) async fn undecided(&self, Try { charge, .. }: Try) {
        if let Err(error) = self.counters.give_back(&charge).await {
            // It runs out by itself.
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, policy = self.policy, "a try that was not decided stays counted");
        }
    }
}

impl std::fmt::Debug for Guesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guesses")
            .field("policy", &self.policy)
            .field("rate", &self.rate)
            .finish_non_exhaustive()
    }
}
