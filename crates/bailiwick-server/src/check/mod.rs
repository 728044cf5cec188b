//! The rules of `bailiwick check`: which settings are unsafe, why, and what to do.
//!
//! `serve` refuses to start on an error. A code is permanent once released; `check.allow` accepts one on
//! purpose, and then it is logged at every start. To add a rule, write it in the file of its section,
//! add a line to [`RULES`] and a case beside it: settings that trigger it, and settings that clear it (DEP-02).
mod accounts;
mod checklist;
mod cors;
mod database;
mod docs;
mod jwt;
mod limits;
mod secrets;
mod server;
mod settings;
mod uploads;

use std::{borrow::Cow, fs, path::Path};

use bailiwick::check::{Finding, Report, Severity};

pub use self::checklist::{Line, Standing, checklist, text as checklist_text};
use crate::config::{Environment, Loaded, Settings};

/// How strictly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// As the environment in the settings asks.
    AsConfigured,
    /// As if this were production, whatever the settings say: `check --deploy`.
    Deploy,
}

/// Looks at the settings, and at the files that they name.
#[must_use]
pub fn check(loaded: &Loaded, strictness: Strictness) -> Report {
    let is_production =
        loaded.settings.server.environment == Environment::Production || strictness == Strictness::Deploy;
    let mut found = Found { code: "", is_production, findings: Vec::new() };
    for rule in RULES {
        found.code = rule.code;
        (rule.find)(&Subject { loaded, settings: &loaded.settings, strictness }, &mut found);
    }
    let allowed = loaded.settings.check.allow.iter().map(|code| code.as_str());
    let allowed: Vec<&str> = allowed.filter(|code| !NEVER_ACCEPTED.contains(code)).collect();
    Report::new(found.findings, &allowed)
}

/// What `check.allow` may name and nobody can accept: the framework has no words for what such settings ask.
const NEVER_ACCEPTED: [&str; 4] = ["CORS-001", "CORS-002", "CORS-003", "CORS-007"];

struct Rule {
    code: &'static str,
    gravity: Gravity,
    /// What it finds.
    finds: &'static str,
    find: fn(&Subject<'_>, &mut Found),
}

impl Gravity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::ErrorInProduction => "error; in development a warning",
            Self::Error => "error",
        }
    }
}

/// What is known of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RuleInfo {
    /// The permanent code of its findings.
    pub code: &'static str,
    /// What it finds.
    pub finds: &'static str,
    /// How grave its findings are at most.
    pub severity: &'static str,
}

/// Every rule, in the order in which findings are listed.
pub fn rules() -> impl Iterator<Item = RuleInfo> {
    RULES.iter().map(|rule| RuleInfo { code: rule.code, finds: rule.finds, severity: rule.gravity.as_str() })
}

/// How grave the findings of a rule are at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gravity {
    Warning,
    /// An error in production, and elsewhere a warning.
    ErrorInProduction,
    Error,
}

struct Subject<'a> {
    loaded: &'a Loaded,
    settings: &'a Settings,
    strictness: Strictness,
}

/// Takes the findings of one rule after the other.
struct Found {
    code: &'static str,
    is_production: bool,
    findings: Vec<Finding>,
}

type Words = Cow<'static, str>;

impl Found {
    fn error(&mut self, setting: impl Into<Words>, reason: impl Into<Words>, fix: impl Into<Words>) {
        self.push(Severity::Error, setting, reason, fix);
    }

    fn warning(&mut self, setting: impl Into<Words>, reason: impl Into<Words>, fix: impl Into<Words>) {
        self.push(Severity::Warning, setting, reason, fix);
    }

    /// An error in production, and elsewhere a warning.
    fn error_in_production(
        &mut self,
        setting: impl Into<Words>,
        reason: impl Into<Words>,
        fix: impl Into<Words>,
    ) {
        let severity = if self.is_production { Severity::Error } else { Severity::Warning };
        self.push(severity, setting, reason, fix);
    }

    fn push(
        &mut self,
        severity: Severity,
        setting: impl Into<Words>,
        reason: impl Into<Words>,
        fix: impl Into<Words>,
    ) {
        self.findings.push(Finding::new(self.code, severity, setting).because(reason).fix(fix));
    }
}

/// Every rule, in the order in which findings are listed.
const RULES: &[Rule] = &[
    Rule {
        code: "CHECK-001",
        gravity: Gravity::Error,
        finds: "a code in `check.allow` that no finding has",
        find: settings::unknown_codes,
    },
    Rule {
        code: "ENV-001",
        gravity: Gravity::Error,
        finds: "settings of development, looked at by `check --deploy`",
        find: settings::development_deployed,
    },
    Rule {
        code: "SET-001",
        gravity: Gravity::Warning,
        finds: "a setting that has no effect in this version",
        find: settings::settings_without_effect,
    },
    Rule {
        code: "SET-002",
        gravity: Gravity::Error,
        finds: "a setting that asks for what this version does not do, and on which you would rely",
        find: settings::settings_not_available,
    },
    Rule { code: "KEY-001", gravity: Gravity::Error, finds: "no master key", find: secrets::missing_key },
    Rule {
        code: "KEY-002",
        gravity: Gravity::Error,
        finds: "a master key that is guessable or was published",
        find: secrets::weak_keys,
    },
    Rule {
        code: "KEY-003",
        gravity: Gravity::ErrorInProduction,
        finds: "a file with a secret that every user of the machine can read or replace",
        find: secrets::exposed_secret_files,
    },
    Rule {
        code: "KEY-004",
        gravity: Gravity::ErrorInProduction,
        finds: "secrets in a settings file that every user of the machine can read",
        find: settings::exposed_settings_file,
    },
    Rule {
        code: "SET-003",
        gravity: Gravity::ErrorInProduction,
        finds: "a settings file that others can change or replace",
        find: settings::writable_settings_file,
    },
    Rule {
        code: "KEY-005",
        gravity: Gravity::Warning,
        finds: "the master key among its own fallbacks",
        find: secrets::key_among_fallbacks,
    },
    Rule {
        code: "CORS-001",
        gravity: Gravity::Error,
        finds: "any origin together with cookies",
        find: cors::any_origin_with_credentials,
    },
    Rule {
        code: "CORS-002",
        gravity: Gravity::Error,
        finds: "`null` as an origin, which any sandboxed page has",
        find: cors::null_origin,
    },
    Rule {
        code: "CORS-003",
        gravity: Gravity::Error,
        finds: "a pattern of origins that lets in whoever registers a domain",
        find: cors::loose_origin_regex,
    },
    Rule {
        code: "CORS-004",
        gravity: Gravity::Error,
        finds: "cookies for origins by pattern",
        find: cors::origin_regex_with_credentials,
    },
    Rule {
        code: "CORS-005",
        gravity: Gravity::ErrorInProduction,
        finds: "an allowed origin without https",
        find: cors::allowed_origin_without_https,
    },
    Rule {
        code: "CORS-006",
        gravity: Gravity::Warning,
        finds: "any origin, without cookies",
        find: cors::any_origin,
    },
    Rule {
        code: "CORS-007",
        gravity: Gravity::Error,
        finds: "any origin into a private network",
        find: cors::any_origin_into_network,
    },
    Rule {
        code: "CSRF-001",
        gravity: Gravity::ErrorInProduction,
        finds: "a trusted origin without https",
        find: cors::trusted_origin_without_https,
    },
    Rule {
        code: "SES-001",
        gravity: Gravity::Warning,
        finds: "sessions that last longer than anybody should stay logged in",
        find: accounts::endless_sessions,
    },
    Rule {
        code: "JWT-001",
        gravity: Gravity::Error,
        finds: "keys that rotate faster than they end",
        find: jwt::hasty_rotation,
    },
    Rule {
        code: "JWT-002",
        gravity: Gravity::Error,
        finds: "a trusted issuer of which it is not clear who it is or where its keys are",
        find: jwt::unclear_issuers,
    },
    Rule {
        code: "JWT-003",
        gravity: Gravity::ErrorInProduction,
        finds: "keys of an issuer that are fetched without TLS",
        find: jwt::keys_without_https,
    },
    Rule {
        code: "JWT-004",
        gravity: Gravity::Error,
        finds: "tokens that work long after they have expired",
        find: jwt::large_leeways,
    },
    Rule {
        code: "JWT-005",
        gravity: Gravity::ErrorInProduction,
        finds: "keys of an issuer in a file that others can change",
        find: jwt::exposed_key_sets,
    },
    Rule {
        code: "JWT-006",
        gravity: Gravity::Warning,
        finds: "access tokens that live longer than 15 minutes",
        find: jwt::long_access_tokens,
    },
    Rule {
        code: "JWT-007",
        gravity: Gravity::Error,
        finds: "refresh tokens that end before the access tokens",
        find: jwt::refresh_tokens_that_end_first,
    },
    Rule {
        code: "TOKEN-001",
        gravity: Gravity::Warning,
        finds: "API tokens that live for years without anybody asking for it",
        find: accounts::endless_tokens,
    },
    Rule { code: "HOST-001", gravity: Gravity::Error, finds: "no host", find: server::no_hosts },
    Rule { code: "HOST-002", gravity: Gravity::ErrorInProduction, finds: "any host", find: server::any_host },
    Rule {
        code: "HOST-003",
        gravity: Gravity::Warning,
        finds: "every domain of a whole suffix as a host",
        find: server::hosts_of_a_whole_suffix,
    },
    Rule {
        code: "PROXY-001",
        gravity: Gravity::Error,
        finds: "forwarded fields that are believed from nearly everybody",
        find: server::proxies_everywhere,
    },
    Rule {
        code: "PROXY-002",
        gravity: Gravity::Warning,
        finds: "a server that only a proxy on its machine reaches, and that believes nobody",
        find: server::proxy_that_is_not_trusted,
    },
    Rule {
        code: "TLS-001",
        gravity: Gravity::Error,
        finds: "a certificate without its key, or the other way round",
        find: server::half_a_certificate,
    },
    Rule {
        code: "TLS-002",
        gravity: Gravity::Error,
        finds: "a certificate that cannot be served",
        find: server::certificate_that_cannot_be_served,
    },
    Rule {
        code: "TLS-003",
        gravity: Gravity::ErrorInProduction,
        finds: "a key of the certificate that every user of the machine can read",
        find: server::exposed_certificate_key,
    },
    Rule {
        code: "URL-001",
        gravity: Gravity::Error,
        finds: "no public URL, in production",
        find: server::no_public_url,
    },
    Rule {
        code: "URL-002",
        gravity: Gravity::Error,
        finds: "a public URL without https, in production",
        find: server::public_url_without_https,
    },
    Rule {
        code: "BIND-001",
        gravity: Gravity::ErrorInProduction,
        finds: "plain http that other machines reach",
        find: server::plain_http_outside,
    },
    Rule {
        code: "BIND-002",
        gravity: Gravity::ErrorInProduction,
        finds: "metrics that everybody reaches",
        find: server::operations_outside,
    },
    Rule {
        code: "BIND-003",
        gravity: Gravity::Error,
        finds: "one address for clients and for metrics",
        find: server::one_address_for_both,
    },
    Rule {
        code: "RATE-001",
        gravity: Gravity::ErrorInProduction,
        finds: "no throttle",
        find: limits::throttle_off,
    },
    Rule {
        code: "RATE-002",
        gravity: Gravity::Warning,
        finds: "more than a log-in a second from one address, or 60 at once",
        find: limits::fast_guessing,
    },
    Rule {
        code: "RATE-003",
        gravity: Gravity::ErrorInProduction,
        finds: "more than 100 failed log-ins to one account, at once or an hour",
        find: limits::fast_guessing_of_one,
    },
    Rule {
        code: "RATE-004",
        gravity: Gravity::Warning,
        finds: "open registration at more than 10 accounts a minute from one address, or 100 at once",
        find: limits::fast_registration,
    },
    Rule {
        code: "PAGE-001",
        gravity: Gravity::Warning,
        finds: "pages of more than 1000 rows",
        find: limits::huge_pages,
    },
    Rule {
        code: "PAGE-002",
        gravity: Gravity::Error,
        finds: "a default page above the cap",
        find: limits::default_page_above_cap,
    },
    Rule {
        code: "BODY-001",
        gravity: Gravity::Warning,
        finds: "bodies above 16 MiB",
        find: limits::huge_bodies,
    },
    Rule {
        code: "BODY-002",
        gravity: Gravity::Error,
        finds: "memory for bodies without room for one",
        find: limits::no_room_for_a_body,
    },
    Rule {
        code: "BODY-003",
        gravity: Gravity::Warning,
        finds: "more than 8 GiB of memory for bodies",
        find: limits::endless_body_memory,
    },
    Rule {
        code: "BODY-004",
        gravity: Gravity::Warning,
        finds: "bodies that may trickle in",
        find: limits::trickling_bodies,
    },
    Rule {
        code: "LOAD-001",
        gravity: Gravity::Warning,
        finds: "bounds on the load that are none",
        find: limits::endless_load,
    },
    Rule {
        code: "TIME-001",
        gravity: Gravity::Warning,
        finds: "time limits that let a silent client keep a connection",
        find: server::long_timeouts,
    },
    Rule {
        code: "DB-001",
        gravity: Gravity::ErrorInProduction,
        finds: "a database file that every user of the machine can read or write",
        find: database::exposed_database,
    },
    Rule {
        code: "DB-002",
        gravity: Gravity::Warning,
        finds: "a database on another machine, without TLS",
        find: database::database_without_tls,
    },
    Rule {
        code: "DB-003",
        gravity: Gravity::ErrorInProduction,
        finds: "a directory in which every user can replace the database",
        find: database::exposed_database_directory,
    },
    Rule {
        code: "SHARED-001",
        gravity: Gravity::Warning,
        finds: "a Redis on another machine, without TLS",
        find: database::redis_without_tls,
    },
    Rule {
        code: "PWD-001",
        gravity: Gravity::Error,
        finds: "passwords of fewer than 15 characters",
        find: accounts::short_passwords,
    },
    Rule {
        code: "ARGON-001",
        gravity: Gravity::ErrorInProduction,
        finds: "hashes that are cheap to guess",
        find: accounts::weak_hash,
    },
    Rule {
        code: "ARGON-002",
        gravity: Gravity::Warning,
        finds: "hashes so dear that a few at once exhaust the memory",
        find: accounts::dear_hash,
    },
    Rule {
        code: "MAIL-001",
        gravity: Gravity::Error,
        finds: "mail without an address that it comes from",
        find: accounts::mail_without_sender,
    },
    Rule {
        code: "MAIL-002",
        gravity: Gravity::ErrorInProduction,
        finds: "mail that may travel unencrypted",
        find: accounts::mail_that_may_be_read,
    },
    Rule {
        code: "MAIL-003",
        gravity: Gravity::Warning,
        finds: "mail to standard error, where logs are kept",
        find: accounts::mail_in_the_log,
    },
    Rule {
        code: "UPLOAD-001",
        gravity: Gravity::ErrorInProduction,
        finds: "a directory of files that every user of the machine can reach",
        find: uploads::exposed_files,
    },
    Rule {
        code: "UPLOAD-002",
        gravity: Gravity::Error,
        finds: "settings of S3 of which one is missing",
        find: uploads::incomplete_s3,
    },
    Rule {
        code: "UPLOAD-003",
        gravity: Gravity::Warning,
        finds: "files that go to another machine without TLS",
        find: uploads::files_without_tls,
    },
    Rule {
        code: "UPLOAD-004",
        gravity: Gravity::Warning,
        finds: "a quota without room for one file",
        find: uploads::quotas_below_a_file,
    },
    Rule {
        code: "UPLOAD-005",
        gravity: Gravity::Warning,
        finds: "files so large that a few at once exhaust the memory",
        find: uploads::huge_uploads,
    },
    Rule {
        code: "DOCS-001",
        gravity: Gravity::Error,
        finds: "documentation that everybody reads, in production",
        find: docs::public_docs,
    },
    Rule {
        code: "LOG-001",
        gravity: Gravity::Warning,
        finds: "a log of details",
        find: server::talkative_log,
    },
];

/// Whether a user of this machine who is neither the owner nor in the group can read or write the file.
fn others_may_read(path: &Path) -> bool {
    have(path, 0o006)
}

/// Whether the mode of what is at `path` has one of these bits.
fn have(path: &Path, bits: u32) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::metadata(path).is_ok_and(|found| found.permissions().mode() & bits != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = (path, bits, fs::metadata::<&Path>);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// The settings of a production server with nothing to complain about.
    const SAFE: &str = "
        server.allowed_hosts = ['api.example.com']
        server.public_url = 'https://api.example.com'
        secrets.master_key = '8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472'
        mail.transport = 'file:mail'
        server.trusted_proxies = ['127.0.0.1']
    ";

    /// The findings with these settings on top of the safe ones, as `severity code setting`.
    pub(super) fn find(settings: &str) -> Vec<String> {
        find_with(settings, Strictness::AsConfigured)
    }

    fn find_with(settings: &str, strictness: Strictness) -> Vec<String> {
        let given = |line: &&str| {
            let key = line.trim().split(" = ").next().unwrap_or_default();
            key.is_empty() || !settings.contains(&format!("{key} ="))
        };
        let text = SAFE.lines().filter(given).fold(settings.to_owned(), |text, line| text + "\n" + line);
        let loaded = Loaded::test(&text, &[]).unwrap_or_else(|faults| panic!("{faults}"));
        let report = check(&loaded, strictness);
        report.findings().iter().map(|f| format!("{} {} {}", f.severity(), f.code(), f.setting())).collect()
    }

    /// Of a rule: settings that trigger it, what is then found, and settings that clear it.
    pub(super) type Case = (&'static str, &'static str, &'static str);

    /// Those of every section.
    fn cases() -> impl Iterator<Item = &'static Case> {
        let sections = [
            settings::tests::CASES,
            secrets::tests::CASES,
            server::tests::CASES,
            cors::tests::CASES,
            jwt::tests::CASES,
            accounts::tests::CASES,
            limits::tests::CASES,
            database::tests::CASES,
            uploads::tests::CASES,
        ];
        sections.into_iter().flatten()
    }

    #[test]
    fn every_rule_is_triggered_and_cleared() {
        assert_eq!(find(""), [""; 0], "the safe settings are safe");
        for &(unsafe_settings, finding, safe_settings) in cases() {
            assert_eq!(find(unsafe_settings), [finding], "{unsafe_settings}");
            assert_eq!(find(safe_settings), [""; 0], "{safe_settings}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn files_that_others_can_read_are_found() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = directory.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let key = file("master.key", "8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472");
        let database = file("data.db", "");
        let settings = file(
            "bailiwick.toml",
            "[server]\nallowed_hosts = ['a.example']\npublic_url = 'https://a.example'\n\
             trusted_proxies = ['127.0.0.1']\n\
             [mail]\ntransport = 'file:mail'\n\
             [database]\nurl = 'sqlite://data.db'\n[secrets]\nmaster_key_file = 'master.key'\n\
             master_key_fallbacks = ['9f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472']\n",
        );
        let codes = |modes: [u32; 3]| {
            for (path, mode) in [&key, &database, &settings].into_iter().zip(modes) {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            let inputs = config::Inputs { file: Some(settings.clone()), variables: Vec::new() };
            let report = check(&Loaded::load(&inputs).unwrap(), Strictness::AsConfigured);
            report.findings().iter().map(|f| format!("{} {}", f.severity(), f.code())).collect::<Vec<_>>()
        };
        assert_eq!(codes([0o600, 0o600, 0o600]), [""; 0]);
        assert_eq!(codes([0o640, 0o660, 0o440]), [""; 0], "the group is the operator's own choice");
        assert_eq!(codes([0o644, 0o600, 0o600]), ["error KEY-003"]);
        assert_eq!(codes([0o600, 0o644, 0o600]), ["error DB-001"]);
        assert_eq!(codes([0o600, 0o602, 0o600]), ["error DB-001"]);
        assert_eq!(codes([0o600, 0o600, 0o644]), ["error KEY-004"]);
        assert_eq!(codes([0o600, 0o600, 0o602]), ["error SET-003"]);
        assert_eq!(codes([0o600, 0o600, 0o660]), ["error SET-003"], "the group too");
        assert_eq!(codes([0o600, 0o600, 0o646]), ["error KEY-004", "error SET-003"]);
        // What SQLite keeps beside it holds the same rows.
        let log = file("data.db-wal", "");
        for (mode, found) in [(0o644, &["error DB-001"][..]), (0o600, &[])] {
            fs::set_permissions(&log, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(codes([0o600, 0o600, 0o600]), found);
        }
        let files = directory.path().join("attachments");
        fs::create_dir(&files).unwrap();
        for (mode, found) in
            [(0o755, &["error UPLOAD-001"][..]), (0o701, &["error UPLOAD-001"]), (0o750, &[])]
        {
            fs::set_permissions(&files, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(codes([0o600, 0o600, 0o600]), found, "{mode:o}");
        }
        for (mode, found) in [
            (0o777, &["error SET-003", "error DB-003"][..]),
            (0o1777, &["error DB-003"]),
            (0o775, &[]),
            (0o700, &[]),
        ] {
            fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(codes([0o600, 0o600, 0o600]), found, "{mode:o}");
        }
    }

    #[test]
    fn development_is_warned_where_production_is_refused() {
        let development = "server.environment = 'development'\nsecrets.master_key = ''\nserver.public_url = ''\nserver.trusted_proxies = []\n";
        assert_eq!(find(development), [""; 0]);
        // What runs on the developer's own machine.
        for settings in [
            "cors.allowed_origins = ['http://localhost:3000', 'http://127.0.0.1:3000', 'http://[::1]:3000']",
            "cors.allowed_origin_regexes = ['^http://localhost:[0-9]+$']",
        ] {
            assert_eq!(find(&format!("{development}{settings}")), [""; 0]);
        }
        for (settings, finding) in [
            ("throttle.enabled = false", "warning RATE-001 throttle.enabled"),
            ("server.bind = '0.0.0.0:1'", "warning BIND-001 server.bind"),
            ("cors.allowed_origins = ['http://app.example.com']", "warning CORS-005 cors.allowed_origins"),
            (
                r"cors.allowed_origin_regexes = ['^http://[a-z]+\.example\.com$']",
                "warning CORS-005 cors.allowed_origin_regexes",
            ),
            ("server.allowed_hosts = ['*']", "warning HOST-002 server.allowed_hosts"),
            ("passwords.argon2_memory_kib = 8", "warning ARGON-001 passwords.argon2_memory_kib"),
        ] {
            assert_eq!(find(&format!("{development}{settings}")), [finding]);
        }
    }

    #[test]
    fn a_deployment_is_checked_as_production_whatever_the_settings_say() {
        let found =
            find_with("server.environment = 'development'\nthrottle.enabled = false", Strictness::Deploy);
        assert_eq!(
            found,
            [
                "error ENV-001 server.environment",
                "error RATE-001 throttle.enabled",
                "error PWD-001 passwords.min_length",
                "error DOCS-001 docs.access"
            ]
        );
        assert_eq!(find_with("", Strictness::Deploy), [""; 0]);
    }

    #[test]
    fn an_accepted_finding_is_set_aside_and_kept() {
        let text = format!("{SAFE}\nthrottle.enabled = false\ncheck.allow = ['RATE-001']");
        let report = check(&Loaded::test(&text, &[]).unwrap(), Strictness::AsConfigured);
        assert!(!report.has_errors() && report.findings().is_empty());
        assert_eq!(report.accepted().iter().map(Finding::code).collect::<Vec<_>>(), ["RATE-001"]);
    }

    // Or else `check` would be content with what `serve` refuses.
    #[test]
    fn what_no_server_does_cannot_be_accepted() {
        for (settings, code) in [
            ("cors.allow_all_origins = true\ncors.allow_credentials = true", "CORS-001"),
            ("cors.allowed_origins = ['null']", "CORS-002"),
            ("cors.allowed_origin_regexes = ['^https://.*$']", "CORS-003"),
            ("cors.allow_all_origins = true\ncors.allow_private_network = true", "CORS-007"),
        ] {
            let text = format!("{SAFE}\n{settings}\ncheck.allow = ['{code}']");
            let report = check(&Loaded::test(&text, &[]).unwrap(), Strictness::AsConfigured);
            assert!(
                report.findings().iter().any(|found| found.code() == code) && report.has_errors(),
                "{code}"
            );
            assert!(report.accepted().is_empty());
        }
    }

    #[test]
    fn codes_are_unique_and_every_finding_says_what_to_do() {
        let mut codes: Vec<_> = RULES.iter().map(|rule| rule.code).collect();
        codes.sort_unstable();
        let count = codes.len();
        codes.dedup();
        assert_eq!(codes.len(), count);
        let report = check(&Loaded::test("throttle.enabled = false", &[]).unwrap(), Strictness::Deploy);
        for finding in report.findings() {
            assert!(!finding.reason().is_empty());
            assert!(!finding.to_string().ends_with("fix: "));
        }
    }

    /// The table of the guide, from the rules themselves.
    fn guide() -> String {
        let rows = rules().map(|rule| format!("| `{}` | {} | {} |\n", rule.code, rule.finds, rule.severity));
        rows.collect()
    }

    #[test]
    fn the_guide_has_every_rule() {
        let page = include_str!("../../../../docs/guide/checks.md");
        let (before, after) = (page.find("|---|---|---|\n").unwrap() + 14, page.find("\n## ").unwrap());
        assert_eq!(
            page[before..after].trim_end(),
            guide().trim_end(),
            "put this into docs/guide/checks.md:\n{}",
            guide()
        );
        let listed = page.find("```text\n").unwrap() + 8;
        let listed = &page[listed..listed + page[listed..].find("```").unwrap()];
        assert_eq!(listed, checklist::text(&Report::default()), "put this into docs/guide/checks.md");
    }

    // DEP-02
    #[test]
    fn no_finding_is_graver_than_its_rule_says() {
        for &(_, finding, _) in cases() {
            let (severity, rest) = finding.split_once(' ').unwrap();
            let rule = RULES.iter().find(|rule| rest.starts_with(rule.code)).unwrap();
            assert!(severity == "warning" || rule.gravity != Gravity::Warning, "{finding}");
        }
    }
}
