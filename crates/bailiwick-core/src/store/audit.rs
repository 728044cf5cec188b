//! The audit trail.
use super::Answer;
use crate::audit::{Act, Chain, Entry, Head, SecurityEvent};

/// Keeps the audit trail. What a change tells, the method that makes it appends in the same transaction; there is no way
/// to take an entry back.
pub trait AuditStore {
    /// Appends what changed nothing, such as a log-in that failed, all of it in one transaction.
    ///
    /// # Errors
    /// If the store fails: nothing was appended.
    fn append_events(&self, events: Vec<SecurityEvent>, act: Act) -> Answer<'_, ()>;

    /// Where each chain ends that has an entry, in the order of their ids.
    fn audit_heads(&self) -> Answer<'_, Vec<Head>>;

    /// Where a chain ends.
    fn audit_head(&self, chain: Chain) -> Answer<'_, Head>;

    /// The entries of a chain behind the sequence `after`, the oldest first, at most `most` of them.
    fn audit_entries(&self, chain: Chain, after: u64, most: u32) -> Answer<'_, Vec<Entry>>;
}
