//! What handlers can take by `State`.
use std::sync::Arc;

use axum::extract::FromRef;
use bailiwick_core::{
    clock::{Clock, Entropy},
    db::Db,
    store::Store,
};

use crate::{authn::LogIn, gate, resource};

/// The state of an application's router: everything a handler can take by `State<…>`. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Parts>);

pub(super) struct Parts {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) db: Db,
    pub(super) gates: gate::Context,
    pub(super) settings: resource::Settings,
    pub(super) log_in: LogIn,
}

impl State {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("store", &self.0.store).finish_non_exhaustive()
    }
}

macro_rules! from_state {
    ($($field:ident: $type:ty),+ $(,)?) => {
        $(impl FromRef<State> for $type {
            fn from_ref(state: &State) -> Self {
                state.0.$field.clone()
            }
        })+
    };
}

from_state! {
    db: Db,
    gates: gate::Context,
    settings: resource::Settings,
    log_in: LogIn,
}

/// The directory and the tokens, for handlers that are part of the identity system.
#[derive(Clone, Debug)]
pub struct Identity(pub Arc<dyn Store>);

impl FromRef<State> for Identity {
    fn from_ref(state: &State) -> Self {
        Self(Arc::clone(&state.0.store))
    }
}

/// The time, for handlers (I10).
#[derive(Clone)]
pub struct Now(pub Arc<dyn Clock>);

impl std::fmt::Debug for Now {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Now")
    }
}

impl FromRef<State> for Now {
    fn from_ref(state: &State) -> Self {
        Self(Arc::clone(&state.0.clock))
    }
}

/// Randomness, for handlers (I10).
#[derive(Clone)]
pub struct Chance(pub Arc<dyn Entropy>);

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}

impl FromRef<State> for Chance {
    fn from_ref(state: &State) -> Self {
        Self(Arc::clone(&state.0.entropy))
    }
}
