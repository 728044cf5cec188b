//! API tokens.
use bailiwick_core::{
    clock::Timestamp,
    error::StoreError,
    id::Id,
    identity::{ApiTokenId, Credential, Membership, Principal, PrincipalParts, Username},
    query::Lane,
    store::{Answer, NewToken, TokenCreation, TokenDigest, TokenRecord, TokenStore},
};

use tokio_postgres::Row;

use super::{
    PostgresStore,
    directory::{role, storable},
    pool::{Ask, Lease, Trying, retrying},
    value::{Bind, Columns},
};

const PRINCIPAL_OF: &str = "SELECT t.id, u.id, u.username, u.email, u.is_staff, u.created_at, t.expires_at \
     FROM api_tokens t JOIN users u ON u.id = t.user_id \
     WHERE t.digest = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.is_active";

const PRINCIPAL_IN: &str = "SELECT t.id, u.id, u.username, u.email, u.is_staff, u.created_at, t.expires_at, \
     m.org_id, m.role \
     FROM api_tokens t JOIN users u ON u.id = t.user_id \
     LEFT JOIN orgs o ON o.slug = $3 \
     LEFT JOIN memberships m ON m.org_id = o.id AND m.user_id = u.id \
     WHERE t.digest = $1 AND t.revoked_at IS NULL AND t.expires_at > $2 AND u.is_active";

/// Who makes two tokens at once waits here for the first: the cap is counted under this lock (TOK-26).
const LOCK_OWNER: &str = "SELECT is_active AND password_hash = coalesce($2, password_hash) \
     FROM users WHERE id = $1 FOR NO KEY UPDATE";
const REMOVE_EXPIRED: &str = "DELETE FROM api_tokens WHERE user_id = $1 AND expires_at <= $2";
const NAMED: &str = "SELECT COUNT(*) FROM api_tokens \
     WHERE user_id = $1 AND name IS NOT NULL AND revoked_at IS NULL AND expires_at > $2";
const ADD: &str = "INSERT INTO api_tokens (id, digest, user_id, name, display, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";
/// The new one stays, also if the clock went back (RST-08).
const REVOKE_OLDEST: &str = "UPDATE api_tokens SET revoked_at = $3 WHERE id IN (\
     SELECT id FROM api_tokens WHERE user_id = $1 AND name IS NULL AND revoked_at IS NULL \
     ORDER BY id = $2 DESC, created_at DESC, id DESC OFFSET $4)";

const REVOKE: &str = "UPDATE api_tokens SET revoked_at = $2 \
     WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING id";

const TOKENS_OF: &str = "SELECT t.id, t.name, t.display, t.created_at, t.expires_at, t.revoked_at \
     FROM users u LEFT JOIN api_tokens t ON t.user_id = u.id WHERE lower(u.username) = $1 \
     ORDER BY t.created_at DESC, t.id DESC";

impl TokenStore for PostgresStore {
    fn principal_of(&self, digest: TokenDigest, now: Timestamp) -> Answer<'_, Option<Principal>> {
        Box::pin(async move {
            let binds = [Bind::Bytes(&digest), now.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(PRINCIPAL_OF, &binds)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            Ok(Some(principal(row)?))
        })
    }

    fn principal_in<'a>(
        &'a self,
        digest: TokenDigest,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>> {
        Box::pin(async move {
            if !storable(slug) {
                return Ok(self.principal_of(digest, now).await?.map(|principal| (principal, None)));
            }
            let binds = [Bind::Bytes(&digest), now.into(), slug.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(PRINCIPAL_IN, &binds)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let membership = match row.is_null(7) {
                true => None,
                false => Some(Membership::from_store(Id::from_uuid(row.uuid(7)?), role(row, 8)?)),
            };
            Ok(Some((principal(row)?, membership)))
        })
    }

    fn create_token(&self, token: NewToken) -> Answer<'_, TokenCreation> {
        Box::pin(async move { Ok(self.pool.to_the_end(token, create_token).await?) })
    }

    fn revoke_token(&self, id: ApiTokenId, now: Timestamp) -> Answer<'_, bool> {
        Box::pin(async move {
            let binds = [id.as_uuid().into(), now.into()];
            let rows = retrying(|| async {
                self.pool.lease(Lane::Short).await?.run(&Ask::new(REVOKE, &binds)).await
            })
            .await?;
            Ok(!rows.is_empty())
        })
    }

    fn tokens_of<'a>(&'a self, name: &'a Username) -> Answer<'a, Option<Vec<TokenRecord>>> {
        Box::pin(async move {
            let name = name.as_str().to_ascii_lowercase();
            let binds = [name.as_str().into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(TOKENS_OF, &binds)]).await?;
            if rows.is_empty() {
                return Ok(None);
            }
            let tokens = rows.iter().filter(|row| !row.is_null(0)).map(|row| {
                Ok(TokenRecord {
                    id: Id::from_uuid(row.uuid(0)?),
                    name: row.optional_text(1)?.map(str::to_owned),
                    display: row.text(2)?.to_owned(),
                    created_at: row.time(3)?,
                    expires_at: row.time(4)?,
                    revoked_at: row.optional_time(5)?,
                })
            });
            tokens.collect::<Result<Vec<_>, StoreError>>().map(Some)
        })
    }
}

fn create_token<'a>(lease: &'a mut Lease, token: &'a NewToken) -> Trying<'a, TokenCreation> {
    Box::pin(async move {
        let (user, id): (Bind<'_>, Bind<'_>) = (token.user_id.as_uuid().into(), token.id.as_uuid().into());
        let now: Bind<'_> = token.created_at.into();
        let password_hash: Bind<'_> = token.password_hash.as_ref().map(|hash| hash.expose().as_str()).into();
        let owner = lease.begin(&[Ask::new(LOCK_OWNER, &[user, password_hash])]).await?;
        let may_have_it = match owner[0].first() {
            Some(row) => row.bool(0)?,
            None => false,
        };
        if !may_have_it {
            return Ok(TokenCreation::Refused);
        }
        let added = [
            id,
            Bind::Bytes(&token.digest),
            user,
            token.name.as_deref().into(),
            token.display.as_str().into(),
            now,
            token.expires_at.into(),
        ];
        let expired = [user, now];
        if token.name.is_some() {
            let named = lease.go_on(&[Ask::new(NAMED, &expired)]).await?;
            if named[0].first().map_or(Ok(0), |row| row.integer(0))? >= i64::from(token.max_per_user) {
                return Ok(TokenCreation::TooMany);
            }
        }
        let surplus = [user, id, now, i64::from(token.max_per_user).into()];
        let asks =
            [Ask::new(REMOVE_EXPIRED, &expired), Ask::new(ADD, &added), Ask::new(REVOKE_OLDEST, &surplus)];
        let by_log_in = token.name.is_none();
        lease.go_on(&asks[..if by_log_in { 3 } else { 2 }]).await?;
        lease.commit().await?;
        Ok(TokenCreation::Created)
    })
}

fn principal(row: &Row) -> Result<Principal, StoreError> {
    Ok(Principal::new(PrincipalParts {
        credential: Credential::ApiToken(Id::from_uuid(row.uuid(0)?)),
        user_id: Id::from_uuid(row.uuid(1)?),
        username: row.text(2)?.to_owned(),
        email: row.text(3)?.to_owned(),
        is_staff: row.bool(4)?,
        created_at: row.time(5)?,
        expires_at: row.time(6)?,
    }))
}
