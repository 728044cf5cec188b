//! I3: a column must be storable in every database.
use bailiwick::{Model, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    price: f64,
}

fn main() {}
