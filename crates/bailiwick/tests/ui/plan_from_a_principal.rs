//! I1: who is asking is known, and what they may do was never decided.
use bailiwick::{
    Model,
    id::Id,
    identity::{OrgId, Principal},
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

pub fn read(principal: &Principal, id: Id<Task>) -> Plan {
    Plan::retrieve::<Task>(principal, id)
}

fn main() {}
