//! I3: a client could unlock what only the server locks.
use bailiwick::{Model, Patch, id::Id, identity::OrgId, model::Change};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(managed)]
    locked: bool,
}

#[derive(Patch)]
#[patch(for = Task)]
pub struct TaskPatch {
    locked: Change<bool>,
}

fn main() {}
