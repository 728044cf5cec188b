//! The settings as people read them: the reference, and what is in force.
use std::fmt::Write;

use super::{
    settings::Settings,
    table::{Key, Standing},
};

/// A `bailiwick.toml` in which every key stands with its documentation and its default, as a comment.
#[must_use]
pub fn reference() -> String {
    let mut out = String::from(
        "# Every setting of Bailiwick with its default. To change one, take away the # at the start of its\n\
         # line.\n\
         #\n\
         # Later ones win: this file, then environment variables (BAILIWICK_SERVER__BIND for `bind` in\n\
         # [server], lists with commas), then, for secrets, files named by `<key>_file`.\n",
    );
    for section in Settings::table().sections() {
        out.push('\n');
        for line in section.about {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "#{line}");
        }
        let _ = match section.is_list {
            // As a line it would begin a table in which keys are missing.
            true => writeln!(out, "# Each begins with a line of this form:\n#[[{}]]", section.path),
            false => writeln!(out, "[{}]", section.path),
        };
        for key in &section.keys {
            describe(&mut out, key);
        }
    }
    out
}

fn describe(out: &mut String, key: &Key) {
    out.push('\n');
    for line in key.about {
        let _ = writeln!(out, "#{line}");
    }
    let _ = writeln!(out, "# Accepted: {}.", key.accepts());
    if let Some(development) = key.development {
        let _ = writeln!(out, "# In development the default is {}.", literal(key, development));
    }
    match key.standing {
        Standing::InForce => {}
        Standing::NotYet => out.push_str("# Has no effect in this version.\n"),
        Standing::Refused => out.push_str("# Not available in this version: any other value is refused.\n"),
    }
    if key.is_required {
        let _ = writeln!(out, "# Required. For example:\n#{} = {}", key.name, literal(key, key.example));
    } else if key.default.is_empty() && key.example != key.default {
        let _ =
            writeln!(out, "# Unset by default. For example:\n#{} = {}", key.name, literal(key, key.example));
    } else if key.is_secret && key.default.is_empty() {
        out.push_str("# Unset by default, and better given by a file:\n");
    } else {
        let _ = writeln!(out, "#{} = {}", key.name, literal(key, key.default));
    }
    if key.is_secret {
        let _ = writeln!(out, "#{}_file = \"{}\"", key.name, key.name.replace('_', "-"));
    }
}

/// A default or an example as TOML. Texts and lists of texts are written alike in JSON and TOML.
fn literal(key: &Key, text: &str) -> String {
    key.literal(text).map_or_else(|_| format!("{text:?}"), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    use crate::config::{Environment, Loaded, Source};

    /// The reference with every example line turned into a setting, but for secrets and files of them.
    fn uncommented() -> String {
        let is_setting = |line: &str| {
            line.starts_with("#[[")
                || line.strip_prefix('#').is_some_and(|rest| {
                    let name = rest.split(" = ").next().unwrap_or_default();
                    rest.contains(" = ")
                        && name
                            .bytes()
                            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
                })
        };
        let secrets: Vec<_> =
            Settings::table().keys().filter(|key| key.is_secret).map(|key| key.name).collect();
        reference()
            .lines()
            .filter(|line| !secrets.iter().any(|name| line.starts_with(&format!("#{name}_file = "))))
            .map(|line| if is_setting(line) { &line[1..] } else { line })
            .fold(String::new(), |text, line| text + line + "\n")
    }

    #[test]
    fn the_reference_is_a_settings_file_that_changes_nothing() {
        let loaded = Loaded::test(&reference(), &[]).unwrap();
        assert!(loaded.effective.iter().all(|effective| !effective.source.is_given()));
    }

    #[test]
    fn every_line_of_the_reference_is_accepted_and_is_the_default() {
        let loaded = Loaded::test(&uncommented(), &[]).unwrap_or_else(|faults| panic!("{faults}"));
        let defaults = Loaded::test("", &[]).unwrap();
        let mut given = 0;
        for effective in &loaded.effective {
            let key = Settings::table().key(&effective.path).unwrap();
            if matches!(effective.source, Source::File { .. }) {
                given += 1;
                if !key.default.is_empty() {
                    let default = key.default_in(Environment::Production, Path::new(""));
                    assert_eq!(Ok(&effective.value), default.as_ref(), "{}", key.path);
                }
            }
        }
        assert!(loaded.effective.len() > defaults.effective.len(), "the table of each list, too");
        let without_example =
            Settings::table().keys().filter(|key| key.is_secret && key.default.is_empty()).count();
        assert_eq!(given + without_example, Settings::table().keys().count());
    }

    #[test]
    fn every_key_is_documented_and_is_in_the_reference() {
        let reference = reference();
        for key in Settings::table().keys() {
            assert!(
                !key.about.is_empty() && key.about.iter().all(|line| line.starts_with(' ')),
                "{}",
                key.path
            );
            assert!(reference.contains(&format!("\n#{} = ", key.name)) || key.is_secret, "{}", key.path);
        }
    }
}
