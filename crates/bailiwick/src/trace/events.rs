//! Security events as lines of the log.
use std::net::IpAddr;

use bailiwick_core::audit::{SecurityEvent, Witness};
use tracing::Level;

use super::{Log, line::MAX_TEXT};

/// A line for each event (LOG-02), whether a request brought it about or not.
impl Witness for Log {
    fn hear(&self, event: &SecurityEvent, request_id: Option<&str>, remote_addr: Option<IpAddr>) {
        let level = if event.kind.is_suspicious() { Level::WARN } else { Level::INFO };
        self.line(level, event.kind.as_str(), |line| {
            // A client may choose it, and so may send a token in it.
            line.of_client("request_id", request_id, MAX_TEXT);
            line.plain("user_id", event.user_id);
            line.plain("credential_id", event.credential_id());
            line.plain("remote_addr", remote_addr);
            // Only few events have one.
            if let Some(kid) = event.kid() {
                line.text("kid", Some(kid));
            }
            if let Some(id) = event.object_id() {
                line.text("object_id", Some(id));
            }
            if let Some(reason) = event.reason() {
                line.text("reason", Some(reason));
            }
        });
    }
}
