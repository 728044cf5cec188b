//! The declaration of settings: what a section is, and what is known about each key.
//!
//! `section!` turns a struct with defaults into everything that deals with its keys: the struct itself, the
//! table that `config reference` prints and that misspelt keys are compared with, and the code that reads it.
use std::{borrow::Cow, path::Path};

use super::{
    read::Reader,
    types::Environment,
    value::{Setting, name_of_type},
};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

/// A group of settings, such as `[server]`.
pub(super) trait Section: Sized {
    /// Adds what is known about this section and those within it to `table`.
    fn describe(path: &str, table: &mut Vec<SectionInfo>);

    /// Reads the section; `None` if any fault was found, which the reader then has.
    fn read(path: &str, reader: &mut Reader<'_>) -> Option<Self>;
}

/// What is known about a section.
#[derive(Debug)]
pub struct SectionInfo {
    /// Its name in brackets, such as `throttle.rates`.
    pub path: String,
    /// Whether it is a list of tables, `[[jwt.trusted_issuers]]`, each with these keys.
    pub is_list: bool,
    /// What it is for, a line each.
    pub about: &'static [&'static str],
    /// Its keys, in the order of declaration.
    pub keys: Vec<Key>,
}

/// What is known about a key.
#[derive(Clone, Debug)]
pub struct Key {
    /// The section and the key, such as `throttle.rates.login`.
    pub path: String,
    /// The key within its section.
    pub name: &'static str,
    /// What it does, a line each.
    pub about: &'static [&'static str],
    /// The default as text; empty where the key is unset.
    pub default: &'static str,
    /// The default in development, where that differs.
    pub development: Option<&'static str>,
    /// Whether it must be given.
    pub is_required: bool,
    /// Some value that can be given.
    pub example: &'static str,
    /// Whether the key has an effect in this version.
    pub standing: Standing,
    /// Whether its value is never shown.
    pub is_secret: bool,
    accepts: fn() -> Cow<'static, str>,
    show: fn(&str, &Path) -> Result<Value, String>,
}

/// Whether a key has an effect in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has.
    InForce,
    /// Not yet: it is read and checked, and setting it is a warning. Without it the server does less, not
    /// more.
    NotYet,
    /// Not yet, and whoever sets it would rely on it: any value but the default is refused.
    Refused,
}

impl Key {
    pub(super) fn new<T: Setting>(section: &str, spec: &Spec) -> Self {
        let is_unset = spec.unset.is_some();
        Self {
            path: join(section, spec.name),
            name: spec.name,
            about: spec.about,
            default: if is_unset { "" } else { spec.text },
            development: spec.development,
            is_required: spec.unset == Some("required"),
            example: spec.text,
            standing: spec.standing,
            is_secret: T::SECRET,
            accepts: T::accepts,
            show: |text, base| T::from_text(text, base).map(|value| value.show()),
        }
    }

    /// What is accepted, in words.
    #[must_use]
    pub fn accepts(&self) -> Cow<'static, str> {
        (self.accepts)()
    }

    /// `text`, which is a default or an example, as it would stand in the settings file.
    ///
    /// # Errors
    /// If it is not accepted.
    pub(super) fn literal(&self, text: &str) -> Result<Value, String> {
        let value = (self.show)(text, Path::new(""))?;
        // An example of a secret is no secret.
        Ok(if self.is_secret { text.into() } else { value })
    }

    /// The default in this environment, as `config show` prints it when relative paths start at `base`.
    pub(super) fn default_in(&self, environment: Environment, base: &Path) -> Result<Value, String> {
        let development = self.development.filter(|_| environment == Environment::Development);
        (self.show)(development.unwrap_or(self.default), base)
    }

    /// The environment variable that sets the key.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(&self.path)
    }

    /// The key that names a file with the value, for secrets.
    #[must_use]
    pub fn file_key(&self) -> Option<String> {
        self.is_secret.then(|| format!("{}_file", self.path))
    }
}

/// The environment variable for the key at `path`.
pub(super) fn variable(path: &str) -> String {
    format!("{VARIABLE_PREFIX}{}", path.to_ascii_uppercase().replace('.', "__"))
}

/// What the name of every environment variable of the server begins with.
pub(super) const VARIABLE_PREFIX: &str = "BAILIWICK_";

/// What `section!` knows about a key.
pub(super) struct Spec {
    pub(super) name: &'static str,
    pub(super) about: &'static [&'static str],
    pub(super) unset: Option<&'static str>,
    pub(super) text: &'static str,
    pub(super) development: Option<&'static str>,
    pub(super) standing: Standing,
}

/// `section` and `name` with a dot between, where there is a section.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// Declares a section. Each key has its documentation, a type that implements [`Setting`], and a default:
///
/// - `= "10s"`: the default as text
/// - `= "15", "8" in development`: another one in development
/// - `= unset like "cert.pem"`: none, and an example
/// - `= required like "https://login.example.com"`: it must be given, in a table of a list
///
/// followed by `[not_yet]` or `[refused]` (see [`Standing`]) until the key has an effect. After the keys come the `lists` of
/// tables, `[[section.list]]`, and the `sections` within this one.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        pub struct $section:ident {
            $(
                $(#[doc = $doc:literal])+
                $key:ident: $type:ty = $($unset:ident like)? $text:literal $(, $development:literal in development)?
                $([$standing:ident])?;
            )*
            $(lists { $($list:ident: $entry:ty,)+ })?
            $(sections { $($inner:ident: $inner_type:ty,)+ })?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $section {
            $( $(#[doc = $doc])+ pub $key: $type, )*
            $($( #[doc = concat!("The tables of the list `", stringify!($list), "`.")] pub $list: Vec<$entry>, )+)?
            $($( #[doc = concat!("The section `", stringify!($inner), "`.")] pub $inner: $inner_type, )+)?
        }

        impl $crate::config::table::Section for $section {
            fn describe(path: &str, table: &mut Vec<$crate::config::table::SectionInfo>) {
                table.push($crate::config::table::SectionInfo {
                    path: path.to_owned(),
                    is_list: false,
                    about: &[$($about),+],
                    keys: vec![$($crate::config::table::Key::new::<$type>(path, &$crate::config::table::Spec {
                        name: stringify!($key),
                        about: &[$($doc),+],
                        unset: section!(@option $(stringify!($unset))?),
                        text: $text,
                        development: section!(@option $($development)?),
                        standing: section!(@standing $($standing)?),
                    })),*],
                });
                $($( $crate::config::table::describe_list::<$entry>(&$crate::config::table::join(path, stringify!($list)), table); )+)?
                $($( <$inner_type>::describe(&$crate::config::table::join(path, stringify!($inner)), table); )+)?
            }

            fn read(path: &str, reader: &mut $crate::config::read::Reader<'_>) -> Option<Self> {
                use $crate::config::table::join;
                // All keys are read before any is missed, so that every fault is reported at once.
                $( let $key = reader.read(&join(path, stringify!($key))); )*
                $($( let $list = reader.read_list::<$entry>(&join(path, stringify!($list))); )+)?
                $($( let $inner = <$inner_type>::read(&join(path, stringify!($inner)), reader); )+)?
                Some(Self { $( $key: $key?, )* $($( $list: $list?, )+)? $($( $inner: $inner?, )+)? })
            }
        }
    };
    (@option) => { None };
    (@option $value:expr) => { Some($value) };
    (@standing) => { $crate::config::table::Standing::InForce };
    (@standing not_yet) => { $crate::config::table::Standing::NotYet };
    (@standing refused) => { $crate::config::table::Standing::Refused };
}
pub(super) use section;

/// Adds what is known about the tables of a list, and those within them.
pub(super) fn describe_list<T: Section>(path: &str, table: &mut Vec<SectionInfo>) {
    let first = table.len();
    T::describe(path, table);
    for section in &mut table[first..] {
        section.is_list = true;
    }
}

/// The path of a key in a table of a list: `jwt.trusted_issuers[1].issuer`. The first table is 1.
pub(super) fn entry(list: &str, number: usize) -> String {
    format!("{list}[{number}]")
}

/// `jwt.trusted_issuers.issuer`, for the same key of whichever table.
fn of_any_entry(path: &str) -> Cow<'_, str> {
    if !path.contains('[') {
        return path.into();
    }
    path.split('.').map(|name| name.split('[').next().unwrap_or(name)).collect::<Vec<_>>().join(".").into()
}

/// All sections with their keys.
#[derive(Debug)]
pub struct Table(Vec<SectionInfo>);

impl Table {
    pub(super) fn of<T: Section>() -> Self {
        let mut sections = Vec::new();
        T::describe("", &mut sections);
        Self(sections)
    }

    /// The sections that have keys, in the order of declaration.
    pub fn sections(&self) -> impl Iterator<Item = &SectionInfo> {
        self.0.iter().filter(|section| !section.keys.is_empty())
    }

    /// The keys of all sections.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.iter().flat_map(|section| &section.keys)
    }

    /// The key at `path`. In a table of a list it has the path that it has there.
    #[must_use]
    pub fn key(&self, path: &str) -> Option<Cow<'_, Key>> {
        let known = of_any_entry(path);
        let key = self.keys().find(|key| key.path == known)?;
        Some(match path == known {
            true => Cow::Borrowed(key),
            false => Cow::Owned(Key { path: path.to_owned(), ..key.clone() }),
        })
    }

    /// Whether `path` names a section, also one that only has sections in it, or a table of a list.
    pub(super) fn is_section(&self, path: &str) -> bool {
        let known = of_any_entry(path);
        self.0.iter().any(|section| section.path == known && section.is_list == path.contains('['))
    }

    /// Whether `path` names a list of tables.
    pub(super) fn is_list(&self, path: &str) -> bool {
        self.lists().any(|list| list == path)
    }

    /// The lists of tables.
    pub(super) fn lists(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|section| section.is_list).map(|section| section.path.as_str())
    }

    /// Every path that may be given: keys, and the files that secrets may come from.
    pub(super) fn paths(&self) -> impl Iterator<Item = Cow<'_, str>> {
        paths_of(self.keys())
    }

    /// Those that a variable can give, which has no way to say in which table of a list a key stands.
    pub(super) fn paths_of_variables(&self) -> impl Iterator<Item = Cow<'_, str>> {
        paths_of(self.0.iter().filter(|section| !section.is_list).flat_map(|section| &section.keys))
    }

    /// Whether `path` may be given.
    pub(super) fn has_path(&self, path: &str) -> bool {
        let given = of_any_entry(path);
        self.paths().any(|known| known == given)
    }

    /// The path that `path` was probably meant to be: the same key in another section, or the nearest
    /// spelling.
    pub(super) fn nearest_path(&self, path: &str) -> Option<String> {
        let path = &*of_any_entry(path);
        let name = path.rsplit('.').next().unwrap_or(path);
        let mut same_name = self.paths().filter(|known| known.rsplit('.').next() == Some(name));
        match (same_name.next(), same_name.next()) {
            (Some(only), None) => Some(only.into_owned()),
            _ => nearest(path, self.paths()),
        }
    }

    /// The variable that `name` was probably meant to be: the same letters, the key alone or behind a part of its
    /// section (`BAILIWICK_DB_URL`), or the nearest spelling.
    pub(super) fn nearest_variable(&self, name: &str) -> Option<String> {
        let upper = name.to_ascii_uppercase();
        let given = letters(upper.strip_prefix(VARIABLE_PREFIX.trim_end_matches('_')).unwrap_or(name));
        let paths = || self.paths_of_variables();
        let same = paths().find(|path| letters(path) == given);
        let path = same.or_else(|| paths().find(|path| abbreviates(&given, path)));
        match path {
            Some(path) => Some(variable(&path)),
            None => nearest(&name.to_ascii_uppercase(), paths().map(|path| variable(&path).into())),
        }
    }

    /// The section that `path` was probably meant to be.
    pub(super) fn nearest_section(&self, path: &str) -> Option<String> {
        nearest(path, self.sections().map(|section| Cow::from(&section.path)))
    }
}

fn paths_of<'k>(keys: impl Iterator<Item = &'k Key>) -> impl Iterator<Item = Cow<'k, str>> {
    keys.flat_map(|key| [Some(Cow::from(&key.path)), key.file_key().map(Cow::from)]).flatten()
}

/// The letters and digits of a name, all in lower case.
fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Whether `given` ends with the key of `path`, and what stands before it abbreviates the section: some of its letters,
/// in their order.
fn abbreviates(given: &str, path: &str) -> bool {
    let (section, key) = path.rsplit_once('.').unwrap_or(("", path));
    given.strip_suffix(&letters(key)).is_some_and(|short| {
        let mut rest = section.chars();
        short.chars().all(|wanted| rest.any(|found| found == wanted))
    })
}

/// The candidate that is spelt most like `word`, if any is like it at all.
pub(super) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = Cow<'a, str>>) -> Option<String> {
    // A comparison costs the product of both lengths; no key is nearly as long.
    if word.len() > 100 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(word, &candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).clamp(1, 4))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate.into_owned())
}

/// Walks a TOML document down to the values of keys, and tells which of its paths are known to be none.
///
/// `key` is called with the path of every value, `stray` with every path that is neither a key nor in a
/// section.
pub(super) fn walk<'t, 'i>(
    known: &Table,
    table: &'t DeTable<'i>,
    section: &str,
    visit: &mut impl FnMut(Visit<'t, 'i>),
) {
    for (name, value) in table {
        let path = join(section, name.get_ref());
        let at = name.span().start;
        if known.is_list(&path) {
            walk_list(known, value.get_ref(), &path, at, visit);
            continue;
        }
        match value.get_ref().as_table() {
            Some(inner) if known.is_section(&path) => walk(known, inner, &path, visit),
            None if known.is_section(&path) => {
                let found = name_of_type(value.get_ref());
                let why = format!("this is a section, but {found} was given");
                let fix = format!("write [{path}] on a line of its own, and its keys below it");
                visit(Visit::Stray { at, why, fix, path });
            }
            _ if known.has_path(&path) => visit(Visit::Value { path, at, value: value.get_ref() }),
            Some(_) => visit(Visit::UnknownSection { path, at }),
            None => visit(Visit::UnknownKey { path, at }),
        }
    }
}

/// Walks the tables of a list.
fn walk_list<'t, 'i>(
    known: &Table,
    value: &'t DeValue<'i>,
    list: &str,
    at: usize,
    visit: &mut impl FnMut(Visit<'t, 'i>),
) {
    let stray = |path: &str, at, found: &DeValue<'_>| Visit::Stray {
        path: path.to_owned(),
        at,
        why: format!("this is a list of tables, but {} was given", name_of_type(found)),
        fix: format!("write [[{list}]] on a line of its own for each table, and its keys below it"),
    };
    let DeValue::Array(tables) = value else { return visit(stray(list, at, value)) };
    for (index, table) in tables.iter().enumerate() {
        let (path, at) = (entry(list, index + 1), table.span().start);
        match table.get_ref().as_table() {
            Some(inner) => {
                visit(Visit::Table { list: list.to_owned(), at });
                walk(known, inner, &path, visit);
            }
            None => visit(stray(&path, at, table.get_ref())),
        }
    }
}

/// What [`walk`] finds, each with its offset in bytes.
pub(super) enum Visit<'t, 'i> {
    Value {
        path: String,
        at: usize,
        value: &'t DeValue<'i>,
    },
    /// A table of a list.
    Table {
        list: String,
        at: usize,
    },
    UnknownKey {
        path: String,
        at: usize,
    },
    UnknownSection {
        path: String,
        at: usize,
    },
    Stray {
        path: String,
        at: usize,
        why: String,
        fix: String,
    },
}
