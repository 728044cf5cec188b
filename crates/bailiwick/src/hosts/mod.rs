//! Answers only to the host names that the operator listed (HST-01 to HST-04).
//!
//! A request whose `Host` is missing, sent twice, malformed or not in [`AllowedHosts`] is answered with 400
//! `bad-host` before anything else looks at it, so no link, cookie or cache entry is ever made from a host name
//! that an attacker chose. The port plays no part.
mod allowed;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    allowed::{AllowedHosts, InvalidHost},
    layer::HostsLayer,
    service::HostsService,
};
