//! Plans on SQLite.
use bailiwick_core::{
    access::Clause,
    error::StoreError,
    model::{Kind, Part, Reference, RowBuf, RowReader, TableDef, Value, ValueRef},
    query::{Action, Lane, ListPlan, Plan, Precondition, QuotaPlan},
    store::{Answer, EachRow, RowStore, Written},
};
use rusqlite::{Connection, params_from_iter};
use uuid::Uuid;

use super::{
    SqliteStore,
    error::{Violation, store_error, violation},
    row::{Key, SqliteRow, bind, only},
    writer::Undo,
};
use crate::sql::{self, Binds, Diagnosis, Dialect, Statement, Statements};

impl RowStore for SqliteStore {
    fn read<'a>(&'a self, plan: &'a Plan, each: &'a mut EachRow<'_>) -> Answer<'a, u64> {
        Box::pin(async move {
            match plan.action() {
                Action::Retrieve { key } => self.read_one(plan, key, each),
                Action::List(list) if plan.lane() == Lane::Short => {
                    let (rows, count) = (self.statements.rows(plan, list), self.statements.count(plan, list));
                    let reader = self.readers.get()?;
                    page(&reader, Slice::of(list), &rows, &count, |row| each(row).map_err(StoreError::from))
                }
                Action::List(list) => self.scan(plan, list, each).await,
                _ => Err(StoreError::Refused("a plan that writes is not for reading".into())),
            }
        })
    }

    fn write(&self, plan: Plan) -> Answer<'_, Written> {
        let statements = std::sync::Arc::clone(&self.statements);
        if let Some((act, event)) = plan.recording().cloned() {
            return Box::pin(self.record(act, move |connection| {
                let written = write(connection, &statements, &plan)?;
                let events = if written.is_done() { vec![event] } else { Vec::new() };
                Ok::<_, StoreError>((written, events))
            }));
        }
        let undo = match plan.action() {
            // The row has columns that the change did not set: one that cannot be read must fail this write alone.
            Action::Update { .. } => Undo::Savepoint,
            _ => Undo::Statement,
        };
        Box::pin(self.writer.run_undone_by(undo, move |connection| write(connection, &statements, &plan)))
    }

    fn named<'a>(
        &'a self,
        table: &'static TableDef,
        column: usize,
        keys: &'a [Uuid],
    ) -> Answer<'a, Vec<Uuid>> {
        let text = sql::named(Dialect::Sqlite, table, column, keys.len());
        let keys: Vec<Key> = keys.iter().copied().map(Key).collect();
        Box::pin(self.scans.run(move |connection| {
            let named = || {
                let mut prepared = connection.prepare(&text)?;
                let rows = prepared.query_map(params_from_iter(&keys), |row| Ok(row.get::<_, Key>(0)?.0))?;
                rows.collect::<rusqlite::Result<_>>()
            };
            named().map_err(store_error)
        }))
    }
}

impl SqliteStore {
    fn read_one(&self, plan: &Plan, key: &Value, each: &mut EachRow<'_>) -> Result<u64, StoreError> {
        let reader = self.readers.get()?;
        let statement = self.statements.row(plan, key);
        let mut prepared = bind(&reader, &statement).map_err(store_error)?;
        let found = only(prepared.raw_query(), |row| Ok::<_, ReadError>(each(&SqliteRow(row))?))?;
        Ok(found.is_some().into())
    }

    async fn scan(&self, plan: &Plan, list: &ListPlan, each: &mut EachRow<'_>) -> Result<u64, StoreError> {
        let table = plan.table();
        let slice = Slice::of(list);
        let [rows, count] =
            [self.statements.rows(plan, list), self.statements.count(plan, list)].map(Owned::of);
        let scan = self.scans.run(move |connection| {
            let mut found = Vec::new();
            let (rows, count) = (rows.statement(), count.statement());
            let count = page(connection, slice, &rows, &count, |row| {
                found.push(row.to_buf(table)?);
                Ok(())
            })?;
            Ok((count, found))
        });
        let (count, found) = scan.await?;
        for row in &found {
            each(row)?;
        }
        Ok(count)
    }
}

/// A statement on its way to another thread.
struct Owned {
    text: std::sync::Arc<str>,
    values: Vec<Value>,
}

impl Owned {
    fn of(statement: Statement<'_>) -> Self {
        // No condition compares with null, and a null has no other use for its kind.
        let values = statement.binds.iter().map(|value| value.to_value(Kind::Text)).collect();
        Self { text: statement.text, values }
    }

    fn statement(&self) -> Statement<'_> {
        let binds: Binds<'_> = self.values.iter().map(Value::as_ref).collect();
        Statement { text: std::sync::Arc::clone(&self.text), binds }
    }
}

/// Which part of a list a page is.
#[derive(Clone, Copy)]
struct Slice {
    offset: u64,
    limit: u64,
}

impl Slice {
    fn of(list: &ListPlan) -> Self {
        Self { offset: list.offset, limit: list.limit }
    }

    /// How many rows the whole list has, if `found` rows on this page tell: the last page does, unless it is empty
    /// because it is past the end.
    fn whole(self, found: u64) -> Option<u64> {
        let is_last = found < self.limit && (found > 0 || self.offset == 0);
        is_last.then(|| self.offset.saturating_add(found))
    }
}

/// Reads a page and how many rows its list has, both of one state of the database.
fn page(
    connection: &Connection,
    slice: Slice,
    rows: &Statement<'_>,
    count: &Statement<'_>,
    mut each: impl FnMut(&SqliteRow<'_, '_>) -> Result<(), StoreError>,
) -> Result<u64, StoreError> {
    let transaction = |statement| {
        let mut prepared = connection.prepare_cached(statement)?;
        prepared.execute([])
    };
    // If anything fails, whoever lent the connection ends the transaction.
    transaction("BEGIN").map_err(store_error)?;
    let mut found = 0;
    {
        let mut prepared = bind(connection, rows).map_err(store_error)?;
        let mut rows = prepared.raw_query();
        while let Some(row) = rows.next().map_err(store_error)? {
            each(&SqliteRow(row))?;
            found += 1;
        }
    }
    // Counting may cost as much again as the search that has just found a few rows.
    let whole = match slice.whole(found) {
        Some(whole) => whole,
        None => {
            let mut prepared = bind(connection, count).map_err(store_error)?;
            let counted = only(prepared.raw_query(), |row| row.get::<_, i64>(0)).map_err(store_error)?;
            counted.and_then(|counted| u64::try_from(counted).ok()).unwrap_or(0)
        }
    };
    transaction("COMMIT").map_err(store_error)?;
    Ok(whole)
}

/// Runs a plan that writes, in the transaction that the connection is in.
fn write(connection: &Connection, statements: &Statements, plan: &Plan) -> Result<Written, StoreError> {
    let write = Write { connection, statements, plan };
    match plan.action() {
        Action::Insert { values, references, quotas } => write.insert(values, references, quotas),
        Action::Update { key, values, references, precondition, visible } => {
            write.update(key, values, references, precondition, visible)
        }
        Action::Delete { key, precondition, visible } => write.delete(key, precondition, visible),
        Action::List(_) | Action::Retrieve { .. } => {
            Err(StoreError::Refused("a plan that reads is not for writing".into()))
        }
    }
}

struct Write<'w> {
    connection: &'w Connection,
    statements: &'w Statements,
    plan: &'w Plan,
}

impl Write<'_> {
    fn insert(
        &self,
        values: &[(usize, Value)],
        references: &[Reference],
        quotas: &[QuotaPlan],
    ) -> Result<Written, StoreError> {
        let dangling = self.dangling(references)?;
        if !dangling.is_empty() {
            return Ok(Written::Dangling(dangling));
        }
        // There is one writer: nobody adds a row between the sum and the insert.
        for (position, quota) in quotas.iter().enumerate() {
            let used = self.run(&self.statements.used(self.plan, quota), |row| {
                Ok(match row.read(0, Kind::Integer)? {
                    ValueRef::Integer(used) => used,
                    _ => i64::MAX,
                })
            })?;
            if used.is_none_or(|used| used > quota.room) {
                return Ok(Written::OverQuota(position));
            }
        }
        match self.row(&self.statements.insert(self.plan, values)) {
            Ok(Some(row)) => Ok(Written::Row(row)),
            Ok(None) => Err(StoreError::Refused("an insert returned no row".into())),
            Err(error) => refused(error, references),
        }
    }

    fn update(
        &self,
        key: &Value,
        values: &[(usize, Value)],
        references: &[Reference],
        precondition: &Precondition,
        visible: &Clause,
    ) -> Result<Written, StoreError> {
        let dangling = self.dangling(references)?;
        if !dangling.is_empty() {
            // Whoever may not know of the row, or not change it, learns nothing about what they sent.
            return Ok(self.diagnose(key, precondition, visible)?.unwrap_or(Written::Dangling(dangling)));
        }
        let row = match self.statements.update(self.plan, key, values, precondition) {
            Some(statement) => self.row(&statement),
            None => Ok(None),
        };
        match row {
            Ok(Some(row)) => Ok(Written::Row(row)),
            Ok(None) => self.why_not(key, precondition, visible),
            Err(error) => refused(error, references),
        }
    }

    fn delete(
        &self,
        key: &Value,
        precondition: &Precondition,
        visible: &Clause,
    ) -> Result<Written, StoreError> {
        let deleted = match self.statements.delete(self.plan, key, precondition) {
            Some(statement) => self.run(&statement, |_| Ok(())),
            None => Ok(None),
        };
        match deleted {
            Ok(Some(())) => Ok(Written::Deleted),
            Ok(None) => self.why_not(key, precondition, visible),
            // Other rows point at it.
            Err(ReadError::Sqlite(error)) if violation(&error) == Some(Violation::ForeignKey) => {
                Ok(Written::Conflict)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The positions of the references that are not in scope.
    fn dangling(&self, references: &[Reference]) -> Result<Vec<usize>, StoreError> {
        let mut dangling = Vec::new();
        for (position, reference) in references.iter().enumerate() {
            let found = match self.statements.exists(self.plan, reference) {
                Some(statement) => self.run(&statement, |_| Ok(()))?,
                None => None,
            };
            if found.is_none() {
                dangling.push(position);
            }
        }
        Ok(dangling)
    }

    fn why_not(
        &self,
        key: &Value,
        precondition: &Precondition,
        visible: &Clause,
    ) -> Result<Written, StoreError> {
        // Nobody else writes in this transaction: a row that meets every condition would have been hit.
        self.diagnose(key, precondition, visible)?
            .ok_or_else(|| StoreError::Refused("a write did not hit a row that it fits".into()))
    }

    fn diagnose(
        &self,
        key: &Value,
        precondition: &Precondition,
        visible: &Clause,
    ) -> Result<Option<Written>, StoreError> {
        let has_version = self.plan.table().position(Part::Version).is_some();
        let found = self.run(&self.statements.diagnose(self.plan, key, visible), |row| {
            let allowed = row.read(0, Kind::Bool)? == ValueRef::Bool(true);
            let version = match has_version.then(|| row.read(1, Kind::Integer)).transpose()? {
                Some(ValueRef::Integer(version)) => Some(version),
                _ => None,
            };
            Ok(Diagnosis { allowed, version })
        })?;
        Ok(Diagnosis::verdict(found, precondition))
    }

    fn row(&self, statement: &Statement<'_>) -> Result<Option<RowBuf>, ReadError> {
        self.run(statement, |row| Ok(row.to_buf(self.plan.table())?))
    }

    fn run<T>(
        &self,
        statement: &Statement<'_>,
        read: impl FnOnce(&SqliteRow<'_, '_>) -> Result<T, ReadError>,
    ) -> Result<Option<T>, ReadError> {
        let mut prepared = bind(self.connection, statement)?;
        only(prepared.raw_query(), |row| read(&SqliteRow(row)))
    }
}

/// What a failed insert or update means: a constraint that the client can be told of, or a failure.
fn refused(error: ReadError, references: &[Reference]) -> Result<Written, StoreError> {
    if let ReadError::Sqlite(error) = &error {
        match violation(error) {
            Some(Violation::Unique) => return Ok(Written::Conflict),
            // The row was in scope, and yet the key does not fit it: the tables disagree about what a reference is.
            Some(Violation::ForeignKey) if references.len() == 1 => return Ok(Written::Dangling(vec![0])),
            _ => {}
        }
    }
    Err(error.into())
}

/// Why a statement was not run or its answer not read.
enum ReadError {
    Sqlite(rusqlite::Error),
    Decode(bailiwick_core::error::DecodeError),
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<bailiwick_core::error::DecodeError> for ReadError {
    fn from(error: bailiwick_core::error::DecodeError) -> Self {
        Self::Decode(error)
    }
}

impl From<ReadError> for StoreError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Sqlite(error) => store_error(error),
            ReadError::Decode(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Slice;

    #[test]
    fn the_last_page_tells_how_many_rows_there_are_and_no_other_does() {
        let whole = |offset, found| Slice { offset, limit: 25 }.whole(found);
        assert_eq!(whole(0, 0), Some(0));
        assert_eq!(whole(0, 24), Some(24));
        assert_eq!(whole(50, 1), Some(51));
        assert_eq!(whole(0, 25), None);
        assert_eq!(whole(25, 25), None);
        assert_eq!(whole(25, 0), None);
    }
}
