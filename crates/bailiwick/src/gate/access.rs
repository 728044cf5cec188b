//! The gate that proves an authorisation.
use std::marker::PhantomData;

use axum::extract::{FromRef, FromRequestParts};
use bailiwick_core::{
    access::{self, Denied, Operation, Permission, Rules},
    identity::{Membership, Principal},
    model::{Model, ScopeKind},
    request::{DeniedBy, Facts},
};
use http::request::Parts;

use super::{Context, membership, out_of_scope, person, principal, refusal};
use crate::problem::Problem;

/// A model whose rules say who may do what. Every [`Resource`](crate::resource::Resource) is one.
#[diagnostic::on_unimplemented(
    message = "nothing says who may do what with `{Self}`",
    note = "implement Resource for it, or Guarded if it has no routes of its own"
)]
pub trait Guarded: Model {
    /// Who may do what.
    fn rules() -> Rules<Self>;
}

/// The proof that the caller may do `Op` on rows of `R` in the scope that the path names: core's
/// [`Access`](access::Access), as an argument of a handler.
#[derive(Debug)]
pub struct Access<R, Op>(access::Access<R, Op>);

impl<R, Op> std::ops::Deref for Access<R, Op> {
    type Target = access::Access<R, Op>;

    fn deref(&self) -> &access::Access<R, Op> {
        &self.0
    }
}

impl<R: Guarded, Op: Operation, S: Send + Sync> FromRequestParts<S> for Access<R, Op>
where
    Context: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = principal(parts)?;
        let context = Context::from_ref(state);
        let membership = match R::TABLE.scope {
            ScopeKind::Org => Some(membership(parts, &context, &principal).await?),
            ScopeKind::Caller => None,
        };
        let decision = context.with_rules(|rules| access::decide(rules, &principal, membership.as_ref()));
        decision.map(Self).map_err(|denied| {
            if let Some(facts) = parts.extensions.get::<Facts>() {
                match denied {
                    Denied::OutOfScope(_) => facts.set_denied_by(DeniedBy::Scope),
                    _ => facts.set_denied_by(Permission::of::<R, Op>().to_string()),
                }
            }
            refusal(denied)
        })
    }
}

/// Every person who has a credential whose scopes cover `Op` on `R`, without an organisation: for handlers that do more than
/// rows are changed by, such as to found an organisation.
#[derive(Debug)]
pub struct InScope<R, Op> {
    /// Who asks.
    pub principal: Principal,
    of: PhantomData<fn() -> (R, Op)>,
}

impl<R: Guarded, Op: Operation, S: Send + Sync> FromRequestParts<S> for InScope<R, Op>
where
    Context: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = person(parts, Permission::of::<R, Op>().to_string())?;
        let needed = Context::from_ref(state).with_rules(|rules: &Rules<R>| rules.scope_for(Op::KIND));
        match needed.filter(|scope| !scope.is_in(&principal.scopes)) {
            Some(scope) => Err(out_of_scope(parts, &scope.to_string())),
            None => Ok(Self { principal, of: PhantomData }),
        }
    }
}

/// Whoever is a member of the organisation that the path names, in any role.
///
/// It guards what reveals no more than that the organisation exists, such as the 405 of its routes (ERR-23).
#[derive(Clone, Debug)]
pub struct TenantMember {
    /// Who asks.
    pub principal: Principal,
    /// Their place in the organisation.
    pub membership: Membership,
}

impl<S: Send + Sync> FromRequestParts<S> for TenantMember
where
    Context: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let principal = principal(parts)?;
        let context = Context::from_ref(state);
        let membership = membership(parts, &context, &principal).await?;
        Ok(Self { principal, membership })
    }
}
