//! I4: a row that any handler could return.
use bailiwick::{Model, id::Id, identity::OrgId};

#[derive(Model, serde::Serialize)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
}

fn main() {}
