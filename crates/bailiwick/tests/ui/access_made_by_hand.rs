//! I1: a proof that an operation is allowed is made from one that was decided for somebody else.
use bailiwick::{
    Model,
    access::{Access, List},
    id::Id,
    identity::{OrgId, Principal},
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

pub fn as_another(principal: Principal, mine: Access<Task, List>) -> Access<Task, List> {
    Access { principal, ..mine }
}

fn main() {}
