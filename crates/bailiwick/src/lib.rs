//! Under construction.
// The derives write paths that begin with `::bailiwick`, also in this crate.
extern crate self as bailiwick;

pub use bailiwick_core::{
    access, choices, clock, db, error, id, identity, model, query, request, secret, store, units,
};
pub use bailiwick_macros::{Input, Model, Patch, View};

pub mod app;
pub mod authn;
pub mod check;
pub mod gate;
pub mod headers;
pub mod health;
pub mod hosts;
pub mod limits;
pub mod problem;
pub mod request_id;
pub mod resource;
pub mod routes;
pub mod tenancy;
pub mod throttle;
pub mod trace;
