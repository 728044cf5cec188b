//! I3: a member whose type is not its column's.
use bailiwick::{Input, Model, Patch, id::Id, identity::OrgId, model::Change};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
}

#[derive(Input)]
#[input(for = Task)]
pub struct NewTask {
    title: i64,
}

#[derive(Patch)]
#[patch(for = Task)]
pub struct TaskPatch {
    title: Change<Option<String>>,
}

fn main() {}
