//! What a store is asked to do, made only from an [`Access`](crate::access::Access).
mod list;
mod plan;
mod quota;

pub use self::{
    list::{Comparison, Filter, ListQuery, OverLimit, Page, PageQuery, PageSettings, QueryError},
    plan::{Action, Lane, ListPlan, Plan, Precondition},
    quota::{Quota, QuotaPlan, Summed},
};
