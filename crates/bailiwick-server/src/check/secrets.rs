//! Findings about keys, and the files that they are in.
use super::{Found, Subject, others_may_read};
use crate::config::{self, Source};

pub(super) fn missing_key(subject: &Subject<'_>, found: &mut Found) {
    if found.is_production && subject.settings.secrets.master_key.is_none() {
        found.error(
            "secrets.master_key",
            "there is no master key, so nothing can be encrypted or sealed",
            config::HOW_TO_MAKE_A_KEY,
        );
    }
}

pub(super) fn weak_keys(subject: &Subject<'_>, found: &mut Found) {
    let secrets = &subject.settings.secrets;
    let current = secrets.master_key.iter().map(|key| ("secrets.master_key", key));
    let former = secrets.master_key_fallbacks.iter().map(|key| ("secrets.master_key_fallbacks", key));
    for (setting, key) in current.chain(former) {
        if let Some(weakness) = key.weakness() {
            found.error(
                setting,
                format!("a key can be guessed: {weakness}"),
                "replace it by 32 random bytes; `openssl rand -hex 32` makes some",
            );
        }
    }
}

pub(super) fn exposed_secret_files(subject: &Subject<'_>, found: &mut Found) {
    for effective in &subject.loaded.effective {
        if let Source::SecretFile(path) = &effective.source
            && others_may_read(path)
        {
            found.error_in_production(
                effective.path.clone(),
                format!("every user of this machine can read or change {}", path.display()),
                format!("chmod o= {}", path.display()),
            );
        }
    }
}

pub(super) fn key_among_fallbacks(subject: &Subject<'_>, found: &mut Found) {
    let secrets = &subject.settings.secrets;
    if secrets.master_key.as_ref().is_some_and(|key| secrets.master_key_fallbacks.contains(key)) {
        found.warning(
            "secrets.master_key_fallbacks",
            "the master key is also among the former ones, so it has not been replaced",
            "give secrets.master_key a fresh key, or take it out of the former ones",
        );
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::tests::Case;

    pub(in crate::check) const CASES: &[Case] = &[
        ("secrets.master_key = ''", "error KEY-001 secrets.master_key", ""),
        (
            "secrets.master_key = '0000000000000000000000000000000000000000000000000000000000000000'",
            "error KEY-002 secrets.master_key",
            "",
        ),
        (
            "secrets.master_key_fallbacks = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=']",
            "error KEY-002 secrets.master_key_fallbacks",
            "",
        ),
        (
            "secrets.master_key_fallbacks = ['8f1c04e2b7a95d3360ef4a1b92c7d85e0f6b3a49c1d27e8855aa3c96fe10b472']",
            "warning KEY-005 secrets.master_key_fallbacks",
            "",
        ),
    ];
}
