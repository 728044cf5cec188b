//! Why a store could not do what it was asked.
use std::error::Error;

/// A failure of the store itself, never of the request: the client learns only that it may try again, or that
/// something is wrong here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store cannot be reached, is locked, or answers too late. Trying again may help.
    #[error("the store is out of reach")]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
    /// The disk is full or the file is read-only. Trying again helps only after an operator acted.
    #[error("the store cannot write")]
    NotWritable(#[source] Box<dyn Error + Send + Sync>),
    /// A stored value does not fit its declaration.
    #[error("a stored value cannot be read")]
    Corrupt(#[from] DecodeError),
    /// The store refused a statement: a defect of the program or of the schema.
    #[error("the store refused a statement")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
}

/// A stored value does not fit the type that the model declares for its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("column {column} does not hold {expected}")]
pub struct DecodeError {
    /// The position of the column in the statement.
    pub column: usize,
    /// What the model declares.
    pub expected: &'static str,
}
