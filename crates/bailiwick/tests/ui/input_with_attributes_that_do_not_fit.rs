//! I3: limits that limit nothing, and attributes that nobody reads.
use bailiwick::{Input, Model, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
    body: String,
    stars: i64,
}

#[derive(Input)]
#[input(for = Task, table = "tasks")]
pub struct NewTask {
    #[input(chars(1..200))]
    title: String,
    #[input(chars(1..), length(1..=3))]
    body: String,
    #[input(chars(9..=1), default, default)]
    stars: i64,
}

#[derive(Input)]
#[input()]
pub struct ForNothing {
    #[input(chars)]
    title: String,
}

#[derive(Input)]
#[input(for = "Task")]
pub struct ForText {
    #[input(lines)]
    title: String,
}

fn main() {}
