//! Settings that say where data is kept, and where mail goes.
use std::{
    borrow::Cow,
    path::{Path, PathBuf},
};

use serde_json::Value;

use bailiwick::secret::Secret;

use super::{
    super::value::{Setting, from_base},
    url::{decode, has_password, without_password, without_port},
};

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

/// Whether a PostgreSQL URL has a path, or a parameter in place of one.
fn names_database(url: &str) -> bool {
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    !(path.is_empty() || path.starts_with(['?', '#'])) || url.contains("dbname=")
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
    use crate::config::types::testing::read;

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
}
