//! I3: a member that no column takes.
use bailiwick::{Input, Model, id::Id, identity::OrgId};

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
    title: String,
    subtitle: String,
}

fn main() {}
