//! The text of a statement, written by `sea-query`.
use bailiwick_core::{
    access::Clause,
    model::{Direction, Kind, Part, TableDef, Value, ValueRef},
    query::{Comparison, Filter, ListPlan, Plan, QuotaPlan},
};
use sea_query::{
    Alias, CaseStatement, Cond, Expr, ExprTrait, Func, NullOrdering, Order, PostgresQueryBuilder, Query,
    SelectStatement, SqliteQueryBuilder, Values,
};

use super::{Ask, Dialect, Versions, binds::searched, padded};

/// The SQLite function that looks for a term in a text without regard to case.
pub(crate) const CONTAINS: &str = "bw_contains";

pub(super) fn of(dialect: Dialect, plan: &Plan, ask: &Ask<'_>) -> (String, Values) {
    let writer = Writer { dialect, plan, table: plan.table() };
    match *ask {
        Ask::Rows(list) => writer.rows(list),
        Ask::Count(list) => {
            let mut select = writer.select(writer.conditions(list));
            writer.build(select.expr(Func::count(Expr::cust("*"))))
        }
        Ask::KeptCount => writer.kept_count(),
        Ask::Row { key } => writer.build(writer.select(writer.one(key)).columns(writer.columns())),
        Ask::Unchanged { key, versions } => {
            writer.build(writer.select(writer.one_of_versions(key, versions)).columns(writer.columns()))
        }
        Ask::Insert { values } => writer.insert(values),
        Ask::Update { key, values, versions } => writer.update(key, values, versions),
        Ask::Delete { key, versions } => writer.delete(key, versions),
        Ask::Diagnose { key, visible } => writer.diagnose(key, visible),
        Ask::Exists(reference) => writer.exists(reference.table, reference.key),
        Ask::Used(quota) => writer.used(quota),
    }
}

struct Writer<'p> {
    dialect: Dialect,
    plan: &'p Plan,
    table: &'static TableDef,
}

impl Writer<'_> {
    fn rows(&self, list: &ListPlan) -> (String, Values) {
        let mut select = self.select(self.conditions(list));
        select.columns(self.columns());
        for (position, direction) in &list.order {
            let column = &self.table.columns[*position];
            let by = match column.choices {
                Some(choices) => self.rank(*position, choices),
                None if column.kind == Kind::Text => self.by_code_point(*position),
                None => self.column(*position),
            };
            let order = match direction {
                Direction::Ascending => Order::Asc,
                Direction::Descending => Order::Desc,
            };
            // Only where there are nulls: SQLite would not use the index for the order otherwise.
            if column.nullable {
                select.order_by_expr_with_nulls(by, order, NullOrdering::Last);
            } else {
                select.order_by_expr(by, order);
            }
        }
        self.build(select.limit(list.limit).offset(list.offset))
    }

    /// An enumeration's values are ordered by rank, not by name.
    fn rank(&self, position: usize, choices: &[&str]) -> Expr {
        let ranks = choices.iter().zip(0_i32..).fold(CaseStatement::new(), |ranks, (name, rank)| {
            ranks.case(self.column(position).eq(constant(*name)), constant(rank))
        });
        ranks.into()
    }

    /// PostgreSQL would order by the locale of the database: another order on every machine.
    fn by_code_point(&self, position: usize) -> Expr {
        match self.dialect {
            Dialect::Sqlite => self.column(position),
            Dialect::Postgres => Expr::cust_with_expr(r#"$1 COLLATE "C""#, self.column(position)),
        }
    }

    fn kept_count(&self) -> (String, Values) {
        let mut select = Query::select();
        select
            .expr(sum(Expr::col("rows")))
            .from("row_counts")
            .and_where(Expr::col("table_name").eq(self.table.name))
            .and_where(Expr::col("scope_id").eq(bind(ValueRef::Uuid(self.plan.scope()))));
        self.build(&select)
    }

    fn insert(&self, values: &[(usize, Value)]) -> (String, Values) {
        let mut insert = Query::insert();
        insert
            .into_table(self.table.name)
            .columns(values.iter().map(|(position, _)| self.name(*position)))
            .values_panic(values.iter().map(|(_, value)| bind(value.as_ref())))
            .returning(Query::returning().columns(self.columns()));
        match self.dialect {
            Dialect::Sqlite => insert.build(SqliteQueryBuilder),
            Dialect::Postgres => insert.build(PostgresQueryBuilder),
        }
    }

    fn update(&self, key: &Value, values: &[(usize, Value)], versions: Versions<'_>) -> (String, Values) {
        let mut update = Query::update();
        update.table(self.table.name);
        for (position, value) in values {
            update.value(self.name(*position), bind(value.as_ref()));
        }
        if let Some(version) = self.table.position(Part::Version) {
            update.value(self.name(version), self.column(version).add(constant(1_i64)));
        }
        update
            .cond_where(self.one_of_versions(key, versions))
            .returning(Query::returning().columns(self.columns()));
        match self.dialect {
            Dialect::Sqlite => update.build(SqliteQueryBuilder),
            Dialect::Postgres => update.build(PostgresQueryBuilder),
        }
    }

    fn delete(&self, key: &Value, versions: Versions<'_>) -> (String, Values) {
        let mut delete = Query::delete();
        delete
            .from_table(self.table.name)
            .cond_where(self.one_of_versions(key, versions))
            .returning_col(self.name(position(self.table, Part::Id)));
        match self.dialect {
            Dialect::Sqlite => delete.build(SqliteQueryBuilder),
            Dialect::Postgres => delete.build(PostgresQueryBuilder),
        }
    }

    fn diagnose(&self, key: &Value, visible: &Clause) -> (String, Values) {
        let mut select = self.select(self.key(key).add_option(self.clause(visible)));
        select.expr(match self.clause(self.plan.clause()) {
            None => constant(true),
            // A column of the clause may be null, and null is no yes.
            Some(clause) => Func::coalesce([clause, constant(false)]).into(),
        });
        if let Some(version) = self.table.position(Part::Version) {
            select.column(self.name(version));
        }
        self.build(&select)
    }

    fn exists(&self, table: &'static TableDef, key: uuid::Uuid) -> (String, Values) {
        let column = |part| Expr::col(table.columns[position(table, part)].name);
        let mut select = Query::select();
        select
            .expr(constant(1_i32))
            .from(table.name)
            .and_where(column(Part::Tenant).eq(bind(ValueRef::Uuid(self.plan.scope()))))
            .and_where(column(Part::Id).eq(bind(ValueRef::Uuid(key))));
        self.build(&select)
    }

    /// Not within the scope: what a user has made counts wherever it is. Whose rows are summed, the plan says.
    fn used(&self, quota: &QuotaPlan) -> (String, Values) {
        let mut select = Query::select();
        select
            .expr(sum(self.column(quota.summed)))
            .from(self.table.name)
            .and_where(self.column(quota.per).eq(bind(ValueRef::Uuid(quota.per_value))));
        self.build(&select)
    }

    fn build(&self, select: &SelectStatement) -> (String, Values) {
        match self.dialect {
            Dialect::Sqlite => select.build(SqliteQueryBuilder),
            Dialect::Postgres => select.build(PostgresQueryBuilder),
        }
    }

    fn select(&self, condition: Cond) -> SelectStatement {
        let mut select = Query::select();
        select.from(self.table.name).cond_where(condition);
        select
    }

    fn name(&self, position: usize) -> Alias {
        Alias::new(self.table.columns[position].name)
    }

    fn column(&self, position: usize) -> Expr {
        Expr::col(self.name(position))
    }

    fn columns(&self) -> impl Iterator<Item = Alias> {
        self.table.columns.iter().map(|column| Alias::new(column.name))
    }

    /// In scope: where every statement begins (I1).
    fn scope(&self) -> Cond {
        let tenant = self.column(position(self.table, Part::Tenant));
        Cond::all().add(tenant.eq(bind(ValueRef::Uuid(self.plan.scope()))))
    }

    fn key(&self, key: &Value) -> Cond {
        let id = self.column(position(self.table, Part::Id));
        self.scope().add(id.eq(bind(key.as_ref())))
    }

    fn one(&self, key: &Value) -> Cond {
        self.key(key).add_option(self.clause(self.plan.clause()))
    }

    fn one_of_versions(&self, key: &Value, versions: Versions<'_>) -> Cond {
        let one = self.one(key);
        let named = versions.named();
        let Some(last) = named.last() else { return one };
        let version = self.column(position(self.table, Part::Version));
        let named = repeat_last(named, *last);
        one.add(match versions {
            Versions::NotIn(_) => version.is_not_in(named),
            Versions::Any | Versions::In(_) => version.is_in(named),
        })
    }

    /// None for every row.
    fn clause(&self, clause: &Clause) -> Option<Expr> {
        let parts_of = |parts: &[Clause], neither: Cond| {
            parts
                .iter()
                .fold(neither, |joined, part| joined.add(self.clause(part).unwrap_or_else(|| constant(true))))
        };
        match clause {
            Clause::Every => None,
            Clause::None => Some(constant(false)),
            Clause::IsMe(column) => {
                let me = bind(ValueRef::Uuid(self.plan.principal().as_uuid()));
                Some(self.column(*column).eq(me))
            }
            Clause::All(parts) => Some(parts_of(parts, Cond::all()).into()),
            Clause::Any(parts) => Some(parts_of(parts, Cond::any()).into()),
        }
    }

    fn conditions(&self, list: &ListPlan) -> Cond {
        let mut all = self.scope().add_option(self.clause(self.plan.clause()));
        for Filter { column, comparison, values } in &list.filters {
            let column = self.column(*column);
            let first = values.first().expect("a filter has a value");
            let values = || values.iter().map(|value| bind(value.as_ref()));
            all = all.add(match comparison {
                Comparison::Equal => column.eq(bind(first.as_ref())),
                Comparison::AtLeast => column.gte(bind(first.as_ref())),
                Comparison::AtMost => column.lte(bind(first.as_ref())),
                Comparison::In => {
                    let values: Vec<_> = values().collect();
                    let last = values[values.len() - 1].clone();
                    column.is_in(repeat_last(&values, last))
                }
            });
        }
        for term in &list.search {
            let anywhere = searched(self.table)
                .fold(Cond::any(), |any, position| any.add(self.contains(position, term)));
            all = all.add(anywhere);
        }
        all
    }

    /// Whether a text column contains `term`, without regard to case, in the letters of any script. The term is
    /// no pattern, so nothing in it needs escaping (PAG-12).
    fn contains(&self, position: usize, term: &str) -> Expr {
        match self.dialect {
            Dialect::Sqlite => Func::cust(CONTAINS).arg(self.column(position)).arg(term).into(),
            Dialect::Postgres => {
                // Lower case has two sigmas, one of them for the ends of words: the search has one.
                let text = Expr::cust_with_expr(
                    "translate(lower($1 COLLATE \"und-x-icu\"), 'ς', 'σ')",
                    self.column(position),
                );
                let term = Expr::cust_with_expr("translate($1, 'ς', 'σ')", Expr::from(term));
                Expr::from(Func::cust("strpos").arg(text).arg(term)).gt(constant(0_i32))
            }
        }
    }
}

fn position(table: &TableDef, part: Part) -> usize {
    table.position(part).unwrap_or_else(|| panic!("table {} has no column marked {part:?}", table.name))
}

/// Zero for no rows. PostgreSQL adds bigints up to a numeric.
fn sum(column: Expr) -> Expr {
    Expr::from(Func::coalesce([column.sum(), constant(0_i64)])).cast_as("bigint")
}

fn constant(value: impl Into<sea_query::Value>) -> Expr {
    Expr::Constant(value.into())
}

fn bind(value: ValueRef<'_>) -> Expr {
    Expr::Value(to_sea_query(value))
}

/// The values only stand for placeholders: what is bound is the plan's own.
pub(super) fn to_sea_query(value: ValueRef<'_>) -> sea_query::Value {
    use sea_query::Value as To;
    match value {
        ValueRef::Null => To::String(None),
        ValueRef::Uuid(uuid) => To::Bytes(Some(uuid.as_bytes().to_vec())),
        ValueRef::Text(text) => To::String(Some(text.to_owned())),
        ValueRef::Integer(integer) => To::BigInt(Some(integer)),
        ValueRef::Bool(bool) => To::Bool(Some(bool)),
        ValueRef::Timestamp(time) => To::BigInt(Some(time.as_micros())),
    }
}

fn repeat_last<T: Clone>(values: &[T], last: T) -> impl Iterator<Item = T> {
    let missing = padded(values.len()) - values.len();
    values.iter().cloned().chain(std::iter::repeat_n(last, missing))
}
