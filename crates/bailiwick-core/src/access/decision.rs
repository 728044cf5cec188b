//! The decision, and the proof of it.
use std::marker::PhantomData;

use uuid::Uuid;

use super::{
    operation::{Operation, OperationKind},
    rules::{Expression, RequiredScope, Rules},
};
use crate::{
    identity::{Membership, OrgId, Principal, Role},
    model::{Model, ScopeKind},
};

/// The proof that a principal may do `Op` on rows of `R` in one scope.
///
/// Only [`decide`] makes one. It says which scope, and which rows in it: whoever holds it can do no more than was
/// decided, whatever they ask the store for.
#[derive(Debug)]
pub struct Access<R, Op> {
    principal: Principal,
    scope: Uuid,
    role: Option<Role>,
    /// Which rows the operation may touch.
    clause: Clause,
    /// Which rows the principal may know of: tells 403 from 404.
    visible: Clause,
    proves: PhantomData<fn() -> (R, Op)>,
}

/// Which rows of a scope: a condition on columns that name the principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Clause {
    /// Every row.
    Every,
    /// No row.
    None,
    /// Rows in which the column at this position names the principal.
    IsMe(usize),
    /// Rows that meet all of these.
    All(Vec<Clause>),
    /// Rows that meet any of these.
    Any(Vec<Clause>),
}

/// Why an operation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The caller may not know that the scope exists (I8).
    #[error("the caller is no member")]
    Hidden,
    /// The credential does not name the scope that this needs.
    #[error("the credential does not name the scope {0}")]
    OutOfScope(RequiredScope),
    /// The caller may know, but not do this.
    #[error("the caller's role does not allow this")]
    Forbidden,
}

/// Decides whether `principal` may do `Op` on rows of `R`, and on which.
///
/// `membership` is the principal's place in the organisation that the request names, as the store found it just
/// now; none if the principal is no member or there is no such organisation, which is the same to them.
///
/// # Errors
/// [`Denied::Hidden`] where the caller may not even know; [`Denied::OutOfScope`] where they, but not by this credential,
/// and [`Denied::Forbidden`] where they may know but not do it.
pub fn decide<R: Model, Op: Operation>(
    rules: &Rules<R>,
    principal: &Principal,
    membership: Option<&Membership>,
) -> Result<Access<R, Op>, Denied> {
    let (scope, role) = match R::TABLE.scope {
        ScopeKind::Org => {
            let membership = membership.filter(|membership| principal.may_belong_to(membership.org_id()));
            let membership = membership.ok_or(Denied::Hidden)?;
            (membership.org_id().as_uuid(), Some(membership.role()))
        }
        ScopeKind::Caller => (principal.user_id().as_uuid(), None),
    };
    if let Some(scope) = rules.scope_for(Op::KIND).filter(|scope| !scope.is_in(&principal.scopes)) {
        return Err(Denied::OutOfScope(scope));
    }
    let clause_for = |operation: OperationKind| {
        rules.expression(operation).map_or(Clause::None, |expression| resolve(expression, role))
    };
    let clause = clause_for(Op::KIND);
    if clause == Clause::None {
        return Err(Denied::Forbidden);
    }
    // One row is known to whoever may retrieve it; where no rule offers that, to whoever finds it in the list.
    let visible = match Op::KIND {
        OperationKind::Update | OperationKind::Delete if rules.offers(OperationKind::Retrieve) => {
            clause_for(OperationKind::Retrieve)
        }
        OperationKind::Update | OperationKind::Delete => clause_for(OperationKind::List),
        OperationKind::List | OperationKind::Retrieve | OperationKind::Create => Clause::Every,
    };
    Ok(Access { principal: principal.clone(), scope, role, clause, visible, proves: PhantomData })
}

/// Answers what is known of the caller; leaves what depends on the row.
fn resolve(expression: &Expression, role: Option<Role>) -> Clause {
    match expression {
        Expression::Authenticated => Clause::Every,
        Expression::Role(least) if role.is_some_and(|role| role >= *least) => Clause::Every,
        Expression::Role(_) => Clause::None,
        Expression::IsMe(column) => Clause::IsMe(*column),
        Expression::All(parts) => join(parts, role, Clause::Every, Clause::None, Clause::All),
        Expression::Any(parts) => join(parts, role, Clause::None, Clause::Every, Clause::Any),
    }
}

/// Joins parts of which `neutral` adds nothing and `decisive` decides all.
fn join(
    parts: &[Expression],
    role: Option<Role>,
    neutral: Clause,
    decisive: Clause,
    many: fn(Vec<Clause>) -> Clause,
) -> Clause {
    let mut open = Vec::new();
    for part in parts {
        let clause = resolve(part, role);
        if clause == decisive {
            return decisive;
        }
        if clause != neutral {
            open.push(clause);
        }
    }
    match open.len() {
        0 => neutral,
        1 => open.remove(0),
        _ => many(open),
    }
}

impl<R, Op> Access<R, Op> {
    /// Who was authorised.
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The principal's role in the organisation, where the rows belong to one.
    pub const fn role(&self) -> Option<Role> {
        self.role
    }

    /// The organisation the rows belong to, where they belong to one.
    pub fn org_id(&self) -> Option<OrgId> {
        self.role.map(|_| OrgId::from_uuid(self.scope))
    }

    pub(crate) const fn scope(&self) -> Uuid {
        self.scope
    }

    pub(crate) const fn clause(&self) -> &Clause {
        &self.clause
    }

    pub(crate) const fn visible(&self) -> &Clause {
        &self.visible
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(parts: &[Expression]) -> Expression {
        Expression::Any(parts.to_vec())
    }

    fn all(parts: &[Expression]) -> Expression {
        Expression::All(parts.to_vec())
    }

    #[test]
    fn a_role_is_decided_before_the_store_is_asked_and_ownership_by_it() {
        use Expression::{IsMe, Role as AtLeast};
        let rule = any(&[AtLeast(Role::Admin), all(&[AtLeast(Role::Member), any(&[IsMe(3), IsMe(5)])])]);
        let own = Clause::Any(vec![Clause::IsMe(3), Clause::IsMe(5)]);
        for (role, clause) in [
            (Some(Role::Owner), Clause::Every),
            (Some(Role::Admin), Clause::Every),
            (Some(Role::Member), own),
            (Some(Role::Viewer), Clause::None),
            (None, Clause::None),
        ] {
            assert_eq!(resolve(&rule, role), clause, "{role:?}");
        }
    }
}
