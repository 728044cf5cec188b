//! Identifiers: UUIDv7, typed by what they identify.
use std::{cmp::Ordering, fmt, hash, marker::PhantomData, str::FromStr};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::clock::{Clock, Entropy};

/// The identifier of one `M`: a UUIDv7, written in lower-case hyphenated form.
///
/// Ids of different things do not mix: an `Id<Task>` is no `Id<User>`. A UUIDv7 tells when it was made, and is
/// no secret (SES-11, ACL-06).
pub struct Id<M> {
    uuid: Uuid,
    of: PhantomData<fn() -> M>,
}

impl<M> Id<M> {
    /// A new id, stamped with the clock's time.
    pub fn new(clock: &dyn Clock, entropy: &dyn Entropy) -> Self {
        let mut random = [0; 10];
        entropy.fill_public(&mut random);
        let millis = u64::try_from(clock.now().as_micros() / 1000).unwrap_or(0);
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The id that `uuid` spells.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self { uuid, of: PhantomData }
    }

    /// The bare UUID.
    pub const fn as_uuid(&self) -> Uuid {
        self.uuid
    }
}

/// The text is no id in lower-case hyphenated form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is a UUID in lower-case hyphenated form")]
pub struct InvalidId;

impl<M> FromStr for Id<M> {
    type Err = InvalidId;

    /// Accepts the canonical form only, so that one thing has one URL.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        parse_uuid(text).map(Self::from_uuid).ok_or(InvalidId)
    }
}

/// Reads the canonical form: 36 characters, lower case, hyphens in place.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 36 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    Uuid::try_parse(text).ok()
}

impl<M> fmt::Display for Id<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uuid.as_hyphenated().fmt(f)
    }
}

impl<M> fmt::Debug for Id<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<M> Clone for Id<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M> Copy for Id<M> {}

impl<M> PartialEq for Id<M> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}

impl<M> Eq for Id<M> {}

impl<M> PartialOrd for Id<M> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<M> Ord for Id<M> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.uuid.cmp(&other.uuid)
    }
}

impl<M> hash::Hash for Id<M> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<M> Serialize for Id<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = Uuid::encode_buffer();
        serializer.serialize_str(self.uuid.as_hyphenated().encode_lower(&mut buffer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{OsEntropy, SystemClock};

    enum Thing {}

    #[test]
    fn a_new_id_is_a_version_7_uuid_that_reads_back() {
        let id = Id::<Thing>::new(&SystemClock::new(), &OsEntropy);
        assert_eq!(id.as_uuid().get_version_num(), 7);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        let canonical = "0192f0c1-2345-7abc-8def-0123456789ab";
        assert!(canonical.parse::<Id<Thing>>().is_ok());
        for wrong in [
            "",
            "1",
            "0192F0C1-2345-7ABC-8DEF-0123456789AB",
            "0192f0c123457abc8def0123456789ab",
            "{0192f0c1-2345-7abc-8def-0123456789ab}",
            "urn:uuid:0192f0c1-2345-7abc-8def-0123456789ab",
            "0192f0c1-2345-7abc-8def-0123456789ab ",
            "0192f0c1-2345-7abc-8def-0123456789a\u{e9}",
        ] {
            assert_eq!(wrong.parse::<Id<Thing>>(), Err(InvalidId), "{wrong}");
        }
    }
}
