//! The server from outside.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
mod access;
mod authn;
mod bodies;
mod browser;
mod chromium;
mod cli;
mod conditions;
mod csrf;
mod faults;
mod guide;
mod hidden;
mod isolation;
mod jwt;
mod keys;
mod lists;
mod orgs;
mod paths;
mod problems;
mod process;
mod session_commands;
mod sessions;
mod site;
mod support;
mod tasks;
mod throttle;
mod tokens;
