//! URLs that may have a password in them.
use percent_encoding::percent_decode_str;

use super::super::value::REDACTED;

pub(super) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

pub(super) fn without_port(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(host, _)| host),
    }
}

/// Whether a URL has a password in it: behind the user, or as a parameter. If in doubt, it has.
pub(super) fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let behind_user = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    behind_user || decode(rest).contains("password=")
}

/// A URL with what may be secret in it taken out: the password, and the parameters, which can carry one too.
pub(super) fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return REDACTED.to_owned() };
    let (rest, parameters) = match rest.find(['?', '#']) {
        // A password that was not percent-encoded may have these in it, and then the host begins behind them.
        Some(at) if rest[at..].contains('@') => return format!("{scheme}://{REDACTED}"),
        Some(at) => (&rest[..at], "?…"),
        None => (rest, ""),
    };
    match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((user, _)) => format!("{scheme}://{user}:{REDACTED}@{host}{parameters}"),
            None => format!("{scheme}://{user}@{host}{parameters}"),
        },
        None => format!("{scheme}://{rest}{parameters}"),
    }
}
