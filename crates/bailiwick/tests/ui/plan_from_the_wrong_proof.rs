//! I1: reading was allowed, so deleting is tried with the same proof.
use bailiwick::{
    Model,
    access::{Access, Retrieve},
    id::Id,
    identity::OrgId,
    query::{Plan, Precondition},
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

pub fn delete(access: &Access<Task, Retrieve>, id: Id<Task>) -> Plan {
    Plan::delete(access, id, Precondition::None)
}

fn main() {}
