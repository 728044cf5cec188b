//! The values of a statement, in the order in which its text asks for them.
use bailiwick_core::{
    access::Clause,
    model::{TableDef, Value, ValueRef},
    query::{Filter, ListPlan, Plan},
};

use super::{Ask, Binds, Versions, padded};

pub(super) fn of<'p>(plan: &'p Plan, ask: &Ask<'p>) -> Binds<'p> {
    let mut binds = Walk { plan, binds: Binds::new() };
    match *ask {
        Ask::Rows(list) => {
            binds.scope().clause(plan.clause()).conditions(list);
            binds.count(list.limit).count(list.offset);
        }
        Ask::Count(list) => {
            binds.scope().clause(plan.clause()).conditions(list);
        }
        Ask::KeptCount => {
            binds.binds.push(ValueRef::Text(plan.table().name));
            binds.scope();
        }
        Ask::Row { key } => {
            binds.scope().value(key).clause(plan.clause());
        }
        Ask::Insert { values } => {
            binds.values(values);
        }
        Ask::Update { key, values, versions } => {
            binds.values(values).scope().value(key).clause(plan.clause()).versions(versions);
        }
        Ask::Unchanged { key, versions } | Ask::Delete { key, versions } => {
            binds.scope().value(key).clause(plan.clause()).versions(versions);
        }
        Ask::Diagnose { key, visible } => {
            binds.clause(plan.clause()).scope().value(key).clause(visible);
        }
        Ask::Exists(reference) => {
            binds.scope().binds.push(ValueRef::Uuid(reference.key));
        }
        Ask::Used(quota) => binds.binds.push(ValueRef::Uuid(quota.per_value)),
    }
    binds.binds
}

struct Walk<'p> {
    plan: &'p Plan,
    binds: Binds<'p>,
}

impl<'p> Walk<'p> {
    fn scope(&mut self) -> &mut Self {
        self.binds.push(ValueRef::Uuid(self.plan.scope()));
        self
    }

    fn value(&mut self, value: &'p Value) -> &mut Self {
        self.binds.push(value.as_ref());
        self
    }

    fn values(&mut self, values: &'p [(usize, Value)]) -> &mut Self {
        self.binds.extend(values.iter().map(|(_, value)| value.as_ref()));
        self
    }

    fn count(&mut self, count: u64) -> &mut Self {
        self.binds.push(ValueRef::Integer(i64::try_from(count).unwrap_or(i64::MAX)));
        self
    }

    fn versions(&mut self, versions: Versions<'p>) -> &mut Self {
        self.padded(versions.named().iter().map(|version| ValueRef::Integer(*version)))
    }

    /// As many values as the text has placeholders, the last one repeated; nothing for nothing.
    fn padded(&mut self, values: impl ExactSizeIterator<Item = ValueRef<'p>>) -> &mut Self {
        let missing = padded(values.len()) - values.len();
        let before = self.binds.len();
        self.binds.extend(values);
        if self.binds.len() > before {
            let last = self.binds[self.binds.len() - 1];
            self.binds.extend(std::iter::repeat_n(last, missing));
        }
        self
    }

    fn clause(&mut self, clause: &Clause) -> &mut Self {
        match clause {
            Clause::Every | Clause::None => {}
            Clause::IsMe(_) => self.binds.push(ValueRef::Uuid(self.plan.principal().as_uuid())),
            Clause::All(parts) | Clause::Any(parts) => {
                for part in parts {
                    self.clause(part);
                }
            }
        }
        self
    }

    fn conditions(&mut self, list: &'p ListPlan) -> &mut Self {
        for Filter { values, .. } in &list.filters {
            self.padded(values.iter().map(Value::as_ref));
        }
        let searched = searched(self.plan.table()).count();
        for term in &list.search {
            self.binds.extend(std::iter::repeat_n(ValueRef::Text(term), searched));
        }
        self
    }
}

/// The positions of the columns that a search looks into.
pub(super) fn searched(table: &TableDef) -> impl Iterator<Item = usize> {
    table.columns.iter().enumerate().filter(|(_, column)| column.search).map(|(position, _)| position)
}
