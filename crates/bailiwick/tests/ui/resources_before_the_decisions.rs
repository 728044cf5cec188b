//! Where rows are kept, how callers prove who they are and how tenants are named is decided before there are routes.
use bailiwick::{
    app::{App, Resources},
    tenancy::TenantFrom,
};

fn main() {
    let _ = App::builder().resources(Resources::new());
    let _ = App::builder().tenancy(TenantFrom::path());
}
