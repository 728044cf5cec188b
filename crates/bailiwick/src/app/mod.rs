//! Puts the layers together and serves them.
//!
//! An application makes three decisions, in this order, before it can have routes: where rows are kept, how callers
//! prove who they are, and how a request names its tenant. The compiler keeps the order. Everything else has a safe
//! default.
//!
//! ```no_run
//! use bailiwick::{app::{App, serve::ServeOptions}, authn::Authn, tenancy::TenantFrom};
//!
//! # async fn run(store: std::sync::Arc<dyn bailiwick::store::Store>) -> Result<(), Box<dyn std::error::Error>> {
//! let app = App::builder()
//!     .store(store)
//!     .authenticate(Authn::new())
//!     .tenancy(TenantFrom::path())
//!     .build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8000").await?;
//! app.serve(listener, ServeOptions::new(), std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
mod builder;
mod operations;
pub mod serve;
mod stack;
mod state;

pub use self::{
    builder::{
        App, BuildError, Builder, NeedsAuthn, NeedsStore, NeedsTenancy, Policies, Ready, Resources, RouteInfo,
    },
    operations::{Operations, Readiness},
    stack::STACK,
    state::{Given, State},
};
