//! The server from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
mod access;
mod authn;
mod bodies;
mod browser;
mod cli;
mod conditions;
mod csrf;
mod faults;
mod guesses;
mod hidden;
mod isolation;
mod lists;
mod mail;
mod orgs;
mod passwords;
mod paths;
mod problems;
mod process;
mod registration;
mod sessions;
mod site;
mod support;
mod tasks;
mod throttle;
mod tokens;
