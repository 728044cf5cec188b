//! What the server counts, for Prometheus: requests, what was decided about them, and what its parts measure of themselves.
//!
//! A [`MetricsLayer`] counts requests into [`Metrics`], whose [`render`](Metrics::render) is the text that Prometheus reads.
//! What only the layers inside know, they put into the [`Facts`](bailiwick_core::request::Facts) of the request. Security
//! events are counted when they happen, also those that no request brings about: [`Metrics`] are a
//! [`Witness`](bailiwick_core::audit::Witness). What else has no request, such as a queue, is read when somebody looks, from the parts that are [watched](Metrics::watch).
//!
//! | metric | labels |
//! |---|---|
//! | `http_server_request_duration_seconds`, a histogram with the boundaries of MET-01 | `http_request_method`, `url_scheme`, `network_protocol_version`, `http_response_status_code`, `http_route` where one matched, `error_type` where it failed |
//! | `http_server_active_requests` | `http_request_method`, `url_scheme` |
//! | `bailiwick_authentications_total` | `method`, `outcome` |
//! | `bailiwick_throttle_decisions_total` | `scope`, `outcome` |
//! | `bailiwick_requests_shed_total` | `reason` |
//! | `bailiwick_security_events_total` | `event`, as the log names it |
//! | `bailiwick_build_info`, `process_start_time_seconds` | `version` of the former |
//!
//! A request is counted when its answer has ended. One whose client went away before the answer began has the status 499
//! and the `error_type` `client_gone`, as in the log; a panic is a 500.
//!
//! # Security
//! Every label is one of a few names that the program has: a method is a known one or `_OTHER`, a route is a template, and
//! nothing else is taken from a request (MET-02, MET-03). So no client can make the text longer, or read in it what another
//! sent. There are no numbers by user, organisation or address.
mod body;
mod labels;
mod layer;
mod registry;
mod service;
#[cfg(test)]
mod tests;

pub use self::{
    body::MetricsBody,
    layer::MetricsLayer,
    registry::Metrics,
    service::{MetricsFuture, MetricsService},
};
