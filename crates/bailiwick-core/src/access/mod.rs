//! Who may do what, and the proof that it was decided.
//!
//! [`decide`] is the only maker of an [`Access`], and an [`Access`] is the only thing that makes a
//! [`Plan`](crate::query::Plan). Rules are declared once for a resource:
//!
//! ```
//! use bailiwick_core::access::{Delete, List, Rules, Update, own, role};
//! # use bailiwick_core::model::Model;
//! use bailiwick_core::identity::Role::{Admin, Member, Viewer};
//!
//! # fn rules<Task: Model>() -> Rules<Task> {
//! Rules::deny_all()
//!     .allow::<List>(role(Viewer))
//!     .allow::<Update>(role(Admin).or(role(Member).and(own()))) // own() joins the WHERE clause
//!     .allow::<Delete>(role(Admin).or(own()))
//! # }
//! ```
mod decision;
mod operation;
mod rules;

pub use self::{
    decision::{Access, Clause, Denied, decide},
    operation::{Create, Delete, List, Operation, OperationKind, Permission, Retrieve, Update},
    rules::{RequiredScope, Rule, Rules, UserColumn, authenticated, is_me, own, role},
};
