//! Assignments: values for columns that clients may write.
use std::marker::PhantomData;

use smallvec::SmallVec;
use uuid::Uuid;

use super::{
    derive::SameAs,
    input::{FieldError, InputValue},
    table::{ClientWritable, Column, Model, TableDef},
    value::{FieldType, Value},
};

/// A row of another table that an input points at. It must exist in the same scope (I5).
#[derive(Clone, Debug)]
pub struct Reference {
    /// Where the row must be.
    pub table: &'static TableDef,
    /// Its key.
    pub key: Uuid,
    /// The JSON pointer of the member that named it.
    pub pointer: String,
}

impl Reference {
    /// What to answer when there is no such row in scope: the same for another tenant's as for none at all.
    pub fn missing(&self) -> FieldError {
        FieldError::body(self.pointer.clone(), "not-found", "there is no such object in this organisation")
    }
}

/// Values for columns of `M` that clients may write, each at most once.
///
/// # Security
/// There is no way to name a server-owned column here (I3): `set` and `put` demand a column whose marker is
/// [`ClientWritable`].
#[derive(Debug)]
pub struct Assignments<M> {
    sets: SmallVec<[(usize, Value); 8]>,
    references: Vec<Reference>,
    of: PhantomData<fn() -> M>,
}

impl<M> Default for Assignments<M> {
    fn default() -> Self {
        Self { sets: SmallVec::new(), references: Vec::new(), of: PhantomData }
    }
}

impl<M: Model> Assignments<M> {
    /// No assignment yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `column` to `value`; a later value replaces an earlier one.
    #[must_use]
    pub fn set<T: FieldType, W: ClientWritable>(
        mut self,
        column: Column<M, T, W>,
        value: impl Into<T>,
    ) -> Self {
        self.replace(column.position(), value.into().into_value());
        self
    }

    /// Sets `column` to what the client sent as the member `name`; a reference is remembered, to be resolved in
    /// scope when the row is written.
    pub fn put<V: InputValue<Stored: SameAs<T>>, T: FieldType, W: ClientWritable>(
        &mut self,
        column: Column<M, T, W>,
        name: &'static str,
        value: V,
    ) {
        if let Some((table, key)) = value.reference() {
            self.references.push(Reference { table, key, pointer: format!("#/{name}") });
        }
        self.replace(column.position(), value.into_stored().into_value());
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.sets.is_empty()
    }

    /// What is set: the position of each column, and its value.
    pub fn values(&self) -> impl Iterator<Item = (usize, &Value)> {
        self.sets.iter().map(|(position, value)| (*position, value))
    }

    /// The rows that clients pointed at; each must exist in the scope that is written in (I5).
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    pub(crate) fn into_parts(self) -> (SmallVec<[(usize, Value); 8]>, Vec<Reference>) {
        (self.sets, self.references)
    }

    fn replace(&mut self, position: usize, value: Value) {
        match self.sets.iter_mut().find(|(at, _)| *at == position) {
            Some(set) => set.1 = value,
            None => self.sets.push((position, value)),
        }
    }
}
