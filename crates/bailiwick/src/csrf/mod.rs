//! Refuses requests that another site forged.
//!
//! A browser sends its cookies with whatever page makes it call. So a request that changes something, and whose
//! credential came by cookie, must prove that it comes from this site, and so must a log-in of a browser (CSRF-01,
//! CSRF-03):
//!
//! | of the request | passes | else |
//! |---|---|---|
//! | `X-CSRFToken` | a token that was made for this session; at a log-in, for this browser | 403 `csrf-failed` |
//! | `Origin`, if sent | this host, or a trusted origin; never `null` | 403 `csrf-failed` |
//! | `Sec-Fetch-Site`, if sent | `same-origin` or `none`; anything from a trusted origin | 403 `csrf-failed` |
//!
//! Requests that authenticate by `Authorization` need none of it: no browser sends that by itself.
//!
//! # Security
//! A token is `random ‖ HMAC-SHA256(key, purpose ‖ random ‖ cookie)`: each one differs, so compression tells nothing of
//! it, and it stands for one session alone; what was made before a log-in is worthless after it (CSRF-35). It is read from
//! a header only (CSRF-32). A value of `Sec-Fetch-Site` that nobody knows, and any of the fields sent twice, is refused
//! (CSRF-12).
mod layer;
mod service;
#[cfg(test)]
mod tests;
mod token;

pub use self::{layer::CsrfLayer, service::CsrfService, token::Csrf};
