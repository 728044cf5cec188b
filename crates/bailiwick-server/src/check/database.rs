//! Findings about where data is, and counters are.
use super::{Found, Subject, have, others_may_read};
use crate::config::{self, DatabaseUrl};

pub(super) fn exposed_database(subject: &Subject<'_>, found: &mut Found) {
    for file in subject.settings.database.url.files().iter().filter(|file| others_may_read(file)) {
        found.error_in_production(
            "database.url",
            format!("every user of this machine can read or change {}", file.display()),
            format!("chmod o= {}", file.display()),
        );
    }
}

pub(super) fn exposed_database_directory(subject: &Subject<'_>, found: &mut Found) {
    let DatabaseUrl::Sqlite(path) = &subject.settings.database.url else { return };
    let directory = config::directory_of(path);
    // The sticky bit keeps others from replacing the file, not from making the log that SQLite would read.
    if have(directory, 0o002) {
        found.error_in_production(
            "database.url",
            format!(
                "every user of this machine can write to {}, and put files there that SQLite takes for its own",
                directory.display()
            ),
            format!("chmod o-w {}, or keep the database in a directory of its own", directory.display()),
        );
    }
}

pub(super) fn database_without_tls(subject: &Subject<'_>, found: &mut Found) {
    let is_away = |host: &String| !config::is_loopback_host(host);
    if let Some(host) = subject.settings.database.url.hosts().into_iter().find(is_away) {
        found.warning(
            "database.url",
            format!("the connection to {host} is not encrypted"),
            "use a private network or a tunnel, and then accept this finding in check.allow",
        );
    }
}

pub(super) fn redis_without_tls(subject: &Subject<'_>, found: &mut Found) {
    let host = subject.settings.shared.url.plain_host();
    if let Some(host) = host.filter(|host| !config::is_loopback_host(host)) {
        found.warning(
            "shared.url",
            format!("the connection to {host} is not encrypted: whoever is on the way reads the password, and fills quotas"),
            "use rediss://, or a private network or a tunnel, and then accept this finding in check.allow",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::{Case, find};

    pub(in crate::check) const CASES: &[Case] = &[
        (
            "shared.url = 'redis://:p@cache.example:6379'",
            "warning SHARED-001 shared.url",
            "shared.url = 'rediss://:p@cache.example:6379'",
        ),
        (
            "shared.url = 'redis://10.0.0.5'",
            "warning SHARED-001 shared.url",
            "shared.url = 'redis://[::1]:6379/2'",
        ),
        ("shared.url = 'redis://u:p@cache/1'", "warning SHARED-001 shared.url", "shared.url = 'database'"),
        (
            "database.url = 'postgres://u:p@db/a'",
            "warning DB-002 database.url",
            "database.url = 'postgres://u:p@localhost/a'",
        ),
        (
            "database.url = 'postgres:///a?host=10.0.0.5'",
            "warning DB-002 database.url",
            "database.url = 'postgres:///a?host=127.0.0.1'",
        ),
        (
            "database.url = 'postgres://db/a?sslmode=prefer'",
            "warning DB-002 database.url",
            "database.url = 'postgres:///a?host=/run/postgresql'",
        ),
    ];

    #[test]
    fn asking_for_encryption_that_is_not_there_does_not_count_as_encryption() {
        let found = find("database.url = 'postgres://db/a?sslmode=verify-full'");
        assert_eq!(found, ["error SET-002 database.url", "warning DB-002 database.url"]);
    }
}
