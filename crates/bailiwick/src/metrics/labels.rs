//! The labels of series. All of them come from the program, never from a client.
use std::{fmt, sync::Arc};

use bailiwick_core::request::{AuthMethod, AuthOutcome, Scheme, ShedReason, ThrottleOutcome};
use http::{Method, Version};
use prometheus_client::encoding::{EncodeLabel, EncodeLabelSet, LabelSetEncoder};

/// The client went away before the answer began. Never sent; the log has it too.
pub(super) const CLIENT_GONE: u16 = 499;

/// MET-02: methods that anybody may think of are one.
pub(super) fn method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::CONNECT => "CONNECT",
        Method::TRACE => "TRACE",
        _ => OTHER_METHOD,
    }
}

pub(super) const OTHER_METHOD: &str = "_OTHER";

pub(super) fn scheme(scheme: Option<&Scheme>) -> &'static str {
    match scheme {
        Some(Scheme::Https) => "https",
        Some(Scheme::Http) | None => "http",
    }
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "0.9",
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        Version::HTTP_3 => "3",
        _ => "1.1",
    }
}

/// Of a request that is being answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Active {
    pub(super) method: &'static str,
    pub(super) scheme: &'static str,
}

impl EncodeLabelSet for Active {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("http_request_method", self.method).encode(encoder.encode_label())?;
        ("url_scheme", self.scheme).encode(encoder.encode_label())
    }
}

/// Of a request that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Answered {
    pub(super) active: Active,
    pub(super) version: &'static str,
    pub(super) route: Option<Arc<str>>,
    pub(super) status: u16,
}

impl EncodeLabelSet for Answered {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.active.encode(encoder)?;
        ("network_protocol_version", self.version).encode(encoder.encode_label())?;
        ("http_response_status_code", self.status).encode(encoder.encode_label())?;
        if let Some(route) = &self.route {
            ("http_route", &**route).encode(encoder.encode_label())?;
        }
        match self.status {
            CLIENT_GONE => ("error_type", "client_gone").encode(encoder.encode_label()),
            500.. => ("error_type", self.status).encode(encoder.encode_label()),
            _ => Ok(()),
        }
    }
}

/// Of a credential that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Authentication {
    pub(super) method: AuthMethod,
    pub(super) outcome: AuthOutcome,
}

impl EncodeLabelSet for Authentication {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("method", self.method.as_str()).encode(encoder.encode_label())?;
        ("outcome", self.outcome.as_str()).encode(encoder.encode_label())
    }
}

/// Of a quota that was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Throttle {
    pub(super) scope: &'static str,
    pub(super) outcome: ThrottleOutcome,
}

impl EncodeLabelSet for Throttle {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("scope", self.scope).encode(encoder.encode_label())?;
        ("outcome", self.outcome.as_str()).encode(encoder.encode_label())
    }
}

/// Of a request that was refused since the server is busy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Shed {
    pub(super) reason: ShedReason,
}

impl EncodeLabelSet for Shed {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("reason", self.reason.as_str()).encode(encoder.encode_label())
    }
}

/// Of an event that the log tells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Event {
    pub(super) event: &'static str,
}

impl EncodeLabelSet for Event {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("event", self.event).encode(encoder.encode_label())
    }
}

/// Of the program.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Build {
    pub(super) version: &'static str,
}

impl EncodeLabelSet for Build {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("version", self.version).encode(encoder.encode_label())
    }
}
