//! Values on their way into PostgreSQL and out of it, in its binary format.
use std::{error::Error, fmt, str};

use bailiwick_core::{
    clock::Timestamp,
    error::DecodeError,
    model::{Kind, RowBuf, RowReader, TableDef, Value, ValueRef},
};
use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};
use uuid::Uuid;

/// 2000-01-01T00:00:00Z, where PostgreSQL's time begins, in microseconds of ours.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

/// A value for a placeholder.
#[derive(Clone, Copy)]
pub(super) enum Bind<'a> {
    Value(ValueRef<'a>),
    Bytes(&'a [u8]),
}

impl From<Uuid> for Bind<'_> {
    fn from(uuid: Uuid) -> Self {
        Self::Value(ValueRef::Uuid(uuid))
    }
}

impl From<Option<Uuid>> for Bind<'_> {
    fn from(uuid: Option<Uuid>) -> Self {
        Self::Value(uuid.map_or(ValueRef::Null, ValueRef::Uuid))
    }
}

impl<'a> From<&'a str> for Bind<'a> {
    fn from(text: &'a str) -> Self {
        Self::Value(ValueRef::Text(text))
    }
}

impl<'a> From<Option<&'a str>> for Bind<'a> {
    fn from(text: Option<&'a str>) -> Self {
        Self::Value(text.map_or(ValueRef::Null, ValueRef::Text))
    }
}

impl From<i64> for Bind<'_> {
    fn from(integer: i64) -> Self {
        Self::Value(ValueRef::Integer(integer))
    }
}

impl From<bool> for Bind<'_> {
    fn from(bool: bool) -> Self {
        Self::Value(ValueRef::Bool(bool))
    }
}

impl From<Option<Timestamp>> for Bind<'_> {
    fn from(time: Option<Timestamp>) -> Self {
        Self::Value(time.map_or(ValueRef::Null, ValueRef::Timestamp))
    }
}

impl From<Timestamp> for Bind<'_> {
    fn from(time: Timestamp) -> Self {
        Self::Value(ValueRef::Timestamp(time))
    }
}

/// The driver logs the values of every statement at `debug`, and digests and password hashes are among them.
impl fmt::Debug for Bind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl ToSql for Bind<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        let value = match self {
            Self::Value(value) => *value,
            Self::Bytes(bytes) if *ty == Type::BYTEA => {
                out.extend_from_slice(bytes);
                return Ok(IsNull::No);
            }
            Self::Bytes(_) => return Err(Mismatch(ty.clone()).into()),
        };
        match (value, of(ty)) {
            (ValueRef::Null, _) => return Ok(IsNull::Yes),
            (ValueRef::Uuid(uuid), Stored::Uuid) => out.extend_from_slice(uuid.as_bytes()),
            (ValueRef::Text(text), Stored::Text) => out.extend_from_slice(text.as_bytes()),
            (ValueRef::Integer(integer), Stored::Int8) => out.extend_from_slice(&integer.to_be_bytes()),
            (ValueRef::Integer(integer), Stored::Int4) => {
                out.extend_from_slice(&i32::try_from(integer)?.to_be_bytes());
            }
            (ValueRef::Integer(integer), Stored::Int2) => {
                out.extend_from_slice(&i16::try_from(integer)?.to_be_bytes());
            }
            (ValueRef::Bool(bool), Stored::Bool) => out.extend_from_slice(&[u8::from(bool)]),
            (ValueRef::Timestamp(time), Stored::Timestamp) => {
                out.extend_from_slice(&(time.as_micros() - POSTGRES_EPOCH).to_be_bytes());
            }
            _ => return Err(Mismatch(ty.clone()).into()),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        // Decided by the value, in `to_sql`.
        true
    }

    to_sql_checked!();
}

/// The schema has another type for a column than the model.
#[derive(Debug, thiserror::Error)]
#[error("the value does not fit a column of type {0}")]
struct Mismatch(Type);

/// How a type of PostgreSQL is stored.
#[derive(Clone, Copy)]
enum Stored {
    Uuid,
    Text,
    Int8,
    Int4,
    Int2,
    Bool,
    Timestamp,
    Other,
}

fn of(ty: &Type) -> Stored {
    match *ty {
        Type::UUID => Stored::Uuid,
        Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => Stored::Text,
        Type::INT8 => Stored::Int8,
        Type::INT4 => Stored::Int4,
        Type::INT2 => Stored::Int2,
        Type::BOOL => Stored::Bool,
        Type::TIMESTAMPTZ => Stored::Timestamp,
        _ => Stored::Other,
    }
}

/// A value of a row, borrowed from it.
struct Cell<'a>(ValueRef<'a>);

impl<'a> FromSql<'a> for Cell<'a> {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match of(ty) {
            Stored::Uuid => ValueRef::Uuid(Uuid::from_slice(raw)?),
            Stored::Text => ValueRef::Text(str::from_utf8(raw)?),
            Stored::Int8 => ValueRef::Integer(i64::from_be_bytes(raw.try_into()?)),
            Stored::Int4 => ValueRef::Integer(i32::from_be_bytes(raw.try_into()?).into()),
            Stored::Int2 => ValueRef::Integer(i16::from_be_bytes(raw.try_into()?).into()),
            Stored::Bool => ValueRef::Bool(raw != [0]),
            Stored::Timestamp => {
                let micros = i64::from_be_bytes(raw.try_into()?);
                // The ends stand for -infinity and infinity, which no clock shows.
                let micros = micros.checked_add(POSTGRES_EPOCH).filter(|_| micros != i64::MIN);
                let time = micros.map(Timestamp::from_micros);
                match time.filter(|time| Some(time.as_micros()) == micros) {
                    Some(time) => ValueRef::Timestamp(time),
                    None => return Err("the time is out of range".into()),
                }
            }
            Stored::Other => return Err(Mismatch(ty.clone()).into()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(ValueRef::Null))
    }

    fn accepts(_: &Type) -> bool {
        // Decided by `from_sql`.
        true
    }
}

/// A row of an answer. Text is borrowed from the bytes that came.
pub(super) struct Reader<'a>(pub(super) &'a Row);

impl RowReader for Reader<'_> {
    fn read(&self, index: usize, kind: Kind) -> Result<ValueRef<'_>, DecodeError> {
        let wrong = DecodeError { column: index, expected: expected(kind) };
        let Cell(value) = self.0.try_get(index).map_err(|_| wrong)?;
        let fits = match value {
            ValueRef::Null => true,
            ValueRef::Uuid(_) => kind == Kind::Uuid,
            ValueRef::Text(_) => kind == Kind::Text,
            ValueRef::Integer(_) => kind == Kind::Integer,
            ValueRef::Bool(_) => kind == Kind::Bool,
            ValueRef::Timestamp(_) => kind == Kind::Timestamp,
        };
        if fits { Ok(value) } else { Err(wrong) }
    }
}

const fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Uuid => "a UUID",
        Kind::Text => "text",
        Kind::Integer => "an integer",
        Kind::Bool => "true or false",
        Kind::Timestamp => "a time",
    }
}

/// A row of `table` that outlives its statement.
pub(super) fn owned(row: &Row, table: &TableDef) -> Result<RowBuf, DecodeError> {
    let reader = Reader(row);
    let value = |(index, column): (usize, &bailiwick_core::model::ColumnDef)| {
        Ok(reader.read(index, column.kind)?.to_value(column.kind))
    };
    table.columns.iter().enumerate().map(value).collect::<Result<Vec<Value>, _>>().map(RowBuf)
}

/// Reads the columns of the statements that this crate writes by hand.
pub(super) trait Columns {
    fn uuid(&self, index: usize) -> Result<Uuid, DecodeError>;
    fn text(&self, index: usize) -> Result<&str, DecodeError>;
    fn optional_text(&self, index: usize) -> Result<Option<&str>, DecodeError>;
    fn integer(&self, index: usize) -> Result<i64, DecodeError>;
    fn bool(&self, index: usize) -> Result<bool, DecodeError>;
    fn time(&self, index: usize) -> Result<Timestamp, DecodeError>;
    fn optional_time(&self, index: usize) -> Result<Option<Timestamp>, DecodeError>;
    fn is_null(&self, index: usize) -> bool;
    fn bytes(&self, index: usize) -> Result<Vec<u8>, DecodeError>;
    fn optional_bytes(&self, index: usize) -> Result<Option<Vec<u8>>, DecodeError>;
}

macro_rules! read {
    ($row:expr, $index:expr, $kind:ident, $($pattern:pat => $value:expr),+) => {
        match Reader($row).0.try_get($index).map(|Cell(value)| value) {
            $(Ok($pattern) => Ok($value),)+
            _ => Err(DecodeError { column: $index, expected: expected(Kind::$kind) }),
        }
    };
}

impl Columns for Row {
    fn uuid(&self, index: usize) -> Result<Uuid, DecodeError> {
        read!(self, index, Uuid, ValueRef::Uuid(uuid) => uuid)
    }

    fn text(&self, index: usize) -> Result<&str, DecodeError> {
        read!(self, index, Text, ValueRef::Text(text) => text)
    }

    fn optional_text(&self, index: usize) -> Result<Option<&str>, DecodeError> {
        read!(self, index, Text, ValueRef::Text(text) => Some(text), ValueRef::Null => None)
    }

    fn integer(&self, index: usize) -> Result<i64, DecodeError> {
        read!(self, index, Integer, ValueRef::Integer(integer) => integer)
    }

    fn bool(&self, index: usize) -> Result<bool, DecodeError> {
        read!(self, index, Bool, ValueRef::Bool(bool) => bool)
    }

    fn time(&self, index: usize) -> Result<Timestamp, DecodeError> {
        read!(self, index, Timestamp, ValueRef::Timestamp(time) => time)
    }

    fn optional_time(&self, index: usize) -> Result<Option<Timestamp>, DecodeError> {
        read!(self, index, Timestamp, ValueRef::Timestamp(time) => Some(time), ValueRef::Null => None)
    }

    fn is_null(&self, index: usize) -> bool {
        matches!(self.try_get(index), Ok(Cell(ValueRef::Null)))
    }

    fn bytes(&self, index: usize) -> Result<Vec<u8>, DecodeError> {
        self.try_get(index).map_err(|_| DecodeError { column: index, expected: "bytes" })
    }

    fn optional_bytes(&self, index: usize) -> Result<Option<Vec<u8>>, DecodeError> {
        self.try_get(index).map_err(|_| DecodeError { column: index, expected: "bytes" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: ValueRef<'_>, ty: &Type) -> Option<Vec<u8>> {
        let mut out = BytesMut::new();
        Bind::Value(value).to_sql(ty, &mut out).ok()?;
        Some(out.to_vec())
    }

    #[test]
    fn what_is_bound_reads_back() {
        let uuid = Uuid::from_u128(0x0192_f0c1_2345_7abc_8def_0123_4567_89ab);
        for (value, ty) in [
            (ValueRef::Uuid(uuid), Type::UUID),
            (ValueRef::Text("héllo"), Type::TEXT),
            (ValueRef::Text(""), Type::VARCHAR),
            (ValueRef::Integer(i64::MIN), Type::INT8),
            (ValueRef::Integer(-7), Type::INT4),
            (ValueRef::Integer(7), Type::INT2),
            (ValueRef::Bool(true), Type::BOOL),
            (ValueRef::Bool(false), Type::BOOL),
            (ValueRef::Timestamp(Timestamp::MIN), Type::TIMESTAMPTZ),
            (ValueRef::Timestamp(Timestamp::MAX), Type::TIMESTAMPTZ),
            (ValueRef::Timestamp(Timestamp::from_micros(-1)), Type::TIMESTAMPTZ),
        ] {
            let raw = bytes(value, &ty).unwrap();
            let Cell(read) = Cell::from_sql(&ty, &raw).unwrap();
            assert_eq!(read, value, "{ty}");
        }
    }

    #[test]
    fn a_value_that_does_not_fit_its_column_is_refused_and_never_cut() {
        assert_eq!(bytes(ValueRef::Integer(i64::from(i32::MAX) + 1), &Type::INT4), None);
        assert_eq!(bytes(ValueRef::Integer(40_000), &Type::INT2), None);
        assert_eq!(bytes(ValueRef::Text("1"), &Type::INT8), None);
        assert_eq!(bytes(ValueRef::Bool(true), &Type::TEXT), None);
        let mut out = BytesMut::new();
        assert!(Bind::Bytes(b"x").to_sql(&Type::TEXT, &mut out).is_err());
    }

    #[test]
    fn a_time_that_no_clock_shows_is_refused() {
        for micros in [i64::MAX, i64::MIN, i64::MAX - 1, -210_866_803_200_000_000] {
            assert!(Cell::from_sql(&Type::TIMESTAMPTZ, &micros.to_be_bytes()).is_err(), "{micros}");
        }
    }

    #[test]
    fn a_bound_value_does_not_reach_a_log() {
        assert_eq!(format!("{:?}", Bind::from("hunter2")), "[redacted]");
    }
}
