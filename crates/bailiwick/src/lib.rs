//! The secure-by-default multi-tenant REST API framework for Rust.
//!
//! Declare a resource once and get its guarded routes:
//!
//! ```
//! use bailiwick::prelude::*;
//!
//! #[derive(Model)]
//! #[model(table = "notes", scope = Org, counted)]
//! struct Note {
//!     #[model(id)]
//!     id: Id<Note>,
//!     #[model(tenant)]
//!     org_id: OrgId,
//!     #[model(owner)]
//!     created_by: UserId,
//!     #[model(search)]
//!     text: String,
//! }
//!
//! #[derive(Input)]
//! #[input(for = Note)]
//! struct NewNote {
//!     #[input(chars(1..=500))]
//!     text: String,
//! }
//!
//! #[derive(Patch)]
//! #[patch(for = Note)]
//! struct NotePatch {
//!     #[patch(chars(1..=500))]
//!     text: Change<String>,
//! }
//!
//! #[derive(View)]
//! #[view(of = Note)]
//! struct NoteView {
//!     id: Id<Note>,
//!     text: String,
//! }
//!
//! impl Resource for Note {
//!     const PATH: &'static str = "notes";
//!     type New = NewNote;
//!     type Patch = NotePatch;
//!     type View = NoteView;
//!
//!     fn rules() -> Rules<Self> {
//!         Rules::deny_all()
//!             .allow::<List>(role(Role::Viewer))
//!             .allow::<Retrieve>(role(Role::Viewer))
//!             .allow::<Create>(role(Role::Member))
//!             .allow::<Update>(role(Role::Member).and(own()))
//!             .allow::<Delete>(role(Role::Admin).or(role(Role::Member).and(own())))
//!     }
//! }
//! # fn main() { let _ = Resources::new().resource::<Note>(); }
//! ```
//!
//! What cannot be written by accident, because it does not compile: a query on rows of an organisation that nobody
//! authorised, a handler that does not say who may call it, an input that sets a column of the server's, a stored row
//! as an answer, and a filter on a column that clients cannot see.
//!
//! | to | see |
//! |---|---|
//! | declare a resource | [`resource`], [`model`], [`access`] |
//! | write a handler of your own | [`routes`], [`gate`], [`db`] |
//! | put an application together | [`app`] |
//! | keep its data | [`database`] |
//! | receive files | [`upload`] |
//! | take one control alone, as a tower layer | [`audit`], [`throttle`], [`limits`], [`overload`], [`hosts`], [`proxies`], [`headers`], [`cors`], [`request_id`], [`trace`], [`metrics`], [`problem`] |

// The derives write paths that begin with `::bailiwick`, also in this crate.
extern crate self as bailiwick;

pub use bailiwick_core::{
    access, choices, clock, db, error, id, identity, meter, model, query, request, secret, store, text, units,
};
pub use bailiwick_macros::{Input, Model, Patch, View};
pub use bailiwick_store as database;

pub mod app;
pub mod audit;
pub mod authn;
pub mod check;
pub mod cookies;
pub mod cors;
pub mod csrf;
pub mod gate;
pub mod headers;
pub mod health;
pub mod hosts;
pub mod limits;
pub mod metrics;
pub mod origin;
pub mod overload;
pub mod prelude;
pub mod problem;
pub mod proxies;
pub mod request_id;
pub mod resource;
mod route_set;
pub mod routes;
pub mod tenancy;
pub mod throttle;
pub mod trace;
pub mod upload;

/// Runs the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
