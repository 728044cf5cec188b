//! The text of credentials: a prefix, 30 random characters, 6 of checksum (TOK-20 to TOK-24).
use std::time::Duration;

use bailiwick_core::{
    clock::{Clock, Entropy},
    id::Id,
    identity::{Scopes, UserId},
    secret::Secret,
    store::{CredentialDigest, NewToken},
};
use sha2::{Digest, Sha256};

/// What a text is the credential of. It tells by its prefix, so that scanners find leaked ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenKind {
    /// A personal API token.
    Personal,
    /// An API token that an organisation owns.
    Organisation,
    /// A session: what its cookie holds.
    Session,
    /// A refresh token, which is exchanged for the next pair of tokens.
    Refresh,
    /// What replaces a lost password, once.
    PasswordReset,
}

impl TokenKind {
    /// What every text of this kind begins with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Personal => "bw_pat_",
            Self::Organisation => "bw_org_",
            Self::Session => "bw_ses_",
            Self::Refresh => "bw_rt_",
            Self::PasswordReset => "bw_rst_",
        }
    }
}

const RANDOM_CHARS: usize = 30;
const CHECKSUM_CHARS: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The text of a credential, which only its owner keeps: 178 bits of chance.
#[derive(Clone, Debug)]
pub struct TokenText {
    kind: TokenKind,
    text: Secret<String>,
}

impl TokenText {
    /// A new one.
    pub fn generate(kind: TokenKind, entropy: &dyn Entropy) -> Self {
        let mut random = String::with_capacity(RANDOM_CHARS);
        let mut bytes = [0; 48];
        while random.len() < RANDOM_CHARS {
            entropy.fill(&mut bytes);
            // 248 = 4 × 62: what is above would make some characters likelier than others (TOK-23).
            let fair = bytes
                .iter()
                .filter(|byte| **byte < 248)
                .map(|byte| char::from(BASE62[usize::from(byte % 62)]));
            random.extend(fair.take(RANDOM_CHARS - random.len()));
        }
        let checksum = checksum(&random);
        let mut text = String::with_capacity(kind.prefix().len() + RANDOM_CHARS + CHECKSUM_CHARS);
        text.push_str(kind.prefix());
        text.push_str(&random);
        text.push_str(std::str::from_utf8(&checksum).expect("base 62 is ASCII"));
        Self { kind, text: Secret::new(text) }
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The part that may be shown later: the prefix and the last four characters (TOK-25).
    pub fn display(&self) -> String {
        let text = self.expose();
        format!("{}…{}", self.kind.prefix(), &text[text.len() - 4..])
    }

    /// What the store keeps.
    pub fn digest(&self) -> CredentialDigest {
        Sha256::digest(self.expose()).into()
    }
}

/// A new API token of `owner` that lives for `lifetime` from now: its text, and what a store is to keep of it. It has no name
/// and no scopes, belongs to no organisation, and was asked for without a password; whoever makes one of another sort says
/// so: `NewToken { name: Some(name), ..token }`.
pub fn new_api_token(
    kind: TokenKind,
    owner: UserId,
    lifetime: Duration,
    max_per_user: u32,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> (TokenText, NewToken) {
    let text = TokenText::generate(kind, entropy);
    let now = clock.now();
    let token = NewToken {
        id: Id::new(clock, entropy),
        digest: text.digest(),
        user_id: owner,
        of_org: None,
        name: None,
        display: text.display(),
        scopes: Scopes::ALL,
        created_at: now,
        expires_at: now.saturating_add(lifetime),
        max_per_user,
        password_hash: None,
    };
    (text, token)
}

/// The digest of `text` if it can be one of this kind at all: right prefix, length, characters and checksum. A typo is
/// refused here, before the store is asked (TOK-22).
pub fn digest_if_plausible(kind: TokenKind, text: &str) -> Option<CredentialDigest> {
    let rest = text.strip_prefix(kind.prefix())?;
    if rest.len() != RANDOM_CHARS + CHECKSUM_CHARS || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let (random, sum) = rest.split_at(RANDOM_CHARS);
    (checksum(random) == sum.as_bytes()).then(|| Sha256::digest(text).into())
}

/// The same for an API token, whoever owns it.
pub fn digest_if_plausible_api_token(text: &str) -> Option<CredentialDigest> {
    [TokenKind::Personal, TokenKind::Organisation]
        .into_iter()
        .find_map(|kind| digest_if_plausible(kind, text))
}

/// CRC-32 of the random characters, in base 62, padded with `0` (TOK-20).
fn checksum(random: &str) -> [u8; CHECKSUM_CHARS] {
    let mut rest = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; CHECKSUM_CHARS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use bailiwick_core::clock::OsEntropy;

    use super::*;

    // TOK-20
    #[test]
    fn the_checksum_is_the_one_others_compute() {
        assert_eq!(&checksum("zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"), b"0mLq17");
        assert_eq!(&checksum(&"A".repeat(30)), b"0uCPlr");
    }

    // TOK-22
    #[test]
    fn a_token_with_one_character_changed_is_implausible() {
        let token = TokenText::generate(TokenKind::Personal, &OsEntropy);
        let text = token.expose();
        assert_eq!(digest_if_plausible(TokenKind::Personal, text), Some(token.digest()));
        for at in TokenKind::Personal.prefix().len()..text.len() {
            let other = if text.as_bytes()[at] == b'x' { "y" } else { "x" };
            let typo = format!("{}{other}{}", &text[..at], &text[at + 1..]);
            assert_eq!(digest_if_plausible(TokenKind::Personal, &typo), None, "{typo}");
        }
        for wrong in
            ["", "bw_pat_", &text[..text.len() - 1], &format!("{text}a"), &text.replace("pat", "org")]
        {
            assert_eq!(digest_if_plausible(TokenKind::Personal, wrong), None, "{wrong}");
        }
    }

    // TOK-23: every one of the 62 characters occurs about as often as any other.
    #[test]
    fn the_characters_are_fair() {
        let mut counts = [0_u32; 128];
        for _ in 0..2000 {
            for byte in TokenText::generate(TokenKind::Personal, &OsEntropy).expose()
                [TokenKind::Personal.prefix().len()..][..RANDOM_CHARS]
                .bytes()
            {
                counts[usize::from(byte)] += 1;
            }
        }
        let expected = 2000.0 * 30.0 / 62.0;
        for byte in BASE62 {
            let off = (f64::from(counts[usize::from(*byte)]) - expected).abs() / expected;
            assert!(off < 0.25, "{} is off by {off}", char::from(*byte));
        }
    }

    #[test]
    fn a_token_prints_as_redacted() {
        assert!(!format!("{:?}", TokenText::generate(TokenKind::Personal, &OsEntropy)).contains("bw_pat_"));
    }
}
