//! Bounds on what one request may cost: its target, headers, body and time (LIM-01 to LIM-11).
//!
//! | limit | default | answer |
//! |---|---|---|
//! | length of the target | 8 KiB | 414 `uri-too-long` |
//! | header fields, and their bytes | 100, 16 KiB | 431 `headers-too-large` |
//! | query parameters | 100 | 400 `malformed-request` |
//! | body | 1 MiB, or what its route says | 413 `payload-too-large` |
//! | what all bodies take in memory together | 256 MiB, of which one address has an eighth | 503 `unavailable`, `Retry-After` |
//! | a pause within the body | 10 s | 408 `request-timeout` |
//! | the rate of a body that takes longer than 30 s | 8 KiB a second on average beyond these | 408 |
//! | time from the end of the body until the answer begins | 30 s | 503 `unavailable` |
//!
//! A body that declares too great a length is refused before a byte of it is read, so a client that sent
//! `Expect: 100-continue` never sends it (LIM-02). One that declares none is counted while it is read. A compressed
//! body is 415 once somebody reads it (LIM-09), and so not before the gate has passed (ERR-23). Both
//! `Content-Length` and `Transfer-Encoding`, or two lengths, are 400 (LIM-10).
//!
//! A client is told that it is slow (408) only if the server was waiting for it when the time was over; else the server was.
//!
//! Memory is taken while a handler reads, so what is refused before has none, nor has what is only declared; it is given back
//! when both the answer is there and the body is dropped. No
//! body waits for memory: it is there or the request is refused, so none can wait for another without end, and how long one
//! may keep it the rate and the timeout bound.
//!
//! # Security
//! If the body broke a limit, the answer is this layer's, whatever the handler made of the error.
mod body;
mod layer;
mod memory;
mod progress;
mod service;
#[cfg(test)]
mod tests;

pub use bailiwick_core::units::ByteSize;

pub use self::{
    layer::LimitsLayer,
    service::{LimitsFuture, LimitsService},
};
