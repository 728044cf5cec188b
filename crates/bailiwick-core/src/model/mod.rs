//! What a resource is made of: its table, its columns, and what clients may send and see.
//!
//! A [`Model`] is a row as the server knows it. It never reaches a client: a [`View`] does (I4). It is never
//! filled from a request: an [`Input`] or a [`Patch`] is, and becomes [`Assignments`] to columns that are
//! declared writable (I3). The derives of `bailiwick-macros` write these impls; all of them can be written by hand.
mod assign;
mod choices;
#[doc(hidden)]
pub mod derive;
mod input;
pub mod json;
mod table;
mod value;
mod view;

pub use self::{
    assign::{Assignments, Reference},
    input::{
        Body, Change, FieldError, FromJson, Input, InputValue, Location, NoInput, ObjectReader, Patch, Ref,
        Text,
    },
    table::{
        ClientWritable, Column, ColumnDef, Direction, FilterOps, Model, Part, ScopeKind, ServerOwned,
        TableDef, Writable, Writer, read_column,
    },
    value::{FieldType, Kind, RowBuf, RowReader, Value, ValueRef},
    view::{View, assert_visible},
};
