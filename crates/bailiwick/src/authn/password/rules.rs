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
/// points), at most [`MAX_CHARS`], without the user's name, and neither one of the common
/// passwords that this crate ships nor several of them on end, with digits behind or without (PWD-10). No rules of composition
/// (PWD-07).
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
    if is_made_of_common(&plain) {
        return Err(UnfitPassword::Common);
    }
    Ok(())
}

/// Whether `plain` is one of the common passwords or several on end, with nothing behind them but digits: whoever is asked for
/// more characters writes the password twice, or counts.
fn is_made_of_common(plain: &str) -> bool {
    // Where one of them may begin: at the start, and where another ends.
    let mut begins = vec![false; plain.len() + 1];
    begins[0] = true;
    for start in 0..plain.len() {
        if !begins[start] {
            continue;
        }
        let rest = &plain[start..];
        if start > 0 && rest.bytes().all(|byte| byte.is_ascii_digit()) {
            return true;
        }
        for length in LEAST_COMMON..=rest.len().min(*MOST_COMMON) {
            begins[start + length] |= rest.is_char_boundary(length) && is_common(&rest[..length]);
        }
    }
    begins[plain.len()]
}

fn is_common(plain: &str) -> bool {
    COMMON.binary_search(&plain).is_ok()
}

/// How long a common password is, in bytes: at least, and at most.
const LEAST_COMMON: usize = 8;
static MOST_COMMON: LazyLock<usize> =
    LazyLock::new(|| COMMON.iter().map(|word| word.len()).max().unwrap_or(0));

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

    // PWD-10
    #[test]
    fn common_passwords_on_end_are_as_common() {
        for common in [
            "passwordpassword",
            "Password1234567890",
            "123456789012345",
            "1234567890123456",
            "iloveyouiloveyou",
            "passwordiloveyou2024",
            "qwertyuiopqwertyuiop1",
        ] {
            assert_eq!(check(common, "somebody", 15), Err(UnfitPassword::Common), "{common}");
        }
        let longest: String = "password".chars().cycle().take(MAX_CHARS).collect();
        assert_eq!(check(&longest, "somebody", 8), Err(UnfitPassword::Common));
        for rare in [
            "password and a horse",
            "passwordpasswor",
            "2024passwordpassword",
            "a-plain-but-long-phrase",
            "\u{5b89}passwordpassword",
            "passwordpasswor\u{e9}",
        ] {
            assert_eq!(check(rare, "somebody", 8), Ok(()), "{rare}");
        }
    }

    #[test]
    fn the_list_is_long_enough_and_can_be_searched() {
        assert!(COMMON.len() >= 10_000);
        assert!(COMMON.is_sorted_by(|left, right| left < right), "each once, in order");
        let fits =
            |word: &&str| word.is_ascii() && word.len() >= LEAST_COMMON && word.to_lowercase() == **word;
        assert!(COMMON.iter().all(fits));
    }
}
