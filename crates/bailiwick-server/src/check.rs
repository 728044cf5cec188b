//! The rules of `bailiwick check`: which settings are unsafe, why, and what to do.
//!
//! `serve` refuses to start on an error. A code is permanent once released; `check.allow` accepts one on
//! purpose, and then it is logged at every start. To add a rule, add a line to [`RULES`] and two tests: one
//! that triggers it and one that clears it (DEP-02).
use std::{borrow::Cow, collections::HashSet, fs, net::IpAddr, path::Path, time::Duration};

use bailiwick::{
    check::{Finding, Report, Severity},
    units::{ByteSize, Rate},
};

use crate::{
    application,
    config::{self, DatabaseUrl, Environment, Loaded, LogLevel, MailTransport, Settings, Source, Standing},
    mail,
};

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
    let allowed: Vec<&str> = loaded.settings.check.allow.iter().map(|code| code.as_str()).collect();
    Report::new(found.findings, &allowed)
}

struct Rule {
    code: &'static str,
    find: fn(&Subject<'_>, &mut Found),
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
    Rule { code: "CHECK-001", find: unknown_codes },
    Rule { code: "ENV-001", find: development_deployed },
    Rule { code: "SET-001", find: settings_without_effect },
    Rule { code: "SET-002", find: settings_not_available },
    Rule { code: "KEY-001", find: missing_key },
    Rule { code: "KEY-002", find: weak_keys },
    Rule { code: "KEY-003", find: exposed_secret_files },
    Rule { code: "KEY-004", find: exposed_settings_file },
    Rule { code: "SET-003", find: writable_settings_file },
    Rule { code: "KEY-005", find: key_among_fallbacks },
    Rule { code: "CORS-001", find: any_origin_with_credentials },
    Rule { code: "CORS-002", find: null_origin },
    Rule { code: "CORS-003", find: loose_origin_regex },
    Rule { code: "CORS-004", find: origin_regex_with_credentials },
    Rule { code: "CORS-005", find: allowed_origin_without_https },
    Rule { code: "CORS-006", find: any_origin },
    Rule { code: "CORS-007", find: any_origin_into_network },
    Rule { code: "CSRF-001", find: trusted_origin_without_https },
    Rule { code: "SES-001", find: endless_sessions },
    Rule { code: "JWT-001", find: hasty_rotation },
    Rule { code: "JWT-002", find: unclear_issuers },
    Rule { code: "JWT-003", find: keys_without_https },
    Rule { code: "JWT-004", find: large_leeways },
    Rule { code: "JWT-005", find: exposed_key_sets },
    Rule { code: "HOST-001", find: no_hosts },
    Rule { code: "HOST-002", find: any_host },
    Rule { code: "HOST-003", find: hosts_of_a_whole_suffix },
    Rule { code: "PROXY-001", find: proxies_everywhere },
    Rule { code: "URL-001", find: no_public_url },
    Rule { code: "URL-002", find: public_url_without_https },
    Rule { code: "BIND-001", find: plain_http_outside },
    Rule { code: "BIND-002", find: operations_outside },
    Rule { code: "BIND-003", find: one_address_for_both },
    Rule { code: "RATE-001", find: throttle_off },
    Rule { code: "RATE-002", find: fast_guessing },
    Rule { code: "PAGE-001", find: huge_pages },
    Rule { code: "PAGE-002", find: default_page_above_cap },
    Rule { code: "BODY-001", find: huge_bodies },
    Rule { code: "TIME-001", find: long_timeouts },
    Rule { code: "DB-001", find: exposed_database },
    Rule { code: "DB-002", find: database_without_tls },
    Rule { code: "DB-003", find: exposed_database_directory },
    Rule { code: "SHARED-001", find: redis_without_tls },
    Rule { code: "PWD-001", find: short_passwords },
    Rule { code: "ARGON-001", find: weak_hash },
    Rule { code: "ARGON-002", find: dear_hash },
    Rule { code: "MAIL-001", find: mail_without_sender },
    Rule { code: "MAIL-002", find: mail_that_may_be_read },
    Rule { code: "UPLOAD-001", find: exposed_files },
    Rule { code: "UPLOAD-002", find: incomplete_s3 },
    Rule { code: "UPLOAD-003", find: files_without_tls },
    Rule { code: "UPLOAD-004", find: quotas_below_a_file },
    Rule { code: "UPLOAD-005", find: huge_uploads },
    Rule { code: "LOG-001", find: talkative_log },
];

fn unknown_codes(subject: &Subject<'_>, found: &mut Found) {
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

fn development_deployed(subject: &Subject<'_>, found: &mut Found) {
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

fn settings_without_effect(subject: &Subject<'_>, found: &mut Found) {
    for path in changed(subject, Standing::NotYet) {
        found.warning(
            path.to_owned(),
            "this setting has no effect in this version",
            "remove it until a version has it in force",
        );
    }
}

fn settings_not_available(subject: &Subject<'_>, found: &mut Found) {
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

fn missing_key(subject: &Subject<'_>, found: &mut Found) {
    if found.is_production && subject.settings.secrets.master_key.is_none() {
        found.error(
            "secrets.master_key",
            "there is no master key, so nothing can be encrypted or sealed",
            config::HOW_TO_MAKE_A_KEY,
        );
    }
}

fn weak_keys(subject: &Subject<'_>, found: &mut Found) {
    let secrets = &subject.settings.secrets;
    let current = secrets.master_key.iter().map(|key| ("secrets.master_key", key));
    let former = secrets.master_key_fallbacks.iter().map(|key| ("secrets.master_key_fallbacks", key));
    for (setting, key) in current.chain(former) {
        if let Some(weakness) = key.weakness() {
            found.error(
                setting,
                format!("a key can be guessed: {weakness}"),
                "replace it by 32 random bytes; `openssl rand -hex 32` makes some",
            );
        }
    }
}

fn exposed_secret_files(subject: &Subject<'_>, found: &mut Found) {
    for effective in &subject.loaded.effective {
        if let Source::SecretFile(path) = &effective.source
            && others_may_read(path)
        {
            found.error_in_production(
                effective.path.clone(),
                format!("every user of this machine can read or change {}", path.display()),
                format!("chmod o= {}", path.display()),
            );
        }
    }
}

fn exposed_settings_file(subject: &Subject<'_>, found: &mut Found) {
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

fn writable_settings_file(subject: &Subject<'_>, found: &mut Found) {
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

fn any_origin_with_credentials(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    if cors.allow_all_origins && cors.allow_credentials {
        found.error(
            "cors.allow_credentials",
            "with cors.allow_all_origins, every page on the web could read as whoever is logged in; no server does that",
            "remove one of the two, and list the origins in cors.allowed_origins",
        );
    }
}

fn null_origin(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.cors.allowed_origins.iter().any(|allowed| allowed.origin().is_none()) {
        found.error(
            "cors.allowed_origins",
            "`null` is the origin of any sandboxed page, whoever wrote it; no server lets it in by name",
            "remove it, and serve the page from an origin of its own",
        );
    }
}

fn loose_origin_regex(subject: &Subject<'_>, found: &mut Found) {
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

fn origin_regex_with_credentials(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    if cors.allow_credentials && !cors.allow_all_origins && !cors.allowed_origin_regexes.is_empty() {
        found.error(
            "cors.allow_credentials",
            "whoever gets hold of one host that cors.allowed_origin_regexes match reads as whoever is logged in",
            "list the origins in cors.allowed_origins",
        );
    }
}

fn allowed_origin_without_https(subject: &Subject<'_>, found: &mut Found) {
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

fn any_origin(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.cors.allow_all_origins {
        found.warning(
            "cors.allow_all_origins",
            "every page on the web reads what this server answers without a cookie, also where only a firewall keeps \
             strangers out",
            "list the origins in cors.allowed_origins, or accept this finding in check.allow",
        );
    }
}

fn any_origin_into_network(subject: &Subject<'_>, found: &mut Found) {
    let cors = &subject.settings.cors;
    if cors.allow_all_origins && cors.allow_private_network {
        found.error(
            "cors.allow_private_network",
            "with cors.allow_all_origins, every page on the web could call into your network; no server does that",
            "remove one of the two, and list the origins in cors.allowed_origins",
        );
    }
}

fn trusted_origin_without_https(subject: &Subject<'_>, found: &mut Found) {
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

/// The trusted issuers, each with the path of its table.
fn issuers<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = (String, &'a config::TrustedIssuer)> {
    let issuers = subject.settings.jwt.trusted_issuers.iter().enumerate();
    issuers.map(|(index, issuer)| (format!("jwt.trusted_issuers[{}]", index + 1), issuer))
}

fn unclear_issuers(subject: &Subject<'_>, found: &mut Found) {
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

fn keys_without_https(subject: &Subject<'_>, found: &mut Found) {
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

fn large_leeways(subject: &Subject<'_>, found: &mut Found) {
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

fn exposed_key_sets(subject: &Subject<'_>, found: &mut Found) {
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

/// As long as NIST lets anybody stay logged in without a second factor (SES-16).
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

fn endless_sessions(subject: &Subject<'_>, found: &mut Found) {
    let (idle, absolute) =
        (subject.settings.sessions.idle.as_duration(), subject.settings.sessions.absolute.as_duration());
    if idle > absolute {
        found.warning(
            "sessions.idle",
            "it is longer than sessions.absolute, so no session ever ends for being idle",
            "make it shorter than sessions.absolute",
        );
    }
    if absolute > LONGEST_SESSION {
        found.warning(
            "sessions.absolute",
            "a browser stays logged in for more than 30 days",
            "make it 30d or less",
        );
    }
}

fn key_among_fallbacks(subject: &Subject<'_>, found: &mut Found) {
    let secrets = &subject.settings.secrets;
    if secrets.master_key.as_ref().is_some_and(|key| secrets.master_key_fallbacks.contains(key)) {
        found.warning(
            "secrets.master_key_fallbacks",
            "the master key is also among the former ones, so it has not been replaced",
            "give secrets.master_key a fresh key, or take it out of the former ones",
        );
    }
}

fn hasty_rotation(subject: &Subject<'_>, found: &mut Found) {
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

fn no_hosts(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.server.allowed_hosts.is_empty() {
        found.error(
            "server.allowed_hosts",
            "no host is allowed, so every request would be refused",
            "list the names under which clients reach the server, such as [\"api.example.com\"]",
        );
    }
}

fn any_host(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.server.allowed_hosts.iter().any(|host| host.is_any()) {
        found.error_in_production(
            "server.allowed_hosts",
            "`*` lets a request name any host, which poisons links and caches",
            "list the names under which clients reach the server",
        );
    }
}

fn hosts_of_a_whole_suffix(subject: &Subject<'_>, found: &mut Found) {
    for host in subject.settings.server.allowed_hosts.iter().map(|host| host.as_str()) {
        if host.strip_prefix('.').is_some_and(|suffix| !suffix.contains('.') && suffix != "localhost") {
            found.warning(
                "server.allowed_hosts",
                format!("`{host}` takes every domain of a whole suffix"),
                "name your own domain, such as `.example.com`",
            );
        }
    }
}

fn proxies_everywhere(subject: &Subject<'_>, found: &mut Found) {
    for network in subject.settings.server.trusted_proxies.iter().map(|proxy| proxy.network()) {
        // Two halves of the world are the world, so a very short prefix counts as one.
        if network.prefix_len() < 8 {
            found.error(
                "server.trusted_proxies",
                format!(
                    "{network} is more than your proxies: nearly anybody could say where a request comes from"
                ),
                "list the addresses of your proxies, such as `10.0.0.0/24`",
            );
        }
    }
}

fn mail_without_sender(subject: &Subject<'_>, found: &mut Found) {
    if mail::sender(&subject.settings.mail).is_none() {
        found.error(
            "mail.from",
            "mail cannot be sent without an address that it comes from",
            "set it to one, such as \"Bailiwick <noreply@example.com>\"",
        );
    }
}

fn mail_that_may_be_read(subject: &Subject<'_>, found: &mut Found) {
    let MailTransport::Smtp(url) = &subject.settings.mail.transport else { return };
    if mail::is_opportunistic(url.expose()) {
        found.error_in_production(
            "mail.transport",
            "whoever is on the way to the mail server can have mail sent unencrypted, and read what lets people in",
            "use smtps://, or leave `tls=` out, which demands it",
        );
    }
}

fn no_public_url(subject: &Subject<'_>, found: &mut Found) {
    if found.is_production && subject.settings.server.public_url.is_none() {
        found.error(
            "server.public_url",
            "links in answers would be built from what a request says about its host",
            "set it to the address that clients use, such as \"https://api.example.com\"",
        );
    }
}

fn public_url_without_https(subject: &Subject<'_>, found: &mut Found) {
    if let Some(url) = &subject.settings.server.public_url
        && found.is_production
        && !url.is_https()
        && !url.is_loopback()
    {
        found.error(
            "server.public_url",
            "tokens and passwords would travel unencrypted",
            "serve https, by a proxy in front of the server, and write https:// here",
        );
    }
}

fn plain_http_outside(subject: &Subject<'_>, found: &mut Found) {
    let bind = subject.settings.server.bind;
    // Neither a certificate nor the proxies in the settings are in force yet: they do not make it better.
    if !bind.ip().is_loopback() {
        found.error_in_production(
            "server.bind",
            format!("{bind} is reached from other machines, without encryption"),
            "bind to 127.0.0.1, behind a proxy with https on this machine; where only such a proxy can reach the \
             address, as in a container, accept this finding in check.allow",
        );
    }
}

fn operations_outside(subject: &Subject<'_>, found: &mut Found) {
    let bind = subject.settings.server.operations_bind;
    if !is_inside(bind.ip()) {
        found.error_in_production(
            "server.operations_bind",
            format!("{bind} is reached from everywhere, and /metrics answers anyone"),
            "bind it to 127.0.0.1 or to an address of a private network; where only Prometheus can reach the address, as \
             in a container, accept this finding in check.allow",
        );
    }
}

/// Whether an address belongs to this machine or to a private network.
fn is_inside(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
    }
}

fn one_address_for_both(subject: &Subject<'_>, found: &mut Found) {
    let (main, operations) = (subject.settings.server.bind, subject.settings.server.operations_bind);
    let overlap =
        main.ip() == operations.ip() || main.ip().is_unspecified() || operations.ip().is_unspecified();
    // Port 0 is any that is free.
    if main.port() == operations.port() && main.port() != 0 && overlap {
        found.error(
            "server.operations_bind",
            format!("{operations} and server.bind {main} are one address: clients would read the metrics, or nobody anything"),
            "give it a port of its own",
        );
    }
}

fn throttle_off(subject: &Subject<'_>, found: &mut Found) {
    if !subject.settings.throttle.enabled {
        found.error_in_production(
            "throttle.enabled",
            "nobody is throttled, so passwords can be guessed without end",
            "remove it, and raise single rates in [throttle.rates] where they are too low",
        );
    }
}

fn fast_guessing(subject: &Subject<'_>, found: &mut Found) {
    let login = subject.settings.throttle.rates.login;
    if is_faster(login, Rate::per_minute(60)) {
        found.warning(
            "throttle.rates.login",
            format!("{login} lets one address try more than a password a second"),
            "lower it, for example to the default of `5/min`",
        );
    }
}

/// Whether `rate` admits more in the long run than `other`.
fn is_faster(rate: Rate, other: Rate) -> bool {
    let per = |rate: Rate, window: Rate| u64::from(rate.limit().get()) * window.window().as_secs();
    per(rate, other) > per(other, rate)
}

fn huge_pages(subject: &Subject<'_>, found: &mut Found) {
    if subject.settings.pagination.max_size.get() > 1_000 {
        found.warning(
            "pagination.max_size",
            "a page of more than 1000 rows makes one request as dear as hundreds",
            "lower it; clients that need everything use an export",
        );
    }
}

fn default_page_above_cap(subject: &Subject<'_>, found: &mut Found) {
    let pagination = &subject.settings.pagination;
    if pagination.default_size > pagination.max_size {
        found.error(
            "pagination.default_size",
            format!(
                "{} is above pagination.max_size, which is {}",
                pagination.default_size.get(),
                pagination.max_size.get()
            ),
            "lower the default, or raise the cap",
        );
    }
}

fn huge_bodies(subject: &Subject<'_>, found: &mut Found) {
    let body = subject.settings.limits.body;
    if body > ByteSize::mib(16) {
        found.warning(
            "limits.body",
            format!("a body of {body} is held in memory, for as many requests as run at once"),
            "lower it, for example to the default of `1MiB`",
        );
    }
}

fn long_timeouts(subject: &Subject<'_>, found: &mut Found) {
    let server = &subject.settings.server;
    for (setting, period, seconds) in [
        ("server.header_timeout", server.header_timeout, 60),
        ("server.request_timeout", server.request_timeout, 600),
    ] {
        if period.as_secs() > seconds {
            found.warning(
                setting,
                format!("for {period}, a client that sends nothing keeps a connection busy"),
                format!("lower it to at most {seconds}s"),
            );
        }
    }
}

fn exposed_database(subject: &Subject<'_>, found: &mut Found) {
    for file in subject.settings.database.url.files().iter().filter(|file| others_may_read(file)) {
        found.error_in_production(
            "database.url",
            format!("every user of this machine can read or change {}", file.display()),
            format!("chmod o= {}", file.display()),
        );
    }
}

fn exposed_database_directory(subject: &Subject<'_>, found: &mut Found) {
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

fn database_without_tls(subject: &Subject<'_>, found: &mut Found) {
    let is_away = |host: &String| !config::is_loopback_host(host);
    if let Some(host) = subject.settings.database.url.hosts().into_iter().find(is_away) {
        found.warning(
            "database.url",
            format!("the connection to {host} is not encrypted"),
            "use a private network or a tunnel, and then accept this finding in check.allow",
        );
    }
}

fn redis_without_tls(subject: &Subject<'_>, found: &mut Found) {
    let host = subject.settings.shared.url.plain_host();
    if let Some(host) = host.filter(|host| !config::is_loopback_host(host)) {
        found.warning(
            "shared.url",
            format!("the connection to {host} is not encrypted: whoever is on the way reads the password, and fills quotas"),
            "use rediss://, or a private network or a tunnel, and then accept this finding in check.allow",
        );
    }
}

fn short_passwords(subject: &Subject<'_>, found: &mut Found) {
    let length = subject.settings.passwords.min_length.get();
    if found.is_production && length < 15 {
        found.error(
            "passwords.min_length",
            format!(
                "{length} characters are too few where a password is the only factor (NIST SP 800-63B-4)"
            ),
            "remove the setting, or set it to at least 15",
        );
    }
}

fn weak_hash(subject: &Subject<'_>, found: &mut Found) {
    let passwords = &subject.settings.passwords;
    // PWD-01: the rows of ASVS 5.0 for argon2id.
    let least = match passwords.argon2_iterations.get() {
        1 => 47_104,
        2 => 19_456,
        _ => 12_288,
    };
    if passwords.argon2_memory_kib.get() < least {
        found.error_in_production(
            "passwords.argon2_memory_kib",
            format!("with so few iterations a hash below {least} KiB is too cheap to guess (ASVS 5.0)"),
            format!("set it to at least {least}"),
        );
    }
}

fn dear_hash(subject: &Subject<'_>, found: &mut Found) {
    let memory = subject.settings.passwords.argon2_memory_kib.get();
    if memory > 262_144 {
        found.warning(
            "passwords.argon2_memory_kib",
            format!("each log-in takes {} MiB, so a few at once can exhaust the memory", memory / 1024),
            "lower it, for example to the default of 19456",
        );
    }
}

fn exposed_files(subject: &Subject<'_>, found: &mut Found) {
    let uploads = &subject.settings.uploads;
    if uploads.s3.bucket.is_none() && have(&uploads.directory, 0o007) {
        let directory = uploads.directory.display();
        found.error_in_production(
            "uploads.directory",
            format!("every user of this machine can reach the files in {directory}"),
            format!("chmod o= {directory}"),
        );
    }
}

fn incomplete_s3(subject: &Subject<'_>, found: &mut Found) {
    let s3 = &subject.settings.uploads.s3;
    if s3.access_key_id.is_some() != s3.secret_access_key.is_some() {
        found.error(
            "uploads.s3.access_key_id",
            "a key has an id and a secret, and one of the two is missing",
            "give uploads.s3.access_key_id and uploads.s3.secret_access_key, or neither for the machine's own role",
        );
    }
    if s3.bucket.is_none() && (s3.endpoint.is_some() || s3.access_key_id.is_some()) {
        found.error(
            "uploads.s3.bucket",
            "there are settings of S3 and no bucket, so files go into uploads.directory",
            "name the bucket, or remove the other settings of uploads.s3",
        );
    }
}

fn files_without_tls(subject: &Subject<'_>, found: &mut Found) {
    let uploads = &subject.settings.uploads;
    let scanner = uploads.scanner.as_ref().map(config::ScannerUrl::to_framework);
    let is_away = |host: &str| !config::is_loopback_host(host);
    for (setting, in_the_clear) in [
        (
            "uploads.s3.endpoint",
            uploads.s3.endpoint.as_ref().is_some_and(|url| !url.is_https() && !url.is_loopback()),
        ),
        ("uploads.scanner", scanner.as_ref().is_some_and(|scanner| scanner.host().is_some_and(is_away))),
    ] {
        if in_the_clear {
            found.warning(
                setting,
                "files go to another machine without encryption",
                "use https, or a private network or a tunnel, and for those accept this finding in check.allow",
            );
        }
    }
}

fn quotas_below_a_file(subject: &Subject<'_>, found: &mut Found) {
    let limits = &subject.settings.limits;
    for (setting, quota) in [
        ("limits.upload_user_quota", limits.upload_user_quota),
        ("limits.upload_org_quota", limits.upload_org_quota),
    ] {
        if quota < limits.upload_file {
            found.warning(
                setting,
                format!("a quota of {quota} has no room for one file of limits.upload_file"),
                "raise the quota, or lower limits.upload_file",
            );
        }
    }
}

fn huge_uploads(subject: &Subject<'_>, found: &mut Found) {
    let limits = &subject.settings.limits;
    if limits.upload_file > ByteSize::mib(64) {
        found.warning(
            "limits.upload_file",
            format!("a file of {} is held in memory while it is judged", limits.upload_file),
            "lower it, for example to the default of `5MiB`",
        );
    }
    if limits.max_pixels.get() > 100_000_000 {
        found.warning(
            "limits.max_pixels",
            format!("an image of {} pixels takes up to 8 bytes for each of them", limits.max_pixels.get()),
            "lower it, for example to the default of 40000000",
        );
    }
}

fn talkative_log(subject: &Subject<'_>, found: &mut Found) {
    let level = subject.settings.log.level;
    if found.is_production && level >= LogLevel::Debug {
        found.warning(
            "log.level",
            format!("`{level}` writes details of requests, and slows the server down"),
            "set it to `info`",
        );
    }
}

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

    /// The settings of a production server with nothing to complain about.
    const SAFE: &str = "
        server.allowed_hosts = ['api.example.com']
        server.public_url = 'https://api.example.com'
        secrets.master_key = '8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472'
    ";

    /// The findings with these settings on top of the safe ones, as `severity code setting`.
    fn find(settings: &str) -> Vec<String> {
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

    /// Each rule: settings that trigger it, what is then found, and settings that clear it.
    #[test]
    fn every_rule_is_triggered_and_cleared() {
        let cases = [
            ("check.allow = ['NOPE-001']", "error CHECK-001 check.allow", "check.allow = ['DB-001']"),
            (
                "telemetry.otlp_endpoint = 'http://127.0.0.1:4318'",
                "warning SET-001 telemetry.otlp_endpoint",
                "",
            ),
            (
                "uploads.s3.bucket = 'b'\nuploads.s3.access_key_id = 'a'",
                "error UPLOAD-002 uploads.s3.access_key_id",
                "uploads.s3.bucket = 'b'\nuploads.s3.access_key_id = 'a'\nuploads.s3.secret_access_key = 'k'",
            ),
            (
                "uploads.s3.endpoint = 'https://minio.example.com'",
                "error UPLOAD-002 uploads.s3.bucket",
                "uploads.s3.endpoint = 'https://minio.example.com'\nuploads.s3.bucket = 'b'",
            ),
            (
                "uploads.s3.bucket = 'b'\nuploads.s3.endpoint = 'http://minio.example.com:9000'",
                "warning UPLOAD-003 uploads.s3.endpoint",
                "uploads.s3.bucket = 'b'\nuploads.s3.endpoint = 'http://127.0.0.1:9000'",
            ),
            (
                "uploads.scanner = 'clamd://10.0.0.7:3310'",
                "warning UPLOAD-003 uploads.scanner",
                "uploads.scanner = 'clamd:///run/clamav/clamd.ctl'",
            ),
            (
                "limits.upload_user_quota = '4MiB'",
                "warning UPLOAD-004 limits.upload_user_quota",
                "limits.upload_user_quota = '5MiB'",
            ),
            (
                "limits.upload_org_quota = '4MiB'",
                "warning UPLOAD-004 limits.upload_org_quota",
                "limits.upload_org_quota = '5MiB'",
            ),
            (
                "limits.upload_file = '65MiB'",
                "warning UPLOAD-005 limits.upload_file",
                "limits.upload_file = '64MiB'",
            ),
            (
                "limits.max_pixels = 100000001",
                "warning UPLOAD-005 limits.max_pixels",
                "limits.max_pixels = 100000000",
            ),
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
            (
                "shared.url = 'redis://u:p@cache/1'",
                "warning SHARED-001 shared.url",
                "shared.url = 'database'",
            ),
            ("database.row_level_security = true", "error SET-002 database.row_level_security", ""),
            ("secrets.master_key = ''", "error KEY-001 secrets.master_key", ""),
            (
                "secrets.master_key = '0000000000000000000000000000000000000000000000000000000000000000'",
                "error KEY-002 secrets.master_key",
                "",
            ),
            (
                "secrets.master_key_fallbacks = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']",
                "error KEY-002 secrets.master_key_fallbacks",
                "",
            ),
            (
                "secrets.master_key_fallbacks = ['8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472']",
                "warning KEY-005 secrets.master_key_fallbacks",
                "",
            ),
            (
                "csrf.trusted_origins = ['http://app.example.com']",
                "error CSRF-001 csrf.trusted_origins",
                "csrf.trusted_origins = ['https://app.example.com']",
            ),
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
            ("sessions.idle = '13h'", "warning SES-001 sessions.idle", "sessions.idle = '12h'"),
            ("sessions.absolute = '31d'", "warning SES-001 sessions.absolute", "sessions.absolute = '30d'"),
            ("server.allowed_hosts = []", "error HOST-001 server.allowed_hosts", ""),
            ("server.allowed_hosts = ['*']", "error HOST-002 server.allowed_hosts", ""),
            (
                "server.allowed_hosts = ['.com']",
                "warning HOST-003 server.allowed_hosts",
                "server.allowed_hosts = ['.a.com']",
            ),
            (
                "server.trusted_proxies = ['0.0.0.0/0']",
                "error PROXY-001 server.trusted_proxies",
                "server.trusted_proxies = ['10.0.0.0/8']",
            ),
            (
                "server.trusted_proxies = ['::/1']",
                "error PROXY-001 server.trusted_proxies",
                "server.trusted_proxies = ['fd00::/8']",
            ),
            ("server.public_url = ''", "error URL-001 server.public_url", ""),
            (
                "server.public_url = 'http://a.example'",
                "error URL-002 server.public_url",
                "server.public_url = 'http://localhost:8000'",
            ),
            ("server.bind = '0.0.0.0:8000'", "error BIND-001 server.bind", "server.bind = '[::1]:8000'"),
            ("server.bind = '10.0.0.1:80'", "error BIND-001 server.bind", "server.bind = '127.0.0.2:80'"),
            // What is not in force yet mends nothing.
            (
                "server.bind = '10.0.0.1:80'\nserver.trusted_proxies = ['10.0.0.2']",
                "error BIND-001 server.bind",
                "server.trusted_proxies = ['10.0.0.2']",
            ),
            (
                "server.operations_bind = '0.0.0.0:9000'",
                "error BIND-002 server.operations_bind",
                "server.operations_bind = '[::1]:9000'",
            ),
            (
                "server.operations_bind = '[2001:db8::1]:9000'",
                "error BIND-002 server.operations_bind",
                "server.operations_bind = '[fd00::1]:9000'",
            ),
            (
                "server.operations_bind = '[::ffff:203.0.113.7]:9000'",
                "error BIND-002 server.operations_bind",
                "server.operations_bind = '10.0.0.7:9000'",
            ),
            (
                "server.operations_bind = '127.0.0.1:8000'",
                "error BIND-003 server.operations_bind",
                "server.operations_bind = '127.0.0.2:8000'",
            ),
            ("throttle.enabled = false", "error RATE-001 throttle.enabled", "throttle.enabled = true"),
            (
                "throttle.rates.login = '61/min'",
                "warning RATE-002 throttle.rates.login",
                "throttle.rates.login = '1/s'",
            ),
            (
                "pagination.max_size = 1001",
                "warning PAGE-001 pagination.max_size",
                "pagination.max_size = 1000",
            ),
            (
                "pagination.default_size = 101",
                "error PAGE-002 pagination.default_size",
                "pagination.default_size = 100",
            ),
            ("limits.body = '17MiB'", "warning BODY-001 limits.body", "limits.body = '16MiB'"),
            (
                "server.header_timeout = '61s'",
                "warning TIME-001 server.header_timeout",
                "server.header_timeout = '60s'",
            ),
            (
                "server.request_timeout = '1h'",
                "warning TIME-001 server.request_timeout",
                "server.request_timeout = '10m'",
            ),
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
            (
                "database.url = 'postgres://localhost/a?sslmode=require'",
                "error SET-002 database.url",
                "database.url = 'postgres://localhost/a?sslmode=disable'",
            ),
            ("passwords.min_length = 14", "error PWD-001 passwords.min_length", "passwords.min_length = 15"),
            ("passwords.argon2_memory_kib = 19455", "error ARGON-001 passwords.argon2_memory_kib", ""),
            (
                "passwords.argon2_memory_kib = 47103\npasswords.argon2_iterations = 1",
                "error ARGON-001 passwords.argon2_memory_kib",
                "passwords.argon2_memory_kib = 47104\npasswords.argon2_iterations = 1",
            ),
            (
                "passwords.argon2_memory_kib = 12287\npasswords.argon2_iterations = 3",
                "error ARGON-001 passwords.argon2_memory_kib",
                "passwords.argon2_memory_kib = 12288\npasswords.argon2_iterations = 3",
            ),
            (
                "passwords.argon2_memory_kib = 262145",
                "warning ARGON-002 passwords.argon2_memory_kib",
                "passwords.argon2_memory_kib = 262144",
            ),
            (
                "mail.transport = 'smtps://mail.example.com'",
                "error MAIL-001 mail.from",
                "mail.transport = 'file:mail'",
            ),
            (
                "mail.from = 'nobody'",
                "error MAIL-001 mail.from",
                "mail.from = 'a@b.example'\nmail.transport = 'smtp://u:p@mail.example.com:587'",
            ),
            (
                "mail.from = 'a@b.example'\nmail.transport = 'smtp://mail.example.com?tls=opportunistic'",
                "error MAIL-002 mail.transport",
                "mail.from = 'a@b.example'\nmail.transport = 'smtp://localhost?tls=opportunistic'",
            ),
            ("log.level = 'debug'", "warning LOG-001 log.level", "log.level = 'info'"),
        ];
        assert_eq!(find(""), [""; 0], "the safe settings are safe");
        for (unsafe_settings, finding, safe_settings) in cases {
            // Proxies are looked at before a version has them in force.
            let find = |settings| {
                let mut findings = find(settings);
                findings.retain(|other| other != "warning SET-001 server.trusted_proxies");
                findings
            };
            assert_eq!(find(unsafe_settings), [finding], "{unsafe_settings}");
            assert_eq!(find(safe_settings), [""; 0], "{safe_settings}");
        }
    }

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

    #[test]
    fn asking_for_encryption_that_is_not_there_does_not_count_as_encryption() {
        let found = find("database.url = 'postgres://db/a?sslmode=verify-full'");
        assert_eq!(found, ["error SET-002 database.url", "warning DB-002 database.url"]);
    }

    #[test]
    fn a_certificate_that_is_not_served_does_not_count_as_one() {
        let found = find("server.bind = '10.0.0.1:80'\nserver.tls_cert_file = 'cert.pem'");
        assert_eq!(found, ["error SET-002 server.tls_cert_file", "error BIND-001 server.bind"]);
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

    #[test]
    fn development_is_warned_where_production_is_refused() {
        let development =
            "server.environment = 'development'\nsecrets.master_key = ''\nserver.public_url = ''\n";
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
                "error PWD-001 passwords.min_length"
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
}
