//! Where values come from, and in which order: defaults, the settings file, environment variables, secret
//! files.
use std::{
    borrow::Cow,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    net::IpAddr,
    path::{Path, PathBuf},
};

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::{
    fault::{Fault, Faults, Source, quote},
    key::MasterKey,
    settings::Settings,
    table::{Key, Section, Table, VARIABLE_PREFIX, Visit, entry, variable, walk},
    types::Environment,
    value::{REDACTED, Setting, as_given, from_base},
};

/// The settings file that is looked for in the current directory.
pub const DEFAULT_FILE: &str = "bailiwick.toml";

/// The key file that is made beside the settings in development.
pub const DEVELOPMENT_KEY_FILE: &str = "bailiwick.key";

/// The variable that names the settings file.
pub const CONFIG_VARIABLE: &str = "BAILIWICK_CONFIG";

/// What the names of variables begin with that tell the tests of the server what they may use.
const TEST_PREFIX: &str = "BAILIWICK_TEST_";

/// What settings are made from.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// The settings file that was named; without one, `bailiwick.toml` is read if it is there.
    pub file: Option<PathBuf>,
    /// The environment.
    pub variables: Vec<(OsString, OsString)>,
}

impl Inputs {
    /// What this process was given.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self { file, variables: std::env::vars_os().collect() }
    }

    /// Whether anybody gave any setting: a file, or a variable that is meant as one.
    #[must_use]
    pub fn are_given(&self) -> bool {
        self.file.is_some()
            || Path::new(DEFAULT_FILE).exists()
            || self.variables.iter().any(|(name, _)| setting_variable(name).is_some())
    }
}

/// Settings, and where each came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values in force.
    pub settings: Settings,
    /// Every key with its value as it may be shown, and its source.
    pub effective: Vec<Effective>,
    /// The settings file, if there is one.
    pub file: Option<PathBuf>,
    /// The directory at which relative paths start: that of the settings file, or the current one, which is
    /// empty.
    pub base: PathBuf,
}

/// A value in force.
#[derive(Clone, Debug)]
pub struct Effective {
    /// The key, such as `server.bind`.
    pub path: String,
    /// The value; secrets as `[redacted]`, null for what is unset.
    pub value: Value,
    /// Where it comes from.
    pub source: Source,
    /// Whether it is a secret, or has one in it.
    pub holds_secret: bool,
}

impl Loaded {
    /// Reads the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them, at once; only a file that cannot be read or is no TOML ends it
    /// early.
    pub fn load(inputs: &Inputs) -> Result<Self, Faults> {
        let file = match &inputs.file {
            Some(path) => Some(path.clone()),
            None => Some(PathBuf::from(DEFAULT_FILE)).filter(|path| path.symlink_metadata().is_ok()),
        };
        let text = match &file {
            Some(path) => read_text(path).map_err(|why| unreadable_file(path, why))?,
            None => String::new(),
        };
        Self::from_text(file, &text, &inputs.variables)
    }

    fn from_text(
        file: Option<PathBuf>,
        text: &str,
        variables: &[(OsString, OsString)],
    ) -> Result<Self, Faults> {
        let table = Settings::table();
        let base = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        let document = parse(file.as_deref(), text)?;

        let mut reader = Reader {
            table,
            base: &base,
            is_development: false,
            lines: BTreeMap::new(),
            lists: BTreeMap::new(),
            variables: BTreeMap::new(),
            effective: Vec::new(),
            faults: Vec::new(),
        };
        reader.take_document(file.as_deref(), text, &document);
        reader.take_variables(variables);
        // Defaults depend on it, so it comes first. What is wrong with it is reported in its turn.
        reader.is_development =
            reader.peek("server.environment").is_some_and(|word| word == Environment::Development.as_str());

        let settings = Settings::read("", &mut reader);
        let Reader { effective, faults, .. } = reader;
        match settings {
            Some(settings) if faults.is_empty() => {
                Self { settings, effective, file, base }.with_development_key()
            }
            _ => Err(Faults(faults)),
        }
    }

    /// In development, a key file beside the settings needs no mention.
    fn with_development_key(mut self) -> Result<Self, Faults> {
        let path = self.development_key_file();
        if self.settings.server.environment == Environment::Development
            && self.settings.secrets.master_key.is_none()
            && path.exists()
        {
            self.settings.secrets.master_key = Some(read_key_file(&path)?);
            self.note_key_file(path);
        }
        Ok(self)
    }

    /// The file that holds the master key in development.
    #[must_use]
    pub fn development_key_file(&self) -> PathBuf {
        self.base.join(DEVELOPMENT_KEY_FILE)
    }

    /// Records that the master key came from `path`.
    pub(super) fn note_key_file(&mut self, path: PathBuf) {
        if let Some(effective) =
            self.effective.iter_mut().find(|effective| effective.path == "secrets.master_key")
        {
            effective.value = REDACTED.into();
            effective.source = Source::SecretFile(path);
            effective.holds_secret = true;
        }
    }

    /// The source of the key at `path`.
    #[must_use]
    pub fn source(&self, path: &str) -> Option<&Source> {
        self.effective.iter().find(|effective| effective.path == path).map(|effective| &effective.source)
    }

    /// What is in force for `key`, if somebody set it to something else than its default.
    #[must_use]
    pub fn changed(&self, key: &Key) -> Option<&Effective> {
        let effective = self.effective.iter().find(|effective| effective.path == key.path)?;
        let default = key.default_in(self.settings.server.environment, &self.base);
        let is_default = default.is_ok_and(|value| value == effective.value);
        (effective.source.is_given() && !is_default).then_some(effective)
    }

    /// Settings made of a text and variables, for tests.
    #[cfg(test)]
    pub(crate) fn test(text: &str, variables: &[(&str, &str)]) -> Result<Self, Faults> {
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Self::from_text(Some(PathBuf::from(DEFAULT_FILE)), text, &variables)
    }
}

/// Reads a master key from its file.
///
/// # Errors
/// If there is no such file, or no key in it.
pub(super) fn read_key_file(path: &Path) -> Result<MasterKey, Faults> {
    let at = |why: String| {
        Faults::from(Fault {
            subject: "secrets.master_key".to_owned(),
            source: Some(Source::SecretFile(path.to_owned())),
            why,
            given: None,
            accepted: Some(MasterKey::accepts().into_owned()),
            fix: format!(
                "write a key into {}, or name another file with secrets.master_key_file",
                path.display()
            ),
        })
    };
    let text = read_text(path).map_err(|why| at(why.to_owned()))?;
    MasterKey::from_text(&text, Path::new("")).map_err(at)
}

/// Finds the value of each key, and collects what is wrong.
pub(super) struct Reader<'a> {
    table: &'static Table,
    base: &'a Path,
    is_development: bool,
    /// What the settings file says, by path.
    lines: BTreeMap<String, (&'a DeValue<'a>, Source)>,
    /// Where the tables of the lists begin, by the path of the list.
    lists: BTreeMap<String, Vec<Source>>,
    /// What the environment says, by path.
    variables: BTreeMap<String, String>,
    effective: Vec<Effective>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// The value of the key at `path`; `None` after a fault.
    pub(super) fn read<T: Setting>(&mut self, path: &str) -> Option<T> {
        let key = self.table.key(path).expect("what a section reads it has described");
        match self.find::<T>(&key) {
            Ok((value, source)) => {
                self.effective.push(Effective {
                    path: key.path.clone(),
                    value: value.show(),
                    source,
                    holds_secret: value.holds_secret(),
                });
                Some(value)
            }
            Err(faults) => {
                self.faults.extend(faults.0);
                None
            }
        }
    }

    /// The tables of the list at `path`; `None` after a fault in any of them.
    pub(super) fn read_list<T: Section>(&mut self, path: &str) -> Option<Vec<T>> {
        let tables = self.lists.get(path).map_or(0, Vec::len);
        // All are read before any is missed, so that every fault is reported at once.
        let read: Vec<_> = (1..=tables).map(|number| T::read(&entry(path, number), self)).collect();
        read.into_iter().collect()
    }

    fn find<T: Setting>(&self, key: &Key) -> Result<(T, Source), Faults> {
        if let Some((file, named_by)) = self.secret_file(key)? {
            let text = read_text(&file).map_err(|why| {
                Faults::from(Fault {
                    subject: format!("{}_file", key.path),
                    source: Some(named_by),
                    why: why.to_owned(),
                    given: Some(file.display().to_string()),
                    accepted: Some("the path of a file that holds nothing but the secret".to_owned()),
                    fix: format!(
                        "make the file {} readable for the server, or correct its path",
                        file.display()
                    ),
                })
            })?;
            let source = Source::SecretFile(file);
            let text = text.trim();
            // An empty file would otherwise be an optional secret that is unset.
            let value = if text.is_empty() {
                Err("the file is empty".to_owned())
            } else {
                T::from_text(text, self.base)
            };
            return match value {
                Ok(value) => Ok((value, source)),
                Err(why) => Err(wrong::<T>(key, source, why, None)),
            };
        }
        if let Some(text) = self.variables.get(&key.path) {
            let source = Source::Variable(key.variable());
            return match T::from_text(text, self.base) {
                Ok(value) => Ok((value, source)),
                Err(why) => Err(wrong::<T>(key, source, why, Some(quote(text)))),
            };
        }
        if let Some((value, source)) = self.lines.get(&key.path) {
            return match T::from_toml(value, self.base) {
                Ok(value) => Ok((value, source.clone())),
                Err(why) => Err(wrong::<T>(key, source.clone(), why, Some(shorten(as_given(value))))),
            };
        }
        if key.is_required {
            return Err(self.missing::<T>(key));
        }
        let (text, source) = match key.development.filter(|_| self.is_development) {
            Some(text) => (text, Source::DevelopmentDefault),
            None => (key.default, Source::Default),
        };
        match T::from_text(text, self.base) {
            Ok(value) => Ok((value, source)),
            Err(why) => Err(wrong::<T>(key, source, why, Some(quote(text)))),
        }
    }

    /// A key that a table of a list must have.
    fn missing<T: Setting>(&self, key: &Key) -> Faults {
        let tables = self.lists.iter().flat_map(|(list, tables)| {
            tables.iter().enumerate().map(move |(index, source)| (entry(list, index + 1), source))
        });
        let mut within =
            tables.filter(|(table, _)| key.path.strip_suffix(key.name) == Some(&format!("{table}.")));
        Fault {
            subject: key.path.clone(),
            source: within.next().map(|(_, source)| source.clone()),
            why: "this is missing".to_owned(),
            given: None,
            accepted: Some(T::accepts().into_owned()),
            fix: format!("write `{} = …` into this table, or remove the table", key.name),
        }
        .into()
    }

    /// The file that `<key>_file` names, and where it is named.
    fn secret_file(&self, key: &Key) -> Result<Option<(PathBuf, Source)>, Faults> {
        let Some(path) = key.file_key() else { return Ok(None) };
        if let Some(text) = self.variables.get(&path) {
            let named_by = Source::Variable(variable(&path));
            return Ok(Some(text)
                .filter(|text| !text.is_empty())
                .map(|text| (from_base(self.base, text), named_by)));
        }
        let Some((value, named_by)) = self.lines.get(&path) else { return Ok(None) };
        match PathBuf::from_toml(value, self.base) {
            Ok(file) => Ok(Some((file, named_by.clone()))),
            Err(why) => Err(Fault {
                subject: path,
                source: Some(named_by.clone()),
                why,
                given: None,
                accepted: Some(PathBuf::accepts().into_owned()),
                fix: "write the path of the file in quotes".to_owned(),
            }
            .into()),
        }
    }

    /// The text of a key before it is read.
    fn peek(&self, path: &str) -> Option<&str> {
        let variable = self.variables.get(path).map(String::as_str);
        variable.or_else(|| self.lines.get(path).and_then(|(value, _)| value.as_str()))
    }

    fn take_document(&mut self, file: Option<&Path>, text: &str, document: &'a DeTable<'a>) {
        let Some(file) = file else { return };
        let source = |at: usize| Source::File { path: file.to_owned(), line: line_of(text, at) };
        walk(self.table, document, "", &mut |visit| match visit {
            Visit::Value { path, at, value } => {
                self.lines.insert(path, (value, source(at)));
            }
            Visit::Table { list, at } => self.lists.entry(list).or_default().push(source(at)),
            // What stands there is not repeated: it may be a secret whose key is misspelt.
            Visit::UnknownKey { path, at } => {
                self.faults.push(unknown("key", &path, source(at), self.table.nearest_path(&path)));
            }
            Visit::UnknownSection { path, at } => {
                let nearest = self.table.nearest_section(&path).map(|section| format!("[{section}]"));
                self.faults.push(unknown("section", &format!("[{path}]"), source(at), nearest));
            }
            Visit::Stray { path, at, why, fix } => self.faults.push(Fault {
                subject: path,
                source: Some(source(at)),
                why,
                given: None,
                accepted: None,
                fix,
            }),
        });
    }

    fn take_variables(&mut self, variables: &[(OsString, OsString)]) {
        let known: BTreeMap<String, String> =
            self.table.paths_of_variables().map(|path| (variable(&path), path.into_owned())).collect();
        for (name, value) in variables {
            let Some(name) = setting_variable(name) else { continue };
            match (known.get(&*name), value.to_str()) {
                (Some(path), Some(value)) => {
                    self.variables.insert(path.clone(), value.to_owned());
                }
                (Some(path), None) => self.faults.push(Fault {
                    subject: path.clone(),
                    source: Some(Source::Variable(name.to_string())),
                    why: "the value is not UTF-8".to_owned(),
                    given: None,
                    accepted: self.table.key(path).map(|key| key.accepts().into_owned()),
                    fix: format!("set {name} to UTF-8 text"),
                }),
                (None, Some(value)) if is_of_kubernetes(&name, value) => {}
                (None, _) => self.faults.push(unknown_variable(self.table, &name)),
            }
        }
    }
}

/// The name of a variable that can only be meant as a setting: whoever misspells a limit must not go without it.
///
/// Not meant are the name of the settings file, and what the tests of the server are told.
fn setting_variable(name: &OsStr) -> Option<Cow<'_, str>> {
    let name = name.to_string_lossy();
    // In other letters, or without the first underscore, it is misspelt, and meant all the same.
    let upper = name.to_ascii_uppercase();
    let rest = upper.strip_prefix(VARIABLE_PREFIX.trim_end_matches('_'))?;
    let is_meant = rest.starts_with('_') || rest.contains("__");
    (is_meant && !name.starts_with(TEST_PREFIX) && name != CONFIG_VARIABLE).then_some(name)
}

/// A variable that sets nothing, though its name says that it is for this server.
fn unknown_variable(table: &Table, name: &str) -> Fault {
    let upper = name.to_ascii_uppercase();
    if let Some(list) = table.lists().find(|list| upper.starts_with(&variable(list))) {
        return Fault {
            subject: Source::Variable(name.to_owned()).to_string(),
            source: None,
            why: format!("[[{list}]] is a list of tables, which variables cannot give"),
            given: None,
            accepted: None,
            fix: format!("write [[{list}]] and its keys into the settings file, and unset the variable"),
        };
    }
    unknown("environment variable", name, Source::Variable(name.to_owned()), table.nearest_variable(name))
}

/// Whether Kubernetes sets the variable for every pod beside a service that is called `bailiwick`: known by what it holds
/// as well as by its name, so that nobody's `BAILIWICK_PORT=8080` is taken for it.
fn is_of_kubernetes(name: &str, value: &str) -> bool {
    let Some(link) = name.strip_prefix(VARIABLE_PREFIX) else { return false };
    let is_url = || ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    match link.split('_').collect::<Vec<_>>()[..] {
        ["SERVICE", "HOST"] => value.parse::<IpAddr>().is_ok(),
        ["SERVICE", "PORT", ..] => value.parse::<u16>().is_ok(),
        ["PORT"] => is_url(),
        ["PORT", port, "TCP" | "UDP" | "SCTP", ref what @ ..] if port.parse::<u16>().is_ok() => match what {
            [] => is_url(),
            ["ADDR"] => value.parse::<IpAddr>().is_ok(),
            ["PORT"] => value.parse::<u16>().is_ok(),
            ["PROTO"] => ["tcp", "udp", "sctp"].contains(&value),
            _ => false,
        },
        _ => false,
    }
}

/// A value that is not accepted.
fn wrong<T: Setting>(key: &Key, source: Source, why: String, given: Option<String>) -> Faults {
    let fix = match &source {
        Source::File { .. } => "correct the line, or remove it".to_owned(),
        Source::Variable(name) => format!("correct {name}, or unset it"),
        Source::SecretFile(path) => format!("correct what is in {}", path.display()),
        Source::Default | Source::DevelopmentDefault => format!("set {}", key.path),
    };
    let fix = match key.default {
        "" => fix,
        default if source.is_given() => format!("{fix}; without it, `{default}` is used"),
        _ => fix,
    };
    Fault {
        subject: key.path.clone(),
        source: Some(source),
        why,
        given: if T::SECRET { given.map(|_| REDACTED.to_owned()) } else { given },
        accepted: Some(key.accepts().into_owned()),
        fix,
    }
    .into()
}

fn unknown(kind: &str, name: &str, source: Source, nearest: Option<String>) -> Fault {
    let (subject, source) = match &source {
        Source::Variable(_) => (source.to_string(), None),
        _ => (name.to_owned(), Some(source)),
    };
    Fault {
        subject,
        source,
        why: match &nearest {
            Some(nearest) => format!("there is no such {kind}; did you mean `{nearest}`?"),
            None => format!("there is no such {kind}"),
        },
        given: None,
        accepted: None,
        fix: match nearest {
            Some(nearest) => {
                format!("write `{nearest}`, or remove it; `bailiwick config reference` lists every setting")
            }
            None => "remove it; `bailiwick config reference` lists every setting".to_owned(),
        },
    }
}

fn shorten(given: String) -> String {
    match given.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &given[..end]),
        None => given,
    }
}

/// The line, counted from 1, of the byte at `offset`.
fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}

/// Reads the document, or every error of its syntax.
///
/// The messages of the TOML reader do not repeat the text, as its errors on a terminal do: there may be a
/// secret in it.
fn parse<'t>(file: Option<&Path>, text: &'t str) -> Result<DeTable<'t>, Faults> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let Some(file) = file.filter(|_| !errors.is_empty()) else { return Ok(document.into_inner()) };
    let mut faults: Vec<Fault> = Vec::new();
    for error in errors {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        let source = Some(Source::File { path: file.to_owned(), line });
        // One slip often makes several errors on its line; the first one names it.
        if faults.iter().any(|fault| fault.source == source) {
            continue;
        }
        faults.push(Fault {
            subject: "syntax".to_owned(),
            source,
            why: error.message().lines().collect::<Vec<_>>().join(", "),
            given: None,
            accepted: Some(
                "TOML: a line `[section]`, below it lines `key = value`, text in \"quotes\"".to_owned(),
            ),
            fix: "correct the line".to_owned(),
        });
    }
    Err(Faults(faults))
}

/// The longest file that is read, in bytes.
const LONGEST_FILE: u64 = 1 << 20;

/// Reads a small text file.
fn read_text(path: &Path) -> Result<String, &'static str> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(LONGEST_FILE + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "there is no such file",
        io::ErrorKind::PermissionDenied => "this user may not read the file",
        io::ErrorKind::IsADirectory => "this is a directory, not a file",
        io::ErrorKind::NotADirectory => "a part of the path is not a directory",
        _ => "the file cannot be read",
    })?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err("the file is longer than 1 MiB");
    }
    String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text")
}

fn unreadable_file(path: &Path, why: &str) -> Faults {
    Fault {
        subject: path.display().to_string(),
        source: None,
        why: why.to_owned(),
        given: None,
        accepted: None,
        fix: match why {
            "there is no such file" => "correct the path, or make the file with `bailiwick init`".to_owned(),
            "this user may not read the file" => {
                format!("let the user of the server read {}", path.display())
            }
            _ => "name a settings file in TOML; `bailiwick config reference` prints one".to_owned(),
        },
    }
    .into()
}

#[cfg(test)]
mod tests;
