//! What text may hold that people will read.
use std::borrow::Cow;

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

/// `text`, with only its beginning left of whatever looks like a credential: a token (`bw_pat_…`), or an access token, which
/// is a JSON Web Token. For whatever a client sends that is written down (LOG-03).
///
/// ```
/// use bailiwick_core::text::without_secrets;
///
/// assert_eq!(without_secrets("/bw_pat_0123456789abcdefghij/"), "/bw_pat_[redacted]/");
/// assert_eq!(without_secrets("/bw_pat_short/"), "/bw_pat_short/");
/// ```
pub fn without_secrets(text: &str) -> Cow<'_, str> {
    let mut clean = String::new();
    let mut kept = 0;
    // Almost no text has one, and is not copied.
    while let Some((start, end)) = secret_after(text, kept) {
        clean.push_str(&text[kept..start]);
        clean.push_str("[redacted]");
        kept = end;
    }
    if kept == 0 {
        return Cow::Borrowed(text);
    }
    clean.push_str(&text[kept..]);
    Cow::Owned(clean)
}

/// How tokens of every kind begin: `bw_pat_` and the like.
const TOKEN: &str = "bw_";
/// How a JSON Web Token begins: it is the base64 of `{"`.
const JWT: &str = "eyJ";
/// How many characters a secret has at least. Tokens have more; what anybody would call so has fewer.
const SECRET_CHARS: usize = 20;

/// Where the first secret from `from` on begins and ends.
fn secret_after(text: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &text[from..];
    let first = |prefix: &str, secret: fn(&str) -> Option<(usize, usize)>| {
        let found = rest.match_indices(prefix).find_map(|(at, _)| {
            let after = at + prefix.len();
            secret(&rest[after..]).map(|(start, end)| (after + start, after + end))
        });
        found.map(|(start, end)| (from + start, from + end))
    };
    let (token, jwt) = (first(TOKEN, secret_of_token), first(JWT, secret_of_jwt));
    token.into_iter().chain(jwt).min()
}

/// What is secret in what follows `bw_`: what comes after the kind.
fn secret_of_token(text: &str) -> Option<(usize, usize)> {
    let kind = text.bytes().take_while(u8::is_ascii_lowercase).count();
    let secret = text[kind..].strip_prefix('_')?;
    let chars = secret.bytes().take_while(u8::is_ascii_alphanumeric).count();
    (chars >= SECRET_CHARS).then_some((kind + 1, kind + 1 + chars))
}

/// What is secret in what follows `eyJ`: three parts of base64 with dots between.
fn secret_of_jwt(text: &str) -> Option<(usize, usize)> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let part = |from: usize| text.as_bytes()[from..].iter().take_while(|byte| is_part(byte)).count();
    let header = part(0);
    let claims = text[header..].strip_prefix('.').map(|_| part(header + 1))?;
    let end = header + 1 + claims;
    let signature = text[end..].strip_prefix('.').map(|_| part(end + 1))?;
    let is_one = claims >= SECRET_CHARS && signature >= SECRET_CHARS;
    is_one.then_some((0, end + 1 + signature))
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

    // LOG-03
    #[test]
    fn of_a_credential_only_its_beginning_is_left() {
        let random = "0123456789abcdefghijABCDEFGHIJ";
        let jwt = format!("eyJhbGciOiJFZERTQSJ9.{random}-_.{random}_-");
        for (text, clean) in [
            (format!("bw_pat_{random}"), "bw_pat_[redacted]"),
            (format!("/a/bw_rt_{random}/bw_ses_{random}?"), "/a/bw_rt_[redacted]/bw_ses_[redacted]?"),
            (format!("/{jwt}/"), "/eyJ[redacted]/"),
            (format!("bw_{jwt}.x {jwt}"), "bw_eyJ[redacted].x eyJ[redacted]"),
            (format!("{jwt},bw_pat_{random}"), "eyJ[redacted],bw_pat_[redacted]"),
            (format!("eyJ.{random}.{random}"), "eyJ[redacted]"),
        ] {
            assert_eq!(without_secrets(&text), clean, "{text}");
        }
        for harmless in [
            String::new(),
            "bw_pat_0123456789".to_owned(),
            format!("bw_{random}"),
            format!("eyJ{random}.{random}"),
            "eyJhbGciOiJFZERTQSJ9.short.short".to_owned(),
            "é bw_é_eyJé.é.é".to_owned(),
        ] {
            assert!(matches!(without_secrets(&harmless), Cow::Borrowed(_)), "{harmless}");
        }
    }
}
