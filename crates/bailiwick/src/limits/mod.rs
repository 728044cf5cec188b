//! Bounds on what one request may cost: its target, headers, body and time (LIM-01 to LIM-11).
//!
//! | limit | default | answer |
//! |---|---|---|
//! | length of the target | 8 KiB | 414 `uri-too-long` |
//! | header fields, and their bytes | 100, 16 KiB | 431 `headers-too-large` |
//! | query parameters | 100 | 400 `malformed-request` |
//! | body | 1 MiB, or what its route says | 413 `payload-too-large` |
//! | time until the answer begins | 30 s | 408 `request-timeout` if the server was waiting for the body, else 503 `unavailable` |
//!
//! A body that declares too great a length is refused before a byte of it is read, so a client that sent
//! `Expect: 100-continue` never sends it (LIM-02). One that declares none is counted while it is read. A compressed
//! body is 415 once somebody reads it (LIM-09), and so not before the gate has passed (ERR-23). Both
//! `Content-Length` and `Transfer-Encoding`, or lengths that differ, are 400 (LIM-10).
//!
//! # Security
//! If the body broke a limit, the answer is this layer's, whatever the handler made of the error.
mod body;
mod layer;
mod service;
#[cfg(test)]
mod tests;

pub use bailiwick_core::units::ByteSize;

pub use self::{
    layer::LimitsLayer,
    service::{LimitsFuture, LimitsService},
};
