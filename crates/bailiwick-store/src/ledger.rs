//! What the shared back-ends do to quotas between reading and writing them: one formula for all (THR-30).
use std::{collections::HashMap, num::NonZeroU32};

use bailiwick_core::{
    error::StoreError,
    store::{Charge, Gcra, Verdict},
};

/// How many expired rows each new one takes with it: the table shrinks faster than it grows.
pub(crate) const EXPIRED_FOR_EACH_NEW: usize = 4;

/// A charge that outlives its request.
#[derive(Clone, Debug)]
pub(crate) struct OwnedCharge {
    pub(crate) key: String,
    pub(crate) gcra: Gcra,
    pub(crate) cost: NonZeroU32,
}

impl From<&Charge> for OwnedCharge {
    fn from(charge: &Charge) -> Self {
        Self { key: charge.key.to_string(), gcra: Gcra::in_micros(charge.rate), cost: charge.cost }
    }
}

/// Some quotas under lock: what was read of them, and what becomes of them.
pub(crate) struct Ledger<'k> {
    /// In nanoseconds.
    now: u64,
    rows: HashMap<&'k str, Row>,
}

#[derive(Clone, Copy)]
struct Row {
    arrival: u64,
    is_new: bool,
    is_changed: bool,
}

impl<'k> Ledger<'k> {
    /// At `now`, in microseconds since 1970: the time of the store, read after its locks were taken, so that what another
    /// has spent is never later.
    pub(crate) fn at(now: i64) -> Self {
        Self { now: nanos(now), rows: HashMap::new() }
    }

    /// What the store holds of a quota, in microseconds.
    pub(crate) fn read(&mut self, key: &'k str, arrival: Option<i64>) {
        let row = Row { arrival: arrival.map_or(0, nanos), is_new: arrival.is_none(), is_changed: false };
        self.rows.insert(key, row);
    }

    /// Spends all charges of one request, or none.
    ///
    /// # Errors
    /// If a quota was not read.
    pub(crate) fn spend(&mut self, charges: &'k [OwnedCharge]) -> Result<Vec<Verdict>, StoreError> {
        let mut verdicts = Vec::with_capacity(charges.len());
        let mut spent: Vec<(&'k str, u64)> = Vec::with_capacity(charges.len());
        for OwnedCharge { key, gcra, cost } in charges {
            let earlier = spent.iter().rev().find(|(of, _)| of == key).map(|(_, arrival)| *arrival);
            let (verdict, arrival) = gcra.decide(earlier.unwrap_or(self.row(key)?.arrival), self.now, *cost);
            verdicts.push(verdict);
            spent.push((key, arrival));
        }
        if verdicts.iter().all(|verdict| verdict.allowed) {
            for (key, arrival) in spent {
                self.set(key, arrival)?;
            }
            return Ok(verdicts);
        }
        for (verdict, OwnedCharge { key, gcra, .. }) in verdicts.iter_mut().zip(charges) {
            let arrival = self.row(key)?.arrival;
            if verdict.allowed {
                *verdict = gcra.look(arrival, self.now);
            }
            let held = gcra.held(arrival, self.now);
            if held < arrival {
                // Written back, or it would be as far ahead at the next look.
                self.set(key, held)?;
            }
        }
        Ok(verdicts)
    }

    /// Fills a quota again.
    ///
    /// # Errors
    /// If it was not read.
    pub(crate) fn refill(&mut self, key: &str) -> Result<(), StoreError> {
        if self.row(key)?.is_new { Ok(()) } else { self.set(key, 0) }
    }

    /// Takes back one charge. What the store does not know is whole.
    ///
    /// # Errors
    /// If its quota was not read.
    pub(crate) fn give_back(&mut self, charge: &OwnedCharge) -> Result<(), StoreError> {
        let OwnedCharge { key, gcra, cost } = charge;
        let Row { arrival, is_new, .. } = self.row(key)?;
        if is_new { Ok(()) } else { self.set(key, gcra.given_back(arrival, self.now, *cost)) }
    }

    /// The quotas to be written, in microseconds.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&'k str, i64)> {
        let changed = self.rows.iter().filter(|(_, row)| row.is_changed);
        changed.map(|(key, row)| (*key, i64::try_from(row.arrival / 1000).unwrap_or(i64::MAX)))
    }

    /// How many of them the store does not have yet.
    pub(crate) fn new_rows(&self) -> usize {
        self.rows.values().filter(|row| row.is_new && row.is_changed).count()
    }

    fn row(&self, key: &str) -> Result<Row, StoreError> {
        self.rows.get(key).copied().ok_or_else(|| StoreError::Refused("a quota was not read".into()))
    }

    fn set(&mut self, key: &str, arrival: u64) -> Result<(), StoreError> {
        let row = self.rows.get_mut(key).ok_or_else(|| StoreError::Refused("a quota was not read".into()))?;
        (row.arrival, row.is_changed) = (arrival, true);
        Ok(())
    }
}

/// A time before 1970 is as good as none.
fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or(0).saturating_mul(1000)
}
