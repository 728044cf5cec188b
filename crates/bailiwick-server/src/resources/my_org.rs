//! The organisations that the caller is a member of, as two routes tell of them: rules belong to a type, and those of the
//! two differ in the scopes that they ask for.
use bailiwick::{gate::Guarded, prelude::*};

/// An organisation and the caller's role in it: a view of the database, whose rows belong to the user.
#[derive(Model)]
#[model(table = "my_orgs", scope = Caller)]
pub(crate) struct MyOrg {
    #[model(tenant)]
    user_id: UserId,
    #[model(id)]
    id: OrgId,
    #[model(managed, order(default = asc))]
    pub(crate) slug: String,
    #[model(managed, order)]
    pub(crate) name: String,
    #[model(managed)]
    pub(crate) role: Role,
    #[model(managed, order)]
    created_at: Timestamp,
    #[model(managed)]
    updated_at: Timestamp,
}

#[derive(View)]
#[view(of = MyOrg)]
pub(crate) struct MyOrgView {
    id: OrgId,
    slug: String,
    name: String,
    role: Role,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Resource for MyOrg {
    const PATH: &'static str = "orgs";
    type New = NoInput<Self>;
    type Patch = NoInput<Self>;
    type View = MyOrgView;

    fn rules() -> Rules<Self> {
        Rules::deny_all().scope("orgs").allow::<List>(authenticated())
    }
}

/// The same rows, as `GET /me/` names them: to any credential, whatever it is for.
#[derive(Model)]
#[model(table = "my_orgs", scope = Caller)]
pub(crate) struct MyPlace {
    #[model(tenant)]
    user_id: UserId,
    #[model(id)]
    id: OrgId,
    #[model(managed, order(default = asc))]
    slug: String,
    #[model(managed)]
    name: String,
    #[model(managed)]
    role: Role,
}

#[derive(View)]
#[view(of = MyPlace)]
pub(crate) struct MyPlaceView {
    slug: String,
    name: String,
    role: Role,
}

impl Guarded for MyPlace {
    fn rules() -> Rules<Self> {
        Rules::deny_all().under_any_scope().allow::<List>(authenticated())
    }
}
