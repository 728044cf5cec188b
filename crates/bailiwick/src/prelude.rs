//! What most files of an application need: `use bailiwick::prelude::*;`
pub use bailiwick_core::{
    access::{Create, Delete, List, Retrieve, Rules, Update, authenticated, is_me, own, role},
    choices,
    clock::Timestamp,
    db::Db,
    id::Id,
    identity::{OrgId, Role, UserId},
    model::{Assignments, Change, NoInput, Ref},
};
pub use bailiwick_macros::{Input, Model, Patch, View};

pub use crate::{
    app::{App, Resources, serve::ServeOptions},
    authn::Authn,
    gate::{Access, Anyone, Authenticated},
    problem::Problem,
    resource::Resource,
    routes::Routes,
    tenancy::TenantFrom,
};
