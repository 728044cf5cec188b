//! The ready-to-run server of Bailiwick, as a library for its binary and its tests.
pub mod application;
pub mod attachments;
pub mod check;
pub mod cli;
pub mod config;
mod handlers;
mod mail;
mod resources;
mod scopes;
#[doc(hidden)]
pub mod testing;
