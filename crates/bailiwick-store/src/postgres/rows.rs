//! Rows of resources.
use std::sync::Arc;

use bailiwick_core::{
    error::StoreError,
    model::{Reference, TableDef},
    query::{Action, Lane, ListPlan, Plan, Precondition},
    store::{Answer, EachRow, RowStore, Written},
};
use tokio_postgres::{Row, error::SqlState};

use super::{
    PostgresStore,
    failure::Failure,
    pool::{Ask, Lease, Trying, retrying},
    value::{Columns, Reader, owned},
};
use crate::sql::{Diagnosis, Statement, Statements};

/// How often a write that hit nothing, of a row that meets all conditions a moment later, is tried.
const MAX_TRIES: usize = 8;

impl RowStore for PostgresStore {
    fn read<'a>(&'a self, plan: &'a Plan, each: &'a mut EachRow<'_>) -> Answer<'a, u64> {
        Box::pin(async move {
            let (rows, count) = match plan.action() {
                Action::List(list) => self.list(plan, list).await?,
                Action::Retrieve { key } => {
                    let statement = self.statements.row(plan, key);
                    let [rows] = self.pool.read(plan.lane(), [Ask::from(&statement)]).await?;
                    let count = rows.len() as u64;
                    (rows, count)
                }
                Action::Insert { .. } | Action::Update { .. } | Action::Delete { .. } => {
                    return Err(Failure::Defect("a plan that writes was read").into());
                }
            };
            for row in &rows {
                each(&Reader(row))?;
            }
            Ok(count)
        })
    }

    fn write(&self, plan: Plan) -> Answer<'_, Written> {
        Box::pin(async move { Ok(self.write_plan(plan).await?) })
    }
}

impl PostgresStore {
    async fn list(&self, plan: &Plan, list: &ListPlan) -> Result<(Vec<Row>, u64), StoreError> {
        let (rows, count) = (self.statements.rows(plan, list), self.statements.count(plan, list));
        if plan.lane() == Lane::Short {
            let [rows, count] = self.pool.read(Lane::Short, [Ask::from(&rows), Ask::from(&count)]).await?;
            let counted = read_count(&count)?;
            let count = seen(list, &rows).unwrap_or(counted);
            let count = count.max(at_least(list, &rows));
            return Ok((rows, count));
        }
        // Both may read every row of the scope: the second only if the first does not tell.
        let [rows] = self.pool.read(plan.lane(), [Ask::from(&rows)]).await?;
        if let Some(count) = seen(list, &rows) {
            return Ok((rows, count));
        }
        let [count] = self.pool.read(plan.lane(), [Ask::from(&count)]).await?;
        let count = read_count(&count)?.max(at_least(list, &rows));
        Ok((rows, count))
    }

    async fn write_plan(&self, plan: Plan) -> Result<Written, Failure> {
        let references = match plan.action() {
            Action::Insert { references, .. } | Action::Update { references, .. } => references,
            _ => &Vec::new(),
        };
        if !references.is_empty() {
            let arguments = (Arc::clone(&self.statements), plan);
            return self.pool.to_the_end(arguments, write_with_references).await;
        }
        retrying(|| async {
            let mut lease = self.pool.lease(Lane::Short).await?;
            write_alone(&mut lease, &self.statements, &plan).await
        })
        .await
    }
}

/// How many rows the list has, if the page shows where it ends. The rows and the count are of two moments, between
/// which others write: where the page tells, it is believed.
fn seen(list: &ListPlan, rows: &[Row]) -> Option<u64> {
    let ends_here = (rows.len() as u64) < list.limit && (!rows.is_empty() || list.offset == 0);
    ends_here.then(|| at_least(list, rows))
}

/// How many rows the list has at the least, as the page shows.
fn at_least(list: &ListPlan, rows: &[Row]) -> u64 {
    if rows.is_empty() { 0 } else { list.offset.saturating_add(rows.len() as u64) }
}

fn read_count(rows: &[Row]) -> Result<u64, StoreError> {
    let row = rows.first().ok_or(Failure::Defect("a count has a row"))?;
    Ok(u64::try_from(row.integer(0)?).unwrap_or(0))
}

/// A write without references is one statement, which commits by itself. At READ COMMITTED it waits for whoever
/// changes the row and then looks again whether its conditions hold: of two writers with one version, one hits.
async fn write_alone(lease: &mut Lease, statements: &Statements, plan: &Plan) -> Result<Written, Failure> {
    for _ in 0..MAX_TRIES {
        if let Some(statement) = write_statement(statements, plan) {
            let answer = lease.run(&Ask::from(&statement)).await;
            if let Some(written) = hit(plan, answer)? {
                return Ok(written);
            }
        }
        let Some(question) = Question::of(statements, plan) else {
            return Err(Failure::Defect("an insert answers with its row"));
        };
        let found = lease.run(&Ask::from(&question.statement)).await?;
        if let Some(verdict) = question.verdict(&found)? {
            return Ok(verdict);
        }
    }
    Err(Failure::Busy)
}

/// A write with references is a transaction of two round trips: `BEGIN` with the look-ups, the write with `COMMIT`.
/// Between them the composite foreign keys keep what was found.
fn write_with_references<'a>(
    lease: &'a mut Lease,
    (statements, plan): &'a (Arc<Statements>, Plan),
) -> Trying<'a, Written> {
    Box::pin(async move {
        let (Action::Insert { references, .. } | Action::Update { references, .. }) = plan.action() else {
            return Err(Failure::Defect("only inserts and updates have references"));
        };
        for _ in 0..MAX_TRIES {
            let dangling = look_up(lease, statements, plan, references).await?;
            if dangling.is_empty()
                && let Some(statement) = write_statement(statements, plan)
            {
                let answer = lease.commit_with(&Ask::from(&statement)).await;
                if let Some(written) = hit(plan, answer)? {
                    return Ok(written);
                }
            } else {
                lease.roll_back().await?;
            }
            // What is wrong with the row comes before what is wrong with the input (CND-04).
            let Some(question) = Question::of(statements, plan) else {
                return Ok(Written::Dangling(dangling));
            };
            let found = lease.run(&Ask::from(&question.statement)).await?;
            if let Some(verdict) = question.verdict(&found)? {
                return Ok(verdict);
            }
            if !dangling.is_empty() {
                return Ok(Written::Dangling(dangling));
            }
        }
        Err(Failure::Busy)
    })
}

/// Begins the transaction; answers the positions of the references that are not in scope.
async fn look_up(
    lease: &mut Lease,
    statements: &Statements,
    plan: &Plan,
    references: &[Reference],
) -> Result<Vec<usize>, Failure> {
    let look_ups: Vec<_> = references.iter().map(|reference| statements.exists(plan, reference)).collect();
    let asks: Vec<_> = look_ups.iter().flatten().map(Ask::from).collect();
    let mut answers = lease.begin(&asks).await?.into_iter();
    let mut dangling = Vec::new();
    for (position, look_up) in look_ups.iter().enumerate() {
        let found = look_up.is_some() && answers.next().is_some_and(|rows| !rows.is_empty());
        if !found {
            dangling.push(position);
        }
    }
    Ok(dangling)
}

/// The statement that writes; none if no row can meet the precondition.
fn write_statement<'p>(statements: &Statements, plan: &'p Plan) -> Option<Statement<'p>> {
    match plan.action() {
        Action::Insert { values, .. } => Some(statements.insert(plan, values)),
        Action::Update { key, values, precondition, .. } => {
            statements.update(plan, key, values, precondition)
        }
        Action::Delete { key, precondition, .. } => statements.delete(plan, key, precondition),
        Action::List(_) | Action::Retrieve { .. } => None,
    }
}

/// What came of the statement that writes; none if it hit no row.
fn hit(plan: &Plan, answer: Result<Vec<Row>, Failure>) -> Result<Option<Written>, Failure> {
    let rows = match answer {
        Ok(rows) => rows,
        Err(failure) => {
            return match failure.code() {
                Some(code)
                    if *code == SqlState::UNIQUE_VIOLATION || *code == SqlState::EXCLUSION_VIOLATION =>
                {
                    Ok(Some(Written::Conflict))
                }
                Some(code) if *code == SqlState::FOREIGN_KEY_VIOLATION => {
                    foreign_key(plan, failure).map(Some)
                }
                _ => Err(failure),
            };
        }
    };
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(match plan.action() {
        Action::Delete { .. } => Written::Deleted,
        _ => Written::Row(owned(row, plan.table())?),
    }))
}

/// Rows point at the one that was to go, or the one pointed at went a moment ago.
fn foreign_key(plan: &Plan, failure: Failure) -> Result<Written, Failure> {
    match plan.action() {
        Action::Delete { .. } => Ok(Written::Conflict),
        Action::Insert { references, .. } | Action::Update { references, .. } if references.len() == 1 => {
            Ok(Written::Dangling(vec![0]))
        }
        _ => Err(failure),
    }
}

/// Asks why a write hit no row.
struct Question<'p> {
    statement: Statement<'p>,
    precondition: &'p Precondition,
    table: &'static TableDef,
}

impl<'p> Question<'p> {
    /// An insert always hits.
    fn of(statements: &Statements, plan: &'p Plan) -> Option<Self> {
        match plan.action() {
            Action::Update { key, visible, precondition, .. }
            | Action::Delete { key, visible, precondition } => {
                let statement = statements.diagnose(plan, key, visible);
                Some(Self { statement, precondition, table: plan.table() })
            }
            _ => None,
        }
    }

    fn verdict(&self, rows: &[Row]) -> Result<Option<Written>, Failure> {
        let found = match rows.first() {
            None => None,
            Some(row) => {
                let has_version = self.table.position(bailiwick_core::model::Part::Version).is_some();
                let version = if has_version { Some(row.integer(1)?) } else { None };
                Some(Diagnosis { allowed: row.bool(0)?, version })
            }
        };
        Ok(Diagnosis::verdict(found, self.precondition))
    }
}
