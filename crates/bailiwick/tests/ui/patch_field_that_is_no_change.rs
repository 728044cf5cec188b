//! I3: an absent member could not be told from one that is null.
use bailiwick::{Model, Patch, id::Id, identity::OrgId, model::Change};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
    body: Option<String>,
}

#[derive(Patch)]
#[patch(for = Task)]
pub struct TaskPatch {
    #[patch(default)]
    title: Change<String>,
    body: Option<String>,
}

fn main() {}
