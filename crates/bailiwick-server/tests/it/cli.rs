//! The command line, run as a program.
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A directory of its own, in which commands run without any setting from outside.
struct Place(TempDir);

/// What a command answered.
struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        hide(&path);
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("BAILIWICK_") {
                command.env_remove(name);
            }
        }
        command.current_dir(self.0.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Answer {
        self.run_with(arguments, &[], None)
    }

    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)], input: Option<&str>) -> Answer {
        let mut command = self.command();
        command.args(arguments).envs(variables.iter().copied());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if input.is_some() {
            command.stdin(Stdio::piped());
        }
        let mut child = command.spawn().unwrap();
        if let Some(input) = input {
            // A command that refuses its arguments does not read its input.
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        }
        let output = child.wait_with_output().unwrap();
        Answer {
            code: output.status.code().expect("no signal ends it"),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "\nstdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, words: &str) -> Self {
        assert!(self.err.contains(words), "{words}\nis not in stderr: {}", self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}\n{}", self.out))
    }
}

/// Settings with nothing to complain about.
const SAFE: &str = "
[server]
bind = '127.0.0.1:0'
allowed_hosts = ['localhost', '127.0.0.1']
public_url = 'http://127.0.0.1:8000'
[secrets]
master_key_file = 'master.key'
[mail]
transport = 'file:mails'
";
const KEY: &str = "8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472\n";
const PASSWORD: &str = "a-plain-but-long-phrase";

fn safe_place() -> Place {
    let place = Place::new();
    place.write("bailiwick.toml", SAFE);
    place.write("master.key", KEY);
    place
}

/// Keeps others out of a file, whatever the mask of who runs the tests lets them do.
fn hide(path: &Path) {
    #[cfg(unix)]
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

#[test]
fn help_goes_to_standard_output_and_wrong_usage_to_standard_error() {
    let place = Place::new();
    let help = place.run(&["--help"]).expect(0);
    assert!(help.out.contains("bailiwick demo") && help.out.contains("Exit codes"));
    assert_eq!(help.err, "");
    for wrong in [
        &[][..],
        &["nonsense"],
        &["user"],
        &["user", "create"],
        &["check", "--nonsense"],
        &["serve", "extra"],
    ] {
        let answer = place.run(wrong).expect(2);
        assert_eq!(answer.out, "", "{wrong:?}");
        assert!(answer.err.contains("Usage"), "{wrong:?}: {}", answer.err);
    }
}

#[test]
fn names_and_addresses_are_checked_before_anything_is_done() {
    let place = safe_place();
    for (arguments, words) in [
        (&["user", "create", "a b", "--email", "a@b.c"][..], "a user name is 3 to 64 characters"),
        (&["user", "create", "ann", "--email", "nobody"], "name@example.com"),
        (&["org", "create", "Acme", "--name", "A", "--owner", "ann"], "a slug is 1 to 50 characters"),
        (&["org", "create", "acme", "--name", " ", "--owner", "ann"], "1 to 100 characters"),
        (&["org", "create", "acme", "--name", "A\u{202e}B", "--owner", "ann"], "turns text around"),
        (&["token", "create", "ann", "--name", "a\nb"], "turns text around"),
        (&["user", "create", "ann", "--email", "ann@\u{2066}b.c"], "name@example.com"),
        (&["org", "add-member", "acme", "ann", "--role", "boss"], "viewer, member, admin, owner"),
        (&["token", "create", "ann", "--name", "x", "--expires-in-days", "0"], "1..=3650"),
        (
            &["token", "create", "ann", "--name", "x", "--scopes", "tasks:read,all"],
            "there is no scope \"all\"",
        ),
        (&["token", "revoke", "7"], "an id is a UUID"),
        (&["user", "grant", "ann", "root"], "staff, author, editor"),
        (&["demo", "--bind", "localhost"], "invalid socket address"),
    ] {
        place.run(arguments).expect(2).says(words);
    }
}

#[test]
fn the_settings_file_is_named_by_flag_or_variable_and_must_then_exist() {
    let place = Place::new();
    place.write("other.toml", "[server]\nbind = '127.0.0.1:7777'\n");
    for (arguments, variables) in [
        (&["config", "show", "--config", "other.toml"][..], &[][..]),
        (&["--config", "other.toml", "config", "show"], &[]),
        (&["config", "show"], &[("BAILIWICK_CONFIG", "other.toml")]),
    ] {
        let answer = place.run_with(arguments, variables, None).expect(0);
        assert!(answer.out.contains("127.0.0.1:7777"), "{}", answer.out);
    }
    place.run_with(&["config", "show"], &[("BAILIWICK_CONFIG", "")], None).expect(0);
    place.run(&["demo", "--config", "other.toml"]).expect(2).says("leave --config out");
    place
        .run(&["config", "show", "--config", "missing.toml"])
        .expect(2)
        .says("missing.toml: there is no such file");
    place.run(&["config", "show", "--config", "."]).expect(2).says("a directory");
    place.run(&["config", "show"]).expect(0);
}

#[test]
fn a_command_that_works_on_a_database_needs_settings_from_somewhere() {
    let place = Place::new();
    for arguments in
        [&["serve"][..], &["migrate"], &["user", "list"], &["org", "list"], &["token", "list", "ann"]]
    {
        place.run(arguments).expect(2).says("bailiwick init");
        assert_eq!(fs::read_dir(place.0.path()).unwrap().count(), 0, "{arguments:?} left something behind");
    }
}

#[test]
fn every_fault_of_the_settings_is_told_at_once() {
    let place = Place::new();
    place.write("bailiwick.toml", "[server]\nbind = 8000\n[limits]\nbdy = '1MiB'\n");
    let variables = [("BAILIWICK_THROTTLE__RATES__LOGIN", "0/min")];
    for arguments in [&["serve"][..], &["check"], &["config", "show"], &["user", "list"], &["migrate"]] {
        let answer = place.run_with(arguments, &variables, None).expect(2);
        assert_eq!(answer.out, "");
        for words in [
            "server.bind (bailiwick.toml, line 2): this is a number, not text in quotes",
            "limits.bdy (bailiwick.toml, line 4): there is no such key; did you mean `limits.body`?",
            "throttle.rates.login (environment variable BAILIWICK_THROTTLE__RATES__LOGIN): a rate of zero",
            "given:    \"0/min\"",
        ] {
            assert!(answer.err.contains(words), "{words}\nis not in: {}", answer.err);
        }
    }
}

#[test]
fn config_show_tells_sources_and_no_secret() {
    let place = safe_place();
    let variables = [
        ("BAILIWICK_DATABASE__URL", "postgres://ann:s3cret@db.example/app"),
        ("BAILIWICK_LOG__LEVEL", "warn"),
    ];
    let answer = place.run_with(&["config", "show", "--format", "json"], &variables, None).expect(0);
    assert!(!answer.out.contains("s3cret") && !answer.out.contains(KEY.trim()));
    let shown = answer.json();
    let row = |setting: &str| {
        let rows = shown.as_array().unwrap();
        let row = rows.iter().find(|row| row["setting"] == setting).unwrap();
        (row["value"].clone(), row["source"].as_str().unwrap().to_owned())
    };
    assert_eq!(row("log.level"), ("warn".into(), "environment variable BAILIWICK_LOG__LEVEL".to_owned()));
    assert_eq!(row("server.bind"), ("127.0.0.1:0".into(), "bailiwick.toml, line 3".to_owned()));
    assert_eq!(row("limits.body"), ("1MiB".into(), "default".to_owned()));
    assert_eq!(row("secrets.master_key"), ("[redacted]".into(), "file master.key".to_owned()));
    assert_eq!(row("database.url").0, "postgres://ann:[redacted]@db.example/app");

    let text = place.run_with(&["config", "show"], &variables, None).expect(0).out;
    assert!(text.starts_with("SETTING"), "{text}");
    assert!(!text.contains("s3cret") && !text.contains(KEY.trim()));
}

#[test]
fn the_reference_can_be_used_as_a_settings_file() {
    let place = Place::new();
    let reference = place.run(&["config", "reference"]).expect(0).out;
    assert!(reference.contains("[throttle.rates]") && reference.contains("#login = \"5/min\""));
    place.write("bailiwick.toml", &reference);
    place.run(&["config", "show"]).expect(0);
}

#[test]
fn check_tells_findings_and_exits_with_1_on_an_error() {
    let place = safe_place();
    place.run(&["check"]).expect(0).says("no findings");
    let answer = place.run(&["check", "--format", "json"]).expect(0);
    assert_eq!(answer.json(), serde_json::json!([]));

    let unsafe_settings = [("BAILIWICK_THROTTLE__ENABLED", "false"), ("BAILIWICK_LOG__LEVEL", "debug")];
    let answer = place.run_with(&["check", "--format", "json"], &unsafe_settings, None).expect(1);
    let findings = answer.json();
    let codes: Vec<_> =
        findings.as_array().unwrap().iter().map(|finding| finding["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["RATE-001", "LOG-001"]);
    let mut members: Vec<_> = findings[0].as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["code", "fix", "reason", "setting", "severity"]);

    let accepted = [unsafe_settings[0], unsafe_settings[1], ("BAILIWICK_CHECK__ALLOW", "RATE-001")];
    let answer = place.run_with(&["check"], &accepted, None).expect(0).says("accepted: error RATE-001");
    assert!(answer.out.contains("warning LOG-001 log.level") && answer.out.contains("fix: "));
}

#[test]
fn check_deploy_is_stricter_than_the_settings() {
    let place = Place::new();
    place.write("bailiwick.toml", "server.environment = 'development'");
    place.run(&["check"]).expect(0);
    let answer = place.run(&["check", "--deploy"]).expect(1);
    for code in ["ENV-001", "KEY-001", "URL-001", "PWD-001"] {
        assert!(answer.out.contains(code), "{code}: {}", answer.out);
    }
    // The production checklist is for people, and what is accepted stays in sight.
    for line in
        ["[!] secrets are in no code", "[x] sensitive endpoints are throttled", "[ ] back-ups are made"]
    {
        assert!(answer.err.contains(line), "{line}: {}", answer.err);
    }
    let place = safe_place();
    let accepted = [("BAILIWICK_THROTTLE__ENABLED", "false"), ("BAILIWICK_CHECK__ALLOW", "RATE-001")];
    let answer = place.run_with(&["check", "--deploy", "--format", "json"], &accepted, None).expect(0);
    assert_eq!(answer.json(), serde_json::json!([]));
    assert!(answer.err.contains("[!] sensitive endpoints are throttled"), "{}", answer.err);
}

#[test]
fn check_lists_what_it_looks_for_without_looking() {
    let place = Place::new();
    place.write("bailiwick.toml", "this is no setting");
    let listed = place.run(&["check", "--list"]).expect(0).out;
    assert!(listed.contains("RATE-001 (error; in development a warning): no throttle\n"), "{listed}");
    let rules = place.run(&["check", "--list", "--format", "json"]).expect(0).json();
    let first = rules.as_array().unwrap()[0].clone();
    assert_eq!(first["code"], "CHECK-001");
    assert!(first["finds"].is_string() && first["severity"] == "error");
}

#[test]
fn serve_refuses_unsafe_settings_and_names_each_with_its_fix() {
    let place = Place::new();
    let settings =
        "[server]\nbind = '0.0.0.0:0'\n[throttle]\nenabled = false\n[mail]\ntransport = 'file:mails'\n";
    place.write("bailiwick.toml", settings);
    let answer = place.run(&["serve"]).expect(2).says("does not start with");
    for code in ["KEY-001", "HOST-001", "URL-001", "BIND-001", "RATE-001"] {
        assert!(answer.err.contains(&format!("error {code} ")), "{code}: {}", answer.err);
    }
    assert_eq!(answer.err.matches("\n  fix: ").count(), 5 + 1, "of each, and of the refusal");
    assert!(!place.path("bailiwick.db").exists() && !place.path("bailiwick.key").exists());
}

#[test]
fn a_password_is_read_from_standard_input_and_never_from_an_argument() {
    let place = safe_place();
    let create = ["user", "create", "ann", "--email", "ann@example.com"];
    for refused in [&["--password", "s3cret-but-much-too-open"][..], &["--password=s3cret-but-much-too-open"]]
    {
        let arguments = [&create[..], refused].concat();
        let answer = place.run(&arguments).expect(2).says("never an argument");
        assert!(!answer.err.contains("s3cret"), "{}", answer.err);
    }
    place.run(&create).expect(2).says("--password-stdin");

    let stdin = [&create[..], &["--password-stdin"]].concat();
    for (input, words) in [
        ("", "no password on standard input"),
        ("\n", "no password on standard input"),
        ("short\n", "at least 15 characters"),
        ("one-long-enough-line\nand-another\n", "more than one line"),
        ("I-am-ANN-and-my-name-is-in-it\n", "must not contain the user name"),
        ("1234567890QWERTYuiop\n", "one of the most common"),
        (&"a".repeat(300), "at most 256 characters"),
        (&"a".repeat(100_000), "too long"),
    ] {
        let answer = place.run_with(&stdin, &[], Some(input)).expect(2).says(words);
        assert!(input.trim().is_empty() || !answer.err.contains(input.trim()), "{}", answer.err);
    }
    assert!(!place.path("bailiwick.db").exists());
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let place = Place::new();
    let mut command = place.command();
    let mut child = command.args(["config", "reference"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// A place with a migrated database.
fn database_place() -> Place {
    let place = safe_place();
    place.run(&["migrate"]).expect(0);
    place
}

impl Place {
    fn create_user(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        let arguments = ["user", "create", name, "--email", &email, "--password-stdin"];
        self.run_with(&arguments, &[], Some(PASSWORD)).expect(0).out.trim().to_owned()
    }

    fn list(&self, arguments: &[&str]) -> Vec<Value> {
        let arguments = [arguments, &["--format", "json"]].concat();
        self.run(&arguments).expect(0).json().as_array().unwrap().clone()
    }
}

#[test]
fn migrate_tells_what_is_pending_and_does_it_once() {
    let place = safe_place();
    let pending = place.run(&["migrate", "--check"]).expect(1).says("run `bailiwick migrate`").out;
    assert!(pending.contains("V1__identity") && pending.contains("V1__tasks"), "{pending}");
    assert!(!place.path("bailiwick.db").exists());

    let applied = place.run(&["migrate"]).expect(0).out;
    assert_eq!(applied, pending);
    place.run(&["migrate", "--check"]).expect(0);
    let again = place.run(&["migrate"]).expect(0).says("nothing to do");
    assert_eq!(again.out, "");
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(place.path("bailiwick.db")).unwrap().permissions(),
        );
        assert_eq!(mode & 0o007, 0, "others may not read the database");
    }
}

#[test]
fn a_database_out_of_reach_exits_with_3_and_says_what_to_do() {
    let place = safe_place();
    place.run(&["user", "list"]).expect(3).says("bailiwick migrate");
    place.write(
        "bailiwick.db",
        "this is a letter, not a database, and it is long enough to be looked at as one",
    );
    place.run(&["user", "list"]).expect(3).says("no SQLite database");
    place.run(&["migrate"]).expect(3).says("no SQLite database");
    let elsewhere = [("BAILIWICK_DATABASE__URL", "sqlite://no/such/directory/app.db")];
    place.run_with(&["migrate"], &elsewhere, None).expect(3).says("directory");
    let nobody = [("BAILIWICK_DATABASE__URL", "postgres://ann:s3cret@127.0.0.1:1/app")];
    let answer = place.run_with(&["user", "list"], &nobody, None).expect(3);
    assert!(!answer.err.contains("s3cret"), "{}", answer.err);
}

#[test]
fn users_are_created_listed_disabled_and_given_rights() {
    let place = database_place();
    let id = place.create_user("Ann");
    assert_eq!(id.len(), 36, "{id}");
    let taken = ["user", "create", "ann", "--email", "other@example.com", "--password-stdin"];
    place.run_with(&taken, &[], Some(PASSWORD)).expect(1).says("taken");

    let user = || place.list(&["user", "list"]).remove(0);
    assert_eq!(user()["id"], id);
    assert_eq!((&user()["username"], &user()["email"]), (&"Ann".into(), &"Ann@example.com".into()));
    assert_eq!((&user()["is_active"], &user()["is_staff"]), (&true.into(), &false.into()));

    place.run(&["user", "disable", "ann"]).expect(0);
    assert_eq!(user()["is_active"], false);
    place.run(&["user", "enable", "ann"]).expect(0);
    assert_eq!(user()["is_active"], true);
    for right in ["staff", "author", "editor"] {
        let member = format!("is_{right}");
        place.run(&["user", "grant", "ann", right]).expect(0);
        assert_eq!(user()[&member], true, "{right}");
        place.run(&["user", "revoke", "ann", right]).expect(0);
        assert_eq!(user()[&member], false, "{right}");
    }
    place
        .run_with(
            &["user", "set-password", "ann", "--password-stdin"],
            &[],
            Some("another-long-enough-phrase"),
        )
        .expect(0);

    for unknown in
        [&["user", "disable", "bob"][..], &["user", "enable", "bob"], &["user", "grant", "bob", "staff"]]
    {
        place.run(unknown).expect(1).says("no such user");
    }
    place
        .run_with(&["user", "set-password", "ann", "--password-stdin"], &[], Some("1234567890987654321"))
        .expect(2)
        .says("one of the most common");
    place
        .run_with(&["user", "set-password", "bob", "--password-stdin"], &[], Some(PASSWORD))
        .expect(1)
        .says("no such user");
    let text = place.run(&["user", "list"]).expect(0).out;
    assert!(text.starts_with("ID") && text.contains("Ann@example.com"), "{text}");
}

#[test]
fn organisations_have_an_owner_from_the_start_and_never_none() {
    let place = database_place();
    place.create_user("ann");
    place.create_user("bob");
    let create = ["org", "create", "acme", "--name", "Acme Inc.", "--owner"];
    place.run(&[&create[..], &["nobody"]].concat()).expect(1).says("no such user");
    place.run(&[&create[..], &["Ann"]].concat()).expect(0);
    place
        .run(&[&create[..], &["bob"]].concat())
        .expect(1)
        .says("the short name acme is taken")
        .says("bailiwick org list");
    let org = || place.list(&["org", "list"]).remove(0);
    assert_eq!(
        (&org()["slug"], &org()["name"], &org()["members"]),
        (&"acme".into(), &"Acme Inc.".into(), &1.into())
    );

    place.run(&["org", "add-member", "acme", "bob", "--role", "member"]).expect(0);
    assert_eq!(org()["members"], 2);
    place.run(&["org", "remove-member", "acme", "ann"]).expect(1).says("no owner");
    place.run(&["org", "add-member", "acme", "ann", "--role", "viewer"]).expect(1).says("no owner");
    place.run(&["org", "add-member", "acme", "bob", "--role", "owner"]).expect(0);
    place.run(&["org", "remove-member", "acme", "ann"]).expect(0);
    place.run(&["org", "remove-member", "acme", "ann"]).expect(1).says("no member");
    place
        .run(&["org", "add-member", "globex", "ann", "--role", "viewer"])
        .expect(1)
        .says("no such organisation");
    place.run(&["org", "add-member", "acme", "nobody", "--role", "viewer"]).expect(1).says("no such user");
}

#[test]
fn a_token_is_shown_once_and_can_be_revoked() {
    let place = database_place();
    place.create_user("ann");
    let token = place.run(&["token", "create", "ann", "--name", "deploy"]).expect(0).out.trim().to_owned();
    assert!(token.starts_with("bw_pat_") && token.len() == 43, "{token}");
    let tokens = place.list(&["token", "list", "ann"]);
    let [listed] = &tokens[..] else { panic!("{tokens:?}") };
    assert_eq!((&listed["name"], &listed["state"]), (&"deploy".into(), &"live".into()));
    assert!(!listed.to_string().contains(&token));

    let id = listed["id"].as_str().unwrap();
    place.run(&["token", "revoke", id]).expect(0);
    assert_eq!(place.list(&["token", "list", "ann"])[0]["state"], "revoked");
    place.run(&["token", "revoke", id]).expect(1).says("no live token");
    place.run(&["token", "list", "bob"]).expect(1).says("no such user");
    place.run(&["token", "list", "--org", "acme"]).expect(1).says("no such organisation");
    place.run(&["token", "list"]).expect(2).says("<USER>");
    place.run(&["token", "list", "ann", "--org", "acme"]).expect(2).says("--org");
    place.run(&["token", "create", "bob", "--name", "x"]).expect(1).says("no such user");
}

#[test]
fn a_user_has_no_more_live_tokens_than_the_settings_allow() {
    let place = database_place();
    place.create_user("ann");
    let two = [("BAILIWICK_TOKENS__MAX_PER_USER", "2")];
    let create = ["token", "create", "ann", "--name", "x", "--format", "json"];
    let first = place.run_with(&create, &two, None).expect(0).json();
    place.run_with(&create, &two, None).expect(0);
    place.run_with(&create, &two, None).expect(1).says("2 live tokens with a name already");
    place.run(&["token", "revoke", first["id"].as_str().unwrap()]).expect(0);
    place.run_with(&create, &two, None).expect(0);
    place.run(&["user", "disable", "ann"]).expect(0);
    place.run(&create).expect(1).says("disabled").says("bailiwick user enable ann");
}

#[test]
fn init_makes_what_serve_needs_and_overwrites_nothing() {
    let place = Place::new();
    let arguments = [
        "init",
        "--dir",
        "site",
        "--owner",
        "ann",
        "--email",
        "ann@example.com",
        "--org",
        "acme",
        "--password-stdin",
    ];
    let answer = place.run_with(&arguments, &[], Some(PASSWORD)).expect(0).says("bailiwick serve --config");
    assert_eq!(answer.out, "site/bailiwick.toml\n");
    for name in ["bailiwick.toml", "master.key", "bailiwick.db"] {
        let path = place.path("site").join(name);
        assert!(path.is_file(), "{name}");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600,
            "{name}"
        );
    }
    let config = ["--config", "site/bailiwick.toml"];
    place.run(&[&config[..], &["check", "--deploy"]].concat()).expect(0).says("no findings");
    place.run(&[&config[..], &["migrate", "--check"]].concat()).expect(0);
    assert_eq!(place.list(&[&config[..], &["user", "list"]].concat())[0]["username"], "ann");
    assert_eq!(place.list(&[&config[..], &["org", "list"]].concat())[0]["slug"], "acme");

    let before = fs::read(place.path("site/master.key")).unwrap();
    place.run_with(&arguments, &[], Some(PASSWORD)).expect(2).says("overwrites nothing");
    assert_eq!(fs::read(place.path("site/master.key")).unwrap(), before);
}

#[test]
fn an_init_that_fails_leaves_nothing_behind() {
    let place = Place::new();
    let arguments =
        ["init", "--owner", "ann", "--email", "ann@example.com", "--org", "acme", "--password-stdin"];
    place.run_with(&arguments, &[], Some("too-short")).expect(2).says("at least 15 characters");
    place.run_with(&arguments, &[], Some("1234567890987654321")).expect(2).says("one of the most common");
    let wrong = [("BAILIWICK_LIMITS__BODY", "0")];
    place.run_with(&arguments, &wrong, Some(PASSWORD)).expect(2).says("limits.body");
    let out_of_reach = [("BAILIWICK_DATABASE__URL", "sqlite://no/such/directory/app.db")];
    place.run_with(&arguments, &out_of_reach, Some(PASSWORD)).expect(3);
    let elsewhere = [&arguments[..], &["--dir", "new/site"]].concat();
    place.run_with(&elsewhere, &[], Some("too-short")).expect(2).says("at least 15 characters");
    let left: Vec<_> = fs::read_dir(place.0.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");

    place.write("bailiwick.db", "precious");
    place.run_with(&arguments, &[], Some(PASSWORD)).expect(2).says("overwrites nothing");
    assert_eq!(fs::read_to_string(place.path("bailiwick.db")).unwrap(), "precious");
    assert!(!place.path("bailiwick.toml").exists() && !place.path("master.key").exists());
}

#[cfg(unix)]
#[test]
fn an_init_that_is_told_to_stop_leaves_nothing_behind() {
    for signal in ["-TERM", "-INT"] {
        let place = Place::new();
        // A database that never answers: whoever asks it has written the settings and the key.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("postgres://ann@{}/app", silent.local_addr().unwrap());
        let mut command = place.command();
        command.args(["init", "--dir", "site", "--owner", "ann", "--email", "ann@example.com"]);
        command.args(["--org", "acme", "--password-stdin"]).env("BAILIWICK_DATABASE__URL", url);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running(command.spawn().unwrap());
        running.0.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        let _asked = silent.accept().unwrap();
        assert!(place.path("site/bailiwick.toml").exists() && place.path("site/master.key").exists());
        assert_eq!(running.stop(signal), 3);
        let left: Vec<_> = fs::read_dir(place.0.path()).unwrap().collect();
        assert!(left.is_empty(), "{signal}: {left:?}");
    }
}

#[cfg(unix)]
#[test]
fn an_init_is_done_whole_or_not_at_all_whenever_it_is_told_to_stop() {
    for delay in 0..30 {
        let place = Place::new();
        let mut command = place.command();
        command.args(["init", "--dir", "site", "--owner", "ann", "--email", "ann@example.com"]);
        command.args(["--org", "acme", "--password-stdin"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut running = Running(command.spawn().unwrap());
        running.0.stdin.take().unwrap().write_all(PASSWORD.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(4 + delay * 2));
        running.signal("-TERM");
        let done = running.0.wait().unwrap().success();
        let mut left: Vec<_> = fs::read_dir(place.path("site")).map_or_else(
            |_| Vec::new(),
            |entries| entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect(),
        );
        left.sort_unstable();
        let all = ["bailiwick.db", "bailiwick.toml", "master.key"];
        assert_eq!(left, if done { &all[..] } else { &[] }, "{delay}");
    }
}

/// A server that is ended with the test.
struct Running(std::process::Child);

impl Running {
    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    #[cfg(unix)]
    fn stop(mut self, signal: &str) -> i32 {
        self.signal(signal);
        self.0.wait().unwrap().code().expect("it ends by itself")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[cfg(unix)]
#[test]
fn serve_listens_until_it_is_told_to_stop_and_says_when_a_port_is_taken() {
    let place = safe_place();
    let port = free_port();
    let bind = format!("127.0.0.1:{port}");
    let operations = format!("127.0.0.1:{}", free_port());
    let variables =
        [("BAILIWICK_SERVER__BIND", bind.as_str()), ("BAILIWICK_SERVER__OPERATIONS_BIND", &operations)];
    place.run_with(&["serve"], &variables, None).expect(3).says("there is no database at");
    assert!(!place.path("bailiwick.db").exists(), "in production a missing database is not made in silence");
    place.run_with(&["migrate"], &[], None).expect(0);
    let child = place
        .command()
        .arg("serve")
        .envs(variables)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let running = Running(child);
    let deadline = 200;
    let is_up = (0..deadline).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        std::net::TcpStream::connect(&bind).is_ok()
    });
    assert!(is_up, "the server listens within 10 seconds");
    place.run_with(&["serve"], &variables, None).expect(3).says("another program listens there");
    let other_port = [("BAILIWICK_SERVER__BIND", "127.0.0.1:0"), variables[1]];
    let refused = place.run_with(&["serve"], &other_port, None).expect(3);
    refused.says(&operations).says("another program listens there").says("server.operations_bind");
    assert_eq!(running.stop("-TERM"), 0);
}

#[cfg(unix)]
#[test]
fn every_curl_line_of_the_demo_does_what_it_says() {
    use std::io::{BufRead, BufReader};
    let place = Place::new();
    let bind = format!("127.0.0.1:{}", free_port());
    let arguments = ["demo", "--bind", &bind, "--data", "data"];
    let mut child =
        place.command().args(arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let running = Running(child);
    let mut curl = Vec::new();
    for line in lines.by_ref() {
        if line.starts_with("curl ") {
            let is_last = line.ends_with("/metrics");
            curl.push(line);
            if is_last {
                break;
            }
        }
    }
    // Somebody must go on reading, or the access log fills the pipe.
    std::thread::spawn(move || lines.count());
    let answers: Vec<String> = curl
        .iter()
        .map(|line| {
            let output = Command::new("sh").args(["-c", line]).output().unwrap();
            assert!(output.status.success(), "{line}\n{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    let expected = [
        &["\"username\":\"mia\"", "\"acme\""][..],
        &["\"token\":\"bw_pat_", "\"expires_at\""],
        &["\"count\":", "\"urgent\"", "\"next\":\"http"],
        &["HTTP/1.1 201", "\"title\":\"Try Bailiwick\""],
        &["\"status\":422", "unknown-field"],
        &["HTTP/1.1 404", "\"code\":\"not-found\""],
        &["# TYPE http_server_request_duration_seconds histogram", "http_route=\"/api/v1/me/\""],
    ];
    assert_eq!(answers.len(), expected.len());
    for ((answer, words), line) in answers.iter().zip(expected).zip(&curl) {
        for word in words {
            assert!(answer.contains(word), "{line}\n{word} is not in:\n{answer}");
        }
    }
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!(mode(&place.path("data")), 0o700, "its passwords were printed");
    for entry in fs::read_dir(place.path("data")).unwrap() {
        let path = entry.unwrap().path();
        let owner_alone = if path.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(mode(&path), owner_alone, "{}", path.display());
    }
    place.run(&["demo", "--bind", &bind]).expect(3).says("choose another port with --bind");
    place.run(&["demo", "--bind", &bind, "--data", "new"]).expect(3).says("choose another port with --bind");
    assert!(!place.path("new").exists(), "nothing is made for a demo that cannot listen");
    place.run(&["demo", "--bind", "127.0.0.1:0", "--data", "data"]).expect(2).says("a demo runs in");
    assert_eq!(running.stop("-INT"), 0);
}
