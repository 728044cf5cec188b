//! I4: a handler returns the stored row, with every column it has.
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use bailiwick::{Model, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
}

pub fn show(task: Task) -> Response {
    Json(task).into_response()
}

fn main() {}
