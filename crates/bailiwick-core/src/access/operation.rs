//! The operations on a resource.
use std::fmt;

use crate::model::Model;

/// An operation, as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Read a page of rows.
    List,
    /// Read one row.
    Retrieve,
    /// Create a row.
    Create,
    /// Change a row.
    Update,
    /// Delete a row.
    Delete,
}

impl OperationKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::List, Self::Retrieve, Self::Create, Self::Update, Self::Delete];

    /// The operation's name in logs and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Retrieve => "retrieve",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// An operation, as a type: a proof for one is none for another.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no operation on a resource",
    note = "the operations are List, Retrieve, Create, Update and Delete"
)]
pub trait Operation: Send + Sync + 'static {
    /// The operation as a value.
    const KIND: OperationKind;
}

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident),+) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}

            impl Operation for $name {
                const KIND: OperationKind = OperationKind::$name;
            }
        )+
    };
}

operations! {
    /// To read a page of rows.
    List,
    /// To read one row.
    Retrieve,
    /// To create a row.
    Create,
    /// To change a row.
    Update,
    /// To delete a row.
    Delete
}

/// To do one operation on the rows of one table: what rules give or refuse. It prints as `tasks.update`, which is how
/// the access log names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission {
    table: &'static str,
    operation: OperationKind,
}

impl Permission {
    /// To do `Op` on rows of `R`.
    pub const fn of<R: Model, Op: Operation>() -> Self {
        Self { table: R::TABLE.name, operation: Op::KIND }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.table, self.operation.as_str())
    }
}
