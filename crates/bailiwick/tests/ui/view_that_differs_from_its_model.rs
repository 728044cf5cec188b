//! I4: what is shown is a column, in its type.
use bailiwick::{Model, View, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
}

#[derive(View)]
#[view(of = Task)]
pub struct TaskView {
    id: Id<Task>,
    title: Option<String>,
}

#[derive(View)]
#[view(of = Task)]
pub struct TaskTeaser {
    headline: String,
}

#[derive(View)]
pub struct OfNothing {
    #[view(rename = "name")]
    title: String,
}

fn main() {}
