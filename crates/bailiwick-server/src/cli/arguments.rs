//! Arguments that several commands take.
use bailiwick::{
    identity::is_email_address,
    text::{Lines, visible},
};
use clap::Args;

/// Reads an e-mail address: something on both sides of one `@`, without white space.
pub(super) fn email(text: &str) -> Result<String, &'static str> {
    if is_email_address(text) {
        Ok(text.to_owned())
    } else {
        Err("an e-mail address looks like name@example.com")
    }
}

/// Reads a name for people: one line of 1 to 100 characters.
pub(super) fn display_name(text: &str) -> Result<String, &'static str> {
    let name = text.trim();
    let fits = name.chars().count() <= 100
        && !visible(name).is_empty()
        && Lines::One.first_forbidden(name).is_none();
    if fits {
        Ok(name.to_owned())
    } else {
        Err("a name has 1 to 100 characters, not all blank, none of which is hidden or turns text around")
    }
}

/// Where a password comes from.
#[derive(Args, Clone, Debug)]
pub(super) struct PasswordSource {
    /// Read the password from the first line of standard input, instead of asking for it
    #[arg(long = "password-stdin")]
    pub(super) from_stdin: bool,

    /// Only here so that somebody who tries is told why not, and the password is not repeated.
    #[arg(long = "password", hide = true, num_args = 0..=1, default_missing_value = "")]
    pub(super) refused: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_e_mail_address_has_two_sides() {
        for right in ["ann@example.com", "a.b+c@sub.example", "ann@localhost", "zoë@example.com"] {
            assert_eq!(email(right).as_deref(), Ok(right));
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for wrong in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "a@b@c",
            "ann @example.com",
            "ann@example.com\n",
            "ann@\u{202e}moc",
            &long,
        ] {
            assert!(email(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_for_people_is_one_line() {
        assert_eq!(display_name(" Acme & Söhne ").as_deref(), Ok("Acme & Söhne"));
        for wrong in [
            "",
            "  ",
            "a\nb",
            "a\x1bb",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{200b}b",
            "\u{200e}",
            &"a".repeat(201),
        ] {
            assert!(display_name(wrong).is_err(), "{wrong}");
        }
    }
}
