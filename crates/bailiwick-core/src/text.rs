//! What text may hold that people will read.

/// Of how many lines a text may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// Of one: a name, a title.
    One,
    /// Of many, with tabs in them: a description.
    Many,
}

impl Lines {
    /// The first character of `text` that must not be in it: a control character, or one that turns the text around it
    /// and so lets it read as something else.
    ///
    /// ```
    /// use bailiwick_core::text::Lines;
    ///
    /// assert_eq!(Lines::One.first_forbidden("Acme\nInc."), Some('\n'));
    /// assert_eq!(Lines::Many.first_forbidden("Acme\nInc."), None);
    /// ```
    pub fn first_forbidden(self, text: &str) -> Option<char> {
        let is_forbidden = |character: char| match character {
            '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => self == Self::One,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
            other => other.is_control(),
        };
        text.chars().find(|character| is_forbidden(*character))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_holds_no_end_of_a_line() {
        for character in ['\n', '\r', '\t', '\u{2028}', '\u{2029}'] {
            let text = format!("a{character}b");
            assert_eq!(
                (Lines::One.first_forbidden(&text), Lines::Many.first_forbidden(&text)),
                (Some(character), None)
            );
        }
    }

    #[test]
    fn no_text_holds_what_is_not_seen_and_changes_what_is() {
        for character in [
            '\0', '\u{1b}', '\u{b}', '\u{7f}', '\u{85}', '\u{9b}', '\u{202a}', '\u{202e}', '\u{2066}',
            '\u{2069}',
        ] {
            let text = format!("a{character}b");
            assert_eq!(
                [Lines::One, Lines::Many].map(|lines| lines.first_forbidden(&text)),
                [Some(character); 2]
            );
        }
    }

    #[test]
    fn people_write_in_every_script_and_with_emoji() {
        for text in ["", "Söhne & <b>", "שלום, עולם", "مرحبا\u{200f}", "👩\u{200d}🔬", "東京\u{3000}"]
        {
            assert_eq!(Lines::One.first_forbidden(text), None, "{text}");
        }
    }
}
