//! How a request names its tenant, and how tenants come to be.
use std::sync::Arc;

use bailiwick_core::{
    clock::{Clock, Entropy},
    id::Id,
    identity::{Principal, Slug},
    request::Facts,
    store::{DirectoryError, NewOrg, Store},
};

use crate::problem::Problem;

/// Where a request names the organisation it acts in.
///
/// # Security
/// Never a header and never the body: what a client can change without changing the URL cannot be logged, cached or
/// reviewed with it (ACL-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TenantFrom(());

impl TenantFrom {
    /// In the path, as the slug of an organisation: `/orgs/{org}/…`.
    pub const fn path() -> Self {
        Self(())
    }
}

/// Founds organisations. Handlers take it by `State`; it is cheap to clone.
#[derive(Clone)]
pub struct Founding {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Founding {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy }
    }

    /// Founds an organisation, of which `founder` becomes the owner.
    ///
    /// # Errors
    /// 409 if the slug is taken.
    pub async fn found(
        &self,
        founder: &Principal,
        slug: Slug,
        name: String,
        facts: &Facts,
    ) -> Result<NewOrg, Problem> {
        let org = NewOrg {
            id: Id::new(&*self.clock, &*self.entropy),
            slug,
            name,
            owner: founder.user_id(),
            created_at: self.clock.now(),
        };
        let act = facts.act(org.created_at).by(founder.into());
        match self.store.create_org(org.clone(), act).await {
            Ok(()) => Ok(org),
            Err(DirectoryError::Taken) => Err(Problem::conflict("the slug is taken")),
            Err(DirectoryError::Store(error)) => Err(error.into()),
            Err(other) => Err(Problem::internal().because(other)),
        }
    }
}

impl std::fmt::Debug for Founding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Founding").field("store", &self.store).finish_non_exhaustive()
    }
}
