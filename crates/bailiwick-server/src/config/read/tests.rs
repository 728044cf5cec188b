use std::{fs, path::PathBuf};

use super::*;

fn load(text: &str) -> Result<Loaded, Faults> {
    Loaded::test(text, &[])
}

fn faults(text: &str, variables: &[(&str, &str)]) -> Vec<Fault> {
    Loaded::test(text, variables).expect_err("the settings are wrong").0
}

fn only_fault(text: &str, variables: &[(&str, &str)]) -> Fault {
    let mut faults = faults(text, variables);
    assert_eq!(faults.len(), 1, "{faults:#?}");
    faults.remove(0)
}

fn line(line: usize) -> Option<Source> {
    Some(Source::File { path: DEFAULT_FILE.into(), line })
}

/// A key that looks random, and one that is another.
const KEY: &str = "8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472";
const OTHER_KEY: &str = "9f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472";

#[test]
fn without_any_source_everything_has_its_default() {
    let loaded = load("").unwrap();
    let server = &loaded.settings.server;
    assert_eq!(server.bind.to_string(), "127.0.0.1:8000");
    assert_eq!(server.environment, Environment::Production);
    assert_eq!(server.header_timeout.as_secs(), 10);
    assert!(server.allowed_hosts.is_empty());
    assert_eq!(loaded.settings.passwords.min_length.get(), 15);
    assert_eq!(loaded.settings.throttle.rates.login.to_string(), "5/min");
    assert_eq!(loaded.source("server.bind"), Some(&Source::Default));
    assert_eq!(
        loaded.effective.len(),
        Settings::table().sections().filter(|s| !s.is_list).map(|s| s.keys.len()).sum::<usize>()
    );
}

#[test]
fn development_changes_the_defaults_that_the_table_names_and_no_value_that_was_given() {
    let loaded = load("[server]\nenvironment = 'development'").unwrap();
    let hosts: Vec<_> = loaded.settings.server.allowed_hosts.iter().map(|host| host.as_str()).collect();
    assert_eq!(hosts, ["localhost", "127.0.0.1", "[::1]"]);
    assert_eq!(loaded.settings.passwords.min_length.get(), 8);
    assert_eq!(loaded.settings.docs.access.as_str(), "public");
    assert_eq!(loaded.source("docs.access"), Some(&Source::DevelopmentDefault));

    let loaded =
        Loaded::test("[passwords]\nmin_length = 12", &[("BAILIWICK_SERVER__ENVIRONMENT", "development")])
            .unwrap();
    assert_eq!(loaded.settings.passwords.min_length.get(), 12);
    assert_eq!(loaded.settings.server.allowed_hosts.len(), 3);
}

#[test]
fn the_environment_wins_over_the_file() {
    let text = "[server]\nbind = '127.0.0.1:1'\n[throttle.rates]\nlogin = '7/min'\n";
    let variables = [
        ("BAILIWICK_SERVER__BIND", "127.0.0.1:2"),
        ("BAILIWICK_SERVER__ALLOWED_HOSTS", "a.example, [::1]"),
        ("BAILIWICK_THROTTLE__RATES__ANON", "8/min"),
        ("BAILIWICK_WRITES__REQUIRE_IF_MATCH", "true"),
        ("BAILIWICK_PAGINATION__MAX_SIZE", "50"),
    ];
    let loaded = Loaded::test(text, &variables).unwrap();
    assert_eq!(loaded.settings.server.bind.port(), 2);
    assert_eq!(loaded.source("server.bind"), Some(&Source::Variable("BAILIWICK_SERVER__BIND".to_owned())));
    assert_eq!(loaded.settings.server.allowed_hosts.len(), 2);
    assert_eq!(loaded.settings.throttle.rates.anon.to_string(), "8/min");
    assert_eq!(loaded.settings.throttle.rates.login.to_string(), "7/min");
    assert_eq!(loaded.source("throttle.rates.login").cloned(), line(4));
    assert!(loaded.settings.writes.require_if_match);
    assert_eq!(loaded.settings.pagination.max_size.get(), 50);
}

#[test]
fn a_secret_file_wins_over_both() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, format!("{KEY}\n")).unwrap();
    let text = format!("[secrets]\nmaster_key = '{OTHER_KEY}'\nmaster_key_file = '{}'", path.display());
    let loaded = Loaded::test(&text, &[("BAILIWICK_SECRETS__MASTER_KEY", OTHER_KEY)]).unwrap();
    let expected = MasterKey::from_text(KEY, Path::new("")).unwrap();
    assert!(loaded.settings.secrets.master_key == Some(expected));
    assert_eq!(loaded.source("secrets.master_key"), Some(&Source::SecretFile(path.clone())));

    fs::write(&path, "postgres://ann:s3cret@db/app\n").unwrap();
    let loaded = Loaded::test("", &[("BAILIWICK_DATABASE__URL_FILE", path.to_str().unwrap())]).unwrap();
    assert_eq!(loaded.settings.database.url.show(), Value::from("postgres://ann:[redacted]@db/app"));
}

#[test]
fn an_empty_variable_takes_an_optional_value_away() {
    let text = "[server]\npublic_url = 'https://a.example'\nallowed_hosts = ['a.example']";
    let variables = [("BAILIWICK_SERVER__PUBLIC_URL", ""), ("BAILIWICK_SERVER__ALLOWED_HOSTS", "")];
    let loaded = Loaded::test(text, &variables).unwrap();
    assert!(loaded.settings.server.public_url.is_none());
    assert!(loaded.settings.server.allowed_hosts.is_empty());
    assert!(Loaded::test("", &[("BAILIWICK_SERVER__BIND", "")]).is_err());
}

#[test]
fn a_wrong_value_is_reported_with_everything_one_needs() {
    let fault = only_fault("[server]\n\nbind = \"localhost:8000\"\n", &[]);
    assert_eq!(
        fault.to_string(),
        "server.bind (bailiwick.toml, line 3): this is not an IP address with a port\n  \
         given:    \"localhost:8000\"\n  \
         accepted: an IP address with a port, such as `127.0.0.1:8000` or `[::1]:8000`\n  \
         fix:      correct the line, or remove it; without it, `127.0.0.1:8000` is used"
    );
    let fault = only_fault("", &[("BAILIWICK_LIMITS__BODY", "unlimited")]);
    assert_eq!(fault.source, Some(Source::Variable("BAILIWICK_LIMITS__BODY".to_owned())));
    assert_eq!(fault.why, "a size cannot be unlimited");
    assert_eq!(fault.given.as_deref(), Some("\"unlimited\""));
}

#[test]
fn everything_that_is_wrong_is_reported_at_once_and_in_any_source() {
    let text = "nonsense = 1\n[server]\nbind = 8000\nbnid = 'x'\n[limits]\nbody = 0\n[throttle.rates]\n\
                login = '0/min'\n[sever]\na = 1\nb = 2\n";
    let found = faults(text, &[("BAILIWICK_LOG__LEVEL", "loud"), ("BAILIWICK_LOG__LVEL", "info")]);
    let subjects: Vec<_> = found.iter().map(|fault| (fault.subject.as_str(), fault.source.clone())).collect();
    let level = Some(Source::Variable("BAILIWICK_LOG__LEVEL".to_owned()));
    let mut expected = vec![
        ("nonsense", line(1)),
        ("server.bnid", line(4)),
        ("[sever]", line(9)),
        ("environment variable BAILIWICK_LOG__LVEL", None),
        ("server.bind", line(3)),
        ("throttle.rates.login", line(8)),
        ("limits.body", line(6)),
        ("log.level", level),
    ];
    let mut subjects = subjects;
    subjects.sort_by_key(|(subject, _)| *subject);
    expected.sort_by_key(|(subject, _)| *subject);
    assert_eq!(subjects, expected);
}

#[test]
fn an_unknown_name_is_an_error_that_knows_what_was_meant() {
    for (text, meant) in [
        ("server.bnid = 1", "`server.bind`"),
        ("server.max_conections = 1", "`server.max_connections`"),
        ("bind = '127.0.0.1:1'", "`server.bind`"),
        ("throttle.login = '5/min'", "`throttle.rates.login`"),
        ("[sever]\nx = 1", "`[server]`"),
        ("[secrets]\nmaster_kye_file = 'x'", "`secrets.master_key_file`"),
    ] {
        let why = only_fault(text, &[]).why;
        assert!(why.contains(&format!("did you mean {meant}?")), "{text}: {why}");
    }
    for text in [
        "zzzzzz = 1",
        "[zzzzzz]\na = 1",
        "[server]\nzzzzzz = 1",
        "server.tls = {}",
        "[[jwt.trusted_isuers]]\nissuer = 'x'\nzzzzzz = 1",
    ] {
        assert!(!only_fault(text, &[]).why.contains("did you mean"), "{text}");
    }
    let long = format!("{} = 1", "a".repeat(100_000));
    assert_eq!(only_fault(&long, &[]).source, line(1));
}

#[test]
fn a_list_of_tables_is_read_in_its_order_with_the_defaults_of_each() {
    let text = "jwt.issuer = 'own'\n[[jwt.trusted_issuers]]\nissuer = 'a'\naudience = 'x'\njwks_file = 'a.json'\n\
                [[jwt.trusted_issuers]]\nissuer = 'b'\naudience = 'y'\njwks_url = 'https://b.example/keys'\n\
                username_claim = 'name'\ntypes = ['JWT', 'at+jwt']\nleeway = '5s'\n[cors]\nmax_age = '1m'\n";
    let loaded = Loaded::test(text, &[]).unwrap();
    let jwt = &loaded.settings.jwt;
    assert_eq!(jwt.issuer.as_ref().unwrap().as_str(), "own");
    let [first, second] = &jwt.trusted_issuers[..] else { panic!("two") };
    assert_eq!((first.issuer.as_str(), first.audience.as_str()), ("a", "x"));
    assert_eq!(first.jwks_file.as_deref(), Some(Path::new("a.json")));
    assert_eq!((first.username_claim.as_str(), first.leeway.to_string().as_str()), ("sub", "30s"));
    assert_eq!(first.types.iter().map(|typ| typ.as_str()).collect::<Vec<_>>(), ["at+jwt"]);
    assert_eq!((second.username_claim.as_str(), second.types.len()), ("name", 2));
    assert_eq!(loaded.source("jwt.trusted_issuers[1].issuer"), line(3).as_ref());
    assert_eq!(loaded.source("jwt.trusted_issuers[2].leeway"), line(12).as_ref());
    assert_eq!(loaded.source("jwt.trusted_issuers[1].leeway"), Some(&Source::Default));
    // The same in one line.
    let inline = "jwt.trusted_issuers = [{issuer = 'a', audience = 'x'}, {issuer = 'b', audience = 'y'}]";
    assert_eq!(Loaded::test(inline, &[]).unwrap().settings.jwt.trusted_issuers.len(), 2);
    for none in ["", "jwt.trusted_issuers = []"] {
        assert!(Loaded::test(none, &[]).unwrap().settings.jwt.trusted_issuers.is_empty());
    }
}

#[test]
fn what_is_wrong_in_a_table_of_a_list_is_told_with_its_number() {
    let header = "[[jwt.trusted_issuers]]\nissuer = 'a'\naudience = 'x'\n[[jwt.trusted_issuers]]\n";
    let fault = only_fault(&format!("{header}audience = 'y'\n"), &[]);
    assert_eq!((fault.subject.as_str(), fault.source.clone()), ("jwt.trusted_issuers[2].issuer", line(4)));
    assert_eq!(fault.why, "this is missing");
    let fault = only_fault(&format!("{header}issuer = 'b'\naudience = 'y'\nleeway = 'long'\n"), &[]);
    assert_eq!((fault.subject.as_str(), fault.source.clone()), ("jwt.trusted_issuers[2].leeway", line(7)));
    let fault = only_fault(&format!("{header}isuer = 'c'\nissuer = 'b'\naudience = 'y'\n"), &[]);
    assert_eq!((fault.subject.as_str(), fault.source.clone()), ("jwt.trusted_issuers[2].isuer", line(5)));
    assert!(fault.why.contains("did you mean `jwt.trusted_issuers.issuer`?"), "{fault}");
    let found = faults("[[jwt.trusted_issuers]]\nzzzzzz = 1\n", &[]);
    assert_eq!(found.len(), 3, "an unknown key, and two that are missing: {found:#?}");
    for wrong in
        ["jwt.trusted_issuers = 'a'", "jwt.trusted_issuers = ['a']", "[jwt.trusted_issuers]\nissuer = 'a'"]
    {
        let fault = only_fault(wrong, &[]);
        assert!(fault.why.contains("this is a list of tables"), "{fault}");
        assert!(fault.fix.contains("[[jwt.trusted_issuers]]"), "{fault}");
    }
}

#[test]
fn no_variable_gives_a_list_of_tables() {
    for name in [
        "BAILIWICK_JWT__TRUSTED_ISSUERS",
        "BAILIWICK_JWT__TRUSTED_ISSUERS__ISSUER",
        "BAILIWICK_JWT__TRUSTED_ISSUERS__0__ISSUER",
        "bailiwick_jwt__trusted_issuers[1]__issuer",
    ] {
        let fault = only_fault("", &[(name, "x")]);
        assert!(fault.why.contains("which variables cannot give"), "{name}: {fault}");
    }
}

#[test]
fn every_unknown_variable_is_an_error_that_names_the_one_that_was_meant() {
    for (given, meant) in [
        ("BAILIWICK_SERVER__BIDN", "SERVER__BIND"),
        ("BAILIWICK_server__bind", "SERVER__BIND"),
        ("BAILIWICK_SERVER_BIND", "SERVER__BIND"),
        ("BAILIWICK_SERVERBIND", "SERVER__BIND"),
        ("BAILIWICK_BIND", "SERVER__BIND"),
        ("BAILIWICK_MASTER_KEY", "SECRETS__MASTER_KEY"),
        ("BAILIWICK_MASTER_KEY_FILE", "SECRETS__MASTER_KEY_FILE"),
        ("BAILIWICK_DB_URL", "DATABASE__URL"),
        ("BAILIWICK_DATABASE_ULR", "DATABASE__URL"),
        ("BAILIWICK_WRITES_REQUIREIFMATCH", "WRITES__REQUIRE_IF_MATCH"),
        ("BAILIWICK_RATES__LOGIN", "THROTTLE__RATES__LOGIN"),
        ("BAILIWICKSERVER__BIND", "SERVER__BIND"),
        ("bailiwick_server__bind", "SERVER__BIND"),
        ("Bailiwick_Server__Bind", "SERVER__BIND"),
        ("BAILIWICK_TEST", ""),
        ("BAILIWICK_NONSENSE", ""),
        ("BAILIWICK_", ""),
    ] {
        let fault = only_fault("", &[(given, "x")]);
        assert!(fault.subject.ends_with(given), "{fault}");
        if meant.is_empty() {
            assert!(!fault.why.contains("did you mean") && fault.fix.contains("config reference"), "{fault}");
        } else {
            let words = format!("did you mean `BAILIWICK_{meant}`?");
            assert!(fault.why.contains(&words) && !fault.fix.contains("Kubernetes"), "{given}: {fault}");
        }
    }
}

#[test]
fn what_kubernetes_sets_beside_a_service_of_that_name_is_no_setting_and_no_error() {
    let links = [
        ("BAILIWICK_SERVICE_HOST", "10.0.0.1"),
        ("BAILIWICK_SERVICE_PORT", "80"),
        ("BAILIWICK_SERVICE_PORT_HTTP", "80"),
        ("BAILIWICK_PORT", "tcp://10.0.0.1:80"),
        ("BAILIWICK_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("BAILIWICK_PORT_80_TCP_PROTO", "tcp"),
        ("BAILIWICK_PORT_80_TCP_PORT", "80"),
        ("BAILIWICK_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert!(Loaded::test("", &links).is_ok());
    for (name, value) in [
        ("BAILIWICK_PORT", "8080"),
        ("BAILIWICK_SERVICE_HOST", "example.com"),
        ("BAILIWICK_PORT_80_TCP_ADDRESS", "10.0.0.1"),
        ("BAILIWICK_PORT_TCP", "tcp://10.0.0.1:80"),
    ] {
        assert!(only_fault("", &[(name, value)]).subject.ends_with(name));
    }
}

#[test]
fn variables_that_are_no_settings_are_left_alone() {
    let others = [
        ("BAILIWICK_CONFIG", "x"),
        ("BAILIWICK_TEST_POSTGRES_URL", "postgres://localhost/postgres"),
        ("BAILIWICKS", "1"),
        ("OTHER__THING", "1"),
    ];
    assert!(Loaded::test("", &others).is_ok());
    let given = |name: &str| Inputs { file: None, variables: vec![(name.into(), "x".into())] }.are_given();
    assert!(!given("BAILIWICK_CONFIG") && !given("BAILIWICK_TEST_ALL") && !given("PATH"));
    // What is misspelt is told by the settings, not taken for none at all.
    assert!(given("BAILIWICK_BIND") && given("BAILIWICK_SERVER__BIND"));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_an_error_only_if_it_is_ours() {
    use std::os::unix::ffi::OsStringExt;
    let bad = || OsString::from_vec(vec![b'a', 0xff]);
    let load = |name: OsString| Loaded::from_text(None, "", &[(name, bad())]);
    assert!(load("BAILIWICK_LOG__LEVEL".into()).unwrap_err().to_string().contains("not UTF-8"));
    assert!(load("PATH".into()).is_ok());
    let misspelt = OsString::from_vec(b"BAILIWICK_SERVER__BIN\xff".to_vec());
    assert!(load(misspelt).unwrap_err().to_string().contains("`BAILIWICK_SERVER__BIND`"));
    assert!(load(bad()).is_ok());
}

#[test]
fn a_section_is_not_a_value_and_a_value_is_not_a_section() {
    let fault = only_fault("server = 1", &[]);
    assert_eq!((fault.subject.as_str(), fault.source.clone()), ("server", line(1)));
    assert_eq!(fault.why, "this is a section, but a number was given");
    assert_eq!(only_fault("[server.bind]\nport = 1", &[]).why, "this is a table, not text in quotes");
    assert_eq!(only_fault("[[server]]\nbind = 'x'", &[]).why, "this is a section, but a list was given");
}

#[test]
fn errors_of_syntax_name_their_lines_and_never_repeat_the_text() {
    let found = faults(
        "[server]\nbind = s3cret\n\n[secrets]\nmaster_key = s3cret'\nmaster_key_file = \"s3cret\n",
        &[],
    );
    let lines: Vec<_> = found.iter().map(|fault| fault.source.clone()).collect();
    assert_eq!(lines, [line(2), line(5), line(6)], "{found:#?}");
    assert!(found.iter().all(|fault| !fault.to_string().contains("s3cret")), "{found:#?}");
    let fault = only_fault("[server]\nbind = '127.0.0.1:1'\nbind = '127.0.0.1:2'\n", &[]);
    assert_eq!(fault.source, line(3));
    assert!(fault.why.contains("duplicate"), "{fault}");
}

#[test]
fn no_fault_repeats_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    fs::write(&path, "s3cret").unwrap();
    let file_name = path.to_str().unwrap();
    for (text, variables) in [
        ("[secrets]\nmaster_key = 's3cret'", vec![]),
        ("[secrets]\nmaster_key_fallbacks = ['s3cret']", vec![]),
        ("[secrets]\nmaster_kye = 's3cret'", vec![]),
        ("", vec![("BAILIWICK_SECRETS__MASTER_KEY", "s3cret")]),
        ("", vec![("BAILIWICK_SECRETS__MASTER_KYE", "s3cret")]),
        ("", vec![("BAILIWICK_SECRETS__MASTER_KEY_FILE", file_name)]),
        ("[database]\nurl = 'mysql://ann:s3cret@db/app'", vec![]),
        ("[mail]\ntransport = 's3cret'", vec![]),
        ("[shared]\nurl = ['s3cret']", vec![]),
    ] {
        let found = faults(text, &variables);
        let shown = format!("{} {found:?}", Faults(found.clone()));
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[test]
fn a_secret_file_that_cannot_be_used_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let cases = [
        (directory.path().join("missing"), "there is no such file"),
        (directory.path().to_owned(), "this is a directory, not a file"),
        (file("empty", b" \n"), "the file is empty"),
        (file("binary", &[0xff; 32]), "the file is not UTF-8 text"),
        (file("huge", &vec![b'a'; 2 << 20]), "the file is longer than 1 MiB"),
        (file("short", b"abc"), "this has not the length of 32 bytes in hexadecimal or base64"),
    ];
    for (path, why) in cases {
        let fault = only_fault("", &[("BAILIWICK_SECRETS__MASTER_KEY_FILE", path.to_str().unwrap())]);
        assert_eq!(fault.why, why, "{fault}");
        assert!(fault.to_string().contains(path.to_str().unwrap()), "{fault}");
    }
}

#[test]
fn a_settings_file_that_cannot_be_used_is_a_clear_error() {
    let directory = tempfile::tempdir().unwrap();
    let load = |path: PathBuf| {
        let faults = Loaded::load(&Inputs { file: Some(path), variables: Vec::new() }).unwrap_err();
        faults.0[0].why.clone()
    };
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert_eq!(load(directory.path().join("missing.toml")), "there is no such file");
    assert_eq!(load(directory.path().to_owned()), "this is a directory, not a file");
    assert_eq!(load(file("a", b"x").join("b")), "a part of the path is not a directory");
    assert_eq!(load(file("binary.toml", b"[server]\n# \xff\n")), "the file is not UTF-8 text");
    assert_eq!(load(file("huge.toml", &vec![b'#'; 2 << 20])), "the file is longer than 1 MiB");
    assert_eq!(load(PathBuf::from("/dev/zero")), "the file is longer than 1 MiB");
}

#[test]
fn relative_paths_start_at_the_settings_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bailiwick.toml");
    fs::write(directory.path().join("key"), KEY).unwrap();
    fs::write(&path, "[secrets]\nmaster_key_file = 'key'\n").unwrap();
    let loaded = Loaded::load(&Inputs { file: Some(path), variables: Vec::new() }).unwrap();
    assert!(loaded.settings.secrets.master_key.is_some());
    let expected = format!("sqlite://{}/bailiwick.db", directory.path().display());
    assert_eq!(loaded.settings.database.url.show(), Value::from(expected));
}

mod development_key {
    use bailiwick::clock::OsEntropy;

    use super::*;

    fn load_in(directory: &Path, environment: &str) -> Loaded {
        let file = directory.join(DEFAULT_FILE);
        fs::write(&file, format!("server.environment = '{environment}'")).unwrap();
        Loaded::load(&Inputs { file: Some(file), variables: Vec::new() }).unwrap()
    }

    #[test]
    fn one_is_made_beside_the_settings_and_found_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = load_in(directory.path(), "development");
        assert!(first.settings.secrets.master_key.is_none());
        assert_eq!(first.ensure_master_key(&OsEntropy), Ok(true));
        assert_eq!(first.ensure_master_key(&OsEntropy), Ok(false));
        let path = directory.path().join(DEVELOPMENT_KEY_FILE);
        assert_eq!(first.source("secrets.master_key"), Some(&Source::SecretFile(path)));

        let second = load_in(directory.path(), "development");
        assert!(second.settings.secrets.master_key == first.settings.secrets.master_key);
    }

    #[test]
    fn two_starts_at_once_agree_on_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut first = load_in(directory.path(), "development");
        let mut second = load_in(directory.path(), "development");
        assert_eq!(first.ensure_master_key(&OsEntropy), Ok(true));
        assert_eq!(second.ensure_master_key(&OsEntropy), Ok(false));
        assert!(second.settings.secrets.master_key == first.settings.secrets.master_key);
    }

    #[test]
    fn production_neither_makes_nor_finds_one() {
        let directory = tempfile::tempdir().unwrap();
        MasterKey::generate(&OsEntropy).write_new(&directory.path().join(DEVELOPMENT_KEY_FILE)).unwrap();
        let mut loaded = load_in(directory.path(), "production");
        assert!(loaded.settings.secrets.master_key.is_none());
        assert!(loaded.ensure_master_key(&OsEntropy).unwrap_err().to_string().contains("openssl rand"));
    }

    #[test]
    fn a_broken_one_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(DEVELOPMENT_KEY_FILE), "").unwrap();
        let file = directory.path().join(DEFAULT_FILE);
        fs::write(&file, "server.environment = 'development'").unwrap();
        assert!(Loaded::load(&Inputs { file: Some(file), variables: Vec::new() }).is_err());
    }
}

// The reader of TOML and ours meet whatever a file can hold.
proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}", value in "[^\\PC]{0,40}|\\PC{0,40}") {
        let _ = load(&text);
        let _ = load(&format!("[server]\nbind = {value}\nallowed_hosts = [{value}]"));
        let _ = Loaded::test("", &[
            ("BAILIWICK_SERVER__ALLOWED_HOSTS", value.as_str()),
            ("BAILIWICK_SERVER__PUBLIC_URL", value.as_str()),
            ("BAILIWICK_DATABASE__URL", value.as_str()),
            ("BAILIWICK_CORS__ALLOWED_ORIGINS", value.as_str()),
        ]);
    }
}
