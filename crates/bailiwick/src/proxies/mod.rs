//! Learns from the proxies in front of the server where a request comes from, and how its client reached the site.
//!
//! A [`ProxiesLayer`] believes `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Host`, or
//! [`Forwarded`](ForwardedBy::Forwarded), on connections from [`TrustedProxies`] alone (PRX-01). It puts what they say
//! where everything else looks: the client's address into [`ClientAddr`](bailiwick_core::request::ClientAddr), https into
//! [`Scheme`](bailiwick_core::request::Scheme), the host into `Host`. The fields themselves are taken out of every request,
//! so that no handler reads what a client made up.
//!
//! ```
//! use bailiwick::proxies::{ProxiesLayer, TrustedProxies};
//!
//! let trusted = TrustedProxies::new(["10.0.0.0/8".parse()?, "fd00::/8".parse()?]);
//! let layer = ProxiesLayer::new(trusted);
//! # let _ = layer;
//! # Ok::<(), ipnet::AddrParseError>(())
//! ```
//!
//! # Security
//! The client is the right-most address that is no trusted proxy's: what stands left of it, the client may have written
//! (PRX-02). A proxy that does not say how its client came is taken to have been reached in the clear (PRX-05).
mod forwarded;
mod layer;
mod service;
#[cfg(test)]
mod tests;
mod trusted;

pub use self::{
    layer::{ForwardedBy, ProxiesLayer},
    service::ProxiesService,
    trusted::TrustedProxies,
};
