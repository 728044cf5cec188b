//! The API tokens that an organisation owns, which its admins make.
//!
//! A token of an organisation speaks for a service: a user who is no person, has one role in that one organisation, and no
//! account. It works on whatever becomes of the person who made it.
//!
//! # Security
//! Nobody makes, rotates or ends a token whose role is above their own: to rotate one is to have it (ACL-07). The store
//! looks at the maker's role once more in the transaction that adds the token.
use std::time::Duration;

use bailiwick_core::{
    access::{Access, Create, Delete, List, Update},
    id::Id,
    identity::{ApiTokenId, OrgId, Role, Scopes},
    request::Facts,
    store::{OfOrg, OrgTokenRecord, TokenCreation, TokenRef},
};

use super::{
    ApiTokens,
    api_tokens::{Wanted, record},
    login::unavailable,
    token::{TokenKind, TokenText},
};
use crate::problem::Problem;

/// A token of an organisation that was just made.
#[derive(Clone, Debug)]
pub struct NewOrgToken {
    /// Its text: the one time it can be seen.
    pub text: TokenText,
    /// What is seen of it later.
    pub record: OrgTokenRecord,
}

impl ApiTokens {
    /// Makes a token of the organisation that `access` is for. It lives for the default lifetime where nobody says
    /// otherwise.
    ///
    /// # Errors
    /// 403 for a role above the caller's, or scopes beyond those of the credential that they use; 409 if the organisation
    /// has as many as may be; 503 if the store is out of reach.
    ///
    /// # Security
    /// A credential that is limited by scopes makes tokens within them, which live no longer than it.
    pub async fn create_for_org<R>(
        &self,
        access: &Access<R, Create>,
        name: String,
        role: Role,
        scopes: Scopes,
        lifetime: Option<Duration>,
        facts: &Facts,
    ) -> Result<NewOrgToken, Problem> {
        let caller = access.principal();
        let org_id = place(access, role)?;
        let service = Id::new(&*self.clock, &*self.entropy);
        let wanted = Wanted {
            kind: TokenKind::Organisation,
            owner: service,
            name,
            scopes,
            lifetime: lifetime.unwrap_or(self.lifetime),
            replaces: None,
        };
        let (text, mut token) = self.token(caller, wanted)?;
        let created_by = caller.user_id();
        token.of_org = Some(OfOrg { org_id, role, created_by });
        let record = OrgTokenRecord { token: record(&token), user_id: service, role, created_by };
        let act = facts.act(token.created_at);
        match self.store.create_token(token, act).await.map_err(unavailable)? {
            TokenCreation::Created => Ok(NewOrgToken { text, record }),
            // Their role was taken from them a moment ago.
            TokenCreation::Refused => Err(Problem::forbidden()),
            TokenCreation::TooMany => {
                let most = self.max_per_user;
                let detail = format!("the organisation has {most} live tokens already: end one first");
                Err(Problem::conflict(detail))
            }
        }
    }

    /// The live tokens of the organisation that `access` is for, the newest first.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn of_org<R>(&self, access: &Access<R, List>) -> Result<Vec<OrgTokenRecord>, Problem> {
        self.live_of_org(access.org_id().ok_or_else(Problem::internal)?).await
    }

    /// Puts a new token in the place of one of the organisation's, with its name, role, scopes and lifetime. The old one
    /// works on for `overlap`.
    ///
    /// # Errors
    /// 404 if the organisation has no live token of this id; 403 if its role is above the caller's, or it is good for more
    /// than the credential that they use; 503 if the store is out of reach.
    ///
    /// # Security
    /// As [`rotate`](Self::rotate): what a credential with scopes rotates lives no longer than it, unless it is itself.
    pub async fn rotate_of_org<R>(
        &self,
        access: &Access<R, Update>,
        id: ApiTokenId,
        overlap: Duration,
        facts: &Facts,
    ) -> Result<NewOrgToken, Problem> {
        let (caller, old) = (access.principal(), self.one_of_org(access, id).await?);
        let org_id = place(access, old.role)?;
        let OrgTokenRecord { token: old, user_id, role, created_by } = old;
        let wanted = Wanted::in_place_of(old, TokenKind::Organisation, user_id);
        let (text, mut token) = self.token(caller, wanted)?;
        token.of_org = Some(OfOrg { org_id, role, created_by: caller.user_id() });
        let record = OrgTokenRecord { token: record(&token), user_id, role, created_by };
        self.replace(id, token, overlap, facts).await?;
        Ok(NewOrgToken { text, record })
    }

    /// Ends a token of the organisation at once.
    ///
    /// # Errors
    /// 404 if the organisation has no live token of this id; 403 if its role is above the caller's; 503 if the store is out
    /// of reach.
    pub async fn end_of_org<R>(
        &self,
        access: &Access<R, Delete>,
        id: ApiTokenId,
        facts: &Facts,
    ) -> Result<(), Problem> {
        let token = self.one_of_org(access, id).await?;
        place(access, token.role)?;
        let act = facts.act(self.clock.now());
        let revoked = self.store.revoke_token(TokenRef::Of(token.user_id, id), act).await;
        revoked.map_err(unavailable)?.map(drop).ok_or_else(Problem::not_found)
    }

    async fn live_of_org(&self, org: OrgId) -> Result<Vec<OrgTokenRecord>, Problem> {
        let now = self.clock.now();
        let mut tokens = self.store.org_tokens(org).await.map_err(unavailable)?;
        tokens.retain(|of_org| of_org.token.is_live(now));
        Ok(tokens)
    }

    /// Another organisation's is not found: what is looked through is this one's alone.
    async fn one_of_org<R, Op>(
        &self,
        access: &Access<R, Op>,
        id: ApiTokenId,
    ) -> Result<OrgTokenRecord, Problem> {
        let org = access.org_id().ok_or_else(Problem::internal)?;
        let mut tokens = self.live_of_org(org).await?.into_iter();
        tokens.find(|of_org| of_org.token.id == id).ok_or_else(Problem::not_found)
    }
}

/// The organisation, if the caller's role in it is at least `role`.
fn place<R, Op>(access: &Access<R, Op>, role: Role) -> Result<OrgId, Problem> {
    // A resource that belongs to no organisation is a defect of the application.
    let (org, own) = access.org_id().zip(access.role()).ok_or_else(Problem::internal)?;
    if role > own {
        let detail = format!("the role {role} is above your own, {own}");
        return Err(Problem::forbidden().with_detail(detail));
    }
    Ok(org)
}
