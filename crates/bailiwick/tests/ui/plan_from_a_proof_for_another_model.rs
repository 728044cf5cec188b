//! I1: what was decided on tasks is used on notes.
use bailiwick::{
    Model,
    access::{Access, Retrieve},
    id::Id,
    identity::OrgId,
    query::Plan,
};

#[derive(Model)]
#[model(table = "tasks", scope = Org)]
pub struct Task {
    #[model(id)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    title: String,
}

#[derive(Model)]
#[model(table = "notes", scope = Org)]
pub struct Note {
    #[model(id)]
    id: Id<Note>,
    #[model(tenant)]
    org_id: OrgId,
}

pub fn read(access: &Access<Task, Retrieve>, id: Id<Note>) -> Plan {
    Plan::retrieve::<Note>(access, id)
}

fn main() {}
