//! What becomes of a refresh token that is shown: decided once for all databases, in the transaction that holds its
//! family.
use bailiwick_core::{
    clock::Timestamp,
    store::{CredentialDigest, Grant, Refresh},
};

/// A refresh token that is known, and its family.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) grant: Grant,
    /// When the token stops working.
    pub(crate) expires_at: Timestamp,
    pub(crate) used_at: Option<Timestamp>,
    /// When the family stops working.
    pub(crate) ends_at: Timestamp,
    pub(crate) live: Vec<u8>,
    /// The token that was exchanged for the live one.
    pub(crate) parent: Option<Vec<u8>>,
    /// Whether the family was not revoked and its user is active.
    pub(crate) may_come_in: bool,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision<'r> {
    Refuse,
    /// Make the successor the live one.
    Rotate {
        successor: &'r CredentialDigest,
        expires_at: Timestamp,
    },
    /// The live one is the successor with this index.
    Repeat(usize),
    /// End the family.
    End,
}

/// JWT-47: the live token is exchanged; its parent gets the same again for a moment; any other ends the family.
pub(crate) fn decide<'r>(shown: &Shown, refresh: &'r Refresh) -> Decision<'r> {
    // A family that was ended on purpose or by age has no grace at all.
    if !shown.may_come_in || shown.ends_at <= refresh.now {
        return Decision::Refuse;
    }
    let Some(used_at) = shown.used_at else {
        return match refresh.successors.first() {
            Some(successor) if shown.expires_at > refresh.now => Decision::Rotate {
                successor,
                expires_at: refresh.now.saturating_add(refresh.lifetime).min(shown.ends_at),
            },
            _ => Decision::Refuse,
        };
    };
    let is_parent = shown.parent.as_deref() == Some(refresh.digest.as_slice());
    let in_time = refresh.now < used_at.saturating_add(refresh.grace);
    let successor = refresh.successors.iter().position(|successor| shown.live == successor.as_slice());
    match successor {
        Some(successor) if is_parent && in_time => Decision::Repeat(successor),
        _ => Decision::End,
    }
}
