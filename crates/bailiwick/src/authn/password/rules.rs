//! Which passwords may be set.
use std::sync::LazyLock;

use unicode_normalization::UnicodeNormalization as _;

use super::MAX_CHARS;

/// Why a password cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnfitPassword {
    /// Too short to withstand guessing.
    #[error("a password has at least {0} characters")]
    TooShort(usize),
    /// Longer than is accepted.
    #[error("a password has at most {MAX_CHARS} characters")]
    TooLong,
    /// It is, or holds, the user's name.
    #[error("a password must not contain the user name")]
    ContainsUsername,
    /// A control character, which cannot be typed again.
    #[error("a password must not contain control characters")]
    ControlCharacter,
    /// It is in the list of those that are tried first.
    #[error("this password is one of the most common, which are guessed first")]
    Common,
}

/// Checks that `password` may be set for the user called `username`: at least `min_chars` characters (Unicode code
/// points), at most [`MAX_CHARS`], without the user's name, and none of the common passwords that this crate ships
/// (PWD-10). No rules of composition (PWD-07).
///
/// # Errors
/// Why it may not.
pub fn check(password: &str, username: &str, min_chars: usize) -> Result<(), UnfitPassword> {
    let chars = password.chars().count();
    if chars < min_chars {
        return Err(UnfitPassword::TooShort(min_chars));
    }
    if chars > MAX_CHARS {
        return Err(UnfitPassword::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(UnfitPassword::ControlCharacter);
    }
    // What is hashed is this form, and a guesser tries a word in small letters and in capitals alike.
    let plain = password.nfkc().collect::<String>().to_lowercase();
    if plain.contains(&username.to_lowercase()) {
        return Err(UnfitPassword::ContainsUsername);
    }
    if COMMON.binary_search(&plain.as_str()).is_ok() {
        return Err(UnfitPassword::Common);
    }
    Ok(())
}

/// The common passwords of 8 characters and more, in small letters, sorted. Where they come from, and under which
/// licences, is told in `common.LICENSES.txt`.
static COMMON: LazyLock<Vec<&str>> = LazyLock::new(|| include_str!("common.txt").lines().collect());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_checked_by_length_and_name_only() {
        assert_eq!(check("ééééééé", "bob", 8), Err(UnfitPassword::TooShort(8)));
        assert_eq!(check("éééééééé", "bob", 8), Ok(()));
        assert_eq!(check(&"a".repeat(257), "bob", 8), Err(UnfitPassword::TooLong));
        assert_eq!(check("I am BOB the great", "bob", 8), Err(UnfitPassword::ContainsUsername));
        assert_eq!(check("tab\tin the middle", "bob", 8), Err(UnfitPassword::ControlCharacter));
    }

    // PWD-10
    #[test]
    fn a_common_password_is_refused_however_it_is_written() {
        for common in ["password", "PassWord", "12345678", "qwertyuiop", "\u{ff50}assword", "iloveyou1"] {
            assert_eq!(check(common, "bob", 8), Err(UnfitPassword::Common), "{common}");
        }
        for rare in ["passwordd horse", "a passwor", "passwor\u{e9}d"] {
            assert_eq!(check(rare, "bob", 8), Ok(()), "{rare}");
        }
    }

    #[test]
    fn the_list_is_long_enough_and_can_be_searched() {
        assert!(COMMON.len() >= 10_000);
        assert!(COMMON.is_sorted_by(|left, right| left < right), "each once, in order");
        let fits = |word: &&str| word.is_ascii() && word.len() >= 8 && word.to_lowercase() == **word;
        assert!(COMMON.iter().all(fits));
    }
}
