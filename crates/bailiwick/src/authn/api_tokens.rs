//! The API tokens of a user, which they make by name. Those of organisations are beside, in `org_tokens`.
use std::{sync::Arc, time::Duration};

use bailiwick_core::{
    clock::{Clock, Entropy, Timestamp},
    identity::{ApiTokenId, Credential, Principal, Scopes, UserId},
    request::Facts,
    store::{Addressee, NewToken, Proof, Store, TokenCreation, TokenRecord, TokenRef},
};

use super::{
    Guesses,
    login::unavailable,
    token::{self, TokenKind, TokenText, new_api_token},
};
use crate::problem::{Code, Problem};

/// Makes, lists, rotates and ends API tokens. Cheap to clone.
#[derive(Clone)]
pub struct ApiTokens {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) lifetime: Duration,
    pub(super) max_per_user: u32,
    /// How often one address is told of leaks.
    pub(super) leak_mails: Option<Guesses>,
}

/// A token that was just made by name.
#[derive(Clone, Debug)]
pub struct NamedToken {
    /// Its text: the one time it can be seen.
    pub text: TokenText,
    /// What is seen of it later.
    pub record: TokenRecord,
}

/// A token that worked until somebody reported it as leaked, whose owner is to be told.
#[derive(Clone, Debug)]
pub struct LeakedToken {
    /// The token's id.
    pub id: ApiTokenId,
    /// Its owner.
    pub owner: Addressee,
    /// When it was reported, which is when it ended.
    pub reported_at: Timestamp,
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
        Self { store, clock, entropy, lifetime, max_per_user, leak_mails: None }
    }

    /// Limits how often one address is told of leaks.
    #[must_use]
    pub fn leak_mails(mut self, leak_mails: Option<Guesses>) -> Self {
        self.leak_mails = leak_mails;
        self
    }

    /// Makes a token of the caller's.
    ///
    /// # Errors
    /// 403 if it would be good for more than the credential that the caller uses; 409 if they have as many as may be; 503
    /// if the store is out of reach.
    ///
    /// # Security
    /// A token never widens what its maker may do: a credential that is limited by scopes makes tokens within them, which
    /// live no longer than it. See [`rotate`](Self::rotate) for the one exception.
    pub async fn create(
        &self,
        caller: &Principal,
        name: String,
        scopes: Scopes,
        lifetime: Option<Duration>,
        facts: &Facts,
    ) -> Result<NamedToken, Problem> {
        let wanted = Wanted {
            kind: TokenKind::Personal,
            owner: caller.user_id(),
            name,
            scopes,
            lifetime: lifetime.unwrap_or(self.lifetime),
            replaces: None,
        };
        let (text, token) = self.token(caller, wanted)?;
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
        tokens.retain(|token| token.is_live(now));
        Ok(tokens)
    }

    /// Puts a new token in the place of one of the caller's, with its name, its scopes and its lifetime. The old one works
    /// on for `overlap`.
    ///
    /// # Errors
    /// 404 if the caller has no live token of this id with a name; 403 if it is good for more than the credential that
    /// they use; 503 if the store is out of reach.
    ///
    /// # Security
    /// What a credential with scopes rotates lives no longer than it, like what it makes. One exception: a token that
    /// rotates itself gets its whole lifetime anew, so that a program can renew the token that it was given. It so works
    /// until somebody ends it.
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
        let wanted = Wanted::in_place_of(old, TokenKind::Personal, caller.user_id());
        let (text, token) = self.token(caller, wanted)?;
        let record = record(&token);
        self.replace(id, token, overlap, facts).await?;
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
    /// (TOK-28). Answers which it was, so that its owner is told: of many who report a token, one is answered so. Of a token of
    /// an organisation nothing is answered.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    ///
    /// # Security
    /// What is answered is not for whoever reported the token: they must not learn whether it lived. It is looked up before
    /// it is ended, whether it lives or not; all that only one that lived calls for is left to the background.
    pub async fn report_leak(&self, text: &str, facts: &Facts) -> Result<Option<LeakedToken>, Problem> {
        // Who finds a token copies white space with it.
        let Some(digest) = token::digest_if_plausible_api_token(text.trim()) else { return Ok(None) };
        let now = self.clock.now();
        let owner = self.store.principal_of(Proof::ApiToken(digest), now).await.map_err(unavailable)?;
        let revoked =
            self.store.revoke_token(TokenRef::Digest(digest), facts.act(now)).await.map_err(unavailable)?;
        if revoked.is_none() {
            return Ok(None);
        }
        // A service has no address.
        Ok(owner.filter(|owner| owner.service_of.is_none()).and_then(|owner| {
            let Credential::ApiToken(id) = owner.credential else { return None };
            let owner = Addressee {
                user_id: owner.user_id,
                username: owner.username.clone(),
                email: owner.email.clone(),
            };
            Some(LeakedToken { id, owner, reported_at: now })
        }))
    }

    /// What is known of a leaked token; nothing once it was removed.
    ///
    /// # Errors
    /// 503 if the store is out of reach.
    pub async fn record_of(&self, leaked: &LeakedToken) -> Result<Option<TokenRecord>, Problem> {
        let tokens = self.store.tokens_of(leaked.owner.user_id).await.map_err(unavailable)?;
        Ok(tokens.into_iter().find(|token| token.id == leaked.id))
    }

    /// Counts a mail about a leak, and answers whether to send it: whoever makes tokens to report them floods nobody. If the
    /// counters are out of reach, it is sent. The token worked, and whoever had it could have used it.
    pub async fn may_tell(&self, leaked: &LeakedToken) -> bool {
        let Some(leak_mails) = &self.leak_mails else { return true };
        // The request is answered by now: what it would count is not.
        match leak_mails.begin(&leaked.owner.email, &Facts::new()).await {
            // It is never forgotten: each is a mail.
            Ok(_sent) => true,
            Err(problem) => problem.code() != Code::Throttled,
        }
    }

    /// A token that `caller` makes, for themselves or an organisation: every one is made here, so that none is good for more
    /// than what it was made with, or lives longer, but for the exception of [`rotate`](Self::rotate).
    ///
    /// # Errors
    /// 403 if it would be good for more than the credential that the caller uses.
    pub(super) fn token(&self, caller: &Principal, wanted: Wanted) -> Result<(TokenText, NewToken), Problem> {
        let Wanted { kind, owner, name, scopes, lifetime, replaces } = wanted;
        if !is_within(&scopes, &caller.scopes) {
            let does = if replaces.is_some() { "rotates" } else { "makes" };
            let detail =
                format!("a credential with scopes {does} only tokens whose scopes are among its own");
            return Err(Problem::forbidden().with_detail(detail));
        }
        let (clock, entropy) = (&*self.clock, &*self.entropy);
        let (text, token) = new_api_token(kind, owner, lifetime, self.max_per_user, clock, entropy);
        let renews_itself = replaces.is_some_and(|old| caller.credential == Credential::ApiToken(old));
        let expires_at = match caller.scopes.names() {
            Some(_) if !renews_itself => token.expires_at.min(caller.expires_at),
            _ => token.expires_at,
        };
        Ok((text, NewToken { name: Some(name), scopes, expires_at, ..token }))
    }

    /// Puts `token` in the place of the one called `old`, which works on for `overlap`.
    ///
    /// # Errors
    /// 404 if that has ended or been replaced meanwhile; 503 if the store is out of reach.
    pub(super) async fn replace(
        &self,
        old: ApiTokenId,
        token: NewToken,
        overlap: Duration,
        facts: &Facts,
    ) -> Result<(), Problem> {
        let (old_expires_at, act) = (token.created_at.saturating_add(overlap), facts.act(token.created_at));
        let rotated = self.store.rotate_token(old, token, old_expires_at, act).await.map_err(unavailable)?;
        rotated.map(drop).ok_or_else(Problem::not_found)
    }
}

/// What a token is to be that a caller makes.
pub(super) struct Wanted {
    pub(super) kind: TokenKind,
    /// The user, or the service, that it speaks for.
    pub(super) owner: UserId,
    pub(super) name: String,
    pub(super) scopes: Scopes,
    pub(super) lifetime: Duration,
    /// The token in whose place it is put, if it is.
    pub(super) replaces: Option<ApiTokenId>,
}

impl Wanted {
    /// The same as `old`, for as long again.
    pub(super) fn in_place_of(old: TokenRecord, kind: TokenKind, owner: UserId) -> Self {
        Self {
            kind,
            owner,
            lifetime: old.expires_at.saturating_since(old.created_at),
            name: old.name.unwrap_or_default(),
            scopes: old.scopes,
            replaces: Some(old.id),
        }
    }
}

impl std::fmt::Debug for ApiTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiTokens").field("lifetime", &self.lifetime).finish_non_exhaustive()
    }
}

/// Whether everything that `inner` names is allowed by `outer`.
fn is_within(inner: &Scopes, outer: &Scopes) -> bool {
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
