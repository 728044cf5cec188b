//! Who runs a command, as the machine knows them.
use std::{env, fs, os::unix::fs::MetadataExt};

use bailiwick::{
    audit::{Act, Actor},
    clock::{Clock, SystemClock},
};

/// What the operator does now, for the audit trail.
pub(super) fn act() -> Act {
    Act::of(actor(), SystemClock::new().now())
}

/// The operator: the user that the command runs as, and who became that user by `sudo`.
pub(super) fn actor() -> Actor {
    let user = user();
    let behind = env::var("SUDO_USER").ok().filter(|name| user.is_some() && is_plain(name));
    let name = match (user, behind) {
        (Some(user), Some(behind)) if user != behind => Some(format!("{user} ({behind})")),
        (user, _) => user,
    };
    Actor::operator(name.as_deref())
}

fn user() -> Option<String> {
    // Its owner is whom the process runs as.
    let uid = fs::metadata("/proc/self").ok()?.uid();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    Some(name_of(uid, &users).unwrap_or_else(|| format!("uid {uid}")))
}

/// The name of a user in a file like `/etc/passwd`.
fn name_of(uid: u32, users: &str) -> Option<String> {
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next().filter(|name| is_plain(name))?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Whether a name can be written anywhere.
fn is_plain(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_has_the_name_that_the_machine_knows() {
        let users = "root:x:0:0:root:/:/bin/sh\nbroken\nann:x:1000:1000:Ann,,,:/srv:/bin/sh\n";
        assert_eq!(name_of(0, users).as_deref(), Some("root"));
        assert_eq!(name_of(1000, users).as_deref(), Some("ann"));
        assert_eq!(name_of(7, users), None);
        assert_eq!(name_of(1, "a\u{1b}b:x:1:1\n"), None);
    }
}
