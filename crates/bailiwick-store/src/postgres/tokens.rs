//! API tokens.
use bailiwick_core::{
    clock::Timestamp,
    error::StoreError,
    id::Id,
    identity::{ApiTokenId, Username},
    query::Lane,
    store::{Answer, NewToken, TokenCreation, TokenRecord, TokenStore},
};

use super::{
    PostgresStore,
    pool::{Ask, Lease, Trying, retrying},
    value::{Bind, Columns},
};

/// Who makes two tokens or sessions at once waits here for the first: the cap is counted under this lock (TOK-26).
pub(super) const LOCK_OWNER: &str = "SELECT is_active AND password_hash = coalesce($2, password_hash) \
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

const TOKENS_OF: &str = "SELECT t.id, t.name, t.display, t.created_at, t.expires_at, t.last_used_at, t.revoked_at \
     FROM users u LEFT JOIN api_tokens t ON t.user_id = u.id WHERE lower(u.username) = $1 \
     ORDER BY t.created_at DESC, t.id DESC";

impl TokenStore for PostgresStore {
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
                    last_used_at: row.optional_time(5)?,
                    revoked_at: row.optional_time(6)?,
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
