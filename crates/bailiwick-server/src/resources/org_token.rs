//! API tokens that an organisation owns.
use bailiwick::{gate::Guarded, identity::ApiTokenId, prelude::*};

/// A token of an organisation: what its rules are about. It is a view of the database, which nobody writes to; handlers ask
/// the framework for tokens.
#[derive(Model)]
#[model(table = "org_tokens", scope = Org)]
pub(crate) struct OrgToken {
    #[model(tenant)]
    org_id: OrgId,
    #[model(id)]
    id: ApiTokenId,
}

impl Guarded for OrgToken {
    fn rules() -> Rules<Self> {
        Rules::deny_all()
            .scope("orgs")
            .allow::<List>(role(Role::Admin))
            .allow::<Create>(role(Role::Admin))
            .allow::<Update>(role(Role::Admin))
            .allow::<Delete>(role(Role::Admin))
    }
}
