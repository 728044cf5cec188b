//! `bailiwick demo`.
mod tasks;

use std::{
    fs::{self, File, TryLockError},
    io::{self, Write},
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bailiwick::{
    authn::token::{TokenKind, TokenText, new_api_token},
    clock::{Clock, Entropy, OsEntropy, SystemClock},
    id::Id,
    identity::{OrgId, Role, Slug, UserId, Username},
    secret::Secret,
    store::{NewOrg, NewToken, NewUser, Store, TokenCreation},
};
use clap::Args as ClapArgs;
use tempfile::TempDir;

use super::{
    Outcome, database,
    failure::{Failure, with_causes},
    operator,
    output::print,
    password,
    serve::{listen, on_all_cores, refuse_unsafe, serve},
};
use crate::{
    application::Listeners,
    config::{DEFAULT_FILE, DEVELOPMENT_KEY_FILE, Inputs, Loaded, create_private},
};

/// Serve a fresh SQLite database with two organisations, four users and 60 tasks, and print curl lines to try
///
/// What is printed can be run as a shell script. Ctrl-C ends the server and, without --data, removes the
/// data.
#[derive(ClapArgs, Debug)]
#[command(after_help = "Examples:\n  bailiwick demo\n  bailiwick demo --bind 127.0.0.1:8080 --data ./demo")]
pub(super) struct Args {
    /// The address to listen on
    #[arg(long, default_value = "127.0.0.1:8000", value_name = "ADDR")]
    bind: SocketAddr,
    /// The directory for the data; it must be empty, or hold an earlier demo, which is replaced [default: a
    /// temporary one]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// By this file a directory is known to hold a demo, and may be cleared; it is locked while the demo runs.
const MARK: &str = "bailiwick-demo.lock";

/// The mode of a directory into which nobody else looks: the passwords of the demo are printed.
const OWNER_ALONE: u32 = 0o700;

/// Somebody of the demo, with their role in `acme` and in `globex`.
struct Person {
    name: &'static str,
    acme: Option<Role>,
    globex: Option<Role>,
}

const PEOPLE: [Person; 4] = [
    Person { name: "olivia", acme: Some(Role::Owner), globex: None },
    Person { name: "adam", acme: Some(Role::Admin), globex: Some(Role::Member) },
    Person { name: "mia", acme: Some(Role::Member), globex: None },
    Person { name: "victor", acme: Some(Role::Viewer), globex: Some(Role::Owner) },
];

/// Who the printed token speaks for: a member of `acme`, and a stranger in `globex`.
const CALLER: &str = "mia";

pub(super) fn run(args: Args) -> Outcome {
    on_all_cores(async |stop| {
        // The address first: whoever finds it taken finds an earlier demo as it was, and an empty directory empty.
        let listener = listen(args.bind, "--bind").await?;
        let home = Home::prepare(args.data)?;
        let address = listener
            .local_addr()
            .map_err(|error| Failure::out_of_reach(format!("the listener has no address: {error}"), ""))?;
        // On a free port, since a server may have the usual one; on the loopback, wherever the demo is.
        let operations = listen(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), "--bind").await?;
        let beside = operations
            .local_addr()
            .map_err(|error| Failure::out_of_reach(format!("the listener has no address: {error}"), ""))?;
        let loaded = home.write_settings(address, beside)?;
        let report = refuse_unsafe(&loaded)?;
        database::migrate(&loaded).await?;
        let opened = database::open_with_counters(&loaded).await?;
        let demo = fill(&opened.store, &loaded).await?;
        print(&describe(&demo, &home, &reachable(address), &reachable(beside)))?;
        // Standard output is a script that was printed; what happens from now on is for people.
        let listeners = Listeners { main: listener, operations };
        serve(&loaded, &report, opened, listeners, io::stderr(), stop).await
    })
}

/// The directory of the data.
struct Home {
    path: PathBuf,
    /// Held until the end, so that a second demo does not replace the data of a running one.
    _lock: File,
    /// Removes a temporary directory at the end.
    temporary: Option<TempDir>,
}

impl Home {
    fn prepare(data: Option<PathBuf>) -> Result<Self, Failure> {
        let unusable = |path: &Path, error: &dyn std::fmt::Display| {
            Failure::refused(
                format!("cannot keep the data in {}: {error}", path.display()),
                "choose a directory that you may write to with --data",
            )
        };
        let (path, temporary) = match data {
            Some(path) => {
                let made = fs::DirBuilder::new().recursive(true).mode(OWNER_ALONE).create(&path);
                made.map_err(|error| unusable(&path, &error))?;
                (path, None)
            }
            None => {
                let owner_alone = fs::Permissions::from_mode(OWNER_ALONE);
                let made =
                    tempfile::Builder::new().prefix("bailiwick-demo-").permissions(owner_alone).tempdir();
                let made = made.map_err(|error| unusable(&std::env::temp_dir(), &error))?;
                (made.path().to_owned(), Some(made))
            }
        };
        let is_empty = fs::read_dir(&path).map_err(|error| unusable(&path, &error))?.next().is_none();
        let mark = path.join(MARK);
        let lock = match if is_empty { create_private(&mark) } else { File::open(&mark) } {
            Ok(lock) => lock,
            Err(error) if !is_empty && error.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::refused(
                    format!("{} is not empty and holds no demo", path.display()),
                    "choose an empty directory with --data; a demo overwrites nothing else",
                ));
            }
            Err(error) => return Err(unusable(&path, &error)),
        };
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::refused(
                    format!("a demo runs in {}", path.display()),
                    "end it with Ctrl-C, or choose another directory with --data",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&path, &error)),
        }
        for name in
            ["bailiwick.db", "bailiwick.db-wal", "bailiwick.db-shm", DEFAULT_FILE, DEVELOPMENT_KEY_FILE]
        {
            match fs::remove_file(path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unusable(&path, &error)),
                _ => {}
            }
        }
        Ok(Self { path, _lock: lock, temporary })
    }

    /// Settings for development; those in the environment are for other servers.
    fn write_settings(&self, address: SocketAddr, operations: SocketAddr) -> Result<Loaded, Failure> {
        let path = self.path.join(DEFAULT_FILE);
        let host = match address {
            SocketAddr::V4(address) => format!("\"{}\"", address.ip()),
            SocketAddr::V6(address) => format!("\"[{}]\"", address.ip()),
        };
        let mut hosts = vec!["\"localhost\"", "\"127.0.0.1\"", "\"[::1]\""];
        if !hosts.contains(&host.as_str()) {
            hosts.push(&host);
        }
        let hosts = hosts.join(", ");
        let text = format!(
            "[server]\nenvironment = \"development\"\nbind = \"{address}\"\noperations_bind = \"{operations}\"\n\
             allowed_hosts = [{hosts}]\n\
             [database]\nurl = \"sqlite://bailiwick.db\"\n[log]\nformat = \"pretty\"\n"
        );
        create_private(&path).and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
            Failure::out_of_reach(
                format!("cannot write {}: {error}", path.display()),
                "make room on the disk",
            )
        })?;
        let mut loaded = Loaded::load(&Inputs { file: Some(path), variables: Vec::new() })?;
        loaded.ensure_master_key(&OsEntropy)?;
        Ok(loaded)
    }
}

/// What was put into the database.
struct Demo {
    /// Names and passwords.
    passwords: Vec<(&'static str, String)>,
    /// A token of [`CALLER`].
    token: TokenText,
    /// A task that [`CALLER`] must not see.
    foreign_task: String,
}

async fn fill(store: &Arc<dyn Store>, loaded: &Loaded) -> Result<Demo, Failure> {
    let clock = SystemClock::new();
    let now = clock.now();
    let mut passwords = Vec::new();
    let mut ids: Vec<UserId> = Vec::new();
    for person in &PEOPLE {
        let password = readable_password(&OsEntropy);
        let user = NewUser {
            id: Id::new(&clock, &OsEntropy),
            username: username(person.name),
            email: format!("{}@example.com", person.name),
            password_hash: password::hash(Secret::new(password.clone()), &loaded.settings).await?,
            is_staff: false,
            created_at: now,
        };
        ids.push(user.id);
        store.create_user(user, operator::act()).await?;
        passwords.push((person.name, password));
    }
    let mut orgs = Vec::new();
    for (slug, name, role_of) in [
        ("acme", "Acme Inc.", (|person| person.acme) as fn(&Person) -> Option<Role>),
        ("globex", "Globex Corporation", |person| person.globex),
    ] {
        let owner = PEOPLE.iter().position(|person| role_of(person) == Some(Role::Owner));
        let owner = ids[owner.expect("each organisation of the demo has an owner")];
        let slug: Slug = slug.parse().expect("the slugs of the demo are slugs");
        let id: OrgId = Id::new(&clock, &OsEntropy);
        let org = NewOrg { id, slug: slug.clone(), name: name.to_owned(), owner, created_at: now };
        store.create_org(org, operator::act()).await?;
        for person in &PEOPLE {
            if let Some(role) = role_of(person).filter(|role| *role != Role::Owner) {
                store.put_member(&slug, &username(person.name), role, operator::act()).await?;
            }
        }
        orgs.push(id);
    }
    let foreign_task = tasks::fill(store)
        .await
        .map_err(|error| Failure::out_of_reach(with_causes(&error), "start the demo again"))?;

    let caller =
        ids[PEOPLE.iter().position(|person| person.name == CALLER).expect("the caller is one of them")];
    let (day, max_per_user) = (Duration::from_secs(24 * 60 * 60), loaded.settings.tokens.max_per_user.get());
    let (token, new) = new_api_token(TokenKind::Personal, caller, day, max_per_user, &clock, &OsEntropy);
    let new = NewToken { name: Some("demo".to_owned()), ..new };
    let made = store.create_token(new, operator::act()).await?;
    assert_eq!(made, TokenCreation::Created, "the caller was just made and has no token");
    Ok(Demo { passwords, token, foreign_task })
}

fn username(name: &str) -> Username {
    name.parse().expect("the names of the demo are user names")
}

/// A password that can be typed: 20 letters in groups, 94 bits. Never a fixed one, since a demo may be left
/// running where others can reach it (PWD-20).
fn readable_password(entropy: &dyn Entropy) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0; 20];
    entropy.fill(&mut bytes);
    let mut password = String::with_capacity(23);
    for (at, byte) in bytes.into_iter().enumerate() {
        if at > 0 && at % 5 == 0 {
            password.push('-');
        }
        password.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    password
}

/// The URL at which this machine reaches a listener.
fn reachable(address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("http://{address}")
}

/// What is printed: a shell script, in which everything but the curl lines is a comment.
fn describe(demo: &Demo, home: &Home, url: &str, operations: &str) -> String {
    let token = demo.token.expose();
    let (_, password) =
        demo.passwords.iter().find(|(name, _)| *name == CALLER).expect("the caller has a password");
    let kept = if home.temporary.is_some() { ", removed at the end" } else { "" };
    let role = |role: Option<Role>| role.map_or("-", Role::as_str);
    let mut out = format!("# Bailiwick demo at {url}\n# Data in {}{kept}\n#\n", home.path.display());
    out += "#   user    password                 acme    globex\n";
    for (person, (name, password)) in PEOPLE.iter().zip(&demo.passwords) {
        out += &format!("#   {name:<7} {password:<24} {:<7} {}\n", role(person.acme), role(person.globex));
    }
    out += &format!(
        "#\n# A token of {CALLER}, for a day: {token}\n\n\
         # Who am I?\n\
         curl -sS -w '\\n' {url}/api/v1/me/ -H 'Authorization: Token {token}'\n\n\
         # Get a token for a name and a password\n\
         curl -sS -w '\\n' {url}/api/v1/auth/token/ -H 'Content-Type: application/json' --data '{{\"username\":\"{CALLER}\",\"password\":\"{password}\"}}'\n\n\
         # The most urgent tasks of acme that are not done\n\
         curl -sS -w '\\n' '{url}/api/v1/orgs/acme/tasks/?status__in=todo,doing&ordering=-priority&page_size=3' -H 'Authorization: Token {token}'\n\n\
         # A new task: 201\n\
         curl -sS -i -w '\\n' {url}/api/v1/orgs/acme/tasks/ -H 'Authorization: Token {token}' -H 'Content-Type: application/json' --data '{{\"title\":\"Try Bailiwick\",\"priority\":\"high\"}}'\n\n\
         # A field that is the server's own: 422\n\
         curl -sS -w '\\n' {url}/api/v1/orgs/acme/tasks/ -H 'Authorization: Token {token}' -H 'Content-Type: application/json' --data '{{\"title\":\"Mine\",\"created_by\":\"00000000-0000-7000-8000-000000000000\"}}'\n\n\
         # An attack: {CALLER} knows the id of a task of globex, and gets the same 404 as for a task that never was\n\
         curl -sS -i -w '\\n' {url}/api/v1/orgs/globex/tasks/{}/ -H 'Authorization: Token {token}'\n\n\
         # What Prometheus reads of all this\n\
         curl -sS {operations}/metrics\n",
        demo.foreign_task
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_shows_every_role_and_somebody_who_is_in_both() {
        for role in Role::ALL {
            assert!(PEOPLE.iter().any(|person| person.acme == Some(role)), "{role}");
        }
        assert!(PEOPLE.iter().any(|person| person.acme.is_some() && person.globex.is_some()));
        let caller = PEOPLE.iter().find(|person| person.name == CALLER).unwrap();
        assert_eq!((caller.acme, caller.globex), (Some(Role::Member), None));
    }

    #[test]
    fn passwords_are_long_enough_and_differ() {
        let one = readable_password(&OsEntropy);
        assert_eq!(one.len(), 23);
        assert_ne!(one, readable_password(&OsEntropy));
    }

    #[test]
    fn an_address_that_means_all_is_reached_by_loopback() {
        assert_eq!(reachable("0.0.0.0:80".parse().unwrap()), "http://127.0.0.1:80");
        assert_eq!(reachable("[::]:80".parse().unwrap()), "http://[::1]:80");
        assert_eq!(reachable("10.0.0.1:80".parse().unwrap()), "http://10.0.0.1:80");
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        fs::write(path.join("bailiwick.db"), "precious").unwrap();
        let failure = Home::prepare(Some(path.clone())).err().unwrap();
        assert!(failure.message().contains("holds no demo"), "{failure:?}");
        assert_eq!(fs::read_to_string(path.join("bailiwick.db")).unwrap(), "precious");
    }

    #[test]
    fn an_earlier_demo_is_replaced_but_not_while_it_runs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo");
        let running = Home::prepare(Some(path.clone())).unwrap();
        fs::write(path.join("bailiwick.db"), "old").unwrap();
        fs::write(path.join("notes.txt"), "mine").unwrap();
        let failure = Home::prepare(Some(path.clone())).err().unwrap();
        assert!(failure.message().contains("a demo runs in"), "{failure:?}");
        assert!(path.join("bailiwick.db").exists());
        drop(running);
        Home::prepare(Some(path.clone())).unwrap();
        assert!(!path.join("bailiwick.db").exists());
        assert!(path.join("notes.txt").exists());
    }

    #[test]
    fn nobody_else_looks_into_the_directory_that_a_demo_makes() {
        let parent = tempfile::tempdir().unwrap();
        for data in [None, Some(parent.path().join("demo"))] {
            let home = Home::prepare(data).unwrap();
            home.write_settings("127.0.0.1:8000".parse().unwrap(), "127.0.0.1:9000".parse().unwrap())
                .unwrap();
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&home.path), 0o700);
            for entry in fs::read_dir(&home.path).unwrap() {
                let path = entry.unwrap().path();
                assert_eq!(mode(&path), 0o600, "{}", path.display());
            }
        }
    }

    #[test]
    fn everything_printed_but_the_curl_lines_is_a_comment() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::prepare(Some(directory.path().to_owned())).unwrap();
        let demo = Demo {
            passwords: PEOPLE.iter().map(|person| (person.name, readable_password(&OsEntropy))).collect(),
            token: TokenText::generate(TokenKind::Personal, &OsEntropy),
            foreign_task: "01890a5d-ac96-774b-bcce-b302099a8057".to_owned(),
        };
        let text = describe(&demo, &home, "http://127.0.0.1:8000", "http://127.0.0.1:9000");
        let lines = text.lines().filter(|line| !line.is_empty());
        assert!(lines.clone().all(|line| line.starts_with('#') || line.starts_with("curl ")), "{text}");
        let mut curl = lines.filter(|line| line.starts_with("curl "));
        assert_eq!(curl.next_back().unwrap(), "curl -sS http://127.0.0.1:9000/metrics");
        assert!(curl.next_back().unwrap().contains("/orgs/globex/tasks/01890a5d"), "{text}");
    }

    #[test]
    fn the_settings_of_the_demo_are_safe_for_development() {
        use crate::check::{Strictness, check};
        let home = Home::prepare(None).unwrap();
        for address in ["127.0.0.1:8000", "[::1]:8000"] {
            let _ = fs::remove_file(home.path.join(DEFAULT_FILE));
            let loaded =
                home.write_settings(address.parse().unwrap(), "127.0.0.1:9000".parse().unwrap()).unwrap();
            assert_eq!(check(&loaded, Strictness::AsConfigured).findings(), [], "{address}");
            assert_eq!(loaded.settings.server.bind.to_string(), address);
        }
    }
}
