//! Signing keys, encrypted, and what state each is in.
use super::Answer;
use crate::{
    audit::{Act, SecurityEvent, SecurityEventKind, Target},
    clock::Timestamp,
    secret::Secret,
};

/// Keeps rings of keys, one for each purpose.
///
/// A ring changes as a whole: who changes it says from which version, and of several who do so at once one wins and
/// the others look again. What may become of a key is not decided here, but that there is at most one that signs is
/// held up by an index too.
pub trait KeyStore {
    /// The version of a ring, which every change of it raises: one cheap look-up.
    fn key_ring_version(&self, purpose: KeyPurpose) -> Answer<'_, u64>;

    /// A ring as it stands, the oldest key first.
    fn key_ring(&self, purpose: KeyPurpose) -> Answer<'_, KeyRingRecord>;

    /// Puts keys into a ring, in this order: each is added, or replaces the one with its `kid`. Happens whole, or, if
    /// the ring has another version than `from` by now, not at all. Answers whether it happened.
    fn change_keys(&self, purpose: KeyPurpose, from: u64, keys: Vec<KeyRecord>, act: Act)
    -> Answer<'_, bool>;
}

/// What the keys of a ring sign. A key of one purpose is good for nothing else (KEY-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyPurpose {
    /// Access tokens.
    AccessTokens,
}

impl KeyPurpose {
    /// The purpose's name in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessTokens => "access",
        }
    }
}

/// A ring at one moment.
#[derive(Clone, Debug, Default)]
pub struct KeyRingRecord {
    /// Raised by every change; zero if there never was a key.
    pub version: u64,
    /// Its keys, the oldest first.
    pub keys: Vec<KeyRecord>,
}

/// A key, as it is stored.
#[derive(Clone, Debug)]
pub struct KeyRecord {
    /// The name by which tokens say what signed them; it is no secret.
    pub kid: String,
    /// What it signs with, such as `EdDSA`.
    pub algorithm: String,
    /// What it may be used for now.
    pub state: KeyState,
    /// The id of the master key under which it is encrypted (KEY-12).
    pub sealed_by: String,
    /// The private key, encrypted; empty once the key has ended.
    pub sealed: Secret<Vec<u8>>,
    /// When it was made, and so published.
    pub created_at: Timestamp,
    /// When a server is to let it sign, if that was asked for.
    pub promote_at: Option<Timestamp>,
    /// When it began to sign, for the last time.
    pub activated_at: Option<Timestamp>,
    /// When it stopped signing.
    pub retiring_at: Option<Timestamp>,
    /// When it stops verifying, or stopped.
    pub ends_at: Option<Timestamp>,
}

impl KeyRingRecord {
    /// What is recorded once `keys` were put into this ring (KEY-10).
    pub fn events(&self, keys: &[KeyRecord]) -> Vec<SecurityEvent> {
        let event = |kind, key: &KeyRecord| SecurityEvent::new(kind).on(Target::key(&key.kid));
        let mut events = Vec::new();
        for key in keys {
            let before = self.keys.iter().find(|before| before.kid == key.kid);
            if before.is_none() {
                events.push(event(SecurityEventKind::KeyGenerated, key));
            }
            let was = before.map_or(KeyState::Next, |before| before.state);
            events.extend(
                key.state.entered().filter(|_| key.state != was).into_iter().map(|kind| event(kind, key)),
            );
            if before.is_some_and(|before| before.sealed_by != key.sealed_by) {
                events.push(event(SecurityEventKind::KeyReencrypted, key));
            }
        }
        events
    }
}

/// What a key may be used for (KEY-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// It is published and will sign.
    Next,
    /// It signs.
    Active,
    /// It signs no more; what it signed is good until it expires.
    Retiring,
    /// It is over, after its time.
    Retired,
    /// It was ended, and everything that it signed with it.
    Revoked,
}

impl KeyState {
    /// All states, in the order of a key's life.
    pub const ALL: [Self; 5] = [Self::Next, Self::Active, Self::Retiring, Self::Retired, Self::Revoked];

    /// The state's name in JSON, SQL and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retiring => "retiring",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
        }
    }

    /// The state that is called so.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// What has happened to a key that is in this state now and was not before.
    const fn entered(self) -> Option<SecurityEventKind> {
        match self {
            Self::Next => None,
            Self::Active => Some(SecurityEventKind::KeyPromoted),
            Self::Retiring => Some(SecurityEventKind::KeyRetiring),
            Self::Retired => Some(SecurityEventKind::KeyRetired),
            Self::Revoked => Some(SecurityEventKind::KeyRevoked),
        }
    }

    /// Whether what the key signed is good, as far as the key is concerned.
    pub const fn verifies(self) -> bool {
        matches!(self, Self::Next | Self::Active | Self::Retiring)
    }
}
