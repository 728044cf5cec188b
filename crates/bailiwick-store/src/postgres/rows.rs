//! Rows of resources.
use std::sync::Arc;

use bailiwick_core::{
    audit::SecurityEvent,
    error::StoreError,
    model::{Reference, TableDef},
    query::{Action, Lane, ListPlan, Plan, Precondition, QuotaPlan},
    store::{Answer, EachRow, RowStore, Written},
};
use tokio_postgres::{Row, error::SqlState};
use uuid::Uuid;

use super::{
    PostgresStore,
    audit::Recording,
    counters::LOCK,
    failure::Failure,
    pool::{Ask, Lease, Trying, retrying},
    value::{Bind, Columns, Reader, owned},
};
use crate::sql::{self, Diagnosis, Dialect, Statement, Statements};

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

    fn named<'a>(
        &'a self,
        table: &'static TableDef,
        column: usize,
        keys: &'a [Uuid],
    ) -> Answer<'a, Vec<Uuid>> {
        Box::pin(async move {
            let text = sql::named(Dialect::Postgres, table, column, keys.len());
            let binds: Vec<Bind<'_>> = keys.iter().copied().map(Bind::from).collect();
            let [rows] = self.pool.read(Lane::Scan, [Ask::new(&text, &binds)]).await?;
            Ok(rows.iter().map(|row| row.uuid(0)).collect::<Result<_, _>>()?)
        })
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
        let needs = Needs::of(&plan);
        if !needs.references.is_empty() || !needs.quotas.is_empty() || plan.recording().is_some() {
            let recording = plan.recording().map(|(act, event)| (self.recording(act.clone()), event.clone()));
            let write = LongWrite { statements: Arc::clone(&self.statements), plan, recording };
            return self.pool.to_the_end(write, write_in_transaction).await;
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

/// A write that takes more than a statement: it has references, quotas, or an entry of the audit trail.
struct LongWrite {
    statements: Arc<Statements>,
    plan: Plan,
    recording: Option<(Recording, SecurityEvent)>,
}

/// What must be so for a plan to write.
struct Needs<'p> {
    references: &'p [Reference],
    quotas: &'p [QuotaPlan],
}

impl<'p> Needs<'p> {
    fn of(plan: &'p Plan) -> Self {
        match plan.action() {
            Action::Insert { references, quotas, .. } => Self { references, quotas },
            Action::Update { references, .. } => Self { references, quotas: &[] },
            _ => Self { references: &[], quotas: &[] },
        }
    }
}

/// Such a write is a transaction of two round trips: `BEGIN` with the look-ups, the write with `COMMIT`. Between them the
/// composite foreign keys keep what was found, and the locks of the quotas what was summed.
fn write_in_transaction<'a>(lease: &'a mut Lease, write: &'a LongWrite) -> Trying<'a, Written> {
    Box::pin(async move {
        let LongWrite { statements, plan, recording } = write;
        for _ in 0..MAX_TRIES {
            let unmet = look_up(lease, statements, plan).await?;
            if unmet.is_none()
                && let Some(statement) = write_statement(statements, plan)
            {
                let answer = match recording {
                    None => lease.commit_with(&Ask::from(&statement)).await,
                    Some(recording) => commit_recorded(lease, &statement, recording).await,
                };
                if let Some(written) = hit(plan, answer)? {
                    return Ok(written);
                }
            } else {
                lease.roll_back().await?;
            }
            // What is wrong with the row comes before what is wrong with the input (CND-04).
            if let Some(question) = Question::of(statements, plan) {
                let found = lease.run(&Ask::from(&question.statement)).await?;
                if let Some(verdict) = question.verdict(&found)? {
                    return Ok(verdict);
                }
            }
            if let Some(unmet) = unmet {
                return Ok(unmet);
            }
        }
        Err(Failure::Busy)
    })
}

/// Runs the statement that writes, and commits it with its entry of the audit trail; one that hits nothing has none.
async fn commit_recorded(
    lease: &mut Lease,
    statement: &Statement<'_>,
    (recording, event): &(Recording, SecurityEvent),
) -> Result<Vec<Row>, Failure> {
    let written = lease.go_on(&[Ask::from(statement)]).await.map(|mut answers| answers.remove(0));
    match &written {
        Ok(rows) if !rows.is_empty() => lease.commit_recording(recording, vec![event.clone()]).await?,
        _ => lease.roll_back().await?,
    }
    written
}

/// Begins the transaction; answers what does not let the plan write: references that are not in scope, or a quota.
///
/// The locks of the quotas come first, in one order for all. Each statement sees what was committed before it began, so a sum
/// behind its lock has whatever the holder before has added.
async fn look_up(
    lease: &mut Lease,
    statements: &Statements,
    plan: &Plan,
) -> Result<Option<Written>, Failure> {
    let Needs { references, quotas } = Needs::of(plan);
    let table = plan.table();
    let keys: Vec<String> = quotas
        .iter()
        .map(|quota| format!("quota {} {} {}", table.name, table.columns[quota.per].name, quota.per_value))
        .collect();
    let keys = [Bind::Texts(&keys)];
    let locks = (!quotas.is_empty()).then(|| Ask::new(LOCK, &keys));
    let look_ups: Vec<_> = references.iter().map(|reference| statements.exists(plan, reference)).collect();
    let sums: Vec<_> = quotas.iter().map(|quota| statements.used(plan, quota)).collect();
    let asks: Vec<_> =
        locks.into_iter().chain(look_ups.iter().flatten().chain(&sums).map(Ask::from)).collect();
    let mut answers = lease.begin(&asks).await?.into_iter().skip(usize::from(!quotas.is_empty()));
    let mut dangling = Vec::new();
    for (position, look_up) in look_ups.iter().enumerate() {
        let found = look_up.is_some() && answers.next().is_some_and(|rows| !rows.is_empty());
        if !found {
            dangling.push(position);
        }
    }
    if !dangling.is_empty() {
        return Ok(Some(Written::Dangling(dangling)));
    }
    for (position, quota) in quotas.iter().enumerate() {
        let sum = answers.next().unwrap_or_default();
        let used = sum.first().ok_or(Failure::Defect("a sum has a row"))?.integer(0)?;
        if used > quota.room {
            return Ok(Some(Written::OverQuota(position)));
        }
    }
    Ok(None)
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
