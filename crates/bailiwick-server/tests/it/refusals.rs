//! What is unsafe does not start, and `check` says so beforehand (contract §6, DEP-02).
#![cfg(unix)]
use std::{collections::BTreeSet, fs, io::Write, path::Path};

use serde_json::Value;

use crate::site::{Output, Site, set_mode};

/// A finding, and how a site comes to it.
struct Unsafe {
    code: &'static str,
    /// Settings, by the names that they have in the environment, without `BAILIWICK_`.
    set: &'static [(&'static str, &'static str)],
    /// What stands at the end of the settings file.
    lines: &'static str,
    /// Files beside it: name, text, mode.
    files: &'static [(&'static str, &'static str, u32)],
}

const fn set(code: &'static str, set: &'static [(&'static str, &'static str)]) -> Unsafe {
    Unsafe { code, set, lines: "", files: &[] }
}

const fn lines(code: &'static str, lines: &'static str) -> Unsafe {
    Unsafe { code, set: &[], lines, files: &[] }
}

const ZEROES: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const KEY: &str = "8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472\n";
const INLINE_KEY: &str =
    "[secrets]\nmaster_key = '8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472'\n";

/// Every way that a rule names whose findings are errors in production.
const REFUSED: &[Unsafe] = &[
    set("CHECK-001", &[("CHECK__ALLOW", "NOPE-001")]),
    set("SET-002", &[("DATABASE__ROW_LEVEL_SECURITY", "true")]),
    set("SET-002", &[("DATABASE__URL", "postgres://127.0.0.1/a?sslmode=require")]),
    set("KEY-001", &[("SECRETS__MASTER_KEY_FILE", "")]),
    set("KEY-002", &[("SECRETS__MASTER_KEY_FILE", ""), ("SECRETS__MASTER_KEY", ZEROES)]),
    set("KEY-002", &[("SECRETS__MASTER_KEY_FALLBACKS", ZEROES)]),
    Unsafe { code: "KEY-003", set: &[], lines: "", files: &[("master.key", KEY, 0o644)] },
    Unsafe {
        code: "KEY-004",
        set: &[("SECRETS__MASTER_KEY_FILE", "")],
        lines: "",
        files: &[("bailiwick.toml", INLINE_KEY, 0o644)],
    },
    Unsafe { code: "SET-003", set: &[], lines: "", files: &[("bailiwick.toml", "", 0o662)] },
    set("CORS-001", &[("CORS__ALLOW_ALL_ORIGINS", "true"), ("CORS__ALLOW_CREDENTIALS", "true")]),
    set("CORS-002", &[("CORS__ALLOWED_ORIGINS", "null")]),
    set("CORS-003", &[("CORS__ALLOWED_ORIGIN_REGEXES", r"https://app\.example\.com")]),
    set("CORS-003", &[("CORS__ALLOWED_ORIGIN_REGEXES", "^https://.*$")]),
    set("CORS-003", &[("CORS__ALLOWED_ORIGIN_REGEXES", "^.+$")]),
    set(
        "CORS-004",
        &[
            ("CORS__ALLOWED_ORIGIN_REGEXES", r"^https://a\.example\.com$"),
            ("CORS__ALLOW_CREDENTIALS", "true"),
        ],
    ),
    set("CORS-005", &[("CORS__ALLOWED_ORIGINS", "http://app.example.com")]),
    set("CORS-007", &[("CORS__ALLOW_ALL_ORIGINS", "true"), ("CORS__ALLOW_PRIVATE_NETWORK", "true")]),
    set("CSRF-001", &[("CSRF__TRUSTED_ORIGINS", "http://app.example.com")]),
    set("JWT-001", &[("JWT__ROTATE_EVERY", "10m"), ("JWT__ACCESS_LIFETIME", "15m")]),
    lines("JWT-002", "[[jwt.trusted_issuers]]\nissuer = 'a'\naudience = 'b'\n"),
    lines(
        "JWT-003",
        "[[jwt.trusted_issuers]]\nissuer = 'a'\naudience = 'b'\njwks_url = 'http://a.example/keys'\n",
    ),
    lines(
        "JWT-004",
        "[[jwt.trusted_issuers]]\nissuer = 'a'\naudience = 'b'\njwks_url = 'https://a.example/keys'\n\
         leeway = '10m'\n",
    ),
    Unsafe {
        code: "JWT-005",
        set: &[],
        lines: "[[jwt.trusted_issuers]]\nissuer = 'a'\naudience = 'b'\njwks_file = 'keys.json'\n",
        files: &[("keys.json", "{\"keys\":[]}", 0o666)],
    },
    set("JWT-007", &[("JWT__REFRESH_LIFETIME", "4m")]),
    set("HOST-001", &[("SERVER__ALLOWED_HOSTS", "")]),
    set("HOST-002", &[("SERVER__ALLOWED_HOSTS", "*")]),
    set("PROXY-001", &[("SERVER__TRUSTED_PROXIES", "0.0.0.0/0")]),
    set("PROXY-001", &[("SERVER__TRUSTED_PROXIES", "::/0")]),
    set("TLS-001", &[("SERVER__TLS_CERT_FILE", "cert.pem")]),
    Unsafe {
        code: "TLS-002",
        set: &[("SERVER__TLS_CERT_FILE", "cert.pem"), ("SERVER__TLS_KEY_FILE", "key.pem")],
        lines: "",
        files: &[("cert.pem", "no certificate", 0o644), ("key.pem", "no key", 0o600)],
    },
    Unsafe {
        code: "TLS-003",
        set: &[("SERVER__TLS_CERT_FILE", "cert.pem"), ("SERVER__TLS_KEY_FILE", "key.pem")],
        lines: "",
        files: &[("cert.pem", CERTIFICATE, 0o644), ("key.pem", CERTIFICATE, 0o644)],
    },
    set("URL-001", &[("SERVER__PUBLIC_URL", "")]),
    // Cookies without `Secure`.
    set("URL-002", &[("SERVER__PUBLIC_URL", "http://api.example.com")]),
    set("BIND-001", &[("SERVER__BIND", "0.0.0.0:0")]),
    set("BIND-002", &[("SERVER__OPERATIONS_BIND", "0.0.0.0:9000")]),
    set("BIND-003", &[("SERVER__BIND", "127.0.0.1:8000"), ("SERVER__OPERATIONS_BIND", "127.0.0.1:8000")]),
    set("RATE-001", &[("THROTTLE__ENABLED", "false")]),
    set("RATE-003", &[("THROTTLE__RATES__LOGIN_ACCOUNT", "1000/min")]),
    set("PAGE-002", &[("PAGINATION__DEFAULT_SIZE", "101")]),
    set("BODY-002", &[("LIMITS__BODY_MEMORY", "512KiB")]),
    Unsafe { code: "DB-001", set: &[], lines: "", files: &[("bailiwick.db", "", 0o644)] },
    Unsafe {
        code: "DB-003",
        set: &[("DATABASE__URL", "sqlite://open/bailiwick.db")],
        lines: "",
        files: &[("open/", "", 0o777)],
    },
    set("PWD-001", &[("PASSWORDS__MIN_LENGTH", "14")]),
    set("ARGON-001", &[("PASSWORDS__ARGON2_MEMORY_KIB", "8")]),
    set("MAIL-001", &[("MAIL__TRANSPORT", "smtps://mail.example.com")]),
    set(
        "MAIL-002",
        &[("MAIL__TRANSPORT", "smtp://mail.example.com?tls=opportunistic"), ("MAIL__FROM", "a@example.com")],
    ),
    Unsafe { code: "UPLOAD-001", set: &[], lines: "", files: &[("attachments/", "", 0o755)] },
    set("UPLOAD-002", &[("UPLOADS__S3__BUCKET", "b"), ("UPLOADS__S3__ACCESS_KEY_ID", "a")]),
    set("DOCS-001", &[("DOCS__ACCESS", "public")]),
];

/// Stands for a certificate and its key, of each test's own.
const CERTIFICATE: &str = "<certificate>";

impl Unsafe {
    fn site(&self) -> Site {
        let mut site = Site::bare();
        let pem = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        for (name, text, mode) in self.files {
            let path = site.path(name);
            match (*name, *text) {
                (name, _) if name.ends_with('/') => fs::create_dir(&path).unwrap(),
                ("cert.pem", CERTIFICATE) => fs::write(&path, pem.cert.pem()).unwrap(),
                ("key.pem", CERTIFICATE) => fs::write(&path, pem.signing_key.serialize_pem()).unwrap(),
                ("bailiwick.toml", "") => {}
                ("bailiwick.toml", text) => replace_secrets(&path, text),
                (_, text) => fs::write(&path, text).unwrap(),
            }
            set_mode(&path, *mode);
        }
        let settings = fs::OpenOptions::new().append(true).open(site.path("bailiwick.toml"));
        settings.unwrap().write_all(self.lines.as_bytes()).unwrap();
        for (name, value) in self.set {
            site.set(&format!("BAILIWICK_{name}"), value);
        }
        site
    }
}

fn replace_secrets(settings: &Path, by: &str) {
    let text = fs::read_to_string(settings).unwrap();
    fs::write(settings, text.replace("[secrets]\nmaster_key_file = 'master.key'\n", by)).unwrap();
}

/// The finding with this code among those that `check` prints.
fn finding(checked: &Output, code: &str) -> Value {
    let findings: Vec<Value> =
        serde_json::from_str(&checked.out).unwrap_or_else(|error| panic!("{code}: {error}: {}", checked.err));
    let found = findings.into_iter().find(|finding| finding["code"] == code);
    found.unwrap_or_else(|| panic!("{code} is not found: {}", checked.out))
}

#[test]
fn what_is_unsafe_does_not_start_and_check_says_why_and_what_to_do() {
    for refused in REFUSED {
        let code = refused.code;
        let site = refused.site();
        let checked = site.run(&["check", "--deploy", "--format", "json"], None);
        assert_eq!(checked.code, Some(1), "{code}: {}", checked.err);
        let finding = finding(&checked, code);
        assert_eq!(finding["severity"], "error", "{code}");
        let text =
            |member: &str| finding[member].as_str().filter(|text| !text.is_empty()).unwrap().to_owned();

        let served = site.run(&["serve"], None);
        assert_eq!(served.code, Some(2), "{code}: {}", served.err);
        for said in [code.to_owned(), text("setting"), text("reason"), text("fix")] {
            assert!(served.err.contains(&said), "{code}: serve does not say {said}: {}", served.err);
        }
    }
}

#[test]
fn no_rule_whose_findings_are_errors_is_left_out() {
    let listed = Site::bare().done(&["check", "--list", "--format", "json"], None);
    let rules: Vec<Value> = serde_json::from_str(&listed).unwrap();
    let errors = rules.iter().filter(|rule| rule["severity"].as_str().unwrap().starts_with("error"));
    let errors: BTreeSet<_> = errors.map(|rule| rule["code"].as_str().unwrap()).collect();
    let mut shown: BTreeSet<_> = REFUSED.iter().map(|refused| refused.code).collect();
    // Settings of development do start, and no deployment has them: below.
    shown.insert("ENV-001");
    assert_eq!(shown, errors);
}

#[test]
fn a_deployment_with_the_settings_of_development_is_refused_by_check() {
    let mut site = Site::bare();
    site.set("BAILIWICK_SERVER__ENVIRONMENT", "development");
    let checked = site.run(&["check", "--deploy", "--format", "json"], None);
    assert_eq!((checked.code, &finding(&checked, "ENV-001")["severity"]), (Some(1), &Value::from("error")));
}

// Contract §6: a rate, a size or a time without a limit cannot even be written.
#[test]
fn what_is_no_limit_is_no_setting() {
    for (name, value) in [
        ("THROTTLE__RATES__ANON", "unlimited"),
        ("THROTTLE__RATES__ANON", "0/min"),
        ("THROTTLE__RATES__USER", "5/month"),
        ("THROTTLE__RATES__LOGIN", ""),
        ("PAGINATION__MAX_SIZE", "0"),
        ("PAGINATION__MAX_SIZE", "unlimited"),
        ("LIMITS__BODY", "0"),
        ("LIMITS__UPLOAD_FILE", "unlimited"),
        ("LIMITS__JSON_DEPTH", "0"),
        ("SERVER__REQUEST_TIMEOUT", "0s"),
        ("SERVER__MAX_CONNECTIONS", "0"),
        ("SESSIONS__IDLE", "never"),
    ] {
        let mut site = Site::bare();
        site.set(&format!("BAILIWICK_{name}"), value);
        let setting = name.to_lowercase().replace("__", ".");
        for command in [&["serve"][..], &["check", "--deploy", "--format", "json"]] {
            let refused = site.run(command, None);
            assert_eq!(refused.code, Some(2), "{name} = {value}: {}", refused.err);
            assert!(refused.err.contains(&setting), "{name} = {value}: {}", refused.err);
        }
    }
}
