//! I3: a client could move a task to another tenant, or say when it was made.
use bailiwick::{Input, Model, clock::Timestamp, id::Id, identity::OrgId, model::Ref};

#[derive(Model)]
#[model(table = "orgs", scope = Org)]
pub struct Org {
    #[model(id)]
    id: OrgId,
    #[model(tenant)]
    org_id: OrgId,
}

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
    #[model(created_at)]
    created_at: Timestamp,
}

#[derive(Input)]
#[input(for = Task)]
pub struct NewTask {
    title: String,
    org_id: Ref<Org>,
    created_at: Timestamp,
}

fn main() {}
