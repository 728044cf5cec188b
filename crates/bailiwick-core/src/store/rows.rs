//! Rows of resources.
use super::Answer;
use crate::{
    error::DecodeError,
    model::{RowBuf, RowReader},
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
}

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
}
