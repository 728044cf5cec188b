//! I3: a limit on characters that a number has not.
use bailiwick::{Input, Model, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    stars: i64,
}

#[derive(Input)]
#[input(for = Task)]
pub struct NewTask {
    #[input(chars(1..=5))]
    stars: i64,
}

fn main() {}
