//! I4: a column that is not shown can be read letter by letter if it can be compared.
use bailiwick::{Model, View, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
    #[model(filter(eq))]
    secret: String,
}

#[derive(View)]
#[view(of = Task)]
pub struct TaskView {
    id: Id<Task>,
    title: String,
}

fn main() {}
