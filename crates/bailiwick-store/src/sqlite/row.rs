//! Values in and out of SQLite.
use bailiwick_core::{
    clock::Timestamp,
    error::DecodeError,
    id::Id,
    model::{Kind, RowBuf, RowReader, TableDef, ValueRef},
};
use rusqlite::{
    CachedStatement, Connection, Row, Rows, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef as Stored},
};
use uuid::Uuid;

use crate::sql::Statement;

/// A value as SQLite stores it: a UUID as 16 bytes, a time as microseconds since the epoch.
struct Bound<'a>(&'a ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Null => Stored::Null,
            ValueRef::Uuid(uuid) => Stored::Blob(uuid.as_bytes()),
            ValueRef::Text(text) => Stored::Text(text.as_bytes()),
            ValueRef::Integer(integer) => Stored::Integer(*integer),
            ValueRef::Bool(bool) => Stored::Integer((*bool).into()),
            ValueRef::Timestamp(time) => Stored::Integer(time.as_micros()),
        }))
    }
}

/// Prepares a statement, or takes it from the connection's cache, and binds its values.
pub(super) fn bind<'c>(
    connection: &'c Connection,
    statement: &Statement<'_>,
) -> rusqlite::Result<CachedStatement<'c>> {
    let mut prepared = connection.prepare_cached(&statement.text)?;
    for (bind, index) in statement.binds.iter().zip(1_usize..) {
        prepared.raw_bind_parameter(index, Bound(bind))?;
    }
    Ok(prepared)
}

/// A row of an answer.
pub(super) struct SqliteRow<'r, 's>(pub(super) &'r Row<'s>);

impl RowReader for SqliteRow<'_, '_> {
    fn read(&self, index: usize, kind: Kind) -> Result<ValueRef<'_>, DecodeError> {
        let wrong = |expected| DecodeError { column: index, expected };
        let stored = self.0.get_ref(index).map_err(|_| wrong("a value"))?;
        match (kind, stored) {
            (_, Stored::Null) => Ok(ValueRef::Null),
            (Kind::Uuid, Stored::Blob(bytes)) => {
                Uuid::from_slice(bytes).map(ValueRef::Uuid).map_err(|_| wrong("a UUID of 16 bytes"))
            }
            (Kind::Text, Stored::Text(text)) => {
                std::str::from_utf8(text).map(ValueRef::Text).map_err(|_| wrong("text in UTF-8"))
            }
            (Kind::Integer, Stored::Integer(integer)) => Ok(ValueRef::Integer(integer)),
            (Kind::Bool, Stored::Integer(integer @ (0 | 1))) => Ok(ValueRef::Bool(integer == 1)),
            (Kind::Timestamp, Stored::Integer(micros)) => {
                Ok(ValueRef::Timestamp(Timestamp::from_micros(micros)))
            }
            (Kind::Uuid, _) => Err(wrong("a UUID")),
            (Kind::Text, _) => Err(wrong("text")),
            (Kind::Integer, _) => Err(wrong("an integer")),
            (Kind::Bool, _) => Err(wrong("true or false")),
            (Kind::Timestamp, _) => Err(wrong("a time")),
        }
    }
}

impl SqliteRow<'_, '_> {
    /// The row's own copy of its values.
    pub(super) fn to_buf(&self, table: &TableDef) -> Result<RowBuf, DecodeError> {
        let columns = table.columns.iter().enumerate();
        columns
            .map(|(index, column)| Ok(self.read(index, column.kind)?.to_value(column.kind)))
            .collect::<Result<_, _>>()
            .map(RowBuf)
    }
}

/// Runs a statement that answers with at most one row to its end: its constraints are checked there.
pub(super) fn only<T, E: From<rusqlite::Error>>(
    mut rows: Rows<'_>,
    read: impl FnOnce(&Row<'_>) -> Result<T, E>,
) -> Result<Option<T>, E> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let read = read(row)?;
    while rows.next()?.is_some() {}
    Ok(Some(read))
}

/// A UUID in a column of an identity table.
pub(super) struct Key(pub(super) Uuid);

impl Key {
    pub(super) fn id<M>(&self) -> Id<M> {
        Id::from_uuid(self.0)
    }
}

impl<M> From<Id<M>> for Key {
    fn from(id: Id<M>) -> Self {
        Self(id.as_uuid())
    }
}

impl ToSql for Key {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(Stored::Blob(self.0.as_bytes())))
    }
}

impl FromSql for Key {
    fn column_result(value: Stored<'_>) -> FromSqlResult<Self> {
        Uuid::from_slice(value.as_blob()?).map(Self).map_err(FromSqlError::other)
    }
}

/// A time in a column of an identity table.
pub(super) struct Moment(pub(super) Timestamp);

impl ToSql for Moment {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(Stored::Integer(self.0.as_micros())))
    }
}

impl FromSql for Moment {
    fn column_result(value: Stored<'_>) -> FromSqlResult<Self> {
        value.as_i64().map(Timestamp::from_micros).map(Self)
    }
}
