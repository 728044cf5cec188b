//! The values that columns hold, alike for every store.
use uuid::Uuid;

use crate::{clock::Timestamp, error::DecodeError, id::Id};

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A UUID.
    Uuid,
    /// Text.
    Text,
    /// A 64-bit integer.
    Integer,
    /// True or false.
    Bool,
    /// A point in time.
    Timestamp,
}

/// A value on its way into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// No value, in a column of this kind.
    Null(Kind),
    /// A UUID.
    Uuid(Uuid),
    /// Text.
    Text(String),
    /// An integer.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// A point in time.
    Timestamp(Timestamp),
}

impl Value {
    /// The kind of column this value belongs in.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Null(kind) => *kind,
            Self::Uuid(_) => Kind::Uuid,
            Self::Text(_) => Kind::Text,
            Self::Integer(_) => Kind::Integer,
            Self::Bool(_) => Kind::Bool,
            Self::Timestamp(_) => Kind::Timestamp,
        }
    }

    /// The same value, borrowed.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null(_) => ValueRef::Null,
            Self::Uuid(uuid) => ValueRef::Uuid(*uuid),
            Self::Text(text) => ValueRef::Text(text),
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Bool(bool) => ValueRef::Bool(*bool),
            Self::Timestamp(time) => ValueRef::Timestamp(*time),
        }
    }
}

/// A value on its way out of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// A UUID.
    Uuid(Uuid),
    /// Text.
    Text(&'a str),
    /// An integer.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// A point in time.
    Timestamp(Timestamp),
}

impl ValueRef<'_> {
    /// The same value, owned, for a column of `kind`.
    pub fn to_value(self, kind: Kind) -> Value {
        match self {
            Self::Null => Value::Null(kind),
            Self::Uuid(uuid) => Value::Uuid(uuid),
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Integer(integer) => Value::Integer(integer),
            Self::Bool(bool) => Value::Bool(bool),
            Self::Timestamp(time) => Value::Timestamp(time),
        }
    }
}

/// One row of a statement's answer.
pub trait RowReader {
    /// The value of the column at `index`, which is declared as `kind`.
    ///
    /// # Errors
    /// If the column holds anything else.
    fn read(&self, index: usize, kind: Kind) -> Result<ValueRef<'_>, DecodeError>;
}

/// A row that outlives its statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowBuf(pub Vec<Value>);

impl RowReader for RowBuf {
    fn read(&self, index: usize, kind: Kind) -> Result<ValueRef<'_>, DecodeError> {
        match self.0.get(index) {
            Some(value) if value.kind() == kind => Ok(value.as_ref()),
            _ => Err(DecodeError { column: index, expected: "the declared kind" }),
        }
    }
}

/// A Rust type that a column can hold.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the type of a column",
    note = "columns hold String, i64, bool, Timestamp, Id<_>, enums declared with `choices!`, and Option of these"
)]
pub trait FieldType: Sized {
    /// What the column holds.
    const KIND: Kind;
    /// Whether the column may be null.
    const NULLABLE: bool = false;
    /// For an enumeration: the names of its values, in the order of their rank.
    const CHOICES: Option<&'static [&'static str]> = None;

    /// The value to store.
    fn into_value(self) -> Value;

    /// The stored value, or nothing if it is not of this type.
    fn from_value(value: ValueRef<'_>) -> Option<Self>;
}

impl FieldType for String {
    const KIND: Kind = Kind::Text;

    fn into_value(self) -> Value {
        Value::Text(self)
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Text(text) => Some(text.to_owned()),
            _ => None,
        }
    }
}

impl FieldType for i64 {
    const KIND: Kind = Kind::Integer;

    fn into_value(self) -> Value {
        Value::Integer(self)
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Integer(integer) => Some(integer),
            _ => None,
        }
    }
}

impl FieldType for bool {
    const KIND: Kind = Kind::Bool;

    fn into_value(self) -> Value {
        Value::Bool(self)
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Bool(bool) => Some(bool),
            _ => None,
        }
    }
}

impl FieldType for Timestamp {
    const KIND: Kind = Kind::Timestamp;

    fn into_value(self) -> Value {
        Value::Timestamp(self)
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Timestamp(time) => Some(time),
            _ => None,
        }
    }
}

impl<M> FieldType for Id<M> {
    const KIND: Kind = Kind::Uuid;

    fn into_value(self) -> Value {
        Value::Uuid(self.as_uuid())
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Uuid(uuid) => Some(Self::from_uuid(uuid)),
            _ => None,
        }
    }
}

impl<T: FieldType> FieldType for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    const CHOICES: Option<&'static [&'static str]> = T::CHOICES;

    fn into_value(self) -> Value {
        self.map_or(Value::Null(T::KIND), T::into_value)
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Null => Some(None),
            present => T::from_value(present).map(Some),
        }
    }
}

impl FieldType for crate::identity::Role {
    const KIND: Kind = Kind::Text;
    const CHOICES: Option<&'static [&'static str]> = Some(Self::NAMES);

    fn into_value(self) -> Value {
        Value::Text(self.as_str().to_owned())
    }

    fn from_value(value: ValueRef<'_>) -> Option<Self> {
        match value {
            ValueRef::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}
