//! Findings about pages of other origins.
use super::{Found, Subject};
use crate::config;

pub(super) fn any_origin_with_credentials(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    if cors.allow_all_origins && cors.allow_credentials {
        found.error(
            "cors.allow_credentials",
            "with cors.allow_all_origins, every page on the web could read as whoever is logged in; no server does that",
            "remove one of the two, and list the origins in cors.allowed_origins",
        );
    }
}

pub(super) fn null_origin(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.cors.allowed_origins.iter().any(|allowed| allowed.origin().is_none()) {
        found.error(
            "cors.allowed_origins",
            "`null` is the origin of any sandboxed page, whoever wrote it; no server lets it in by name",
            "remove it, and serve the page from an origin of its own",
        );
    }
}

pub(super) fn loose_origin_regex(subject: &Subject<'_>, found: &mut Found) {
    for regex in &subject.settings.cors.allowed_origin_regexes {
        if let Err(why) = regex.to_framework() {
            found.error(
                "cors.allowed_origin_regexes",
                format!("`{}` cannot be what is meant: {why}", regex.as_str()),
                r"anchor it, escape its dots and end it with a domain of yours, such as ^https://[a-z0-9-]+\.example\.com$",
            );
        }
    }
}

pub(super) fn origin_regex_with_credentials(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    if cors.allow_credentials && !cors.allow_all_origins && !cors.allowed_origin_regexes.is_empty() {
        found.error(
            "cors.allow_credentials",
            "whoever gets hold of one host that cors.allowed_origin_regexes match reads as whoever is logged in",
            "list the origins in cors.allowed_origins",
        );
    }
}

pub(super) fn allowed_origin_without_https(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    // Pages of this machine are what a developer works on (CORS-40).
    let is_unsafe = |origin: &&config::Origin| {
        origin.as_str().starts_with("http://") && (found.is_production || !origin.is_loopback())
    };
    let mut listed = cors.allowed_origins.iter().filter_map(|allowed| allowed.origin());
    if let Some(origin) = listed.find(is_unsafe).map(config::Origin::as_str) {
        found.error_in_production(
            "cors.allowed_origins",
            format!("whoever is on the way to {origin} writes its pages, and reads what they may read"),
            "name its https:// origin",
        );
    }
    let patterns = cors.allowed_origin_regexes.iter().filter_map(|regex| regex.to_framework().ok());
    if let Some(pattern) = { patterns }.find(|pattern| {
        if found.is_production { pattern.lets_in_plain_http() } else { pattern.lets_in_plain_http_outside() }
    }) {
        found.error_in_production(
            "cors.allowed_origin_regexes",
            format!("`{pattern}` matches origins of plain http: whoever is on the way writes their pages"),
            "let it begin with ^https://",
        );
    }
}

pub(super) fn any_origin(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.cors.allow_all_origins {
        found.warning(
            "cors.allow_all_origins",
            "every page on the web reads what this server answers without a cookie, also where only a firewall keeps \
             strangers out",
            "list the origins in cors.allowed_origins, or accept this finding in check.allow",
        );
    }
}

pub(super) fn any_origin_into_network(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    if cors.allow_all_origins && cors.allow_private_network {
        found.error(
            "cors.allow_private_network",
            "with cors.allow_all_origins, every page on the web could call into your network; no server does that",
            "remove one of the two, and list the origins in cors.allowed_origins",
        );
    }
}

pub(super) fn trusted_origin_without_https(subject: &Subject<'_>, found: &mut Found) {
    let mut origins = subject.settings.csrf.trusted_origins.iter().map(|origin| origin.as_str());
    if let Some(origin) = origins.find(|origin| origin.starts_with("http://")) {
        found.error_in_production(
            "csrf.trusted_origins",
            format!(
                "whoever is on the way to {origin} writes its pages, and acts for whoever is logged in here"
            ),
            "name its https:// origin",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{Case, find};

    pub(in crate::check) const CASES: &[Case] = &[
        (
            "csrf.trusted_origins = ['http://app.example.com']",
            "error CSRF-001 csrf.trusted_origins",
            "csrf.trusted_origins = ['https://app.example.com']",
        ),
        (
            "cors.allow_private_network = true\ncors.allowed_origins = ['http://app.example.com']",
            "error CORS-005 cors.allowed_origins",
            "cors.allow_private_network = true\ncors.allowed_origins = ['https://app.example.com']",
        ),
        (
            "cors.allowed_origins = ['http://localhost:3000']",
            "error CORS-005 cors.allowed_origins",
            "cors.allow_credentials = true\ncors.allowed_origins = ['https://localhost:3000']",
        ),
        (
            r"cors.allowed_origin_regexes = ['^https?://[a-z]+\.example\.com$']",
            "error CORS-005 cors.allowed_origin_regexes",
            r"cors.allowed_origin_regexes = ['^https://[a-z]+\.example\.com$']",
        ),
        (
            "cors.allowed_origins = ['https://a.example', 'null']",
            "error CORS-002 cors.allowed_origins",
            "cors.allowed_origins = ['https://a.example']",
        ),
        (
            r"cors.allowed_origin_regexes = ['https://[a-z]+\.example\.com']",
            "error CORS-003 cors.allowed_origin_regexes",
            r"cors.allowed_origin_regexes = ['^https://[a-z]+\.example\.com$']",
        ),
        (
            "cors.allowed_origin_regexes = ['^https://.*$']",
            "error CORS-003 cors.allowed_origin_regexes",
            r"cors.allowed_origin_regexes = ['^https://.*\.example\.com$']",
        ),
        (
            "cors.allow_credentials = true\ncors.allowed_origin_regexes = ['^https://a\\.example\\.com$']",
            "error CORS-004 cors.allow_credentials",
            "cors.allow_credentials = true\ncors.allowed_origins = ['https://a.example.com']",
        ),
        ("cors.allow_all_origins = true", "warning CORS-006 cors.allow_all_origins", ""),
    ];

    // CORS-41, DEP-01
    #[test]
    fn any_origin_gets_neither_cookies_nor_a_private_network() {
        let found = find("cors.allow_all_origins = true\ncors.allow_credentials = true");
        assert_eq!(
            found,
            ["error CORS-001 cors.allow_credentials", "warning CORS-006 cors.allow_all_origins"]
        );
        let found = find("cors.allow_all_origins = true\ncors.allow_private_network = true");
        assert_eq!(
            found,
            ["error CORS-007 cors.allow_private_network", "warning CORS-006 cors.allow_all_origins"]
        );
    }
}
