//! Lowered protection is spelled loudly (I11), and the machine's clock and randomness are read in few places
//! (I10); every such place stands in the table with its reason.
use std::collections::BTreeSet;

use super::{Finding, TABLE, source::Source, table::Loud};

/// Each site outside tests that the table does not know, and each line of the table that has no site.
pub(super) fn sites(sources: &[Source], table: &[Loud]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used: BTreeSet<(&str, &str)> = BTreeSet::new();
    for source in sources {
        for (line, word, shown) in loud(source) {
            match table.iter().find(|entry| entry.file == source.path && entry.word == word) {
                Some(entry) => {
                    used.insert((entry.file, entry.word));
                }
                None => findings.push(Finding {
                    file: source.path.clone(),
                    line,
                    what: format!("`{shown}` is not in the table of places that lower a protection"),
                    mend: format!(
                        "do without it, or add {{ file, word: \"{word}\", reason }} to LOUD in {TABLE}"
                    ),
                }),
            }
        }
    }
    for entry in table.iter().filter(|entry| !used.contains(&(entry.file, entry.word))) {
        findings.push(Finding {
            file: TABLE.to_owned(),
            line: 0,
            what: format!(
                "LOUD lists `{}` in {} ({}), which is not there",
                entry.word, entry.file, entry.reason
            ),
            mend: "take the line out".to_owned(),
        });
    }
    findings
}

/// `Membership::from_store`: whoever calls it vouches for a user's role, and so for all that is allowed by it (I1).
const VOUCHER: &str = "from_store";

/// Line, word of the table, and what to show, of each site in the file.
fn loud(source: &Source) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    for used in source.paths.iter().filter(|used| !used.test) {
        let mut pairs = used.segments.iter().zip(used.segments.iter().skip(1));
        if let Some((_, after)) = pairs.find(|(segment, _)| *segment == "danger") {
            found.push((used.line, "danger".to_owned(), format!("danger::{after}")));
        }
    }
    for word in source.words.iter().filter(|word| !word.test) {
        if word.text.starts_with("insecure_") || word.text == VOUCHER {
            found.push((word.line, word.text.clone(), word.text.clone()));
        }
    }
    // Attributes are no words of the code; the lint is only ever named in one.
    for (line, test) in source.lint_waivers("disallowed_methods") {
        if !test {
            found.push((line, "disallowed_methods".to_owned(), "clippy::disallowed_methods".to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, table: &[Loud]) -> Vec<(usize, String)> {
        let sources = [Source::parse("crates/x/src/y.rs", text)];
        sites(&sources, table).into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn each_way_to_lower_a_protection_is_found_outside_tests() {
        let text = "
            use bailiwick::danger::{cross_tenant, Reason};
            fn f() { danger::cross_tenant(r); layer.insecure_http_cookies(); }
            #[expect(clippy::disallowed_methods, reason = \"tried\")] fn g() {}
            #[cfg(test)] mod tests { fn h() { danger::any(); insecure_x(); } }
            // danger::in_a_comment insecure_in_a_comment
            mod danger;
        ";
        let found = found(text, &[]);
        assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [2, 2, 3, 3, 4], "{found:?}");
    }

    #[test]
    fn the_table_excuses_one_word_in_one_file() {
        let text = "fn f() { insecure_a(); insecure_b(); }";
        let entry = Loud { file: "crates/x/src/y.rs", word: "insecure_a", reason: "tried" };
        assert_eq!(found(text, &[entry]).len(), 1);
    }

    #[test]
    fn a_line_without_a_site_is_found() {
        let entry = Loud { file: "crates/x/src/y.rs", word: "danger", reason: "once" };
        assert_eq!(
            found("", &[entry]),
            [(0, "LOUD lists `danger` in crates/x/src/y.rs (once), which is not there".to_owned())]
        );
    }
}
