//! Says who may call a handler.
//!
//! The first argument of every handler on [`Routes`](crate::routes::Routes) is a gate (I6):
//!
//! | gate | who passes | else |
//! |---|---|---|
//! | [`Access<R, Op>`] | whoever the rules of `R` let do `Op` in the scope that the path names | 401, 404, 403 |
//! | [`TenantMember`] | whoever is a member of the organisation that the path names | 401, 404 |
//! | [`InScope<R, Op>`] | every person who has a credential whose scopes cover `Op` on `R`, in whatever organisation | 401, 403 |
//! | [`Authenticated`] | every person who has a credential for their whole account: without scopes, or with the scope `account` | 401, 403 |
//! | [`AnyCredential`] | whoever has a valid credential, whatever its scopes | 401 |
//! | [`Anyone`] | everyone | |
//!
//! A token that an organisation owns is no person: it acts in its organisation alone, and has no account.
//!
//! A gate reads the [`Principal`] that some layer found, however it came, and no byte of the body: nobody uploads to
//! a place they may not write to (PIP-02).
//!
//! # Security
//! For a caller who is no member, an organisation that exists answers like one that does not (I8). The membership is what
//! the store answers for this request. It remembers for half a second at most: a change of rights acts at once in the
//! process that makes it, and within a second in all others (ACL-09).
mod access;
mod context;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use axum::extract::{FromRequestParts, MatchedPath};
use bailiwick_core::{
    access::{Denied, Operation},
    identity::{Membership, Principal},
    model::ScopeKind,
    request::{DeniedBy, EndedSession, Facts, TENANT_PARAMETER, path_parameter},
};
use http::{HeaderValue, header, request::Parts};

pub use self::{
    access::{Access, Guarded, InScope, TenantMember},
    context::Context,
};
use crate::problem::Problem;

/// An argument that says who may call the handler. It must be the first.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say who may call the handler",
    note = "the gates are Access<Resource, Operation>, TenantMember, InScope, Authenticated, AnyCredential and Anyone"
)]
pub trait Gate: sealed::Sealed {
    /// Whether the path must name an organisation.
    const TENANT: bool;

    /// Lets the gate have built what it decides by, when the application is built.
    #[doc(hidden)]
    fn prepare(_: &mut Context) {}
}

impl<R: Guarded, Op: Operation> Gate for Access<R, Op> {
    const TENANT: bool = matches!(R::TABLE.scope, ScopeKind::Org);

    fn prepare(context: &mut Context) {
        context.guard::<R>();
    }
}

impl Gate for TenantMember {
    const TENANT: bool = true;
}

impl<R: Guarded, Op: Operation> Gate for InScope<R, Op> {
    const TENANT: bool = false;

    fn prepare(context: &mut Context) {
        context.guard::<R>();
    }
}

impl Gate for AnyCredential {
    const TENANT: bool = false;
}

impl Gate for Authenticated {
    const TENANT: bool = false;
}

impl Gate for Anyone {
    const TENANT: bool = false;
}

mod sealed {
    /// A gate of an application's own could let anyone through in one quiet line (I6).
    pub trait Sealed {}
    impl<R, Op> Sealed for super::Access<R, Op> {}
    impl Sealed for super::TenantMember {}
    impl<R, Op> Sealed for super::InScope<R, Op> {}
    impl Sealed for super::AnyCredential {}
    impl Sealed for super::Authenticated {}
    impl Sealed for super::Anyone {}
}

/// Whoever has a valid credential, whatever its scopes.
///
/// # Security
/// A token that was made for one purpose passes too: this gate is for what any credential may do, such as to end itself.
#[derive(Clone, Debug)]
pub struct AnyCredential(pub Principal);

impl<S: Send + Sync> FromRequestParts<S> for AnyCredential {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        principal(parts).map(Self)
    }
}

/// Every person who has a credential that stands for their whole account: without scopes, or with the scope [`ACCOUNT`]. A
/// token of an organisation stands for none.
#[derive(Clone, Debug)]
pub struct Authenticated(pub Principal);

/// The scope of what belongs to a user alone: their tokens, sessions and password.
pub const ACCOUNT: &str = "account";

impl<S: Send + Sync> FromRequestParts<S> for Authenticated {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let principal = person(parts, DeniedBy::Account)?;
        if principal.scopes.allow(ACCOUNT) { Ok(Self(principal)) } else { Err(out_of_scope(parts, ACCOUNT)) }
    }
}

/// Everyone; the principal, if there is one.
#[derive(Clone, Debug)]
pub struct Anyone(pub Option<Principal>);

impl<S: Send + Sync> FromRequestParts<S> for Anyone {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(parts.extensions.get().cloned()))
    }
}

fn principal(parts: &Parts) -> Result<Principal, Problem> {
    parts.extensions.get::<Principal>().cloned().ok_or_else(|| match parts.extensions.get::<EndedSession>() {
        Some(EndedSession) => Problem::invalid_token(),
        None => Problem::unauthenticated(),
    })
}

/// The principal, if it is a person: what a token of an organisation speaks for acts in that organisation alone.
fn person(parts: &Parts, denied_by: impl Into<Cow<'static, str>>) -> Result<Principal, Problem> {
    let principal = principal(parts)?;
    if principal.service_of.is_none() {
        return Ok(principal);
    }
    if let Some(facts) = parts.extensions.get::<Facts>() {
        facts.set_denied_by(denied_by);
    }
    Err(Problem::forbidden().with_detail("a token of an organisation acts in that organisation alone"))
}

/// Finds the principal's place in the organisation that the path names.
async fn membership(parts: &Parts, context: &Context, principal: &Principal) -> Result<Membership, Problem> {
    let route = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // A route without the parameter is a defect of the application; it lets nobody in.
    let slug = path_parameter(route, parts.uri.path(), TENANT_PARAMETER).ok_or_else(Problem::internal)?;
    context.membership(principal, slug, parts).await
}

fn out_of_scope(parts: &Parts, scope: &str) -> Problem {
    if let Some(facts) = parts.extensions.get::<Facts>() {
        facts.set_denied_by(DeniedBy::Scope);
    }
    insufficient_scope(scope)
}

/// RFC 6750 §3.1.
fn insufficient_scope(scope: &str) -> Problem {
    let challenge = format!("Bearer realm=\"api\", error=\"insufficient_scope\", scope=\"{scope}\"");
    let challenge = HeaderValue::try_from(challenge).expect("names of scopes are plain ASCII");
    let detail = format!("the credential does not have the scope {scope}");
    Problem::forbidden().with_detail(detail).with_header(header::WWW_AUTHENTICATE, challenge)
}

/// What whoever stands before a shut gate is told.
fn refusal(denied: Denied) -> Problem {
    match denied {
        // The same answer as for what does not exist: a guesser must not learn that it does (I8).
        Denied::Hidden => Problem::not_found(),
        Denied::Forbidden => Problem::forbidden(),
        Denied::OutOfScope(scope) => insufficient_scope(&scope.to_string()),
    }
}
