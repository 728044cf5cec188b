//! The audit trail: what it tells, and the control that has refusals in it.
//!
//! What a change tells, the store appends in the transaction of the change: nothing is needed for that here. What fails and
//! changes nothing, an [`AuditLayer`] appends, before the answer leaves:
//!
//! | what | entry |
//! |---|---|
//! | what was noted in the [`Facts`](bailiwick_core::request::Facts) of the request, such as a log-in that failed or a forged request | that |
//! | nothing was noted, and a known user is answered 403, or 404 in an organisation that is not there for them | `authz_fail`, with the route and the rule |
//! | a request beyond its quota (429) | none: else whoever floods the site would fill the trail |
//!
//! Appending goes on in a task of its own. So a client that leaves before its answer, a handler that panics, and a time limit
//! that runs out keep nothing out of the trail.
//!
//! # Security
//! If an entry cannot be appended, or not [in time](AuditLayer::patience), or so many are being appended that it would be one
//! too many, the answer stays what it is, and the event `audit_append_failed` is told (LOG-05).
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use bailiwick_core::audit::*;

pub use self::{
    layer::AuditLayer,
    service::{AuditFuture, AuditService},
};
