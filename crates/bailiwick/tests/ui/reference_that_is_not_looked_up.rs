//! I5: an id in an input could point at another tenant's row; a `Ref` is looked up in scope.
use bailiwick::{
    Input, Model,
    id::Id,
    identity::{OrgId, UserId},
};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    assignee: Option<UserId>,
}

#[derive(Input)]
#[input(for = Task)]
pub struct NewTask {
    assignee: Option<UserId>,
}

fn main() {}
