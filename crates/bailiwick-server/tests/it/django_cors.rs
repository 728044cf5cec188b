//! What django-cors-headers does, and what is done here: both are asked the same, and the guide has the table.
use std::{
    env,
    ffi::OsString,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use bailiwick_server::{
    check::{Strictness, check},
    config::{Inputs, Loaded},
};
use bailiwick_testkit::databases::TEST_ALL;
use http::Method;
use serde_json::{Value, json};

use crate::{site::finish, support};

/// Names a Python that has Django and django-cors-headers.
const DJANGO_PYTHON: &str = "BAILIWICK_TEST_DJANGO_PYTHON";
const GUIDE: &str = "../../docs/guide/cors.md";

const APP: &str = "https://app.example.com";
const EVIL: &str = "https://evil.example";

/// Settings that both have, by our names of them.
#[derive(Clone, Copy)]
struct Settings {
    allowed_origins: &'static [&'static str],
    allowed_origin_regexes: &'static [&'static str],
    allow_credentials: bool,
    allow_all_origins: bool,
    allow_private_network: bool,
    /// In seconds.
    max_age: Option<u32>,
    lists: Option<Lists>,
}

/// What pages may send and read.
#[derive(Clone, Copy)]
struct Lists {
    methods: &'static [&'static str],
    headers: &'static [&'static str],
    exposed: &'static [&'static str],
}

const NONE: Settings = Settings {
    allowed_origins: &[],
    allowed_origin_regexes: &[],
    allow_credentials: false,
    allow_all_origins: false,
    allow_private_network: false,
    max_age: None,
    lists: None,
};
const LISTED: Settings = Settings { allowed_origins: &[APP], ..NONE };
const ANY: Settings = Settings { allow_all_origins: true, ..NONE };
const COOKIES: Settings = Settings { allow_credentials: true, ..LISTED };
const OPEN: Settings = Settings { allow_private_network: true, ..LISTED };
const OWN: Settings = Settings {
    lists: Some(Lists { methods: &["GET", "PATCH"], headers: &["x-own"], exposed: &["etag"] }),
    ..LISTED
};
const fn entry(origins: &'static [&'static str]) -> Settings {
    Settings { allowed_origins: origins, ..NONE }
}
const fn pattern(patterns: &'static [&'static str]) -> Settings {
    Settings { allowed_origin_regexes: patterns, ..NONE }
}

/// A request without a credential to a route that wants one and has no OPTIONS, so that whoever is let through to it is
/// answered 401 or 405.
#[derive(Clone)]
struct Asked {
    method: Method,
    host: &'static str,
    path: &'static str,
    fields: Vec<(&'static str, &'static str)>,
}

fn get(origin: &'static str) -> Asked {
    Asked { fields: vec![("origin", origin)], ..bare() }
}

fn bare() -> Asked {
    Asked { method: Method::GET, host: "localhost", path: "/api/v1/me/", fields: Vec::new() }
}

fn options(origin: &'static str) -> Asked {
    Asked { method: Method::OPTIONS, ..get(origin) }
}

fn preflight(origin: &'static str) -> Asked {
    options(origin).with("access-control-request-method", "PATCH")
}

impl Asked {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.fields.push((name, value));
        self
    }

    fn into_private_network(self) -> Self {
        self.with("access-control-request-private-network", "true")
    }
}

/// What we answer.
enum Ours {
    /// As they do.
    Same,
    /// The same, in words of our own.
    Alike(&'static str),
    /// Something else on purpose, and why.
    Differs(&'static str, &'static str),
}
use Ours::{Alike, Differs, Same};

type Row = (&'static str, Settings, Asked, &'static str, Ours);

/// An answer is its status, and what it says of CORS in short.
#[rustfmt::skip]
fn table() -> Vec<Row> {
    vec![
        ("no `Origin`", LISTED, bare(), "401, vary", Same),
        ("a listed origin", LISTED, get(APP), "401, its origin, vary", Same),
        ("another origin", LISTED, get(EVIL), "401, vary", Same),
        ("a listed origin, with cookies", COOKIES, get(APP), "401, its origin, credentials, vary", Same),
        ("another origin, with cookies", COOKIES, get(EVIL), "401, vary", Same),
        ("a listed origin, at a host that is not allowed", LISTED, Asked { host: "elsewhere.example", ..get(APP) },
            "400, its origin, vary", Same),
        ("`/healthz`, which watches over the server", LISTED, Asked { path: "/healthz", ..get(APP) },
            "401, its origin, vary", Differs("200, vary", "is for no page (CORS-43)")),
        ("no origin is listed", NONE, get(APP), "401, vary",
            Differs("401", "what is the same for all does not vary (CORS-11)")),
        ("any origin", ANY, get(EVIL), "401, `*`, vary",
            Differs("401, `*`", "what is the same for all does not vary (CORS-11)")),
        ("any origin, with cookies", Settings { allow_credentials: true, ..ANY }, get(EVIL),
            "401, its origin, credentials, vary",
            Differs("refused: CORS-001", "every page could act for whoever is logged in")),
        ("`null`, which is not listed", LISTED, get("null"), "401, vary", Same),
        ("`null`, which is listed", entry(&["null"]), get("null"), "401, its origin, vary",
            Differs("refused: CORS-002", "every sandboxed page has that origin")),
        ("a listed origin and a path", LISTED, get("https://app.example.com/x"), "401, its origin, vary",
            Differs("401, vary", "compared byte for byte (CORS-01)")),
        ("a listed origin in capitals", LISTED, get("HTTPS://app.example.com"), "401, its origin, vary",
            Differs("401, vary", "compared byte for byte (CORS-01)")),
        ("a listed origin and its default port", LISTED, get("https://app.example.com:443"), "401, vary", Same),
        ("a listed origin and a dot", LISTED, get("https://app.example.com."), "401, vary", Same),
        ("two origins in one field", LISTED, get("https://app.example.com, https://app.example.com"), "401, vary", Same),
        ("what is no URL", LISTED, get("https://[::1"), "401, vary", Same),
        ("an entry without a scheme", entry(&["app.example.com"]), get(APP), "refused: corsheaders.E013",
            Alike("refused: cors.allowed_origins")),
        ("an entry with a slash at its end", entry(&["https://app.example.com/"]), get(APP),
            "refused: corsheaders.E014", Alike("refused: cors.allowed_origins")),
        ("an entry with a `*`", entry(&["https://*.example.com"]), get(APP), "401, vary",
            Differs("refused: cors.allowed_origins", "it would match nobody, in silence")),
        ("an entry with its default port", entry(&["https://app.example.com:443"]), get(APP), "401, vary",
            Differs("refused: cors.allowed_origins", "it would match nobody, in silence")),
        ("an entry in capitals", entry(&["https://App.example.com"]), get(APP), "401, vary",
            Differs("refused: cors.allowed_origins", "it would match nobody, in silence")),
        ("a pattern", pattern(&[r"^https://pr-[0-9]+\.preview\.example\.com$"]), get("https://pr-7.preview.example.com"),
            "401, its origin, vary", Same),
        ("a pattern, and a stranger", pattern(&[r"^https://pr-[0-9]+\.preview\.example\.com$"]), get(EVIL),
            "401, vary", Same),
        ("a pattern without `$`", pattern(&[r"^https://app\.example\.com"]), get("https://app.example.com.evil.example"),
            "401, its origin, vary", Differs("refused: CORS-003", "lets in whoever registers a domain")),
        ("a pattern with a dot that is none", pattern(&[r"^https://app.example\.com$"]), get("https://appxexample.com"),
            "401, its origin, vary", Differs("refused: CORS-003", "lets in whoever registers a domain")),
        ("a pattern, with cookies", Settings { allow_credentials: true, ..pattern(&[r"^https://[a-c]\.example\.com$"]) },
            get("https://a.example.com"), "401, its origin, credentials, vary",
            Differs("refused: CORS-004", "one host that somebody got hold of reads all; `check.allow` can accept it")),
        ("a preflight of a listed origin", LISTED, preflight(APP),
            "200, its origin, default lists, max-age 86400, vary",
            Differs("204, its origin, default lists, max-age 600, vary", "a mistake in the settings lasts for minutes, not for a day")),
        ("a preflight of another origin", LISTED, preflight(EVIL), "200, vary",
            Differs("403, vary", "what is refused says so, and is in the log")),
        ("a preflight without `Origin`", LISTED,
            Asked { method: Method::OPTIONS, ..bare() }.with("access-control-request-method", "PATCH"),
            "200, vary", Differs("405, vary", "no browser sends it: it is an ordinary request")),
        ("OPTIONS that is no preflight", LISTED, options(APP), "405, its origin, default lists, max-age 86400, vary",
            Differs("405, its origin, vary", "only a preflight asks what may be sent")),
        ("a preflight, with lists of your own", OWN, preflight(APP),
            "200, its origin, methods GET and PATCH, headers x-own, exposed etag, max-age 86400, vary",
            Differs("204, its origin, methods GET and PATCH, headers x-own, exposed etag, max-age 600, vary", "as above")),
        ("a listed origin, with lists of your own", OWN, get(APP), "401, its origin, exposed etag, vary", Same),
        ("a preflight, with a `max_age` of 0", Settings { max_age: Some(0), ..LISTED }, preflight(APP),
            "200, its origin, default lists, vary",
            Differs("refused: cors.max_age", "a browser makes 5 s of it (CORS-08)")),
        ("a preflight into a private network", OPEN, preflight(APP).into_private_network(),
            "200, its origin, default lists, max-age 86400, private network, vary",
            Differs("204, its origin, default lists, max-age 600, private network, vary", "as above")),
        ("into a private network, by no preflight", OPEN, get(APP).into_private_network(),
            "401, its origin, private network, vary",
            Differs("401, its origin, vary", "only a preflight asks what may be sent")),
        ("into a private network, any origin", Settings { allow_private_network: true, ..ANY },
            preflight(EVIL).into_private_network(),
            "200, `*`, default lists, max-age 86400, private network, vary",
            Differs("refused: CORS-007", "every page on the web could call what a firewall keeps from it")),
    ]
}

impl Settings {
    fn of_django(&self) -> Value {
        let mut settings = json!({
            "CORS_ALLOWED_ORIGINS": self.allowed_origins,
            "CORS_ALLOWED_ORIGIN_REGEXES": self.allowed_origin_regexes,
            "CORS_ALLOW_CREDENTIALS": self.allow_credentials,
            "CORS_ALLOW_ALL_ORIGINS": self.allow_all_origins,
            "CORS_ALLOW_PRIVATE_NETWORK": self.allow_private_network,
        });
        if let Some(seconds) = self.max_age {
            settings["CORS_PREFLIGHT_MAX_AGE"] = json!(seconds);
        }
        if let Some(lists) = self.lists {
            settings["CORS_ALLOW_METHODS"] = json!(lists.methods);
            settings["CORS_ALLOW_HEADERS"] = json!(lists.headers);
            settings["CORS_EXPOSE_HEADERS"] = json!(lists.exposed);
        }
        settings
    }

    fn of_ours(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![
            ("cors.allowed_origins", self.allowed_origins.join(",")),
            ("cors.allowed_origin_regexes", self.allowed_origin_regexes.join(",")),
            ("cors.allow_credentials", self.allow_credentials.to_string()),
            ("cors.allow_all_origins", self.allow_all_origins.to_string()),
            ("cors.allow_private_network", self.allow_private_network.to_string()),
        ];
        if let Some(seconds) = self.max_age {
            settings.push(("cors.max_age", format!("{seconds}s")));
        }
        if let Some(lists) = self.lists {
            settings.push(("cors.allowed_methods", lists.methods.join(",")));
            settings.push(("cors.allowed_headers", lists.headers.join(",")));
            settings.push(("cors.exposed_headers", lists.exposed.join(",")));
        }
        settings
    }

    /// An answer in the words of the table.
    fn tell(&self, status: u16, asked: &Asked, field: impl Fn(&str) -> Option<String>) -> String {
        let of_cors = |name: &str| field(&format!("access-control-{name}"));
        let origin = asked.fields.iter().find(|(name, _)| *name == "origin").map(|(_, value)| *value);
        let mut told = vec![status.to_string()];
        if let Some(allowed) = of_cors("allow-origin") {
            told.push(if Some(&*allowed) == origin {
                "its origin".to_owned()
            } else {
                format!("`{allowed}`")
            });
        }
        if let Some(value) = of_cors("allow-credentials") {
            assert_eq!(value, "true");
            told.push("credentials".to_owned());
        }
        let lists =
            [("allow-methods", "methods"), ("allow-headers", "headers"), ("expose-headers", "exposed")];
        for (name, short) in lists {
            match of_cors(name) {
                Some(value) if self.lists.is_some() => {
                    told.push(format!("{short} {}", value.replace(", ", " and ")));
                }
                Some(_) if name == "allow-methods" => told.push("default lists".to_owned()),
                Some(_) | None => {}
            }
        }
        if let Some(seconds) = of_cors("max-age") {
            told.push(format!("max-age {seconds}"));
        }
        if let Some(value) = of_cors("allow-private-network") {
            assert_eq!(value, "true");
            told.push("private network".to_owned());
        }
        if field("vary").is_some_and(|names| names.to_lowercase().contains("origin")) {
            told.push("vary".to_owned());
        }
        told.join(", ")
    }
}

/// What django-cors-headers makes of every row; `None` where there is none, which it says.
fn theirs(rows: &[Row]) -> Option<Vec<String>> {
    let Some(python) = env::var_os(DJANGO_PYTHON).filter(|program| !program.is_empty()) else {
        assert!(
            env::var(TEST_ALL).as_deref() != Ok("1"),
            "{TEST_ALL}=1, but {DJANGO_PYTHON} names no Python"
        );
        #[expect(clippy::print_stdout, reason = "a test that skips says so, where the runner looks for it")]
        let () = println!("skipped: {DJANGO_PYTHON} names no Python with Django");
        return None;
    };
    let cases = rows.iter().map(|(_, settings, asked, ..)| {
        let host = if asked.host == "localhost" { "testserver" } else { asked.host };
        let fields = asked.fields.iter().copied().chain([("host", host)]);
        json!({
            "settings": settings.of_django(),
            "method": asked.method.as_str(),
            "path": asked.path,
            "headers": fields.map(|(name, value)| (name.to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
        })
    });
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/django/cors.py");
    let mut command = Command::new(python);
    command.arg(script).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = finish(command, Some(&Value::Array(cases.collect()).to_string()));
    assert_eq!(output.code, Some(0), "{}", output.err);
    let answers: Vec<Value> = serde_json::from_str(&output.out).unwrap();
    assert_eq!(answers.len(), rows.len());
    let tell = |((_, settings, asked, ..), answer): (&Row, &Value)| match answer["refused"].as_array() {
        Some(findings) => format!("refused: {}", findings[0].as_str().unwrap()),
        None => {
            let status = u16::try_from(answer["status"].as_u64().unwrap()).unwrap();
            settings.tell(status, asked, |name| answer["headers"][name].as_str().map(str::to_owned))
        }
    };
    Some(rows.iter().zip(&answers).map(tell).collect())
}

/// What this server makes of one.
async fn ours(settings: &Settings, asked: &Asked) -> String {
    let settings_of_ours = settings.of_ours();
    if let Some(refused) = refused(&settings_of_ours) {
        return format!("refused: {refused}");
    }
    let changes: Vec<_> = settings_of_ours.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let app = support::with(&changes).await;
    let mut call =
        app.anonymous().request(asked.method.clone(), &format!("http://{}{}", asked.host, asked.path));
    for (name, value) in &asked.fields {
        call = call.header(name, value);
    }
    let reply = call.await;
    settings.tell(reply.status().into(), asked, |name| reply.header(name).map(str::to_owned))
}

/// The setting, or the finding of `check`, that keeps a server with these settings from starting.
fn refused(settings: &[(&str, String)]) -> Option<String> {
    let variable = |key: &str| OsString::from(format!("BAILIWICK_{}", key.to_uppercase().replace('.', "__")));
    let always = [
        ("server.environment", "development".to_owned()),
        ("secrets.master_key", support::MASTER_KEY.to_owned()),
    ];
    let variables = always.iter().chain(settings).map(|(key, value)| (variable(key), value.into())).collect();
    match Loaded::load(&Inputs { file: None, variables }) {
        Err(faults) => {
            let said = faults.to_string();
            let named = settings.iter().find(|(key, _)| said.contains(key));
            Some(named.unwrap_or_else(|| panic!("another setting: {said}")).0.to_owned())
        }
        Ok(loaded) => {
            let report = check(&loaded, Strictness::AsConfigured);
            let errors = report.findings().iter().filter(|finding| {
                finding.severity() == bailiwick::check::Severity::Error && finding.code().starts_with("CORS")
            });
            errors.map(|finding| finding.code().to_owned()).next()
        }
    }
}

// CORS-20 to CORS-29, CORS-40 to CORS-43
#[tokio::test]
async fn what_django_cors_headers_does_is_done_here_or_refused_for_a_reason() {
    let rows = table();
    let mut expected = String::new();
    for (behaviour, settings, asked, theirs, answer) in &rows {
        let (ours_expected, why) = match answer {
            Same => (*theirs, ""),
            Alike(text) => (*text, ""),
            Differs(text, why) => (*text, *why),
        };
        assert!(matches!(answer, Same) || ours_expected != *theirs, "{behaviour}: it is the same");
        let mark = if why.is_empty() { "" } else { "**≠** " };
        writeln!(expected, "| {behaviour} | {theirs} | {mark}{ours_expected} | {why} |").unwrap();
        assert_eq!(ours(settings, asked).await, ours_expected, "{behaviour}, here");
    }
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(GUIDE)).unwrap();
    assert!(guide.contains(&expected), "the table of {GUIDE} is to be:\n{expected}");

    let Some(answers) = theirs(&rows) else { return };
    for ((behaviour, _, _, theirs, _), answer) in rows.iter().zip(answers) {
        assert_eq!(answer, *theirs, "{behaviour}, at django-cors-headers");
    }
}
