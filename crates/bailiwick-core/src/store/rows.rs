//! Rows of resources.
use uuid::Uuid;

use super::Answer;
use crate::{
    error::DecodeError,
    model::{RowBuf, RowReader, TableDef},
    query::Plan,
};

/// Takes the rows of an answer, one by one; their columns stand in the order of the table.
pub type EachRow<'a> = dyn FnMut(&dyn RowReader) -> Result<(), DecodeError> + Send + 'a;

/// Runs plans. There is no other way to the rows of a resource.
pub trait RowStore {
    /// Runs a plan that reads, and gives each row to `each`. For a list, answers how many rows it has in all.
    ///
    /// # Errors
    /// If the store fails, or `each` does.
    fn read<'a>(&'a self, plan: &'a Plan, each: &'a mut EachRow<'_>) -> Answer<'a, u64>;

    /// Runs a plan that writes, in a transaction of its own: when this answers, the change is on disk.
    ///
    /// # Cancel safety
    /// If the future is dropped, the change happens whole or not at all.
    ///
    /// # Errors
    /// If the store fails; then nothing has changed, unless the connection broke during the commit.
    fn write(&self, plan: Plan) -> Answer<'_, Written>;

    /// Which of `keys` some row of `table` has in the column at position `column`, whoever the row belongs to. At most
    /// [`MAX_NAMED`] keys at a time.
    ///
    /// It is for what keeps things beside the rows, such as files, and takes away those that no row names. It is the one
    /// question about rows that needs no plan: who asks it acts for nobody, and learns nothing but which of the keys they
    /// hold are in use.
    ///
    /// # Errors
    /// If the store fails.
    fn named<'a>(
        &'a self,
        table: &'static TableDef,
        column: usize,
        keys: &'a [Uuid],
    ) -> Answer<'a, Vec<Uuid>>;
}

/// How many keys [`RowStore::named`] takes at a time.
pub const MAX_NAMED: usize = 128;

/// What came of a plan that writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Written {
    /// The row as it is now.
    Row(RowBuf),
    /// The row is gone.
    Deleted,
    /// There is no such row that the principal may know of.
    Missing,
    /// The principal may know of the row, but not do this to it.
    Forbidden,
    /// The row is another version than was expected.
    Stale,
    /// Another row has the same value where none may.
    Conflict,
    /// Rows that are pointed at are not in scope: the positions of the references.
    Dangling(Vec<usize>),
    /// A quota has no room for the row: the position of the first.
    OverQuota(usize),
}

impl Written {
    /// Whether anything was written.
    pub const fn is_done(&self) -> bool {
        matches!(self, Self::Row(_) | Self::Deleted)
    }
}
