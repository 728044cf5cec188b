//! I2: the column that keeps tenants apart holds something else.
use bailiwick::{
    Model,
    id::Id,
    identity::{OrgId, UserId},
};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: Option<OrgId>,
}

#[derive(Model)]
#[model(table = "drafts", scope = Caller)]
pub struct Draft {
    #[model(id)]
    id: Id<Draft>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(owner)]
    author: String,
    #[model(version)]
    version: Option<i64>,
    #[model(updated_at)]
    changed: UserId,
}

fn main() {}
