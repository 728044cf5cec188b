//! Findings about the settings as such, and the file that they are in.
use super::{Found, RULES, Strictness, Subject, have};
use crate::config::{self, Environment, Settings, Source, Standing};

pub(super) fn unknown_codes(subject: &Subject<'_>, found: &mut Found) {
    for code in subject.settings.check.allow.iter().map(|code| code.as_str()) {
        if !RULES.iter().any(|rule| rule.code == code) {
            found.error(
                "check.allow",
                format!("there is no finding {code}, so accepting it does nothing"),
                "correct the code, or remove it",
            );
        }
    }
}

pub(super) fn development_deployed(subject: &Subject<'_>, found: &mut Found) {
    if subject.strictness == Strictness::Deploy
        && subject.settings.server.environment == Environment::Development
    {
        found.error(
            "server.environment",
            "`development` relaxes defaults that protect a server on the net",
            "set it to `production`, or remove it",
        );
    }
}

/// The keys of this standing that somebody set to something else than the default.
fn changed<'a>(subject: &'a Subject<'_>, standing: Standing) -> impl Iterator<Item = &'a str> {
    let keys = Settings::table().keys().filter(move |key| key.standing == standing);
    keys.filter_map(|key| subject.loaded.changed(key)).map(|effective| effective.path.as_str())
}

pub(super) fn settings_without_effect(subject: &Subject<'_>, found: &mut Found) {
    for path in changed(subject, Standing::NotYet) {
        found.warning(
            path.to_owned(),
            "this setting has no effect in this version",
            "remove it until a version has it in force",
        );
    }
}

pub(super) fn settings_not_available(subject: &Subject<'_>, found: &mut Found) {
    for path in changed(subject, Standing::Refused) {
        found.error(
            path.to_owned(),
            "this version does not do what the setting asks for, and you would rely on it",
            "remove it, and use a version that has it in force",
        );
    }
    if subject.settings.database.url.asks_for_tls() {
        found.error(
            "database.url",
            "sslmode asks for an encrypted connection, which this version does not make",
            "take sslmode out, and reach the server over a Unix socket, a private network or a tunnel",
        );
    }
}

pub(super) fn exposed_settings_file(subject: &Subject<'_>, found: &mut Found) {
    let Some(file) = subject.loaded.file.as_deref().filter(|file| have(file, 0o004)) else { return };
    let from_file = |source: &Source| matches!(source, Source::File { .. });
    for secret in subject.loaded.effective.iter().filter(|e| e.holds_secret && from_file(&e.source)) {
        found.error_in_production(
            secret.path.clone(),
            format!("every user of this machine can read this secret in {}", file.display()),
            format!(
                "chmod o= {}, or move the secret to a file of its own with {}_file",
                file.display(),
                secret.path
            ),
        );
    }
}

pub(super) fn writable_settings_file(subject: &Subject<'_>, found: &mut Found) {
    let Some(file) = subject.loaded.file.as_deref() else { return };
    let directory = config::directory_of(file);
    // The sticky bit keeps others from putting a file of their own in its place.
    if have(directory, 0o002) && !have(directory, 0o1000) {
        found.error_in_production(
            "settings file",
            format!(
                "every user of this machine can write to {}, and put another file in the place of {}",
                directory.display(),
                file.display()
            ),
            format!("chmod o-w {}", directory.display()),
        );
    } else if have(file, 0o022) {
        // Of the group too: to read is the operator's choice, but whoever writes here can take off any protection.
        found.error_in_production(
            "settings file",
            format!("others than its owner can change {}, and so every setting", file.display()),
            format!("chmod go-w {}", file.display()),
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::super::{Strictness, check, tests::Case};
    use crate::config::{self, Loaded};

    pub(in crate::check) const CASES: &[Case] = &[
        ("check.allow = ['NOPE-001']", "error CHECK-001 check.allow", "check.allow = ['DB-001']"),
        ("telemetry.otlp_endpoint = 'http://127.0.0.1:4318'", "warning SET-001 telemetry.otlp_endpoint", ""),
        ("database.row_level_security = true", "error SET-002 database.row_level_security", ""),
        (
            "database.url = 'postgres://localhost/a?sslmode=require'",
            "error SET-002 database.url",
            "database.url = 'postgres://localhost/a?sslmode=disable'",
        ),
    ];

    #[cfg(unix)]
    #[test]
    fn a_settings_file_is_exposed_by_the_secrets_in_it_however_they_are_shown() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bailiwick.toml");
        for (settings, is_exposed) in [
            // Parameters are not shown at all.
            ("database.url = 'postgres://ann@localhost/app?password=s3cret'", true),
            ("database.url = 'postgres://ann:s3cret@localhost/app'", true),
            ("database.url = 'postgres://ann@localhost/app'", false),
            // A name is not a secret, whatever it is like.
            ("database.url = 'sqlite://[redacted].db'", false),
            ("secrets.master_key = ''", false),
            ("secrets.master_key_fallbacks = []", false),
        ] {
            fs::write(&path, settings).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let inputs = config::Inputs { file: Some(path.clone()), variables: Vec::new() };
            let report = check(&Loaded::load(&inputs).unwrap(), Strictness::AsConfigured);
            let found = report.findings().iter().any(|finding| finding.code() == "KEY-004");
            assert_eq!(found, is_exposed, "{settings}");
        }
    }
}
