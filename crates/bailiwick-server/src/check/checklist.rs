//! The production checklist: what is to be true of an API that is in production, line by line, and who sees to it.
use std::fmt::Write;

use bailiwick::check::{Report, Severity};

/// A line of the checklist, looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// What belongs together.
    pub topic: &'static str,
    /// What is to be true.
    pub wanted: &'static str,
    /// Whether it is.
    pub standing: Standing,
    /// Who says so.
    pub note: &'static str,
}

/// Whether a line of the checklist is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The program makes it so, or `check` has looked.
    Done,
    /// A finding is open or was accepted that speaks against it.
    Open,
    /// Only people can tell.
    Yours,
}

/// Who sees to it that a line is true.
enum By {
    /// The program: it cannot be otherwise.
    Program,
    /// These rules, which find nothing.
    Rules(&'static [&'static str]),
    /// Whoever operates the server.
    You,
}

/// The checklist after these findings.
pub fn checklist(report: &Report) -> Vec<Line> {
    let spoken_against = |codes: &[&str]| {
        let grave = report.findings().iter().filter(|finding| finding.severity() == Severity::Error);
        grave.chain(report.accepted()).any(|finding| codes.contains(&finding.code()))
    };
    let look = |(topic, wanted, by, note): &(&'static str, &'static str, By, &'static str)| {
        let standing = match by {
            By::Program => Standing::Done,
            By::Rules(codes) if spoken_against(codes) => Standing::Open,
            By::Rules(_) => Standing::Done,
            By::You => Standing::Yours,
        };
        Line { topic, wanted, standing, note }
    };
    LINES.iter().map(look).collect()
}

/// The checklist as people read it.
pub fn text(report: &Report) -> String {
    let (mut text, mut topic) = (String::new(), "");
    for line in checklist(report) {
        if line.topic != topic {
            topic = line.topic;
            let _ = writeln!(text, "{topic}");
        }
        let mark = match line.standing {
            Standing::Done => "[x]",
            Standing::Open => "[!]",
            Standing::Yours => "[ ]",
        };
        let _ = writeln!(text, "  {mark} {}: {}", line.wanted, line.note);
    }
    text
}

const LINES: &[(&str, &str, By, &str)] = &[
    (
        "Authentication and authorisation",
        "how callers prove who they are is decided and documented",
        By::You,
        "sessions, API tokens and JWT are all on; tell your clients which to use (docs/guide/tokens.md)",
    ),
    (
        "Authentication and authorisation",
        "writes need a credential, reads are limited",
        By::Program,
        "a handler without a gate does not compile",
    ),
    (
        "Authentication and authorisation",
        "rights on single objects are enforced and tested",
        By::Program,
        "rules join each statement; add the tests of your own resources",
    ),
    (
        "Authentication and authorisation",
        "queries are scoped to the organisation and tested",
        By::Program,
        "no statement on tenant data is built without a proof",
    ),
    (
        "Authentication and authorisation",
        "password hashes withstand guessing",
        By::Rules(&["PWD-001", "ARGON-001"]),
        "argon2id, 15 characters, common ones refused",
    ),
    (
        "CSRF and CORS",
        "what comes by cookie is protected against forgery",
        By::Rules(&["CSRF-001"]),
        "always on; trusted origins are https",
    ),
    (
        "CSRF and CORS",
        "other origins are named one by one",
        By::Rules(&["CORS-002", "CORS-003", "CORS-005"]),
        "exact origins, or patterns whose owner is known",
    ),
    ("CSRF and CORS", "never any origin with credentials", By::Rules(&["CORS-001"]), "refused at start"),
    (
        "Transport",
        "https, and nothing in the clear",
        By::Rules(&["URL-001", "URL-002", "BIND-001", "TLS-001", "TLS-002", "TLS-003"]),
        "HSTS is sent over https",
    ),
    (
        "Transport",
        "the client's address comes from proxies that are known",
        By::Rules(&["PROXY-001"]),
        "server.trusted_proxies",
    ),
    ("Transport", "hosts are named", By::Rules(&["HOST-001", "HOST-002"]), "server.allowed_hosts"),
    ("Abuse prevention", "pages are capped", By::Rules(&["PAGE-002"]), "pagination.max_size"),
    (
        "Abuse prevention",
        "sensitive endpoints are throttled",
        By::Rules(&["RATE-001", "RATE-003"]),
        "log-ins, registrations, refreshes and mails have quotas of their own",
    ),
    ("Abuse prevention", "requests and files are limited", By::Program, "limits cannot be switched off"),
    (
        "Abuse prevention",
        "filters, order and search are validated",
        By::Program,
        "only declared columns; anything else is 422",
    ),
    (
        "Abuse prevention",
        "several servers share their quotas",
        By::You,
        "shared.url is redis:// or database wherever more than one server runs",
    ),
    (
        "Documentation and versions",
        "not everybody may read the documentation",
        By::Rules(&["DOCS-001"]),
        "docs.access",
    ),
    (
        "Documentation and versions",
        "how versions end is decided and documented",
        By::You,
        "tell your clients how long a version lives",
    ),
    (
        "Secrets and keys",
        "secrets are in no code",
        By::Rules(&["KEY-001", "KEY-002", "KEY-003", "KEY-004", "SET-003"]),
        "files of mode 0600 or variables; none is an argument",
    ),
    (
        "Secrets and keys",
        "who rotates keys, how and when",
        By::You,
        "signing keys rotate by themselves; read docs/guide/key-rotation.md, and name who runs it in an emergency",
    ),
    (
        "Secrets and keys",
        "access tokens live shortly",
        By::Rules(&["JWT-001", "JWT-007"]),
        "jwt.access_lifetime",
    ),
    ("Data", "the database is read by the server alone", By::Rules(&["DB-001", "DB-003"]), "file modes"),
    (
        "Data",
        "back-ups are made, and restoring one was tried",
        By::You,
        "keep the master key apart from them",
    ),
    ("Observability", "requests have ids", By::Program, "X-Request-ID, in log and audit trail"),
    (
        "Observability",
        "the access log holds no secrets",
        By::Program,
        "no header, query value or body is written",
    ),
    (
        "Observability",
        "latency and errors are measured",
        By::Rules(&["BIND-002", "BIND-003"]),
        "/metrics on server.operations_bind; let Prometheus read it",
    ),
    (
        "Observability",
        "somebody is told of spikes of 429, 401, 403 and 5xx",
        By::You,
        "docs/guide/metrics.md has alerts to begin with",
    ),
    (
        "Observability",
        "heads of the audit trail are kept elsewhere",
        By::You,
        "`bailiwick audit head` once a day, to another machine",
    ),
];

#[cfg(test)]
mod tests {
    use bailiwick::check::Finding;

    use super::*;

    #[test]
    fn a_finding_opens_the_lines_that_it_speaks_against_also_where_it_was_accepted() {
        let finding = || Finding::new("RATE-001", Severity::Error, "throttle.enabled");
        let open = |report: &Report| {
            let lines = checklist(report).into_iter().filter(|line| line.standing == Standing::Open);
            lines.map(|line| line.wanted).collect::<Vec<_>>()
        };
        assert_eq!(open(&Report::default()), [""; 0]);
        for allowed in [&[][..], &["RATE-001"]] {
            assert_eq!(open(&Report::new([finding()], allowed)), ["sensitive endpoints are throttled"]);
        }
        let warning = Finding::new("PROXY-001", Severity::Warning, "server.trusted_proxies");
        assert_eq!(open(&Report::new([warning], &[])), [""; 0]);
    }

    #[test]
    fn every_code_of_the_checklist_is_one_of_a_rule() {
        for (_, wanted, by, _) in LINES {
            let By::Rules(codes) = by else { continue };
            for code in *codes {
                assert!(super::super::RULES.iter().any(|rule| rule.code == *code), "{wanted}: {code}");
            }
        }
    }
}
