//! Quotas: how much the rows of somebody may add up to.
use std::marker::PhantomData;

use uuid::Uuid;

use crate::model::{Column, FieldType, Model, Part, Value};

/// The types of columns that can be summed.
pub trait Summed: FieldType {}
impl Summed for i64 {}
/// Nothing adds nothing.
impl Summed for Option<i64> {}

/// How much the values in one column may add up to over all rows that belong to whom a new row belongs to, that row
/// included. It is exact, however many rows are added at once: the sum is taken in the transaction that adds the row,
/// after whoever adds another one for the same quota.
///
/// It is asked of a create by [`Db::create_within`](crate::db::Db::create_within).
#[derive(Debug)]
pub struct Quota<R> {
    summed: usize,
    per: usize,
    limit: i64,
    of: PhantomData<fn() -> R>,
}

impl<R: Model> Quota<R> {
    /// The rows of the scope that is written in: of the organisation.
    ///
    /// # Panics
    /// If the model has no such column, which the derive does not let happen.
    pub fn of_scope<T: Summed, W>(summed: Column<R, T, W>, limit: u64) -> Self {
        Self::of(summed, Part::Tenant, limit)
    }

    /// The rows that the caller has made, in whatever scope they are.
    ///
    /// # Panics
    /// If the model marks no column as `owner`. Quotas are built from settings, so this shows at the first write.
    pub fn of_owner<T: Summed, W>(summed: Column<R, T, W>, limit: u64) -> Self {
        Self::of(summed, Part::Owner, limit)
    }

    fn of<T: Summed, W>(summed: Column<R, T, W>, part: Part, limit: u64) -> Self {
        let per = R::TABLE.position(part);
        let per = per.unwrap_or_else(|| panic!("the table {} has no column marked {part:?}", R::TABLE.name));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        Self { summed: summed.position(), per, limit, of: PhantomData }
    }

    /// The quota as the row with these values meets it.
    pub(super) fn to_plan(&self, values: &[(usize, Value)]) -> QuotaPlan {
        let value = |position: usize| values.iter().find(|(at, _)| *at == position).map(|(_, value)| value);
        let per_value = match value(self.per) {
            Some(Value::Uuid(uuid)) => *uuid,
            _ => unreachable!("the tenant and the owner are stamped, and are ids"),
        };
        // A column that is not set adds nothing.
        let amount = match value(self.summed) {
            Some(Value::Integer(amount)) => *amount,
            _ => 0,
        };
        QuotaPlan { summed: self.summed, per: self.per, per_value, room: self.limit.saturating_sub(amount) }
    }
}

/// A quota that a new row must find room in.
#[derive(Clone, Copy, Debug)]
pub struct QuotaPlan {
    /// The position of the column that is summed.
    pub summed: usize,
    /// The position of the column that says whose quota it is: the tenant's or the owner's. The scope that was authorised, or
    /// the caller, stands there, as everywhere in a plan.
    pub per: usize,
    /// Whose quota it is.
    pub per_value: Uuid,
    /// What the rows that are there may add up to at most.
    pub room: i64,
}
