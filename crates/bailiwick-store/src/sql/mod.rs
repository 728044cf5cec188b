//! Plans to SQL, once for both dialects.
//!
//! A statement is its text and its binds. The text depends on the *shape* of a plan only: on the table, on which
//! columns are set, filtered and ordered by, never on a value. So `sea-query` writes it once a shape, and from then
//! on a plan costs a small key, one look-up and a walk over its values.
//!
//! # Security
//! Identifiers come from [`TableDef`](bailiwick_core::model::TableDef)s, which are `'static`; everything that a
//! client may have chosen is a bind (PAG-12).
mod binds;
mod shape;
#[cfg(test)]
mod tests;
mod text;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use bailiwick_core::{
    access::Clause,
    model::{Part, Reference, TableDef, Value, ValueRef},
    query::{ListPlan, Plan, Precondition, QuotaPlan},
    store::Written,
};
use smallvec::SmallVec;

use self::shape::Shape;
pub(crate) use self::text::CONTAINS;
use crate::migrations::quoted;

/// Whose SQL to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// The values of a statement, in the order of its placeholders.
pub(crate) type Binds<'p> = SmallVec<[ValueRef<'p>; 16]>;

/// A statement that is ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'p> {
    /// The SQL, with `?` on SQLite and `$1` on PostgreSQL. Plans of one shape share it.
    pub(crate) text: Arc<str>,
    /// A value for each placeholder.
    pub(crate) binds: Binds<'p>,
}

/// What to ask the database for.
#[derive(Clone, Copy, Debug)]
enum Ask<'p> {
    Rows(&'p ListPlan),
    Count(&'p ListPlan),
    KeptCount,
    Row { key: &'p Value },
    Insert { values: &'p [(usize, Value)] },
    Update { key: &'p Value, values: &'p [(usize, Value)], versions: Versions<'p> },
    Unchanged { key: &'p Value, versions: Versions<'p> },
    Delete { key: &'p Value, versions: Versions<'p> },
    Diagnose { key: &'p Value, visible: &'p Clause },
    Exists(&'p Reference),
    Used(&'p QuotaPlan),
}

/// How many texts are kept. A client chooses filters, orders and numbers of terms, so there are more shapes than
/// anyone should keep; those of an ordinary day are a few dozen.
const MAX_TEXTS: usize = 512;

/// Writes the statements of plans, and keeps their texts.
#[derive(Debug)]
pub(crate) struct Statements {
    dialect: Dialect,
    texts: RwLock<HashMap<Shape, Arc<str>>>,
}

impl Statements {
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, texts: RwLock::default() }
    }

    /// The rows of a page, with the columns of the table in their order.
    pub(crate) fn rows<'p>(&self, plan: &'p Plan, list: &'p ListPlan) -> Statement<'p> {
        self.statement(plan, Ask::Rows(list))
    }

    /// How many rows the whole list has: one row with one `bigint`. It is read from the kept count where there is
    /// one.
    pub(crate) fn count<'p>(&self, plan: &'p Plan, list: &'p ListPlan) -> Statement<'p> {
        self.statement(plan, if plan.count_is_kept() { Ask::KeptCount } else { Ask::Count(list) })
    }

    /// The row with this key, with the columns of the table in their order.
    pub(crate) fn row<'p>(&self, plan: &'p Plan, key: &'p Value) -> Statement<'p> {
        self.statement(plan, Ask::Row { key })
    }

    /// Adds a row and returns its columns.
    pub(crate) fn insert<'p>(&self, plan: &'p Plan, values: &'p [(usize, Value)]) -> Statement<'p> {
        self.statement(plan, Ask::Insert { values })
    }

    /// Changes a row and returns its columns. With nothing to set, reads the row under the same conditions. None
    /// if no row can meet the precondition: what is wrong is then for [`diagnose`](Self::diagnose) to say.
    pub(crate) fn update<'p>(
        &self,
        plan: &'p Plan,
        key: &'p Value,
        values: &'p [(usize, Value)],
        precondition: &'p Precondition,
    ) -> Option<Statement<'p>> {
        let versions = versions(plan, precondition)?;
        let ask = match values {
            [] => Ask::Unchanged { key, versions },
            _ => Ask::Update { key, values, versions },
        };
        Some(self.statement(plan, ask))
    }

    /// Removes a row and returns its key. None as for [`update`](Self::update).
    pub(crate) fn delete<'p>(
        &self,
        plan: &'p Plan,
        key: &'p Value,
        precondition: &'p Precondition,
    ) -> Option<Statement<'p>> {
        let versions = versions(plan, precondition)?;
        Some(self.statement(plan, Ask::Delete { key, versions }))
    }

    /// Why a write hit no row: at most one row, with a `boolean`, whether the principal may do this to the row, and,
    /// if the table has a version, the version. [`Diagnosis`] reads it.
    pub(crate) fn diagnose<'p>(&self, plan: &'p Plan, key: &'p Value, visible: &'p Clause) -> Statement<'p> {
        self.statement(plan, Ask::Diagnose { key, visible })
    }

    /// One row if the row that `reference` points at is in the scope of `plan`, else none. No statement if it
    /// cannot be, because its table belongs to another kind of scope.
    pub(crate) fn exists<'p>(&self, plan: &'p Plan, reference: &'p Reference) -> Option<Statement<'p>> {
        let comparable = reference.table.scope == plan.table().scope;
        comparable.then(|| self.statement(plan, Ask::Exists(reference)))
    }

    /// What the rows that count for `quota` add up to: one row with one `bigint`.
    pub(crate) fn used<'p>(&self, plan: &'p Plan, quota: &'p QuotaPlan) -> Statement<'p> {
        self.statement(plan, Ask::Used(quota))
    }

    fn statement<'p>(&self, plan: &'p Plan, ask: Ask<'p>) -> Statement<'p> {
        let shape = shape::of(plan, &ask);
        let binds = binds::of(plan, &ask);
        // The map holds whole texts only, whoever panicked while it was locked.
        let known = self.texts.read().unwrap_or_else(PoisonError::into_inner).get(&shape).cloned();
        let text = known.unwrap_or_else(|| {
            let (text, values) = text::of(self.dialect, plan, &ask);
            assert_eq!(values.0.len(), binds.len(), "a statement has a bind for each placeholder: {text}");
            let text: Arc<str> = text.into();
            let mut texts = self.texts.write().unwrap_or_else(PoisonError::into_inner);
            if texts.len() >= MAX_TEXTS {
                // Whoever invents shapes makes everyone build anew now and then, which costs microseconds.
                texts.clear();
            }
            texts.insert(shape, Arc::clone(&text));
            text
        });
        Statement { text, binds }
    }
}

/// The versions that a row may have to be written.
#[derive(Clone, Copy, Debug)]
enum Versions<'p> {
    Any,
    In(&'p [i64]),
    NotIn(&'p [i64]),
}

impl<'p> Versions<'p> {
    fn named(self) -> &'p [i64] {
        match self {
            Self::Any => &[],
            Self::In(versions) | Self::NotIn(versions) => versions,
        }
    }
}

/// The versions that `precondition` allows; none if no row can meet it.
fn versions<'p>(plan: &Plan, precondition: &'p Precondition) -> Option<Versions<'p>> {
    match precondition {
        Precondition::None => Some(Versions::Any),
        Precondition::VersionNotIn(versions)
            if versions.is_empty() || plan.table().position(Part::Version).is_none() =>
        {
            Some(Versions::Any)
        }
        Precondition::VersionNotIn(versions) => Some(Versions::NotIn(versions)),
        Precondition::VersionIn(versions)
            if versions.is_empty() || plan.table().position(Part::Version).is_none() =>
        {
            None
        }
        Precondition::VersionIn(versions) => Some(Versions::In(versions)),
    }
}

/// How many placeholders a list of `len` values gets: the next power of two, the last value repeated, so that lists
/// of fifty lengths make seven texts.
fn padded(len: usize) -> usize {
    len.next_power_of_two()
}

/// Which of so many `keys` some row has in a column: see [`RowStore::named`](bailiwick_core::store::RowStore::named).
pub(crate) fn named(dialect: Dialect, table: &TableDef, column: usize, keys: usize) -> String {
    let column = quoted(table.columns[column].name);
    let placeholder = |number: usize| match dialect {
        Dialect::Sqlite => format!("?{number}"),
        Dialect::Postgres => format!("${number}"),
    };
    // Of no key, none is: a list may not be empty.
    let of_none = (keys == 0).then(|| "NULL".to_owned());
    let list = (1..=keys).map(placeholder).chain(of_none).collect::<Vec<_>>().join(", ");
    format!("SELECT {column} FROM {} WHERE {column} IN ({list})", quoted(table.name))
}

/// What the answer to [`Statements::diagnose`] says about a row that a write did not hit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Diagnosis {
    /// Whether the principal may do this to the row.
    pub(crate) allowed: bool,
    /// The row's version, if the table has one.
    pub(crate) version: Option<i64>,
}

impl Diagnosis {
    /// What the write answers: missing before forbidden before stale (ACL-05). None if the row meets every
    /// condition now: it changed between the write and the diagnosis, and the write may be tried again.
    pub(crate) fn verdict(found: Option<Self>, precondition: &Precondition) -> Option<Written> {
        match (found, precondition) {
            (None, _) => Some(Written::Missing),
            (Some(Self { allowed: false, .. }), _) => Some(Written::Forbidden),
            (Some(row), Precondition::VersionIn(versions))
                if row.version.is_none_or(|version| !versions.contains(&version)) =>
            {
                Some(Written::Stale)
            }
            (Some(row), Precondition::VersionNotIn(versions))
                if row.version.is_some_and(|version| versions.contains(&version)) =>
            {
                Some(Written::Stale)
            }
            (Some(_), _) => None,
        }
    }
}
