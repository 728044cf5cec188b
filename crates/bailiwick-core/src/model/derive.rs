//! What the code that the derives write leans on, so that a mistake in a model reads like one.
//!
//! Not for use by hand, and not under semantic versioning.
use std::marker::PhantomData;

use serde::Serialize;

use super::value::{FieldType, Kind};
pub use super::view::unseen;
use crate::{
    clock::Timestamp,
    id::Id,
    identity::{OrgId, UserId},
};

/// What a column's type must be for a field that is stored as `Self`: the same.
#[diagnostic::on_unimplemented(
    message = "the column holds `{T}`, but this field would store `{Self}`",
    label = "not the type of the column",
    note = "give the field the type that the model declares for the column of the same name"
)]
pub trait SameAs<T> {}
impl<T> SameAs<T> for T {}

/// Is nobody's type. With one impl alone the compiler would take the column's type from the field, and then complain
/// about the column.
pub enum Undecided {}
impl<T: FieldType> SameAs<Undecided> for T {}

/// The type of an id column.
#[diagnostic::on_unimplemented(
    message = "a column marked `id` is an `Id<_>`, not `{Self}`",
    label = "write `Id<TheModel>`"
)]
pub trait RowId {}
impl<M> RowId for Id<M> {}

/// The type of the tenant column of a table with `scope = Org`.
#[diagnostic::on_unimplemented(
    message = "the tenant column of a table with `scope = Org` is an `OrgId`, not `{Self}`",
    label = "write `OrgId`"
)]
pub trait OrgTenant {}
impl OrgTenant for OrgId {}

/// The type of the tenant column of a table with `scope = Caller`.
#[diagnostic::on_unimplemented(
    message = "the tenant column of a table with `scope = Caller` is a `UserId`, not `{Self}`",
    label = "write `UserId`"
)]
pub trait CallerTenant {}
impl CallerTenant for UserId {}

/// The type of a column that names who did something; it may be null, for users who are gone.
#[diagnostic::on_unimplemented(
    message = "a column marked `owner` or `updated_by` is a `UserId` or an `Option<UserId>`, not `{Self}`",
    label = "write `UserId`"
)]
pub trait Actor {}
impl Actor for UserId {}
impl Actor for Option<UserId> {}

/// The type of a column that says when something happened.
#[diagnostic::on_unimplemented(
    message = "a column marked `created_at` or `updated_at` is a `Timestamp`, not `{Self}`",
    label = "write `Timestamp`"
)]
pub trait Moment {}
impl Moment for Timestamp {}

/// The type of a column that counts changes.
#[diagnostic::on_unimplemented(
    message = "a column marked `version` is an `i64`, not `{Self}`",
    label = "write `i64`"
)]
pub trait Counter {
    /// The number.
    fn count(&self) -> i64;
}

impl Counter for i64 {
    fn count(&self) -> i64 {
        *self
    }
}

/// Compiles if `T` can be an id.
pub const fn id<T: RowId>() {}
/// Compiles if `T` can be the tenant of a table with `scope = Org`.
pub const fn tenant_of_org<T: OrgTenant>() {}
/// Compiles if `T` can be the tenant of a table with `scope = Caller`.
pub const fn tenant_of_caller<T: CallerTenant>() {}
/// Compiles if `T` can name who did something.
pub const fn actor<T: Actor>() {}
/// Compiles if `T` can say when something happened.
pub const fn moment<T: Moment>() {}
/// How often the row was written.
pub fn count<T: Counter>(version: &T) -> i64 {
    version.count()
}

/// Whether `?search=` can look into a `T`: only into free text.
pub const fn searchable<T: FieldType>() -> bool {
    matches!(T::KIND, Kind::Text) && T::CHOICES.is_none()
}

/// Whether `__gte` and `__lte` mean the same in every store: collations differ, so not for text.
pub const fn comparable<T: FieldType>() -> bool {
    matches!(T::KIND, Kind::Integer | Kind::Timestamp)
}

/// The value of a member that was read.
///
/// # Panics
/// Never after [`ObjectReader::finish`](super::ObjectReader::finish) has succeeded.
pub fn read<T>(value: Option<T>) -> T {
    value.expect("a member that could not be read is an error, and `finish` has returned it")
}

/// Tells whether a `T` has `Serialize`: [`IS`](Self::IS) is `true` where the bound of the inherent one holds,
/// and else found in [`SerializesNot`].
pub struct Serializes<T>(PhantomData<T>);

impl<T: Serialize> Serializes<T> {
    /// It has.
    pub const IS: bool = true;
}

/// The answer for types without `Serialize`.
pub trait SerializesNot {
    /// It has not.
    const IS: bool = false;
}
impl<T> SerializesNot for Serializes<T> {}

#[cfg(test)]
mod tests {
    use super::{SerializesNot as _, *};

    // I4: the refusal of a serialisable row stands on this.
    #[test]
    fn serialize_is_seen_where_it_is_and_only_there() {
        struct Row;
        const { assert!(Serializes::<String>::IS && !Serializes::<Row>::IS) };
    }

    #[test]
    fn an_enumeration_is_neither_searched_nor_compared() {
        use crate::identity::Role;
        const { assert!(searchable::<String>() && searchable::<Option<String>>()) };
        const { assert!(!searchable::<Role>() && !searchable::<bool>() && !searchable::<Id<Role>>()) };
        const { assert!(comparable::<i64>() && comparable::<Option<Timestamp>>()) };
        const { assert!(!comparable::<String>() && !comparable::<Role>() && !comparable::<bool>()) };
    }
}
