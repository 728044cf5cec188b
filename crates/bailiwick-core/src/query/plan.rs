//! Plans: the only statements on tenant data there are.
use smallvec::SmallVec;
use uuid::Uuid;

use super::{
    list::{Filter, ListQuery},
    quota::{Quota, QuotaPlan},
};
use crate::{
    access::{Access, Clause, Create, Delete, List, Retrieve, Update},
    audit::{Act, SecurityEvent},
    clock::{Clock, Entropy},
    id::Id,
    identity::{Principal, UserId},
    model::{Assignments, Direction, FieldError, FieldType, Model, Part, Reference, TableDef, Value},
};

/// One statement on one table, within one scope.
///
/// Its fields are private and each of its makers takes an [`Access`]: there is no other way to have one (I1).
/// Stores read it through its getters.
#[derive(Debug)]
pub struct Plan {
    table: &'static TableDef,
    scope: Uuid,
    principal: UserId,
    clause: Clause,
    action: Action,
    recording: Option<(Act, SecurityEvent)>,
}

/// What a plan does to the rows it may touch.
#[derive(Debug)]
pub enum Action {
    /// Read a page.
    List(ListPlan),
    /// Read one row.
    Retrieve {
        /// Which.
        key: Value,
    },
    /// Add a row, if all references are in scope and no quota is exceeded.
    Insert {
        /// A value for each column that has one, by position.
        values: Vec<(usize, Value)>,
        /// Rows that must exist in the same scope.
        references: Vec<Reference>,
        /// What must have room for the row.
        quotas: Vec<QuotaPlan>,
    },
    /// Change a row, if it is the expected version and all references are in scope.
    Update {
        /// Which.
        key: Value,
        /// The new values, by position.
        values: Vec<(usize, Value)>,
        /// Rows that must exist in the same scope.
        references: Vec<Reference>,
        /// What the row must be.
        precondition: Precondition,
        /// Which rows the principal may know of.
        visible: Clause,
    },
    /// Remove a row, if it is the expected version.
    Delete {
        /// Which.
        key: Value,
        /// What the row must be.
        precondition: Precondition,
        /// Which rows the principal may know of.
        visible: Clause,
    },
}

/// A page to read.
#[derive(Debug)]
pub struct ListPlan {
    /// Conditions that the client asked for.
    pub filters: Vec<Filter>,
    /// Terms, each of which must occur in a searched column, without regard to case.
    pub search: Vec<String>,
    /// A total order: the id is its last column.
    pub order: SmallVec<[(usize, Direction); 4]>,
    /// Rows to pass over.
    pub offset: u64,
    /// Rows to read at most.
    pub limit: u64,
}

/// What a row must be for a write to happen (CND-01).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Anything.
    #[default]
    None,
    /// One of these versions.
    VersionIn(SmallVec<[i64; 2]>),
    /// Any version but these.
    VersionNotIn(SmallVec<[i64; 2]>),
}

impl Precondition {
    /// What no row meets.
    pub fn never() -> Self {
        Self::VersionIn(SmallVec::new())
    }
}

/// Where a statement may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// It touches a bounded number of rows through an index.
    Short,
    /// It may read every row of its scope.
    Scan,
}

impl Plan {
    /// Reads a page.
    pub fn list<R: Model>(access: &Access<R, List>, query: &ListQuery<R>) -> Self {
        Self::new(access, Action::List(query.to_plan()))
    }

    /// Reads one row.
    pub fn retrieve<R: Model>(access: &Access<R, Retrieve>, key: R::Key) -> Self {
        Self::new(access, Action::Retrieve { key: key.into_value() })
    }

    /// Adds a row that belongs to the scope that was authorised (I2). The columns that are the server's get their
    /// stamps here and nowhere else.
    pub fn create<R: Model>(
        access: &Access<R, Create>,
        assignments: Assignments<R>,
        quotas: &[Quota<R>],
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Self {
        let (sets, references) = assignments.into_parts();
        let now = clock.now();
        let mut values = Vec::with_capacity(R::TABLE.columns.len());
        values.extend(sets);
        for (position, column) in R::TABLE.columns.iter().enumerate() {
            let stamp = match column.part {
                Part::Id => Value::Uuid(Id::<R>::new(clock, entropy).as_uuid()),
                Part::Tenant => Value::Uuid(access.scope()),
                Part::Owner | Part::UpdatedBy => Value::Uuid(access.principal().user_id().as_uuid()),
                Part::CreatedAt | Part::UpdatedAt => Value::Timestamp(now),
                Part::Version => Value::Integer(1),
                Part::Managed | Part::Writable => continue,
            };
            values.push((position, stamp));
        }
        // One shape a set of columns, whatever the order the client wrote them in: statements are kept by shape.
        values.sort_unstable_by_key(|(position, _)| *position);
        let quotas = quotas.iter().map(|quota| quota.to_plan(&values)).collect();
        Self::new(access, Action::Insert { values, references, quotas })
    }

    /// Changes a row.
    pub fn update<R: Model>(
        access: &Access<R, Update>,
        key: R::Key,
        assignments: Assignments<R>,
        precondition: Precondition,
        clock: &dyn Clock,
    ) -> Self {
        let (sets, references) = assignments.into_parts();
        let mut values: Vec<_> = sets.into_vec();
        if !values.is_empty() {
            for (position, column) in R::TABLE.columns.iter().enumerate() {
                match column.part {
                    Part::UpdatedAt => values.push((position, Value::Timestamp(clock.now()))),
                    Part::UpdatedBy => {
                        values.push((position, Value::Uuid(access.principal().user_id().as_uuid())));
                    }
                    _ => {}
                }
            }
        }
        values.sort_unstable_by_key(|(position, _)| *position);
        let visible = access.visible().clone();
        let key = key.into_value();
        Self::new(access, Action::Update { key, values, references, precondition, visible })
    }

    /// Removes a row.
    pub fn delete<R: Model>(access: &Access<R, Delete>, key: R::Key, precondition: Precondition) -> Self {
        let visible = access.visible().clone();
        Self::new(access, Action::Delete { key: key.into_value(), precondition, visible })
    }

    fn new<R: Model, Op>(access: &Access<R, Op>, action: Action) -> Self {
        Self {
            table: R::TABLE,
            scope: access.scope(),
            principal: Principal::user_id(access.principal()),
            clause: access.clause().clone(),
            action,
            recording: None,
        }
    }

    /// The same, which the audit trail tells as `event` of `act`: the entry commits with the change, or neither does
    /// (LOG-11). A plan that changes nothing leaves no entry.
    #[must_use]
    pub fn recorded(mut self, act: Act, event: SecurityEvent) -> Self {
        self.recording = Some((act, event));
        self
    }

    /// What the audit trail is to tell of it.
    pub const fn recording(&self) -> Option<&(Act, SecurityEvent)> {
        self.recording.as_ref()
    }

    /// The table.
    pub const fn table(&self) -> &'static TableDef {
        self.table
    }

    /// The value that the table's tenant column must have.
    pub const fn scope(&self) -> Uuid {
        self.scope
    }

    /// The user that [`Clause::IsMe`] compares with.
    pub const fn principal(&self) -> UserId {
        self.principal
    }

    /// Which rows of the scope the action may touch.
    pub const fn clause(&self) -> &Clause {
        &self.clause
    }

    /// What to do.
    pub const fn action(&self) -> &Action {
        &self.action
    }

    /// For each reference, what to answer if it is not in scope.
    pub(crate) fn missing_references(&self) -> Vec<FieldError> {
        match &self.action {
            Action::Insert { references, .. } | Action::Update { references, .. } => {
                references.iter().map(Reference::missing).collect()
            }
            _ => Vec::new(),
        }
    }

    /// Whether the number of rows of the page's list is kept, so that it need not be counted.
    pub fn count_is_kept(&self) -> bool {
        let Action::List(list) = &self.action else { return false };
        self.table.counted
            && self.clause == Clause::Every
            && list.filters.is_empty()
            && list.search.is_empty()
    }

    /// Where a store should run it.
    pub fn lane(&self) -> Lane {
        let Action::List(list) = &self.action else { return Lane::Short };
        let by_default = list.order.first().is_some_and(|(position, _)| {
            let column = &self.table.columns[*position];
            column.default_order.is_some() || column.part == Part::Id
        });
        let short = by_default
            && list.offset <= MAX_SHORT_OFFSET
            && (self.count_is_kept() || self.table.scope == crate::model::ScopeKind::Caller);
        if short { Lane::Short } else { Lane::Scan }
    }
}

/// How many rows a statement may pass over and still count as short.
const MAX_SHORT_OFFSET: u64 = 1000;
