//! Whoever listens to security events.
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bailiwick_core::audit::{SecurityEvent, SecurityEventKind, Witness};

/// A [`Witness`] that remembers what it was told. Clones share their memory.
#[derive(Clone, Debug, Default)]
pub struct Heard(Arc<Mutex<Vec<SecurityEventKind>>>);

impl Heard {
    /// The same, for whoever tells.
    pub fn witness(&self) -> Arc<dyn Witness> {
        Arc::new(self.clone())
    }

    /// What was told so far, in this order.
    pub fn kinds(&self) -> Vec<SecurityEventKind> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<SecurityEventKind>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Witness for Heard {
    fn hear(&self, event: &SecurityEvent, _: Option<&str>, _: Option<IpAddr>) {
        self.lock().push(event.kind);
    }
}
