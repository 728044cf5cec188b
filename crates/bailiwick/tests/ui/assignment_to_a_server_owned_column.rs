//! I3: a handler sets a column that the server stamps.
use bailiwick::{Model, id::Id, identity::OrgId, model::Assignments};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
}

pub fn give_away(to: OrgId) -> Assignments<Task> {
    Assignments::new().set(task::org_id, to)
}

fn main() {}
