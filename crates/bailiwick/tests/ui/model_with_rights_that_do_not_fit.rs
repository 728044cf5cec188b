//! I3: rights that the column's type cannot keep.
use bailiwick::{Model, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(search)]
    done: bool,
    #[model(filter(eq, gte, lte))]
    title: String,
}

fn main() {}
