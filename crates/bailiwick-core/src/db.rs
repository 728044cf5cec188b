//! The typed way to the rows of resources: what handlers call.
use std::sync::Arc;

use crate::{
    access::{Access, Create, Delete, List, Permission, Retrieve, Update},
    audit::{Act, SecurityEvent},
    clock::{Clock, Entropy},
    error::StoreError,
    model::{Assignments, FieldError, Model},
    query::{ListQuery, Page, Plan, Precondition, Quota},
    store::{Store, Written},
};

/// Rows of resources, for whoever holds the [`Access`] to them. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Why an operation on rows did not happen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DbError {
    /// There is no such row, or none that the principal may know of.
    #[error("there is no such row")]
    NotFound,
    /// The principal may know of the row, but not do this to it.
    #[error("the rules do not allow {0} on this row")]
    Forbidden(Permission),
    /// The row is another version than the client expected.
    #[error("the row has changed")]
    Stale,
    /// Another row has the same value where none may.
    #[error("another row has this value")]
    Conflict,
    /// The input points at rows that are not in scope.
    #[error("a reference is not in scope")]
    Dangling(Vec<FieldError>),
    /// There is no room for the row: the position of the first quota that has none.
    #[error("a quota is used up")]
    OverQuota(usize),
    /// The store failed.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Db {
    /// Rows kept by `store`, stamped with `clock` and identified with `entropy`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy }
    }

    /// Reads a page of the rows that `access` covers.
    ///
    /// # Errors
    /// [`DbError::NotFound`] for a page past the end.
    pub async fn list<R: Model>(
        &self,
        access: &Access<R, List>,
        query: &ListQuery<R>,
    ) -> Result<Page<R>, DbError> {
        let plan = Plan::list(access, query);
        let mut rows = Vec::with_capacity(query.size().min(100) as usize);
        let mut each = |row: &dyn crate::model::RowReader| {
            rows.push(R::from_row(row)?);
            Ok(())
        };
        let count = self.store.read(&plan, &mut each).await?;
        let page = Page { rows, count, number: query.page(), size: query.size() };
        if page.exists() { Ok(page) } else { Err(DbError::NotFound) }
    }

    /// Reads one row.
    ///
    /// # Errors
    /// [`DbError::NotFound`] if `access` covers no such row.
    pub async fn retrieve<R: Model>(&self, access: &Access<R, Retrieve>, key: R::Key) -> Result<R, DbError> {
        let plan = Plan::retrieve(access, key);
        let mut found = None;
        let mut each = |row: &dyn crate::model::RowReader| {
            found = Some(R::from_row(row)?);
            Ok(())
        };
        self.store.read(&plan, &mut each).await?;
        found.ok_or(DbError::NotFound)
    }

    /// Adds a row to the scope that `access` covers; when this answers, it is on disk.
    ///
    /// # Errors
    /// [`DbError::Dangling`] if the assignments point out of scope, [`DbError::Conflict`] if a value is taken.
    pub async fn create<R: Model>(
        &self,
        access: &Access<R, Create>,
        assignments: Assignments<R>,
    ) -> Result<R, DbError> {
        self.create_within(access, assignments, &[]).await
    }

    /// Adds a row as [`create`](Db::create) does, if each of `quotas` has room for it.
    ///
    /// # Errors
    /// As [`create`](Db::create), and [`DbError::OverQuota`].
    pub async fn create_within<R: Model>(
        &self,
        access: &Access<R, Create>,
        assignments: Assignments<R>,
        quotas: &[Quota<R>],
    ) -> Result<R, DbError> {
        let plan = Plan::create(access, assignments, quotas, &*self.clock, &*self.entropy);
        self.write(plan, Permission::of::<R, Create>()).await
    }

    /// Reads a row that `access` lets its holder change, and changes nothing: for what belongs to the row and is changed
    /// in its place.
    ///
    /// # Errors
    /// [`DbError::NotFound`] and [`DbError::Forbidden`], as [`update`](Db::update).
    pub async fn changeable<R: Model>(&self, access: &Access<R, Update>, key: R::Key) -> Result<R, DbError> {
        self.update(access, key, Assignments::new(), Precondition::None).await
    }

    /// Changes a row that `access` covers; when this answers, the change is on disk.
    ///
    /// # Errors
    /// [`DbError::NotFound`], [`DbError::Forbidden`] and [`DbError::Stale`], in this order;
    /// [`DbError::Dangling`] and [`DbError::Conflict`] as [`create`](Db::create).
    pub async fn update<R: Model>(
        &self,
        access: &Access<R, Update>,
        key: R::Key,
        assignments: Assignments<R>,
        precondition: Precondition,
    ) -> Result<R, DbError> {
        let plan = Plan::update(access, key, assignments, precondition, &*self.clock);
        self.write(plan, Permission::of::<R, Update>()).await
    }

    /// Removes a row that `access` covers; when this answers, it is gone from disk.
    ///
    /// # Errors
    /// As [`update`](Db::update), and [`DbError::Conflict`] if other rows point at it.
    pub async fn delete<R: Model>(
        &self,
        access: &Access<R, Delete>,
        key: R::Key,
        precondition: Precondition,
    ) -> Result<(), DbError> {
        self.remove::<R>(Plan::delete(access, key, precondition)).await
    }

    /// Removes a row as [`delete`](Db::delete) does, and tells the audit trail of it as `event` of `act`, in the same
    /// transaction.
    ///
    /// # Errors
    /// As [`delete`](Db::delete).
    pub async fn delete_recorded<R: Model>(
        &self,
        access: &Access<R, Delete>,
        key: R::Key,
        precondition: Precondition,
        (act, event): (Act, SecurityEvent),
    ) -> Result<(), DbError> {
        self.remove::<R>(Plan::delete(access, key, precondition).recorded(act, event)).await
    }

    async fn remove<R: Model>(&self, plan: Plan) -> Result<(), DbError> {
        match self.store.write(plan).await? {
            Written::Deleted => Ok(()),
            other => Err(refusal(other, Permission::of::<R, Delete>(), &[])),
        }
    }

    async fn write<R: Model>(&self, plan: Plan, permission: Permission) -> Result<R, DbError> {
        // Kept to name the members that dangle: the plan itself goes to the store.
        let references = plan.missing_references();
        match self.store.write(plan).await? {
            Written::Row(row) => Ok(R::from_row(&row).map_err(StoreError::from)?),
            other => Err(refusal(other, permission, &references)),
        }
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("store", &self.store).finish_non_exhaustive()
    }
}

fn refusal(written: Written, permission: Permission, references: &[FieldError]) -> DbError {
    match written {
        Written::Missing => DbError::NotFound,
        Written::Forbidden => DbError::Forbidden(permission),
        Written::Stale => DbError::Stale,
        Written::Conflict => DbError::Conflict,
        Written::Dangling(positions) => {
            DbError::Dangling(positions.iter().filter_map(|at| references.get(*at).cloned()).collect())
        }
        Written::OverQuota(position) => DbError::OverQuota(position),
        // A store that answers a write with the wrong kind of success is defective; nothing may be built on it.
        Written::Row(_) | Written::Deleted => {
            DbError::Store(StoreError::Refused("the store answered another question".into()))
        }
    }
}
