//! Names say what a thing is in the domain.
use super::{Finding, source::Source, table::EMPTY_NAMES};

/// Files, modules and types named after no concept at all.
pub(super) fn empty(files: &[String], sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.ends_with(".rs") || file.ends_with(".py")) {
        for part in file.split('/') {
            let stem = part.rsplit_once('.').map_or(part, |(stem, _)| stem);
            if let Some(word) = empty_word(stem) {
                findings.push(finding(file, 0, format!("`{part}` is named `{word}`")));
            }
        }
    }
    for source in sources {
        for declared in &source.declared {
            // `mod helper;` is found by its file.
            if declared.kind == "type"
                && let Some(word) = empty_word(&declared.name)
            {
                let what = format!("type `{}` is named `{word}`", declared.name);
                findings.push(finding(&source.path, declared.line, what));
            }
        }
    }
    findings
}

fn finding(file: &str, line: usize, what: String) -> Finding {
    let mend = "name it after what it holds or does in the domain; split it if that is two things".to_owned();
    Finding { file: file.to_owned(), line, what, mend }
}

/// The first empty word in a `snake_case` or `CamelCase` name.
fn empty_word(name: &str) -> Option<&'static str> {
    let mut words = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c == '-' {
            words.push(String::new());
            continue;
        }
        if c.is_uppercase() {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    EMPTY_NAMES.iter().find(|empty| words.iter().any(|word| word == *empty)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_words_are_matched_whole() {
        assert_eq!(empty_word("http_util"), Some("util"));
        assert_eq!(empty_word("SessionManager"), Some("manager"));
        assert_eq!(empty_word("Utility"), None);
        assert_eq!(empty_word("managed"), None);
    }

    #[test]
    fn files_folders_and_types_are_found() {
        let files = [
            "crates/x/src/helpers/a.rs".to_owned(),
            "crates/x/src/b.rs".to_owned(),
            "docs/helper.md".to_owned(),
        ];
        let sources = [Source::parse("crates/x/src/b.rs", "\nstruct TokenHelper;\nstruct Token;")];
        let found: Vec<(String, usize)> =
            empty(&files, &sources).into_iter().map(|finding| (finding.file, finding.line)).collect();
        assert_eq!(found, [("crates/x/src/helpers/a.rs".to_owned(), 0), ("crates/x/src/b.rs".to_owned(), 2)]);
    }
}
