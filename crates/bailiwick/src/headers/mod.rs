//! Security headers on every answer, errors included (HDR-01 to HDR-08).
//!
//! | header | value | who may choose another |
//! |---|---|---|
//! | `X-Content-Type-Options` | `nosniff` | nobody |
//! | `X-Frame-Options` | `DENY` | nobody |
//! | `Strict-Transport-Security` | two years, with sub-domains, over https only (HDR-02) | nobody |
//! | `Content-Security-Policy` | `default-src 'none'; frame-ancestors 'none'` | the handler, for pages |
//! | `Referrer-Policy` | `no-referrer` | the handler |
//! | `Cross-Origin-Resource-Policy` | `same-origin` | the handler, for public assets |
//! | `Cache-Control` | `no-store` | the handler, for what may be cached (HDR-07) |
//! | `Permissions-Policy`, `Cross-Origin-Opener-Policy` | no features, `same-origin`; on HTML only | the handler |
//!
//! `Server` and `X-Powered-By` are taken away (HDR-05). Nothing is sent twice.
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    layer::SecurityHeadersLayer,
    service::{SecurityHeadersFuture, SecurityHeadersService},
};
