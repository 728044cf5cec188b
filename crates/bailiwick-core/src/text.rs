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
    /// and so lets it read as something else. In one line also any other that [is deceptive](is_deceptive), but for the
    /// joiners and the marks of direction that people need to write their language or an emoji.
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
            '\u{200c}'..='\u{200f}' => false,
            // In long text a soft hyphen or a zero-width space tells where a line may break, and tags make flags.
            other => other.is_control() || (self == Self::One && is_deceptive(other)),
        };
        text.chars().find(|character| is_forbidden(*character))
    }
}

/// Whether a character is not seen, ends a line, or changes how others are seen. It makes two texts that differ look the
/// same, so a log shows it escaped (LOG-04), and names have only [those that people need](Lines::first_forbidden).
pub fn is_deceptive(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
                | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}' | '\u{fffe}' | '\u{ffff}' | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e007f}'
        )
}

/// `text` without what is not seen at its ends: white space, and what [is deceptive](is_deceptive). A name of which
/// nothing is left is none.
///
/// ```
/// use bailiwick_core::text::visible;
///
/// assert_eq!(visible(" Acme Inc.\u{200f}\n"), "Acme Inc.");
/// assert_eq!(visible("\u{3000}\u{200d}"), "");
/// ```
pub fn visible(text: &str) -> &str {
    // Alone, what selects the form of the character before it is nothing either.
    let selects_a_form = |character| matches!(character, '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}');
    let is_unseen =
        |character: char| character.is_whitespace() || is_deceptive(character) || selects_a_form(character);
    text.trim_matches(is_unseen)
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

    #[test]
    fn a_name_holds_nothing_that_makes_two_names_look_the_same() {
        for character in [
            '\u{ad}',
            '\u{61c}',
            '\u{180e}',
            '\u{200b}',
            '\u{2060}',
            '\u{2064}',
            '\u{206f}',
            '\u{3164}',
            '\u{feff}',
            '\u{ffa0}',
            '\u{fff9}',
            '\u{e0020}',
            '\u{34f}',
            '\u{115f}',
            '\u{2800}',
            '\u{ffff}',
            '\u{1d173}',
            '\u{e007f}',
        ] {
            let text = format!("a{character}b");
            assert_eq!(
                (Lines::One.first_forbidden(&text), Lines::Many.first_forbidden(&text)),
                (Some(character), None)
            );
        }
    }

    #[test]
    fn what_no_text_may_hold_is_deceptive() {
        let all = ('\0'..=char::MAX)
            .filter(|character| Lines::One.first_forbidden(character.encode_utf8(&mut [0; 4])).is_some());
        assert!(all.into_iter().all(is_deceptive));
    }

    #[test]
    fn what_is_seen_of_blank_text_is_nothing() {
        for text in
            ["", " ", "\t\n", "\u{a0}\u{3000}", "\u{200d}", "\u{200e} \u{200f}", "\u{3164}", "\u{200b}"]
        {
            assert_eq!(visible(text), "", "{text:?}");
        }
        for text in ["\u{fe0f}", "\u{e0100} ", "\u{2800}"] {
            assert_eq!(visible(text), "", "{text:?}");
        }
        assert_eq!(visible(" a b\u{200f} "), "a b");
    }
}
