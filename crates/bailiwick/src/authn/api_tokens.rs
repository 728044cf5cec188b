//! The API tokens of a user, which they make by name. Those of organisations are beside, in `org_tokens`.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, Entropy},
    id::Id,
    identity::{ApiTokenId, Principal, Scopes, UserId},
    request::Facts,
    store::{NewToken, Store, TokenCreation, TokenRecord, TokenRef},
};

use super::{
    login::unavailable,
    token::{self, TokenKind, TokenText},
};
use crate::problem::Problem;

/// Makes, lists, rotates and ends API tokens. Cheap to clone.
#[derive(Clone)]
pub struct ApiTokens {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) lifetime: Duration,
    pub(super) max_per_user: u32,
}

/// A token that was just made by name.
#[derive(Clone, Debug)]
pub struct NamedToken {
    /// Its text: the one time it can be seen.
    pub text: TokenText,
    /// What is seen of it later.
    pub record: TokenRecord,
}

impl ApiTokens {
    /// Tokens that live for `lifetime` where nobody says otherwise, of which a user has at most `max_per_user`, and so has
    /// an organisation.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        lifetime: Duration,
        max_per_user: u32,
    ) -> Self {
        Self { store, clock, entropy, lifetime, max_per_user }
    }

    /// Makes a token of the caller's.
    ///
    /// # Errors
    /// 403 if it would be good for more than the credential that the caller uses; 409 if they have as many as may be; 503
    /// if the store is out of reach.
    ///
    /// # Security
    /// A token never widens what its maker may do: a credential that is limited by scopes makes tokens within them, which
    /// live no longer than it.
    pub async fn create(
        &self,
        caller: &Principal,
        name: String,
        scopes: Scopes,
        lifetime: Option<Duration>,
        facts: &Facts,
    ) -> Result<NamedToken, Problem> {
        if !is_within(&scopes, &caller.scopes) {
            let detail = "a credential with scopes makes only tokens whose scopes are among its own";
            return Err(Problem::forbidden().with_detail(detail));
        }
        let lifetime = lifetime.unwrap_or(self.lifetime);
        let (text, mut token) = self.token(TokenKind::Personal, caller.user_id(), name, scopes, lifetime);
        if caller.scopes.names().is_some() {
            token.expires_at = token.expires_at.min(caller.expires_at);
        }
        let (record, act) = (record(&token), facts.act(token.created_at));
        match self.store.create_token(token, act).await.map_err(unavailable)? {
            TokenCreation::Created => Ok(NamedToken { text, record }),
            // They were disabled a moment ago.
            TokenCreation::Refused => Err(Problem::invalid_token()),
            TokenCreation::TooMany => {
                let most = self.max_per_user;
                let detail = format!("there are {most} live tokens with a name already: end one first");
                Err(Problem::conflict(detail))
            }
        }
    }

    /// The live tokens of a user, the newest first: those with a name, and those that log-ins made.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn of(&self, user: UserId) -> Result<Vec<TokenRecord>, Problem> {
        let now = self.clock.now();
        let mut tokens = self.store.tokens_of(user).await.map_err(unavailable)?;
        tokens.retain(|token| token.revoked_at.is_none() && token.expires_at > now);
        Ok(tokens)
    }

    /// Puts a new token in the place of one of the caller's, with its name, its scopes and its lifetime. The old one works
    /// on for `overlap`.
    ///
    /// # Errors
    /// 404 if the caller has no live token of this id with a name; 403 if it is good for more than the credential that
    /// they use; 503 if the store is out of reach.
    pub async fn rotate(
        &self,
        caller: &Principal,
        id: ApiTokenId,
        overlap: Duration,
        facts: &Facts,
    ) -> Result<NamedToken, Problem> {
        let mut tokens = self.of(caller.user_id()).await?.into_iter();
        let old =
            tokens.find(|token| token.id == id && token.name.is_some()).ok_or_else(Problem::not_found)?;
        if !is_within(&old.scopes, &caller.scopes) {
            let detail = "a credential with scopes rotates only tokens whose scopes are among its own";
            return Err(Problem::forbidden().with_detail(detail));
        }
        let lifetime = old.expires_at.saturating_since(old.created_at);
        let name = old.name.unwrap_or_default();
        let (text, token) = self.token(TokenKind::Personal, caller.user_id(), name, old.scopes, lifetime);
        let (record, act) = (record(&token), facts.act(token.created_at));
        let old_expires_at = token.created_at.saturating_add(overlap);
        let rotated = self.store.rotate_token(id, token, old_expires_at, act).await.map_err(unavailable)?;
        if rotated.is_none() {
            return Err(Problem::not_found());
        }
        Ok(NamedToken { text, record })
    }

    /// Ends a token of a user at once, and answers whether there was one.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn end(&self, user: UserId, id: ApiTokenId, facts: &Facts) -> Result<bool, Problem> {
        let act = facts.act(self.clock.now());
        let revoked = self.store.revoke_token(TokenRef::Of(user, id), act).await;
        Ok(revoked.map_err(unavailable)?.is_some())
    }

    /// Ends the token with this text, if there is one: whoever found it in the open may have it ended, and learns nothing
    /// (TOK-28).
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn report_leak(&self, text: &str, facts: &Facts) -> Result<(), Problem> {
        // Who finds a token copies white space with it.
        let Some(digest) = token::digest_if_plausible_api_token(text.trim()) else { return Ok(()) };
        let act = facts.act(self.clock.now());
        self.store.revoke_token(TokenRef::Digest(digest), act).await.map_err(unavailable)?;
        Ok(())
    }

    pub(super) fn token(
        &self,
        kind: TokenKind,
        user_id: UserId,
        name: String,
        scopes: Scopes,
        lifetime: Duration,
    ) -> (TokenText, NewToken) {
        let text = TokenText::generate(kind, &*self.entropy);
        let now = self.clock.now();
        let token = NewToken {
            id: Id::new(&*self.clock, &*self.entropy),
            digest: text.digest(),
            user_id,
            of_org: None,
            name: Some(name),
            display: text.display(),
            scopes,
            created_at: now,
            expires_at: now.saturating_add(lifetime),
            max_per_user: self.max_per_user,
            password_hash: None,
        };
        (text, token)
    }
}

impl std::fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiTokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Whether everything that `inner` names is allowed by `outer`.
pub(super) fn is_within(inner: &Scopes, outer: &Scopes) -> bool {
    match inner.names() {
        Some(mut names) => names.all(|name| outer.allow(name)),
        None => outer.names().is_none(),
    }
}

pub(super) fn record(token: &NewToken) -> TokenRecord {
    TokenRecord {
        id: token.id,
        name: token.name.clone(),
        display: token.display.clone(),
        scopes: token.scopes.clone(),
        created_at: token.created_at,
        expires_at: token.expires_at,
        last_used_at: None,
        revoked_at: None,
    }
}
