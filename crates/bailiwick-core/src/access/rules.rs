//! Rules: who may do what, declared once.
use std::marker::PhantomData;

use super::operation::{Operation, OperationKind};
use crate::{
    identity::{Role, Scopes, UserId},
    model::{Column, FieldType, Model, Part},
};

/// A condition under which an operation is allowed on rows of `R`.
///
/// Conditions on the caller are decided before the store is asked; conditions on the row (`own()`, [`is_me`])
/// become part of the statement, so that no row is read or changed that does not meet them (ACL-04).
#[derive(Debug)]
pub struct Rule<R> {
    expression: Expression,
    of: PhantomData<fn() -> R>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expression {
    Authenticated,
    Role(Role),
    IsMe(usize),
    All(Vec<Expression>),
    Any(Vec<Expression>),
}

impl Expression {
    fn looks_at_the_row(&self) -> bool {
        match self {
            Self::Authenticated | Self::Role(_) => false,
            Self::IsMe(_) => true,
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::looks_at_the_row),
        }
    }
}

impl<R> Rule<R> {
    const fn new(expression: Expression) -> Self {
        Self { expression, of: PhantomData }
    }

    /// Both must hold.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::new(Expression::All(vec![self.expression, other.expression]))
    }

    /// One must hold.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self::new(Expression::Any(vec![self.expression, other.expression]))
    }
}

/// The caller has at least this role in the organisation the rows belong to.
pub const fn role<R>(least: Role) -> Rule<R> {
    Rule::new(Expression::Role(least))
}

/// The caller is anyone with a valid credential. For rows of an organisation, a member of it.
pub const fn authenticated<R>() -> Rule<R> {
    Rule::new(Expression::Authenticated)
}

/// The caller made the row: the column that the model marks `owner` names them.
///
/// # Panics
/// If the model has no such column. Rules are built at start, so this stops the start.
pub fn own<R: Model>() -> Rule<R> {
    let owner = R::TABLE.position(Part::Owner);
    Rule::new(Expression::IsMe(
        owner.unwrap_or_else(|| {
            panic!("own() needs a column marked #[model(owner)] in table {}", R::TABLE.name)
        }),
    ))
}

/// The column names the caller, for example as the row's assignee.
pub const fn is_me<R: Model, T: UserColumn, W>(column: Column<R, T, W>) -> Rule<R> {
    Rule::new(Expression::IsMe(column.position()))
}

/// The types of columns that can name the caller.
#[diagnostic::on_unimplemented(
    message = "a column of type `{Self}` cannot name the caller",
    note = "is_me(…) takes a column that holds a UserId or an Option<UserId>"
)]
pub trait UserColumn: FieldType {}
impl UserColumn for UserId {}
impl UserColumn for Option<UserId> {}

/// The rules of a resource: for each operation, who may do it. What is not allowed is denied (ACL-01), and has no
/// route.
#[derive(Debug)]
pub struct Rules<R> {
    allowed: [Option<Expression>; 5],
    scope: ScopeName,
    of: PhantomData<fn() -> R>,
}

/// What a credential that does not stand for all rights of its owner must name.
#[derive(Clone, Copy, Debug)]
enum ScopeName {
    /// The table, to read or to write.
    Table,
    /// Something that is called so, to read or to write.
    Named(&'static str),
    /// Nothing.
    Any,
}

impl<R> Rules<R> {
    /// Nobody may do anything.
    pub const fn deny_all() -> Self {
        Self { allowed: [const { None }; 5], scope: ScopeName::Table, of: PhantomData }
    }

    /// Lets credentials that are limited by scopes do what is allowed if they name `name:read` or `name:write`. By default
    /// that is the name of the table.
    #[must_use]
    pub const fn scope(mut self, name: &'static str) -> Self {
        self.scope = ScopeName::Named(name);
        self
    }

    /// Lets credentials that are limited by scopes do what is allowed, whatever they name.
    #[must_use]
    pub const fn under_any_scope(mut self) -> Self {
        self.scope = ScopeName::Any;
        self
    }

    /// Allows `Op` where `rule` holds.
    ///
    /// # Panics
    /// If the operation was allowed already: two rules for one operation are a slip, not a choice. If the rule for
    /// `Create` has a condition on the row: there is none that could meet it. Rules are built at start, so this
    /// stops the start.
    #[must_use]
    pub fn allow<Op: Operation>(mut self, rule: Rule<R>) -> Self {
        let slot = &mut self.allowed[Op::KIND as usize];
        assert!(slot.is_none(), "{} is allowed twice; join the conditions with or()", Op::KIND.as_str());
        assert!(
            Op::KIND != OperationKind::Create || !rule.expression.looks_at_the_row(),
            "own() and is_me() look at a row, and to create there is none yet; allow create by role()",
        );
        *slot = Some(rule.expression);
        self
    }

    /// Whether anyone at all may do this.
    pub const fn offers(&self, operation: OperationKind) -> bool {
        self.allowed[operation as usize].is_some()
    }

    pub(super) const fn expression(&self, operation: OperationKind) -> Option<&Expression> {
        self.allowed[operation as usize].as_ref()
    }
}

impl<R: Model> Rules<R> {
    /// The scope that a credential which is limited by scopes must name to do this; none if it need name nothing.
    pub fn scope_for(&self, operation: OperationKind) -> Option<RequiredScope> {
        let resource = match self.scope {
            ScopeName::Any => return None,
            ScopeName::Table => R::TABLE.name,
            ScopeName::Named(name) => name,
        };
        let access = match operation {
            OperationKind::List | OperationKind::Retrieve => "read",
            OperationKind::Create | OperationKind::Update | OperationKind::Delete => "write",
        };
        Some(RequiredScope { resource, access })
    }
}

/// A scope that something needs. It prints as `tasks:write`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequiredScope {
    resource: &'static str,
    access: &'static str,
}

impl RequiredScope {
    /// Whether a credential with these scopes may be used.
    pub fn is_in(self, scopes: &Scopes) -> bool {
        let names = |name: &str| name.split_once(':') == Some((self.resource, self.access));
        scopes.names().is_none_or(|mut all| all.any(names))
    }
}

impl std::fmt::Display for RequiredScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.resource, self.access)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Create, List};

    // ACL-01
    #[test]
    #[should_panic(expected = "to create there is none yet")]
    fn a_condition_on_the_row_is_none_for_creating_it() {
        let owner = Rule::<()>::new(Expression::IsMe(0));
        let _ = Rules::deny_all().allow::<Create>(role(Role::Admin).or(owner));
    }

    #[test]
    #[should_panic(expected = "allowed twice")]
    fn an_operation_has_one_rule() {
        let _ = Rules::<()>::deny_all().allow::<List>(role(Role::Viewer)).allow::<List>(authenticated());
    }
}
