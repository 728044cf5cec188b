//! Reads new passwords.
use std::{
    io::{self, IsTerminal, Read},
    sync::Arc,
};

use bailiwick::{
    authn::password::{self, PasswordHasher},
    clock::OsEntropy,
    identity::Username,
    secret::Secret,
};
use zeroize::Zeroize;

use super::{arguments::PasswordSource, failure::Failure};
use crate::{application::hash_cost, config::Settings};

/// Reads a new password for `username`, and checks that it is fit.
pub(super) fn read_new(
    source: &PasswordSource,
    username: &Username,
    settings: &Settings,
) -> Result<Secret<String>, Failure> {
    fit(read(source, username)?, username, settings)
}

/// Reads a new password for `username`.
pub(super) fn read(source: &PasswordSource, username: &Username) -> Result<Secret<String>, Failure> {
    if source.refused.is_some() {
        return Err(Failure::refused(
            "a password is never an argument, which every user of this machine can read",
            "pass it on standard input, with --password-stdin, and take this one for known to others",
        ));
    }
    if source.from_stdin { from_stdin(io::stdin().lock()) } else { from_prompt(username) }
}

/// Checks that `password` may be set for `username`.
pub(super) fn fit(
    password: Secret<String>,
    username: &Username,
    settings: &Settings,
) -> Result<Secret<String>, Failure> {
    let least = settings.passwords.min_length.get() as usize;
    match password::check(password.expose(), username.as_str(), least) {
        Ok(()) => Ok(password),
        Err(error) => Err(Failure::refused(error, "choose another password")),
    }
}

/// The hash of `password`, at the cost that the settings ask for.
pub(super) async fn hash(password: Secret<String>, settings: &Settings) -> Result<Secret<String>, Failure> {
    let hasher = PasswordHasher::new(hash_cost(settings), 1, Arc::new(OsEntropy));
    let hasher =
        hasher.map_err(|error| Failure::refused(error, "correct the argon2 settings in [passwords]"))?;
    hasher
        .hash(password)
        .await
        .map_err(|_| Failure::out_of_reach("the password cannot be hashed", "see that there is memory left"))
}

/// The longest line that can hold a password: 256 characters of at most 4 bytes, and room to be told that it
/// is too long.
const LONGEST_LINE: u64 = 4096;

/// The first line, without its end. What comes after it is an error: half of a password must not be set.
fn from_stdin(input: impl Read) -> Result<Secret<String>, Failure> {
    let mut bytes = Vec::new();
    let read = input.take(LONGEST_LINE + 1).read_to_end(&mut bytes);
    let line = match read {
        Err(error) => Err(format!("standard input cannot be read: {error}")),
        Ok(_) if bytes.len() as u64 > LONGEST_LINE => {
            Err("the password on standard input is too long".to_owned())
        }
        Ok(_) => match str::from_utf8(&bytes) {
            Err(_) => Err("the password on standard input is not UTF-8".to_owned()),
            Ok(text) => {
                let line = text.strip_suffix('\n').unwrap_or(text);
                let line = line.strip_suffix('\r').unwrap_or(line);
                match line {
                    "" => Err("there is no password on standard input".to_owned()),
                    line if line.contains('\n') => {
                        Err("there is more than one line on standard input".to_owned())
                    }
                    line => Ok(Secret::new(line.to_owned())),
                }
            }
        },
    };
    bytes.zeroize();
    line.map_err(|what| Failure::refused(what, "write the password, and nothing else, as one line"))
}

fn from_prompt(username: &Username) -> Result<Secret<String>, Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::refused(
            "there is no terminal to ask for the password",
            "pass it on standard input, with --password-stdin",
        ));
    }
    dialoguer::Password::new()
        .with_prompt(format!("Password for {username}"))
        .with_confirmation("Once more", "The two are not the same; try again")
        .interact()
        .map(Secret::new)
        .map_err(|error| {
            Failure::refused(format!("the password cannot be read: {error}"), "use --password-stdin")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, Failure> {
        from_stdin(bytes).map(|password| password.expose().clone())
    }

    #[test]
    fn the_first_line_is_the_password() {
        assert_eq!(read(b"correct horse\n").unwrap(), "correct horse");
        assert_eq!(read(b"correct horse\r\n").unwrap(), "correct horse");
        assert_eq!(read(b"correct horse").unwrap(), "correct horse");
        assert_eq!(read(b"  spaces stay  \n").unwrap(), "  spaces stay  ");
    }

    #[test]
    fn what_is_not_one_line_is_refused_without_repeating_it() {
        for wrong in [&b""[..], b"\n", b"s3cret\nmore\n", b"s3cret\n\n", b"s3cret\xff", &[b'a'; 5000]] {
            let failure = read(wrong).unwrap_err();
            assert!(!failure.message().contains("s3cret"), "{failure:?}");
        }
    }
}
