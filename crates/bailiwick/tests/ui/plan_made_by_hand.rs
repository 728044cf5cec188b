//! I1: a statement on tenant data is turned to another tenant.
use bailiwick::{identity::OrgId, query::Plan};

pub fn of(tenant: OrgId, mine: Plan) -> Plan {
    Plan { scope: tenant.as_uuid(), ..mine }
}

fn main() {}
