//! Findings about access tokens, and who issues them.
use std::{collections::HashSet, time::Duration};

use super::{Found, Subject, have};
use crate::{application, config};

/// The trusted issuers, each with the path of its table.
fn issuers<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (String, &'a config::TrustedIssuer)> {
    let issuers = subject.settings.jwt.trusted_issuers.iter().enumerate();
    issuers.map(|(index, issuer)| (format!("jwt.trusted_issuers[{}]", index + 1), issuer))
}

pub(super) fn unclear_issuers(subject: &Subject<'_>, found: &mut Found) {
    let mut names = HashSet::new();
    for (path, issuer) in issuers(subject) {
        let name = issuer.issuer.as_str();
        if name == application::own_issuer(subject.settings) {
            found.error(
                format!("{path}.issuer"),
                format!(
                    "{name} is the issuer of this server's own access tokens, whose keys are its own alone"
                ),
                "name the other issuer, or give this server another name with jwt.issuer",
            );
        } else if !names.insert(name) {
            found.error(
                format!("{path}.issuer"),
                format!("{name} is there twice, so nobody can tell whose keys count"),
                "keep one of the two",
            );
        }
        let reason = match (&issuer.jwks_file, &issuer.jwks_url) {
            (None, None) => "nothing says where its keys are",
            (Some(_), Some(_)) => "its keys are said to be in two places",
            _ => "",
        };
        if !reason.is_empty() {
            found.error(format!("{path}.jwks_url"), reason, "give either jwks_file or jwks_url");
        }
        if issuer.types.is_empty() {
            found.error(
                format!("{path}.types"),
                "no type of token is accepted, so none is",
                "name the `typ` of its access tokens, or leave it out for `at+jwt`",
            );
        }
    }
}

pub(super) fn keys_without_https(subject: &Subject<'_>, found: &mut Found) {
    for (path, issuer) in issuers(subject) {
        let Some(url) = issuer.jwks_url.as_ref().filter(|url| !url.is_https() && !url.is_loopback()) else {
            continue;
        };
        found.error_in_production(
            format!("{path}.jwks_url"),
            format!(
                "whoever is on the way to {} can put keys of their own in, and be any user",
                url.as_str()
            ),
            "name its https:// URL, or keep the keys in jwks_file",
        );
    }
}

/// What clocks that are kept differ by at most (JWT-13), and by what no clock does.
const LEEWAYS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(5 * 60)];

pub(super) fn large_leeways(subject: &Subject<'_>, found: &mut Found) {
    let [large, too_large] = LEEWAYS;
    for (path, issuer) in issuers(subject) {
        let leeway = issuer.leeway.as_duration();
        let setting = format!("{path}.leeway");
        let reason = format!("a token works for {} after it has expired", issuer.leeway);
        let fix = "let the clocks be set, and make it 60s or less";
        if leeway > too_large {
            found.error(setting, reason, fix);
        } else if leeway > large {
            found.warning(setting, reason, fix);
        }
    }
}

pub(super) fn exposed_key_sets(subject: &Subject<'_>, found: &mut Found) {
    for (path, issuer) in issuers(subject) {
        let Some(file) = issuer.jwks_file.as_deref() else { continue };
        let directory = config::directory_of(file);
        let (reason, fix) = if have(file, 0o022) {
            (
                format!(
                    "others than its owner can change {}, put keys of their own in, and be any user",
                    file.display()
                ),
                format!("chmod go-w {}", file.display()),
            )
        } else if have(directory, 0o002) && !have(directory, 0o1000) {
            (
                format!(
                    "every user of this machine can put another file in the place of {}, and be any user",
                    file.display()
                ),
                format!("chmod o-w {}", directory.display()),
            )
        } else {
            continue;
        };
        found.error_in_production(format!("{path}.jwks_file"), reason, fix);
    }
}

pub(super) fn hasty_rotation(subject: &Subject<'_>, found: &mut Found) {
    let Some(schedule) = application::jwt(subject.settings).map(|jwt| jwt.schedule()) else { return };
    let least = schedule.least_rotation();
    if schedule.rotate_every < least {
        found.error(
            "jwt.rotate_every",
            format!(
                "a key is published for {} s before it signs and verifies for {} s after: keys would follow each other \
                 faster than they end",
                schedule.publish().as_secs(),
                schedule.grace().as_secs()
            ),
            format!("set it to {} s or more, or let jwt.access_lifetime be shorter", least.as_secs()),
        );
    }
}

pub(super) fn long_access_tokens(subject: &Subject<'_>, found: &mut Found) {
    let lifetime = subject.settings.jwt.access_lifetime;
    if lifetime.as_duration() > Duration::from_secs(15 * 60) {
        found.warning(
            "jwt.access_lifetime",
            format!(
                "an access token that was copied is good for {lifetime} wherever others verify it by the JWKS"
            ),
            "lower it to 15m or less; clients refresh",
        );
    }
}

pub(super) fn refresh_tokens_that_end_first(subject: &Subject<'_>, found: &mut Found) {
    let jwt = &subject.settings.jwt;
    if jwt.refresh_lifetime.as_duration() < jwt.access_lifetime.as_duration() {
        found.error(
            "jwt.refresh_lifetime",
            format!(
                "a refresh token ends after {}, before the access token that it renews",
                jwt.refresh_lifetime
            ),
            "make it longer than jwt.access_lifetime",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::super::tests::{Case, find};

    pub(in crate::check) const CASES: &[Case] = &[
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b'}]",
            "error JWT-002 jwt.trusted_issuers[1].jwks_url",
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_url = 'https://a.example/keys'}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_url = 'https://a.example/keys', jwks_file = 'a'}]",
            "error JWT-002 jwt.trusted_issuers[1].jwks_url",
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a'}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a'}, {issuer = 'a', audience = 'c', jwks_file = 'a'}]",
            "error JWT-002 jwt.trusted_issuers[2].issuer",
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a'}, {issuer = 'A', audience = 'b', jwks_file = 'a'}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'https://api.example.com', audience = 'b', jwks_file = 'a'}]",
            "error JWT-002 jwt.trusted_issuers[1].issuer",
            "jwt.trusted_issuers = [{issuer = 'https://api.example.com/', audience = 'b', jwks_file = 'a'}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a', types = []}]",
            "error JWT-002 jwt.trusted_issuers[1].types",
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a', types = ['JWT']}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_url = 'http://a.example/keys'}]",
            "error JWT-003 jwt.trusted_issuers[1].jwks_url",
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_url = 'http://127.0.0.1:9/keys'}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a', leeway = '61s'}]",
            "warning JWT-004 jwt.trusted_issuers[1].leeway",
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a', leeway = '60s'}]",
        ),
        (
            "jwt.trusted_issuers = [{issuer = 'a', audience = 'b', jwks_file = 'a', leeway = '301s'}]",
            "error JWT-004 jwt.trusted_issuers[1].leeway",
            "",
        ),
        ("jwt.access_lifetime = '16m'", "warning JWT-006 jwt.access_lifetime", "jwt.access_lifetime = '15m'"),
        ("jwt.refresh_lifetime = '4m'", "error JWT-007 jwt.refresh_lifetime", "jwt.refresh_lifetime = '5m'"),
    ];

    #[cfg(unix)]
    #[test]
    fn whoever_can_change_the_keys_of_an_issuer_can_be_anybody() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("keys.json");
        fs::write(&file, "{\"keys\":[]}").unwrap();
        let settings = format!(
            "jwt.trusted_issuers = [{{issuer = 'a', audience = 'b', jwks_file = '{}'}}]",
            file.display()
        );
        let modes = |of_directory: u32, of_file: u32| {
            fs::set_permissions(&file, fs::Permissions::from_mode(of_file)).unwrap();
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(of_directory)).unwrap();
            find(&settings)
        };
        for (of_directory, of_file) in [(0o755, 0o664), (0o755, 0o646), (0o777, 0o644)] {
            let found = modes(of_directory, of_file);
            assert_eq!(
                found,
                ["error JWT-005 jwt.trusted_issuers[1].jwks_file"],
                "{of_directory:o} {of_file:o}"
            );
        }
        for (of_directory, of_file) in [(0o755, 0o644), (0o1777, 0o644), (0o700, 0o600)] {
            assert_eq!(modes(of_directory, of_file), [""; 0], "{of_directory:o} {of_file:o}");
        }
    }
}
