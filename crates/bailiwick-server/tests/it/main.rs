//! The server from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
mod cli;
