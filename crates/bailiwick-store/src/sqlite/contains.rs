//! Search: whether a text contains a term, without regard to case.
use memchr::memchr2_iter;

/// Whether `text` contains `term`, in any case of any script. `term` is no pattern: `%` is a percent sign.
pub(super) fn contains(text: &str, term: &str) -> bool {
    if text.is_ascii() && term.is_ascii() {
        return contains_ascii(text.as_bytes(), term.as_bytes());
    }
    folded(text).contains(&folded(term))
}

fn contains_ascii(text: &[u8], term: &[u8]) -> bool {
    let Some(first) = term.first() else { return true };
    memchr2_iter(first.to_ascii_lowercase(), first.to_ascii_uppercase(), text)
        .any(|at| text[at..].get(..term.len()).is_some_and(|found| found.eq_ignore_ascii_case(term)))
}

/// In lower case, where a sigma is a sigma: whether it ends a word depends on what follows, which a term cannot know.
fn folded(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_term_is_found_in_any_case_of_any_script() {
        for (text, term) in [
            ("Write the report", "REPORT"),
            ("Write the report", "write"),
            ("", ""),
            ("abc", ""),
            ("aab", "ab"),
            ("ÄRGER", "ärger"),
            ("Ärger im Büro", "büro"),
            ("ΟΔΟΣ", "οδός".replace('ό', "ο").as_str()),
            ("ΟΔΟΣ", "σ"),
            ("οδος", "ΟΔΟΣ"),
            ("ПРИВЕТ", "привет"),
            ("100% sure_thing\\", "0% SURE_thing\\"),
            ("300 \u{212a}", "300 k"),
        ] {
            assert!(contains(text, term), "{text} has {term}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for (text, term) in [
            ("", "a"),
            ("report", "reports"),
            ("abc", "%"),
            ("abc", "a_c"),
            ("Äpfel", "apfel"),
            ("ab", "abc"),
        ] {
            assert!(!contains(text, term), "{text} has no {term}");
        }
    }
}
