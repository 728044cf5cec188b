//! An organisation itself.
use bailiwick::{gate::Guarded, prelude::*, store::NewOrg};

/// An organisation: a row that is its own tenant, so that no one reaches another one's.
#[derive(Model)]
#[model(table = "orgs", scope = Org)]
pub(crate) struct Organisation {
    #[model(tenant)]
    org_id: OrgId,
    #[model(id)]
    id: OrgId,
    #[model(managed)]
    slug: String,
    #[model(managed)]
    name: String,
    #[model(created_at)]
    created_at: Timestamp,
    #[model(updated_at)]
    updated_at: Timestamp,
    #[model(version)]
    version: i64,
}

#[derive(View)]
#[view(of = Organisation)]
pub(crate) struct OrganisationView {
    id: OrgId,
    slug: String,
    name: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl Guarded for Organisation {
    fn rules() -> Rules<Self> {
        Rules::deny_all().allow::<Retrieve>(role(Role::Viewer))
    }
}

impl OrganisationView {
    /// An organisation that is being founded.
    pub(crate) fn founded(org: &NewOrg) -> Self {
        Self {
            id: org.id,
            slug: org.slug.to_string(),
            name: org.name.clone(),
            created_at: org.created_at,
            updated_at: org.created_at,
        }
    }
}
