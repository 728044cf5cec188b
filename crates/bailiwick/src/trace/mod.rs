//! The access log: one line for every request, whatever became of it.
//!
//! A [`TraceLayer`] writes it to a [`Log`], in JSON with these members, each of them always there:
//! `timestamp`, `level`, `event` (`http_request`), `request_id`, `method`, `route`, `path`, `status`,
//! `duration_ms`, `user_id`, `org`, `remote_addr`, `bytes_out` (of the body), `throttled` (the scope that refused
//! it), `denied_by` (the rule). What is not known is `null`. What only the layers inside can know, they put into the
//! [`Facts`](bailiwick_core::request::Facts) of the request.
//!
//! - The line is written when the answer has ended. If the client goes away before the answer begins, or the
//!   server stops, the status is 499, which is never sent.
//! - `level` is `error` for a status of 500 and above, else `info`.
//! - The cause of a failure is a line of its own, with the `event` `request_failed` and the same `request_id`.
//! - What happened to an account is a line of its own too, written when it happens: its `event` is one of
//!   [`SecurityEventKind`](bailiwick_core::audit::SecurityEventKind), with `request_id`, `user_id`, `credential_id`,
//!   `remote_addr`, and the `kid` of a signing key. Its level is `warn` if it may be the sign of an attack. A [`Log`] is a
//!   [`Witness`](bailiwick_core::audit::Witness): what no request brings about is the same line, with fewer members known.
//! - What no request tells begins with the same three members, with the `event` `diagnostic`.
//!
//! # Security
//! No query, cookie, body or header but the request id is ever written, and of a token only its prefix (LOG-03). All text is
//! escaped, so that no request can begin a line, colour a terminal or turn text around, and it is cut at a length
//! (LOG-04). A log that cannot be written, or only slowly, does not slow down requests: lines are dropped and counted
//! (LOG-05).
mod body;
mod events;
mod facts;
mod layer;
mod line;
mod log;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    body::TraceBody,
    facts::RequestFacts,
    layer::TraceLayer,
    log::{Format, Log},
    service::{TraceFuture, TraceService},
};
/// How much a line matters; of `tracing`.
pub use tracing::Level;
