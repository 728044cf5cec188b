//! Tables and columns as values: what the derives build, and what stores, queries and documentation read.
use std::marker::PhantomData;

use super::value::{FieldType, Kind, RowReader};
use crate::{error::DecodeError, id::Id};

/// A row as the server knows it. Derive it.
///
/// # Security
/// A model has no `Serialize`: what a client sees is a [`View`](super::View) of it (I4).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no resource: it has no table",
    note = "add #[derive(Model)] and #[model(table = \"…\", scope = Org)]"
)]
pub trait Model: Sized + Send + Sync + 'static {
    /// The type of the column that identifies a row within its scope.
    type Key: FieldType + Copy + Send;
    /// The table, its columns, and who may write, filter, order and search them.
    const TABLE: &'static TableDef;

    /// Reads a row whose columns stand in the order of [`TABLE`](Self::TABLE).
    ///
    /// # Errors
    /// If a stored value does not fit its declaration.
    fn from_row(row: &dyn RowReader) -> Result<Self, DecodeError>;

    /// The number that grows with every change, if the model keeps one: what its `ETag` is made of.
    fn version(&self) -> Option<i64>;

    /// What identifies the row within its scope.
    fn key(&self) -> Self::Key;
}

/// Reads the column at `index` as a `T`.
///
/// # Errors
/// If the stored value is no `T`.
#[doc(hidden)]
pub fn read_column<T: FieldType>(row: &dyn RowReader, index: usize) -> Result<T, DecodeError> {
    let value = row.read(index, T::KIND)?;
    T::from_value(value).ok_or(DecodeError { column: index, expected: "a value of its declared type" })
}

/// To what the rows of a table belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScopeKind {
    /// To an organisation: its members act on them, as far as the rules allow.
    Org,
    /// To one user: nobody else ever sees them.
    Caller,
}

/// A table.
#[derive(Debug)]
pub struct TableDef {
    /// Its name in SQL.
    pub name: &'static str,
    /// What its rows belong to.
    pub scope: ScopeKind,
    /// Whether a trigger keeps the number of rows of each scope, so that counting is no scan.
    pub counted: bool,
    /// Its columns, in the order of every statement.
    pub columns: &'static [ColumnDef],
}

/// A column.
#[derive(Debug)]
pub struct ColumnDef {
    /// Its name in SQL and in JSON.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it may be null.
    pub nullable: bool,
    /// For an enumeration: the names of its values, by rank.
    pub choices: Option<&'static [&'static str]>,
    /// Its part in the row.
    pub part: Part,
    /// By which comparisons clients may filter on it.
    pub filters: FilterOps,
    /// Whether clients may order by it.
    pub order: bool,
    /// The direction, if a list is ordered by it when the client asks for nothing else.
    pub default_order: Option<Direction>,
    /// Whether `?search=` looks into it.
    pub search: bool,
}

/// The part a column plays, and so who writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Identifies the row within its scope; made by the server.
    Id,
    /// Names the scope; stamped from the authorised scope (I2).
    Tenant,
    /// Who created the row; stamped from the principal. `own()` compares it.
    Owner,
    /// When the row was created; stamped.
    CreatedAt,
    /// When the row was last changed; stamped.
    UpdatedAt,
    /// Who last changed the row; stamped.
    UpdatedBy,
    /// Grows with every change; counted by the store.
    Version,
    /// The server's, and no stamp: the database sets it, by a default, a trigger or a view.
    Managed,
    /// Clients may write it.
    Writable,
}

/// Which way to order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// By which comparisons a column may be filtered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FilterOps {
    /// `?column=value`
    pub eq: bool,
    /// `?column__gte=value`
    pub gte: bool,
    /// `?column__lte=value`
    pub lte: bool,
    /// `?column__in=value,value`
    pub is_in: bool,
}

impl FilterOps {
    /// Not at all.
    pub const NONE: Self = Self { eq: false, gte: false, lte: false, is_in: false };

    /// Whether any comparison is allowed.
    pub const fn any(self) -> bool {
        self.eq || self.gte || self.lte || self.is_in
    }
}

impl TableDef {
    /// The position of the column that plays `part`.
    pub fn position(&self, part: Part) -> Option<usize> {
        self.columns.iter().position(|column| column.part == part)
    }

    /// The position of the column that is called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// Marks columns that clients may write.
pub enum Writable {}
/// Marks columns that only the server writes.
pub enum ServerOwned {}

/// Who writes a column: [`Writable`] or [`ServerOwned`].
pub trait Writer: sealed::Sealed {
    /// Whether clients may.
    const CLIENTS: bool;
}

impl Writer for Writable {
    const CLIENTS: bool = true;
}

impl Writer for ServerOwned {
    const CLIENTS: bool = false;
}

mod sealed {
    /// Nobody adds a third.
    pub trait Sealed {}
    impl Sealed for super::Writable {}
    impl Sealed for super::ServerOwned {}
}

/// What a column must be for an input to assign it (I3).
#[diagnostic::on_unimplemented(
    message = "an input cannot set this column: it belongs to the server",
    label = "the server sets this column itself",
    note = "id, tenant, owner, time stamps and `managed` columns are set in code only (ACL-13); take the field out of the input"
)]
pub trait ClientWritable: Writer {}
impl ClientWritable for Writable {}

/// What a column is a column of, without owning any of it.
type Of<M, T, W> = PhantomData<fn() -> (M, T, W)>;

/// A column of `M` that holds a `T` and may be written by `W`: [`Writable`] or [`ServerOwned`].
#[derive(Debug)]
pub struct Column<M, T, W> {
    position: usize,
    of: Of<M, T, W>,
}

impl<M, T, W> Clone for Column<M, T, W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M, T, W> Copy for Column<M, T, W> {}

impl<M: Model, T: FieldType, W: Writer> Column<M, T, W> {
    /// The column at `position` of the model's table. The derive of `Model` writes these.
    ///
    /// # Panics
    /// If the table declares no such column, or declares it otherwise: nobody makes a column writable by saying so
    /// elsewhere (I3). In a constant, as the derive writes it, that is a compile error.
    pub const fn new(position: usize) -> Self {
        assert!(position < M::TABLE.columns.len(), "the table has no column at this position");
        let column = &M::TABLE.columns[position];
        let writable = matches!(column.part, Part::Writable);
        assert!(writable == W::CLIENTS, "the table declares that another writes this column");
        assert!(column.kind as u8 == T::KIND as u8, "the table declares another type for this column");
        assert!(
            column.nullable == T::NULLABLE,
            "the table declares otherwise whether this column may be null"
        );
        Self { position, of: PhantomData }
    }
}

impl<M, T, W> Column<M, T, W> {
    /// The column's position in its table.
    pub const fn position(self) -> usize {
        self.position
    }
}

/// A key that is an [`Id`] of anything can be written in a URL.
impl<M> From<uuid::Uuid> for Id<M> {
    fn from(uuid: uuid::Uuid) -> Self {
        Self::from_uuid(uuid)
    }
}
