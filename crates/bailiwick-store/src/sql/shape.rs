//! What the text of a statement depends on, as a small key.
use bailiwick_core::{
    access::Clause,
    model::{Direction, TableDef},
    query::{Comparison, Filter, ListPlan, Plan},
};
use smallvec::SmallVec;

use super::{Ask, Versions, padded};

/// Two plans with equal shapes have the same text.
pub(super) type Shape = SmallVec<[u8; 64]>;

pub(super) fn of(plan: &Plan, ask: &Ask<'_>) -> Shape {
    let mut shape = Writer(Shape::new());
    shape.table(plan.table());
    match ask {
        Ask::Rows(list) => {
            shape.tag(0).clause(plan.clause()).conditions(list);
            shape.count(list.order.len());
            for (column, direction) in &list.order {
                shape.column(*column).tag(match direction {
                    Direction::Ascending => 0,
                    Direction::Descending => 1,
                });
            }
        }
        Ask::Count(list) => {
            shape.tag(1).clause(plan.clause()).conditions(list);
        }
        Ask::KeptCount => {
            shape.tag(2);
        }
        Ask::Row { .. } => {
            shape.tag(3).clause(plan.clause());
        }
        Ask::Insert { values } => {
            shape.tag(4).columns(values.iter().map(|(column, _)| *column));
        }
        Ask::Update { values, versions, .. } => {
            shape.tag(5).clause(plan.clause()).versions(*versions);
            shape.columns(values.iter().map(|(column, _)| *column));
        }
        Ask::Unchanged { versions, .. } => {
            shape.tag(6).clause(plan.clause()).versions(*versions);
        }
        Ask::Delete { versions, .. } => {
            shape.tag(7).clause(plan.clause()).versions(*versions);
        }
        Ask::Diagnose { visible, .. } => {
            shape.tag(8).clause(plan.clause()).clause(visible);
        }
        Ask::Exists(reference) => {
            shape.tag(9).table(reference.table);
        }
        Ask::Used(quota) => {
            shape.tag(10).column(quota.summed).column(quota.per);
        }
    }
    shape.0
}

struct Writer(Shape);

impl Writer {
    fn tag(&mut self, tag: u8) -> &mut Self {
        self.0.push(tag);
        self
    }

    fn count(&mut self, count: usize) -> &mut Self {
        self.0.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        self
    }

    fn column(&mut self, position: usize) -> &mut Self {
        let position = u16::try_from(position).expect("a table has at most 65,536 columns");
        self.0.extend_from_slice(&position.to_le_bytes());
        self
    }

    fn columns(&mut self, columns: impl ExactSizeIterator<Item = usize>) -> &mut Self {
        self.count(columns.len());
        for column in columns {
            self.column(column);
        }
        self
    }

    fn versions(&mut self, versions: Versions<'_>) -> &mut Self {
        let named = versions.named();
        self.tag(u8::from(matches!(versions, Versions::NotIn(_))));
        self.count(if named.is_empty() { 0 } else { padded(named.len()) })
    }

    /// By its address, not by its name: two declarations of one table may have different columns, and neither ever
    /// goes away.
    fn table(&mut self, table: &'static TableDef) -> &mut Self {
        self.0.extend_from_slice(&std::ptr::from_ref(table).addr().to_le_bytes());
        self
    }

    fn clause(&mut self, clause: &Clause) -> &mut Self {
        match clause {
            Clause::Every => self.tag(0),
            Clause::None => self.tag(1),
            Clause::IsMe(column) => self.tag(2).column(*column),
            Clause::All(parts) => self.tag(3).parts(parts),
            Clause::Any(parts) => self.tag(4).parts(parts),
        }
    }

    fn parts(&mut self, parts: &[Clause]) -> &mut Self {
        self.count(parts.len());
        for part in parts {
            self.clause(part);
        }
        self
    }

    fn conditions(&mut self, list: &ListPlan) -> &mut Self {
        self.count(list.filters.len());
        for Filter { column, comparison, values } in &list.filters {
            self.column(*column);
            match comparison {
                Comparison::Equal => self.tag(0),
                Comparison::AtLeast => self.tag(1),
                Comparison::AtMost => self.tag(2),
                Comparison::In => self.tag(3).count(padded(values.len())),
            };
        }
        self.count(list.search.len())
    }
}
