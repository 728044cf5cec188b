//! The types that only settings have.
use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use http::{HeaderName, Method, Uri};
use ipnet::IpNet;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use bailiwick::{
    cors::{InvalidPattern, OriginPattern},
    secret::Secret,
    upload::{InvalidScanner, Scanner},
};

use super::value::{REDACTED, Setting, from_base};

/// Declares a setting that is one of a few words.
macro_rules! choice {
    (
        $(#[doc = $about:literal])+
        pub enum $name:ident { $( $(#[doc = $doc:literal])+ $variant:ident = $word:literal, )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $( $(#[doc = $doc])+ $variant, )+ }

        impl $name {
            /// The word in the settings.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word, )+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Setting for $name {
            fn accepts() -> Cow<'static, str> {
                let words: &[&str] = &[$(concat!("`", $word, "`")),+];
                match words {
                    [one] => (*one).into(),
                    [first @ .., last] => format!("{} or {last}", first.join(", ")).into(),
                    [] => "nothing".into(),
                }
            }
            fn from_text(text: &str, _: &Path) -> Result<Self, String> {
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err("there is no such choice".to_owned()),
                }
            }
            fn show(&self) -> Value {
                self.as_str().into()
            }
        }
    };
}

choice! {
    /// What the server is for, which decides defaults and how strict `check` is.
    pub enum Environment {
        /// Serves people: the strict defaults.
        Production = "production",
        /// Runs on a developer's machine.
        Development = "development",
    }
}

choice! {
    /// Who may register.
    pub enum RegistrationMode {
        /// Nobody; users are made by the command line.
        Closed = "closed",
        /// Whoever holds an invitation.
        Invited = "invited",
        /// Anyone.
        Open = "open",
    }
}

choice! {
    /// What signs the access tokens.
    pub enum SigningAlgorithm {
        /// Ed25519.
        EdDsa = "EdDSA",
        /// ECDSA on P-256.
        Es256 = "ES256",
        /// RSA PKCS#1 v1.5.
        Rs256 = "RS256",
        /// A shared secret.
        Hs256 = "HS256",
    }
}

choice! {
    /// What happens to a page size above the cap.
    pub enum OverLimit {
        /// The cap is used.
        Cap = "cap",
        /// The request is refused with 422.
        Reject = "reject",
    }
}

choice! {
    /// Who may read the documentation.
    pub enum DocsAccess {
        /// Anyone.
        Public = "public",
        /// Signed-in users.
        Authenticated = "authenticated",
        /// Staff.
        Staff = "staff",
        /// Nobody: 404.
        Off = "off",
    }
}

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// One JSON object a line.
        Json = "json",
        /// For people.
        Pretty = "pretty",
    }
}

choice! {
    /// Which log lines are written: these and all graver ones.
    pub enum LogLevel {
        /// Only what needs somebody's attention.
        Error = "error",
        /// What may come to need it.
        Warn = "warn",
        /// What happens.
        Info = "info",
        /// How it happens.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// A host that the server answers for: exact, or `.example.com` for a domain and all of its sub-domains
/// (HST-02).
///
/// `*`, any host, is read so that `check` can refuse it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPattern(String);

impl HostPattern {
    /// The pattern in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether every host matches.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.0 == "*"
    }
}

impl Setting for HostPattern {
    fn accepts() -> Cow<'static, str> {
        "a host name without scheme and port such as `api.example.com`, an address such as `[::1]`, or \
         `.example.com` for a domain with its sub-domains"
            .into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        if text.contains("://") || text.contains('/') {
            return Err("this is a URL, not a host".to_owned());
        }
        let host = text.to_ascii_lowercase();
        let right = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None if host.contains(':') => {
                return Err("a host here has no port, and an IPv6 address has brackets".to_owned());
            }
            None => host == "*" || is_host_name(host.strip_prefix('.').unwrap_or(&host)),
        };
        if right { Ok(Self(host)) } else { Err("this is not a host".to_owned()) }
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Labels of letters, digits and inner hyphens, in ASCII (international names as punycode), or an IPv4
/// address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.len() <= 253 && host.split('.').all(label)
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A network whose members may say for whom they forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrustedProxy(IpNet);

impl TrustedProxy {
    /// The network.
    #[must_use]
    pub fn network(self) -> IpNet {
        self.0
    }
}

impl Setting for TrustedProxy {
    fn accepts() -> Cow<'static, str> {
        "a network or an address such as `10.0.0.0/8`, `10.1.2.3` or `fd00::/8`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let network = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => {
                text.parse::<IpNet>().map_err(|_| "this is neither a network nor an address".to_owned())?
            }
        };
        Ok(Self(network.trunc()))
    }

    fn show(&self) -> Value {
        self.0.to_string().into()
    }
}

/// An http or https URL of another service or a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebUrl(String);

impl WebUrl {
    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it begins with `https://`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.parts().is_some_and(|(uri, _)| uri.scheme_str() == Some("https"))
    }

    /// Whether it leads to this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.parts().is_some_and(|(_, host)| is_loopback_host(&host))
    }

    fn parts(&self) -> Option<(Uri, String)> {
        web_address(&self.0).ok()
    }
}

impl Setting for WebUrl {
    fn accepts() -> Cow<'static, str> {
        "an http or https URL such as `https://example.com/path`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        web_address(text)?;
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Reads an absolute http or https URL without a user name; the host is in lower case.
fn web_address(text: &str) -> Result<(Uri, String), String> {
    let uri: Uri = text.parse().map_err(|_| "this is not a URL".to_owned())?;
    let scheme = uri.scheme_str().unwrap_or_default();
    if scheme != "http" && scheme != "https" {
        return Err("the URL begins neither with http:// nor with https://".to_owned());
    }
    let authority = uri.authority().ok_or("the URL has no host")?.as_str();
    if authority.contains('@') {
        return Err("the URL carries a user name or a password".to_owned());
    }
    let host = uri.host().unwrap_or_default().to_ascii_lowercase();
    let port = authority.get(host.len()..).unwrap_or_default();
    if !port.is_empty()
        && !port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
    {
        return Err("the port of the URL is not from 1 to 65535".to_owned());
    }
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if !address.map_or_else(|| is_host_name(&host), |address| address.parse::<Ipv6Addr>().is_ok()) {
        return Err("the host of the URL is not a host name".to_owned());
    }
    Ok((uri, host))
}

/// `scheme://host[:port]` in lower case, without the default port: the form of an `Origin` (CORS-40). And the
/// host.
fn origin(text: &str) -> Result<(String, String), String> {
    let (uri, host) = web_address(text)?;
    if !matches!(uri.path_and_query().map(|rest| rest.as_str()), None | Some("" | "/")) || text.contains('#')
    {
        return Err("there is something after the host and the port".to_owned());
    }
    let scheme = uri.scheme_str().unwrap_or_default();
    let default_port = if scheme == "https" { 443 } else { 80 };
    let origin = match uri.port_u16().filter(|port| *port != default_port) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    };
    Ok((origin, host))
}

/// The address by which clients reach the server: scheme, host and port, no path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    url: bailiwick::resource::PublicUrl,
    is_loopback: bool,
}

impl PublicUrl {
    /// The URL as the framework takes it.
    #[must_use]
    pub fn to_framework(&self) -> bailiwick::resource::PublicUrl {
        self.url.clone()
    }

    /// The URL in lower case, without a slash at the end and without a default port.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// Whether it begins with `https://`.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.is_https()
    }

    /// Whether it names this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        self.is_loopback
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.url.as_str())
    }
}

impl Setting for PublicUrl {
    fn accepts() -> Cow<'static, str> {
        "scheme, host and port such as `https://api.example.com`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let (url, host) = origin(text)?;
        let url = url.parse().map_err(|error: bailiwick::resource::InvalidUrl| error.to_string())?;
        Ok(Self { url, is_loopback: is_loopback_host(&host) })
    }

    fn show(&self) -> Value {
        self.url.as_str().into()
    }
}

/// `localhost`, a name below it, or an address of this machine, with or without brackets.
pub(crate) fn is_loopback_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || host.ends_with(".localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

/// An origin that may do what other origins may not: `scheme://host[:port]`, lower case, no default port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(bailiwick::origin::Origin);

impl Origin {
    /// The origin, byte for byte as a browser sends it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether its pages come from this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        web_address(self.as_str()).is_ok_and(|(_, host)| is_loopback_host(&host))
    }

    /// The origin as the framework takes it.
    #[must_use]
    pub fn to_framework(&self) -> bailiwick::origin::Origin {
        self.0.clone()
    }
}

impl Setting for Origin {
    fn accepts() -> Cow<'static, str> {
        "`scheme://host[:port]` in lower case and without a default port, such as `https://app.example.com`"
            .into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: bailiwick::origin::InvalidOrigin| error.to_string())
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// An origin whose pages may read answers: `scheme://host[:port]`, lower case, no default port.
///
/// `null` is read so that `check` can refuse it by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedOrigin(Option<Origin>);

impl AllowedOrigin {
    /// The origin; none is what any sandboxed page has.
    #[must_use]
    pub fn origin(&self) -> Option<&Origin> {
        self.0.as_ref()
    }

    /// The text in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref().map_or("null", Origin::as_str)
    }
}

impl Setting for AllowedOrigin {
    fn accepts() -> Cow<'static, str> {
        Origin::accepts()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        match text {
            "null" => Ok(Self(None)),
            "*" => Err("any origin is meant by cors.allow_all_origins = true".to_owned()),
            _ => Origin::from_text(text, base).map(|origin| Self(Some(origin))),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// A regular expression of such origins.
///
/// One that lets in strangers is read so that `check` can refuse it, and say whom it would let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginRegex {
    text: String,
    pattern: Result<OriginPattern, InvalidPattern>,
}

impl OriginRegex {
    /// The text in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The pattern as the framework takes it.
    ///
    /// # Errors
    /// Why nobody may be let in by it.
    pub fn to_framework(&self) -> Result<OriginPattern, InvalidPattern> {
        self.pattern.clone()
    }
}

impl Setting for OriginRegex {
    fn accepts() -> Cow<'static, str> {
        "a regular expression of origins, with ^, $ and escaped dots, such as `^https://[a-z0-9-]+\\.example\\.com$`"
            .into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let pattern = text.parse();
        if let Err(error @ (InvalidPattern::Syntax(_) | InvalidPattern::TooLarge)) = &pattern {
            return Err(error.to_string());
        }
        Ok(Self { text: text.to_owned(), pattern })
    }

    fn show(&self) -> Value {
        self.text.as_str().into()
    }
}

/// Some text on one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for Text {
    fn accepts() -> Cow<'static, str> {
        "text on one line".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        if text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control) {
            return Err("the text is empty, longer than 1024 bytes, or has control characters".to_owned());
        }
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// A text that is never shown.
#[derive(Clone, Debug)]
pub struct SecretText(Secret<String>);

impl SecretText {
    /// The text.
    #[must_use]
    pub fn to_secret(&self) -> Secret<String> {
        Secret::new(self.0.expose().clone())
    }
}

impl Setting for SecretText {
    const SECRET: bool = true;

    fn accepts() -> Cow<'static, str> {
        Text::accepts()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        Text::from_text(text.trim_end(), base).map(|Text(text)| Self(Secret::new(text)))
    }

    fn show(&self) -> Value {
        REDACTED.into()
    }
}

/// Where a virus scanner listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannerUrl(Scanner);

impl ScannerUrl {
    /// The scanner.
    #[must_use]
    pub fn to_framework(&self) -> Scanner {
        self.0.clone()
    }
}

impl Setting for ScannerUrl {
    fn accepts() -> Cow<'static, str> {
        "`clamd://` with a host and its port, or with the absolute path of a socket".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        text.parse().map(Self).map_err(|error: InvalidScanner| error.to_string())
    }

    fn show(&self) -> Value {
        self.0.to_string().into()
    }
}

impl Setting for Method {
    fn accepts() -> Cow<'static, str> {
        "a method in capitals such as `GET`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        match text.parse::<Self>() {
            Ok(method) if text.bytes().all(|byte| byte.is_ascii_uppercase()) => Ok(method),
            _ => Err("this is not a method".to_owned()),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

impl Setting for HeaderName {
    fn accepts() -> Cow<'static, str> {
        "the name of a header field such as `x-request-id`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        match text {
            // For a browser it is any field, any but `authorization`, or none, depending on what else is answered.
            "*" => Err("`*` is not the name of a header field: list those that are meant".to_owned()),
            _ => text.parse().map_err(|_| "this is not the name of a header field".to_owned()),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// The code of a finding of `check`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FindingCode(String);

impl FindingCode {
    /// The code, such as `DB-001`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Setting for FindingCode {
    fn accepts() -> Cow<'static, str> {
        "the code of a finding such as `DB-001`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        let right = text.split_once('-').is_some_and(|(topic, number)| {
            !topic.is_empty()
                && topic.bytes().all(|byte| byte.is_ascii_uppercase())
                && number.len() == 3
                && number.bytes().all(|byte| byte.is_ascii_digit())
        });
        if right { Ok(Self(text.to_owned())) } else { Err("this is not the code of a finding".to_owned()) }
    }

    fn show(&self) -> Value {
        self.0.as_str().into()
    }
}

/// Where the data is.
#[derive(Clone, Debug)]
pub enum DatabaseUrl {
    /// A file of SQLite.
    Sqlite(PathBuf),
    /// A PostgreSQL server, by its connection URL with the password in it.
    Postgres(Secret<String>),
}

impl DatabaseUrl {
    /// The file of SQLite, and those that it keeps beside it; none for PostgreSQL.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let Self::Sqlite(path) = self else { return Vec::new() };
        let file = |suffix: &str| {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        ["", "-wal", "-shm"].map(file).into()
    }

    /// Whether a PostgreSQL URL asks for TLS, so that the store refuses it.
    #[must_use]
    pub fn asks_for_tls(&self) -> bool {
        let Self::Postgres(url) = self else { return false };
        ["require", "verify-ca", "verify-full", "allow"]
            .iter()
            .any(|mode| url.expose().contains(&format!("sslmode={mode}")))
    }

    /// The hosts that a PostgreSQL URL leads to, also those in its parameters; none for SQLite, and none for a Unix
    /// socket.
    #[must_use]
    pub fn hosts(&self) -> Vec<String> {
        let Self::Postgres(url) = self else { return Vec::new() };
        let url = url.expose();
        let parameters = |name: &str| {
            let given = parameters(url).into_iter().filter(|(key, _)| key == name);
            given.map(|(_, value)| value).collect::<Vec<_>>()
        };
        // Where there are addresses, the driver connects to them, and the hosts are mere names.
        let mut hosts = parameters("hostaddr");
        if hosts.is_empty() {
            hosts.extend(authority(url).split(',').map(|host| decode(without_port(host))));
            hosts.extend(parameters("host"));
        }
        let single = hosts.iter().flat_map(|list| list.split(','));
        single.filter(|host| !host.is_empty() && !host.starts_with('/')).map(str::to_owned).collect()
    }
}

/// The directory that a file is in.
pub(crate) fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The hosts of a PostgreSQL URL with their ports: what stands before the path, and behind the user. As for the driver,
/// the first `@` ends the user, also where a password has a `/` or a `?` in it.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split_once('@').map_or(rest, |(_, rest)| rest);
    &rest[..rest.find(['/', '?']).unwrap_or(rest.len())]
}

/// The parameters of a PostgreSQL URL.
fn parameters(url: &str) -> Vec<(String, String)> {
    let rest = url.split_once('@').map_or(url, |(_, rest)| rest);
    let Some((_, parameters)) = rest.split_once('?') else { return Vec::new() };
    let pairs = parameters.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (decode(key), decode(value))).collect()
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Whether a PostgreSQL URL has a path, or a parameter in place of one.
fn names_database(url: &str) -> bool {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    !(path.is_empty() || path.starts_with(['?', '#'])) || url.contains("dbname=")
}

fn without_port(host: &str) -> &str {
    match host.rfind(']') {
        Some(end) => &host[..=end],
        None => host.split_once(':').map_or(host, |(host, _)| host),
    }
}

/// Whether a URL has a password in it: behind the user, or as a parameter. If in doubt, it has.
fn has_password(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let behind_user = rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
    behind_user || decode(rest).contains("password=")
}

/// A URL with what may be secret in it taken out: the password, and the parameters, which can carry one too.
fn without_password(url: &str) -> String {
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

impl Setting for DatabaseUrl {
    // A PostgreSQL URL carries a password.
    const SECRET: bool = true;

    fn accepts() -> Cow<'static, str> {
        "`sqlite://` with the path of a file, such as `sqlite://bailiwick.db`, or a PostgreSQL URL such as \
         `postgres://user:password@host/database`"
            .into()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("sqlite://") {
            return match path {
                "" => Err("the path of the SQLite file is missing".to_owned()),
                ":memory:" | "/:memory:" => Err("a database in memory is lost at every stop".to_owned()),
                _ if path.contains(['\0', '?', '#']) => {
                    Err("the path of the SQLite file has a ?, a # or a NUL".to_owned())
                }
                _ => Ok(Self::Sqlite(from_base(base, path))),
            };
        }
        if text.starts_with("sqlite:") {
            return Err("`sqlite:` is followed by two slashes, and a third for an absolute path".to_owned());
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            let url = Secret::new(text.to_owned());
            if text.contains(char::is_whitespace) || text.contains('\0') {
                return Err("the PostgreSQL URL has white space in it; write %20 for a space".to_owned());
            }
            // The server would take the one that is called like the user.
            if !names_database(text) {
                return Err("the PostgreSQL URL names no database".to_owned());
            }
            return Ok(Self::Postgres(url));
        }
        Err("this is neither a SQLite nor a PostgreSQL URL".to_owned())
    }

    fn show(&self) -> Value {
        match self {
            Self::Sqlite(path) => format!("sqlite://{}", path.display()).into(),
            Self::Postgres(url) => without_password(url.expose()).into(),
        }
    }

    fn holds_secret(&self) -> bool {
        matches!(self, Self::Postgres(url) if has_password(url.expose()))
    }
}

/// Where throttle counters, revocation notices and caches are kept.
#[derive(Clone, Debug)]
pub enum SharedUrl {
    /// In the process.
    Memory,
    /// In the database.
    Database,
    /// On a Redis server, by its connection URL with the password in it.
    Redis(Secret<String>),
}

impl SharedUrl {
    /// The host that is reached without encryption, if there is one.
    pub(crate) fn plain_host(&self) -> Option<String> {
        let Self::Redis(url) = self else { return None };
        let url = url.expose();
        url.starts_with("redis://").then(|| decode(without_port(redis_authority(url))))
    }
}

/// The host of a Redis URL with its port. The last `@` before the path ends the user and the password.
fn redis_authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

impl Setting for SharedUrl {
    const SECRET: bool = true;

    fn accepts() -> Cow<'static, str> {
        "`memory`, `database`, or a Redis URL such as `redis://:password@host:6379`".into()
    }

    fn from_text(text: &str, _: &Path) -> Result<Self, String> {
        match text {
            "memory" => Ok(Self::Memory),
            "database" => Ok(Self::Database),
            _ if text.starts_with("redis://") || text.starts_with("rediss://") => {
                if without_port(redis_authority(text)).is_empty() {
                    return Err("the Redis URL names no host".to_owned());
                }
                Ok(Self::Redis(Secret::new(text.to_owned())))
            }
            _ => Err("this is none of the accepted forms".to_owned()),
        }
    }

    fn show(&self) -> Value {
        match self {
            Self::Memory => "memory".into(),
            Self::Database => "database".into(),
            Self::Redis(url) => without_password(url.expose()).into(),
        }
    }

    fn holds_secret(&self) -> bool {
        matches!(self, Self::Redis(url) if has_password(url.expose()))
    }
}

/// How mail leaves.
#[derive(Clone, Debug)]
pub enum MailTransport {
    /// It is written to standard error.
    Console,
    /// Each mail becomes a file in this directory.
    Files(PathBuf),
    /// By a mail server, by its URL with the password in it.
    Smtp(Secret<String>),
}

impl Setting for MailTransport {
    const SECRET: bool = true;

    fn accepts() -> Cow<'static, str> {
        "`console`, `file:` with a directory, or an SMTP URL such as \
         `smtp://user:password@mail.example.com:587`"
            .into()
    }

    fn from_text(text: &str, base: &Path) -> Result<Self, String> {
        if text == "console" {
            return Ok(Self::Console);
        }
        if let Some(directory) = text.strip_prefix("file:").filter(|directory| !directory.is_empty()) {
            return PathBuf::from_text(directory, base).map(Self::Files);
        }
        if text.starts_with("smtp://") || text.starts_with("smtps://") {
            return Ok(Self::Smtp(Secret::new(text.to_owned())));
        }
        Err("this is none of the accepted forms".to_owned())
    }

    fn show(&self) -> Value {
        match self {
            Self::Console => "console".into(),
            Self::Files(directory) => format!("file:{}", directory.display()).into(),
            Self::Smtp(url) => without_password(url.expose()).into(),
        }
    }

    fn holds_secret(&self) -> bool {
        matches!(self, Self::Smtp(url) if has_password(url.expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Setting>(text: &str) -> Result<Value, String> {
        T::from_text(text, Path::new("/srv")).map(|value| value.show())
    }

    #[test]
    fn choices_list_what_can_be_chosen() {
        assert_eq!(Environment::accepts(), "`production` or `development`");
        assert_eq!(RegistrationMode::accepts(), "`closed`, `invited` or `open`");
        assert_eq!(read::<LogLevel>("warn"), Ok("warn".into()));
        for wrong in ["", "Warn", "warn ", "warning"] {
            assert!(read::<LogLevel>(wrong).is_err(), "{wrong}");
        }
    }

    // HST-01, HST-02
    #[test]
    fn hosts_are_names_or_addresses_without_scheme_and_port() {
        for (right, kept) in [
            ("localhost", "localhost"),
            ("API.Example.com", "api.example.com"),
            (".example.com", ".example.com"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("*", "*"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            assert_eq!(read::<HostPattern>(right), Ok(kept.into()), "{right}");
        }
        let long = "a".repeat(64);
        for wrong in [
            "",
            ".",
            "..",
            "a..b",
            "*.example.com",
            "https://example.com",
            "example.com:8000",
            "::1",
            "[::1]:80",
            "[nonsense]",
            "exa mple.com",
            "bücher.example",
            "-a.example",
            "example.com/",
            "a_b",
            "example.com.",
            &long,
        ] {
            assert!(read::<HostPattern>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn proxies_are_networks_and_single_addresses() {
        assert_eq!(read::<TrustedProxy>("10.1.2.3/8"), Ok("10.0.0.0/8".into()));
        assert_eq!(read::<TrustedProxy>("10.1.2.3"), Ok("10.1.2.3/32".into()));
        assert_eq!(read::<TrustedProxy>("::1"), Ok("::1/128".into()));
        assert_eq!(read::<TrustedProxy>("0.0.0.0/0"), Ok("0.0.0.0/0".into()));
        for wrong in ["", "localhost", "10.0.0.0/33", "10.0.0/8", "*", "10.0.0.0-10.0.0.9"] {
            assert!(read::<TrustedProxy>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_public_url_has_no_path_and_no_default_port() {
        for (right, kept) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.example.com:443/", "https://api.example.com"),
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("http://[::1]:8000", "http://[::1]:8000"),
        ] {
            assert_eq!(read::<PublicUrl>(right), Ok(kept.into()), "{right}");
        }
        for wrong in [
            "",
            "api.example.com",
            "ftp://example.com",
            "https://",
            "https://user:pw@example.com",
            "https://example.com/api",
            "https://example.com?x",
            "https://example.com/#x",
            "https://example.com:0",
            "https://example.com:99999",
            "https://example.com:",
            "https://exa_mple.com",
            "https://example.com\n",
        ] {
            assert!(read::<PublicUrl>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_told_from_names_that_only_look_like_it() {
        let url = |text| PublicUrl::from_text(text, Path::new("")).unwrap();
        for here in [
            "http://localhost",
            "http://localhost:8000",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
            "http://[::1]",
        ] {
            assert!(url(here).is_loopback(), "{here}");
        }
        for away in [
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
            "http://[fd00::1]:1",
        ] {
            assert!(!url(away).is_loopback(), "{away}");
        }
    }

    // CORS-40, CORS-41
    #[test]
    fn an_origin_must_be_written_as_a_browser_sends_it() {
        assert_eq!(read::<Origin>("https://app.example.com"), Ok("https://app.example.com".into()));
        assert_eq!(read::<Origin>("http://localhost:5173"), Ok("http://localhost:5173".into()));
        assert_eq!(
            read::<Origin>("https://App.example.com:443/").unwrap_err(),
            "a browser sends this origin as `https://app.example.com`"
        );
        for wrong in
            ["null", "*", "", "app.example.com", "https://*.example.com", "https://app.example.com/x"]
        {
            assert!(read::<Origin>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn database_urls_name_a_file_or_a_server() {
        assert_eq!(read::<DatabaseUrl>("sqlite://bailiwick.db"), Ok("sqlite:///srv/bailiwick.db".into()));
        assert_eq!(read::<DatabaseUrl>("sqlite:///var/lib/b.db"), Ok("sqlite:///var/lib/b.db".into()));
        for right in ["postgres://db/app", "postgres:///app?host=/run/postgresql", "postgres://db?dbname=app"]
        {
            assert!(read::<DatabaseUrl>(right).is_ok(), "{right}");
        }
        for wrong in [
            "",
            "sqlite://",
            "sqlite:x.db",
            "sqlite::memory:",
            "sqlite://:memory:",
            "mysql://h/d",
            "postgres:h",
            "postgres://",
            "postgres://db.example",
            "postgresql://ann@db.example:5432/",
            "postgres://db.example/?sslmode=prefer",
            "sqlite://a?b",
        ] {
            assert!(read::<DatabaseUrl>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_password_of_a_url_is_ever_shown() {
        for (url, shown) in [
            ("postgres://ann:s3cret@db.example/app", "postgres://ann:[redacted]@db.example/app"),
            ("postgres://ann:s3:cr@et@db.example/app", "postgres://ann:[redacted]@db.example/app"),
            ("postgres://ann:s3/cr@db.example/app", "postgres://ann:[redacted]@db.example/app"),
            ("postgres://ann:s3?cr@db.example/app", "postgres://[redacted]"),
            ("postgres://db/app?password=s3@cret", "postgres://[redacted]"),
            ("postgres://ann@db/app?password=s3cret", "postgres://ann@db/app?…"),
            ("postgresql://db/app", "postgresql://db/app"),
        ] {
            assert_eq!(read::<DatabaseUrl>(url), Ok(shown.into()));
            let debug = format!("{:?}", DatabaseUrl::from_text(url, Path::new("")).unwrap());
            assert!(!debug.contains("s3"), "{debug}");
        }
        assert_eq!(read::<SharedUrl>("redis://:s3cret@h:6379/0"), Ok("redis://:[redacted]@h:6379/0".into()));
        assert_eq!(read::<MailTransport>("smtp://u:s3cret@h:587"), Ok("smtp://u:[redacted]@h:587".into()));
    }

    #[test]
    fn a_url_holds_a_secret_if_it_has_a_password_in_it() {
        let holds = |url: &str| DatabaseUrl::from_text(url, Path::new("")).unwrap().holds_secret();
        for url in [
            "postgres://ann:s3cret@db/app",
            "postgres://ann:s3?cret@db/app",
            "postgres://ann@db/app?password=s3cret",
            "postgres://ann@db/app?p%61ssword=s3cret",
        ] {
            assert!(holds(url), "{url}");
        }
        for url in ["sqlite://a:b@c", "postgres://ann@db:5432/app", "postgres:///app?host=/run/postgresql"] {
            assert!(!holds(url), "{url}");
        }
        let redis = |url| SharedUrl::from_text(url, Path::new("")).unwrap().holds_secret();
        assert!(redis("redis://:s3cret@h:6379") && !redis("redis://h:6379") && !redis("memory"));
        let mail = |url| MailTransport::from_text(url, Path::new("")).unwrap().holds_secret();
        assert!(mail("smtp://u:s3cret@h") && !mail("smtp://h:587") && !mail("console"));
    }

    #[test]
    fn the_hosts_of_a_database_url_are_found() {
        let hosts = |url: &str| DatabaseUrl::from_text(url, Path::new("")).unwrap().hosts().join(" ");
        assert_eq!(hosts("postgres://u:p@one:5432,two/app"), "one two");
        assert_eq!(hosts("postgres://[::1]:5432/app"), "[::1]");
        assert_eq!(hosts("postgres://u:p/w@one/app"), "one", "as the driver reads it");
        for socket in ["postgres:///app?host=/run/postgresql", "postgres://%2Frun%2Fpostgresql/app"] {
            assert_eq!(hosts(socket), "", "{socket}");
        }
        assert_eq!(hosts("postgres:///app?host=10.0.0.5"), "10.0.0.5");
        assert_eq!(hosts("postgres://u@localhost/app?sslmode=prefer&host=10.0.0.5"), "localhost 10.0.0.5");
        assert_eq!(hosts("postgres://?dbname=app&h%6Fst=one%2Ctwo"), "one two");
        assert_eq!(hosts("postgres://db.example/app?hostaddr=::1"), "::1", "a tunnel");
        assert_eq!(hosts("postgres://localhost/app?hostaddr=10.0.0.5"), "10.0.0.5");
        assert_eq!(hosts("sqlite://x"), "");
    }

    #[test]
    fn finding_codes_have_a_topic_and_three_digits() {
        assert!(read::<FindingCode>("DB-001").is_ok());
        for wrong in ["", "DB", "DB-1", "db-001", "-001", "DB-0001", "DB-00x"] {
            assert!(read::<FindingCode>(wrong).is_err(), "{wrong}");
        }
    }
}
