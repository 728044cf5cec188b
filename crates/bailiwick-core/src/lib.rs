//! What Bailiwick proves and what it stores, without HTTP and without I/O.
//!
//! The heart of the crate is a chain of types in which each one can only be made from the one before it:
//!
//! ```text
//! Principal + Membership ──access::decide──► Access<R, Op> ──query──► Plan ──► store
//! ```
//!
//! A [`Plan`](query::Plan) is the only thing a store runs on tenant data, and only an
//! [`Access`](access::Access) makes one (invariant I1). Its scope both filters what is read and stamps what is
//! written (I2). Modules import downwards only:
//!
//! ```text
//! db → store → query → access → model → request → audit → identity → error, units, secret, clock, text, id, meter, named
//! ```
pub mod access;
pub mod audit;
pub mod clock;
pub mod db;
pub mod error;
pub mod id;
pub mod identity;
pub mod meter;
pub mod model;
mod named;
pub mod query;
pub mod request;
pub mod secret;
pub mod store;
pub mod text;
pub mod units;
