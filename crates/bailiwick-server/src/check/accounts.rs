//! Findings about passwords, sessions and mail.
use std::time::Duration;

use super::{Found, Subject};
use crate::{config::MailTransport, mail};

/// As long as NIST lets anybody stay logged in without a second factor (SES-16).
const LONGEST_SESSION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) fn endless_sessions(subject: &Subject<'_>, found: &mut Found) {
    let (idle, absolute) =
        (subject.settings.sessions.idle.as_duration(), subject.settings.sessions.absolute.as_duration());
    if idle > absolute {
        found.warning(
            "sessions.idle",
            "it is longer than sessions.absolute, so no session ever ends for being idle",
            "make it shorter than sessions.absolute",
        );
    }
    if absolute > LONGEST_SESSION {
        found.warning(
            "sessions.absolute",
            "a browser stays logged in for more than 30 days",
            "make it 30d or less",
        );
    }
}

pub(super) fn mail_without_sender(subject: &Subject<'_>, found: &mut Found) {
    if mail::sender(&subject.settings.mail).is_none() {
        found.error(
            "mail.from",
            "mail cannot be sent without an address that it comes from",
            "set it to one, such as \"Bailiwick <noreply@example.com>\"",
        );
    }
}

pub(super) fn mail_that_may_be_read(subject: &Subject<'_>, found: &mut Found) {
    let MailTransport::Smtp(url) = &subject.settings.mail.transport else { return };
    if mail::is_opportunistic(url.expose()) {
        found.error_in_production(
            "mail.transport",
            "whoever is on the way to the mail server can have mail sent unencrypted, and read what lets people in",
            "use smtps://, or leave `tls=` out, which demands it",
        );
    }
}

pub(super) fn mail_in_the_log(subject: &Subject<'_>, found: &mut Found) {
    if found.is_production && matches!(subject.settings.mail.transport, MailTransport::Console) {
        found.warning(
            "mail.transport",
            "mail goes to standard error: nobody gets it, and whoever reads the log of the service sets passwords by the \
             tokens in it",
            "set it to the URL of a mail server, or to `file:` and a directory that only its owner reads",
        );
    }
}

pub(super) fn short_passwords(subject: &Subject<'_>, found: &mut Found) {
    let length = subject.settings.passwords.min_length.get();
    if found.is_production && length < 15 {
        found.error(
            "passwords.min_length",
            format!(
                "{length} characters are too few where a password is the only factor (NIST SP 800-63B-4)"
            ),
            "remove the setting, or set it to at least 15",
        );
    }
}

pub(super) fn weak_hash(subject: &Subject<'_>, found: &mut Found) {
    let passwords = &subject.settings.passwords;
    // PWD-01: the rows of ASVS 5.0 for argon2id.
    let least = match passwords.argon2_iterations.get() {
        1 => 47_104,
        2 => 19_456,
        _ => 12_288,
    };
    if passwords.argon2_memory_kib.get() < least {
        found.error_in_production(
            "passwords.argon2_memory_kib",
            format!("with so few iterations a hash below {least} KiB is too cheap to guess (ASVS 5.0)"),
            format!("set it to at least {least}"),
        );
    }
}

pub(super) fn dear_hash(subject: &Subject<'_>, found: &mut Found) {
    let memory = subject.settings.passwords.argon2_memory_kib.get();
    if memory > 262_144 {
        found.warning(
            "passwords.argon2_memory_kib",
            format!("each log-in takes {} MiB, so a few at once can exhaust the memory", memory / 1024),
            "lower it, for example to the default of 19456",
        );
    }
}

pub(super) fn endless_tokens(subject: &Subject<'_>, found: &mut Found) {
    let lifetime = subject.settings.tokens.default_lifetime;
    if lifetime.as_duration() > Duration::from_secs(366 * 86_400) {
        found.warning(
            "tokens.default_lifetime",
            format!("who asks for no end gets a token for {lifetime}, which nobody will remember"),
            "lower it, for example to the default of `30d`; who needs more says so with expires_in_days",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::Case;

    pub(in crate::check) const CASES: &[Case] = &[
        (
            "tokens.default_lifetime = '400d'",
            "warning TOKEN-001 tokens.default_lifetime",
            "tokens.default_lifetime = '365d'",
        ),
        ("sessions.idle = '13h'", "warning SES-001 sessions.idle", "sessions.idle = '12h'"),
        ("sessions.absolute = '31d'", "warning SES-001 sessions.absolute", "sessions.absolute = '30d'"),
        ("passwords.min_length = 14", "error PWD-001 passwords.min_length", "passwords.min_length = 15"),
        ("passwords.argon2_memory_kib = 19455", "error ARGON-001 passwords.argon2_memory_kib", ""),
        (
            "passwords.argon2_memory_kib = 47103\npasswords.argon2_iterations = 1",
            "error ARGON-001 passwords.argon2_memory_kib",
            "passwords.argon2_memory_kib = 47104\npasswords.argon2_iterations = 1",
        ),
        (
            "passwords.argon2_memory_kib = 12287\npasswords.argon2_iterations = 3",
            "error ARGON-001 passwords.argon2_memory_kib",
            "passwords.argon2_memory_kib = 12288\npasswords.argon2_iterations = 3",
        ),
        (
            "passwords.argon2_memory_kib = 262145",
            "warning ARGON-002 passwords.argon2_memory_kib",
            "passwords.argon2_memory_kib = 262144",
        ),
        (
            "mail.transport = 'smtps://mail.example.com'",
            "error MAIL-001 mail.from",
            "mail.transport = 'file:mail'",
        ),
        (
            "mail.from = 'nobody'",
            "error MAIL-001 mail.from",
            "mail.from = 'a@b.example'\nmail.transport = 'smtp://u:p@mail.example.com:587'",
        ),
        (
            "mail.from = 'a@b.example'\nmail.transport = 'smtp://mail.example.com?tls=opportunistic'",
            "error MAIL-002 mail.transport",
            "mail.from = 'a@b.example'\nmail.transport = 'smtp://localhost?tls=opportunistic'",
        ),
        (
            "mail.transport = 'console'",
            "warning MAIL-003 mail.transport",
            "mail.transport = 'console'\nserver.environment = 'development'",
        ),
    ];
}
