//! I3: a slip in a declaration must not silently take a protection away; all slips are named at once.
use bailiwick::{Model, clock::Timestamp, id::Id, identity::OrgId};

#[derive(Model)]
#[model(table = "Tasks", scope = Tenant, cached)]
pub struct Task {
    #[model(id = 1)]
    id: Id<Task>,
    #[model(tenant)]
    org_id: OrgId,
    #[model(owned)]
    title: String,
    #[model(filter)]
    body: String,
    #[model(filter(eq, like, eq), filter(eq))]
    topic: String,
    #[model(filter())]
    note: String,
    #[model(filter(eq))]
    search: String,
    #[model(order(default = down))]
    place: i64,
    #[model(created_at, order(default = desc))]
    created_at: Timestamp,
    #[model(updated_at, order(default = asc, first))]
    updated_at: Timestamp,
    #[model]
    due__at: Timestamp,
    Stars: i64,
}

#[derive(Model)]
pub struct Nameless {
    #[model(tenant)]
    org_id: OrgId,
}

#[derive(Model)]
#[model(table = "shapes", scope = Org)]
pub enum Shape {
    Round,
}

#[derive(Model)]
#[model(table = "boxes", scope = Org)]
pub struct Boxed<T>(T);

fn main() {}
