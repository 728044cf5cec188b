//! I2: rows that belong to nobody in particular.
use bailiwick::{Model, id::Id};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    title: String,
}

fn main() {}
