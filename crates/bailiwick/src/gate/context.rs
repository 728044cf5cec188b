//! What gates decide by.
use std::{any::TypeId, collections::HashMap, sync::Arc};

use bailiwick_core::{
    access::{Denied, Rules},
    identity::{FoundMembership, Membership, Principal, Slug},
    request::{DeniedBy, Facts},
    store::Store,
};
use http::request::Parts;

use super::{Guarded, refusal};
use crate::problem::Problem;

/// The rules of all resources and the store that knows memberships. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    store: Arc<dyn Store>,
    rules: Arc<HashMap<TypeId, Arc<dyn std::any::Any + Send + Sync>>>,
}

impl Context {
    /// Decides by the memberships in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, rules: Arc::default() }
    }

    /// Builds the rules of `R` once, at start: a mistake in them stops the start, and no request builds them again.
    pub fn guard<R: Guarded>(&mut self) {
        Arc::make_mut(&mut self.rules).insert(TypeId::of::<R>(), Arc::new(R::rules()));
    }

    pub(super) fn with_rules<R: Guarded, T>(&self, decide: impl FnOnce(&Rules<R>) -> T) -> T {
        let known = self.rules.get(&TypeId::of::<R>()).and_then(|rules| rules.downcast_ref::<Rules<R>>());
        match known {
            Some(rules) => decide(rules),
            // Only a gate that did not come by `Routes`, such as one inside another extractor.
            None => decide(&R::rules()),
        }
    }

    pub(super) async fn membership(
        &self,
        principal: &Principal,
        slug: &str,
        parts: &Parts,
    ) -> Result<Membership, Problem> {
        let found = match parts.extensions.get::<FoundMembership>() {
            Some(found) if found.user_id == principal.user_id() && *found.slug == *slug => {
                Ok(found.membership)
            }
            // What can be no slug names no organisation; a store need not be able to look it up.
            _ if !Slug::is_plausible(slug) => Ok(None),
            _ => self.store.membership(principal.user_id(), slug).await,
        };
        let facts = parts.extensions.get::<Facts>();
        match found {
            Ok(Some(membership)) if principal.may_belong_to(membership.org_id()) => {
                if let Some(facts) = facts {
                    facts.set_org(slug.to_owned());
                }
                Ok(membership)
            }
            Ok(_) => {
                if let Some(facts) = facts {
                    facts.set_denied_by(DeniedBy::Membership);
                }
                Err(refusal(Denied::Hidden))
            }
            Err(error) => Err(Problem::unavailable().because(error)),
        }
    }
}

impl std::fmt::Debug for Context {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("store", &self.store).finish_non_exhaustive()
    }
}
