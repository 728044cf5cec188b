//! What comments and texts may say: notes that end, rules that exist, no place on one person's machine.
use super::{
    Finding, TABLE,
    source::{Comment, Source},
    table::{MACHINE_PATHS, RULE_PREFIXES},
};

/// Cut in two, so that this file passes its own check.
const NOTES: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Notes about missing work that do not say until when, and what stays safe meanwhile.
pub(super) fn unbounded_todos(sources: &[Source], texts: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (first, comment) in source.comments.iter().enumerate() {
            let block = block(&source.comments, first);
            if is_note(&comment.text) && !block.contains("until") {
                findings.push(unbounded(&source.path, comment.line));
            }
        }
    }
    // In other languages the note and the line below it are enough to look at. Markdown talks about notes.
    let others = texts
        .iter()
        .filter(|(file, _)| !file.ends_with(".rs") && !file.ends_with(".md") && !file.ends_with(".lock"));
    for (file, text) in others {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let next = lines.get(index + 1).copied().unwrap_or_default();
            if comments_a_note(line) && !line.contains("until") && !next.contains("until") {
                findings.push(unbounded(file, index + 1));
            }
        }
    }
    findings
}

/// In other languages a note is one only behind a comment's sign: `X = "x"` may name a status.
fn comments_a_note(line: &str) -> bool {
    let comment = ["#", "--", "//", "/*"].iter().filter_map(|sign| line.find(sign)).min();
    comment.is_some_and(|at| is_note(&line[at..]))
}

fn is_note(text: &str) -> bool {
    words(text).any(|word| NOTES.contains(&word.trim_end_matches(':')))
}

/// The comment at `first` and those on the lines right below it.
fn block(comments: &[Comment], first: usize) -> String {
    let mut text = String::new();
    let mut line = comments[first].line;
    for comment in &comments[first..] {
        if comment.line > line + 1 {
            break;
        }
        line = comment.line;
        text.push_str(&comment.text);
        text.push('\n');
    }
    text
}

fn unbounded(file: &str, line: usize) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        what: format!("a {} that does not say until when", NOTES[0]),
        mend: "say what is missing and what stays safe until then, or do it now".to_owned(),
    }
}

/// Citations of rules that cannot exist: a mistyped prefix or form.
pub(super) fn rule_ids(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for comment in &source.comments {
            for word in words(&comment.text) {
                let Some(mend) = mistyped(word, &comment.text, comment.test) else { continue };
                findings.push(Finding {
                    file: source.path.clone(),
                    line: comment.line,
                    what: format!("`{word}` is no rule id"),
                    mend,
                });
            }
        }
    }
    findings
}

/// How to mend `word` if it means to be a rule id and is none.
fn mistyped(word: &str, comment: &str, test: bool) -> Option<String> {
    let letters = word.chars().take_while(char::is_ascii_alphabetic).count();
    let (prefix, rest) = word.split_at(letters);
    let digits = rest.trim_start_matches(['-', '_']);
    if prefix.is_empty() || digits.is_empty() || !digits.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let upper = prefix.to_ascii_uppercase();
    if RULE_PREFIXES.contains(&upper.as_str()) {
        let right = format!("{upper}-{digits}");
        return (word != right).then(|| format!("write `{right}`"));
    }
    // A test's comment that is nothing but ids cites rules; in a sentence, UTF-8 and SHA-256 are none.
    let bare = comment.trim_start_matches(['/', '!', ' ']).split([',', ' ']).filter(|part| !part.is_empty());
    let only_ids = bare.clone().all(|part| {
        part.split_once('-').is_some_and(|(prefix, number)| {
            (2..=5).contains(&prefix.len())
                && prefix.chars().all(|c| c.is_ascii_uppercase())
                && !number.is_empty()
                && number.chars().all(|c| c.is_ascii_digit())
        })
    });
    (test && only_ids)
        .then(|| format!("cite one whose prefix is in RULE_PREFIXES in {TABLE}, or add the prefix there"))
}

/// Words of a text, with the hyphens and underscores inside them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_')).filter(|word| !word.is_empty())
}

/// Paths that exist on the machine of the person who wrote them.
pub(super) fn machine_paths(texts: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in texts.iter().filter(|(file, _)| !file.ends_with(".lock")) {
        for (index, line) in text.lines().enumerate() {
            let hit = MACHINE_PATHS.iter().find(|path| {
                // Inside a longer path or a URL it is somebody's route, not the machine's root.
                line.match_indices(**path).any(|(at, _)| {
                    !line[..at]
                        .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | '}' | '~'))
                })
            });
            if let Some(path) = hit {
                findings.push(Finding {
                    file: file.clone(),
                    line: index + 1,
                    what: format!("a path of one machine (`{path}…`)"),
                    mend: "write it relative to the repository, or take it from a setting or the environment"
                        .to_owned(),
                });
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn todo_lines(path: &str, text: &str) -> Vec<usize> {
        let texts = [(path.to_owned(), text.to_owned())];
        let sources: Vec<Source> =
            if path.ends_with(".rs") { vec![Source::parse(path, text)] } else { Vec::new() };
        unbounded_todos(&sources, &texts).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_note_says_until_when() {
        let note = NOTES[0];
        assert_eq!(todo_lines("a/src/b.rs", &format!("// {note}: later\nfn f() {{}}\n// until then\n")), [1]);
        assert_eq!(
            todo_lines("a/src/b.rs", &format!("// {note}: keys rotate;\n// until then one is used\n")),
            [0; 0]
        );
        assert_eq!(todo_lines("a/b.py", &format!("# {note} later\n\n# until")), [1]);
        assert_eq!(todo_lines("a/b.py", &format!("{note} = \"todo\", \"To do\"")), [0; 0]);
        assert_eq!(todo_lines("a/b.md", &format!("{note} is a word here")), [0; 0]);
        // `todo` is a status of a task.
        assert_eq!(todo_lines("a/src/b.rs", "// the status is todo"), [0; 0]);
    }

    fn rule_findings(text: &str) -> Vec<String> {
        rule_ids(&[Source::parse("crates/x/tests/it/y.rs", text)])
            .into_iter()
            .map(|finding| format!("{} {}", finding.what, finding.mend))
            .collect()
    }

    #[test]
    fn well_formed_citations_and_other_numbers_pass() {
        assert_eq!(
            rule_findings("// CSRF-12\n// THR-30, ERR-1\n// UTF-8 and SHA-256 are no rules, nor is x-1"),
            [""; 0]
        );
    }

    #[test]
    fn mistyped_citations_are_found() {
        assert_eq!(rule_findings("// THR30 again"), ["`THR30` is no rule id write `THR-30`"]);
        assert_eq!(rule_findings("// see Csrf_12"), ["`Csrf_12` is no rule id write `CSRF-12`"]);
        assert!(rule_findings("// TRH-30")[0].starts_with("`TRH-30` is no rule id cite one"));
    }

    #[test]
    fn paths_of_a_machine_are_found_and_routes_are_not() {
        let found = |line: &str| machine_paths(&[("a.md".to_owned(), line.to_owned())]).len();
        for path in MACHINE_PATHS {
            assert_eq!(found(&format!("cd {path}ann")), 1);
            assert_eq!(found(&format!("\"{path}ann\"")), 1);
        }
        assert_eq!(found(&format!("https://example.com{}x", MACHINE_PATHS[1])), 0);
        assert_eq!(found("in the target/ folder"), 0);
    }
}
