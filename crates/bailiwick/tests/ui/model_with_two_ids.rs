//! I2: two columns claim to be what the server stamps.
use bailiwick::{Model, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(id)]
    public_id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(tenant, managed)]
    other_org_id: OrgId,
}

fn main() {}
