//! API tokens.
use bailiwick_core::{
    audit::Act,
    clock::Timestamp,
    error::{DecodeError, StoreError},
    id::Id,
    identity::{ApiTokenId, OrgId, Role, Scopes, UserId},
    query::Lane,
    store::{Answer, NewToken, OfOrg, OrgTokenRecord, TokenCreation, TokenRecord, TokenRef, TokenStore},
};

use tokio_postgres::Row;

use super::{
    PostgresStore,
    audit::Recording,
    directory::role,
    failure::Failure,
    pool::{Ask, Lease, Trying},
    value::{Bind, Columns},
};

/// Who makes two tokens or sessions at once waits here for the first: the cap is counted under this lock (TOK-26).
pub(super) const LOCK_OWNER: &str = "SELECT is_active AND password_hash = coalesce($2, password_hash) \
     FROM users WHERE id = $1 FOR NO KEY UPDATE";
const REMOVE_EXPIRED: &str = "DELETE FROM api_tokens WHERE user_id = $1 AND expires_at <= $2";
const NAMED: &str = "SELECT COUNT(*) FROM api_tokens \
     WHERE user_id = $1 AND name IS NOT NULL AND revoked_at IS NULL AND expires_at > $2";
const ADD: &str = "INSERT INTO api_tokens (id, digest, user_id, name, display, scopes, created_at, expires_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
/// The new one stays, also if the clock went back (RST-08).
const REVOKE_OLDEST: &str = "UPDATE api_tokens SET revoked_at = $3 WHERE id IN (\
     SELECT id FROM api_tokens WHERE user_id = $1 AND name IS NULL AND revoked_at IS NULL \
     AND expires_at > $3 ORDER BY id = $2 DESC, created_at DESC, id DESC OFFSET $4) RETURNING id";

/// Who makes two tokens of an organisation at once waits here for the first, and whoever changes its members waits too: the
/// cap is counted, and the maker's role read, under this lock (TOK-26, ACL-07).
const LOCK_ORG: &str = "SELECT id FROM orgs WHERE id = $1 FOR NO KEY UPDATE";
const MAKER: &str = "SELECT m.role FROM memberships m JOIN users u ON u.id = m.user_id \
     WHERE m.org_id = $1 AND m.user_id = $2 AND u.is_active";
const REMOVE_EXPIRED_OF_ORG: &str = "DELETE FROM api_tokens \
     WHERE expires_at <= $2 AND user_id IN (SELECT id FROM users WHERE service_org_id = $1)";
const LIVE_OF_ORG: &str = "SELECT COUNT(*) FROM users u JOIN api_tokens t ON t.user_id = u.id \
     WHERE u.service_org_id = $1 AND t.revoked_at IS NULL AND t.expires_at > $2";
const ADD_SERVICE: &str = "INSERT INTO users (id, username, email, password_hash, is_active, is_staff, is_author, \
       is_editor, created_at, service_org_id, created_by) \
     VALUES ($1, $2, '', $3, TRUE, FALSE, FALSE, FALSE, $4, $5, $6)";
const ADD_MEMBERSHIP: &str =
    "INSERT INTO memberships (org_id, user_id, role, joined_at) VALUES ($1, $2, $3, $4)";

/// Ends the live token that `$found` says, by `$1`.
macro_rules! revoke {
    ($found:literal) => {
        concat!(
            "UPDATE api_tokens SET revoked_at = $2 WHERE ",
            $found,
            " AND revoked_at IS NULL AND expires_at > $2 RETURNING id, user_id, \
             (SELECT users.service_org_id FROM users WHERE users.id = user_id)"
        )
    };
}
const REVOKE: &str = revoke!("id = $1");
const REVOKE_OF: &str = revoke!("id = $1 AND user_id = $3");
const REVOKE_DIGEST: &str = revoke!("digest = $1");

/// Locks the token: whoever rotates it at the same time finds it replaced.
const REPLACED: &str = "SELECT id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at \
     FROM api_tokens \
     WHERE id = $1 AND user_id = $2 AND name IS NOT NULL AND revoked_at IS NULL AND expires_at > $3 \
       AND replaced_at IS NULL FOR UPDATE";
const END_REPLACED: &str =
    "UPDATE api_tokens SET expires_at = least(expires_at, $2), replaced_at = $3 WHERE id = $1";
const END_ONE_BEFORE: &str = "UPDATE api_tokens SET expires_at = least(expires_at, $2) \
     WHERE id = (SELECT replaces FROM api_tokens WHERE id = $1)";
const NOTE_REPLACED: &str = "UPDATE api_tokens SET replaces = $2 WHERE id = $1";

const ORG_TOKENS: &str = "SELECT id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at, \
       user_id, role, created_by \
     FROM org_tokens WHERE org_id = $1 ORDER BY created_at DESC, id DESC";
const TOKENS_OF: &str = "SELECT id, name, display, scopes, created_at, expires_at, last_used_at, revoked_at \
     FROM api_tokens WHERE user_id = $1 ORDER BY created_at DESC, id DESC";

impl TokenStore for PostgresStore {
    fn create_token(&self, token: NewToken, act: Act) -> Answer<'_, TokenCreation> {
        let recording = self.recording(act);
        Box::pin(async move {
            Ok(match token.of_org {
                Some(of_org) => self.pool.to_the_end((token, of_org, recording), create_for_org).await?,
                None => self.pool.to_the_end((token, recording), create_token).await?,
            })
        })
    }

    fn rotate_token(
        &self,
        replaced: ApiTokenId,
        token: NewToken,
        old_expires_at: Timestamp,
        act: Act,
    ) -> Answer<'_, Option<TokenRecord>> {
        let rotation = Rotation { replaced, token, old_expires_at, recording: self.recording(act) };
        Box::pin(async move { Ok(self.pool.to_the_end(rotation, rotate_token).await?) })
    }

    fn revoke_token(&self, which: TokenRef, act: Act) -> Answer<'_, Option<UserId>> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((which, recording), revoke_token).await?) })
    }

    fn tokens_of(&self, user: UserId) -> Answer<'_, Vec<TokenRecord>> {
        Box::pin(async move {
            let binds = [user.as_uuid().into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(TOKENS_OF, &binds)]).await?;
            Ok(rows.iter().map(record).collect::<Result<_, _>>()?)
        })
    }

    fn org_tokens(&self, org: OrgId) -> Answer<'_, Vec<OrgTokenRecord>> {
        Box::pin(async move {
            let binds = [org.as_uuid().into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(ORG_TOKENS, &binds)]).await?;
            rows.iter().map(org_record).collect()
        })
    }
}

fn create_token<'a>(
    lease: &'a mut Lease,
    (token, recording): &'a (NewToken, Recording),
) -> Trying<'a, TokenCreation> {
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
        let added = added(token, token.name.as_deref(), &token.scopes);
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
        let (done, head) = lease.go_on_to_the_head(&asks[..if by_log_in { 3 } else { 2 }]).await?;
        let ended: Result<Vec<_>, DecodeError> =
            done.get(2).into_iter().flatten().map(|row| row.uuid(0).map(Id::from_uuid)).collect();
        lease.commit_recording_at(head, recording, token.events(&ended?)).await?;
        Ok(TokenCreation::Created)
    })
}

fn create_for_org<'a>(
    lease: &'a mut Lease,
    (token, of_org, recording): &'a (NewToken, OfOrg, Recording),
) -> Trying<'a, TokenCreation> {
    Box::pin(async move {
        let (org, service): (Bind<'_>, Bind<'_>) =
            (of_org.org_id.as_uuid().into(), token.user_id.as_uuid().into());
        let now: Bind<'_> = token.created_at.into();
        if !begin_and_may_make(lease, of_org).await? {
            return Ok(TokenCreation::Refused);
        }
        let counted = [org, now];
        let live = lease.go_on(&[Ask::new(LIVE_OF_ORG, &counted)]).await?;
        if live[0].first().map_or(Ok(0), |row| row.integer(0))? >= i64::from(token.max_per_user) {
            return Ok(TokenCreation::TooMany);
        }
        let name = token.service_name();
        let maker: Bind<'_> = of_org.created_by.as_uuid().into();
        let user = [service, name.as_str().into(), NewToken::NO_PASSWORD.into(), now, org, maker];
        let membership = [org, service, of_org.role.as_str().into(), now];
        let added = added(token, token.name.as_deref(), &token.scopes);
        let asks = [
            Ask::new(REMOVE_EXPIRED_OF_ORG, &counted),
            Ask::new(ADD_SERVICE, &user),
            Ask::new(ADD_MEMBERSHIP, &membership),
            Ask::new(ADD, &added),
        ];
        lease.go_on(&asks).await?;
        lease.commit_recording(recording, token.events(&[])).await?;
        Ok(TokenCreation::Created)
    })
}

/// Begins, and answers whether whoever makes a token of an organisation may: their role stays until the transaction ends.
async fn begin_and_may_make(lease: &mut Lease, of_org: &OfOrg) -> Result<bool, Failure> {
    let (org, maker): (Bind<'_>, Bind<'_>) =
        (of_org.org_id.as_uuid().into(), of_org.created_by.as_uuid().into());
    // The second is run once the lock is had, and sees what was changed by whoever held it.
    let found = lease.begin(&[Ask::new(LOCK_ORG, &[org]), Ask::new(MAKER, &[org, maker])]).await?;
    let role: Option<Role> = found[1].first().map(|row| role(row, 0)).transpose()?;
    Ok(role.is_some_and(|role| of_org.may_be_made_by(role)))
}

/// The binds of [`ADD`].
fn added<'a>(token: &'a NewToken, name: Option<&'a str>, scopes: &'a Scopes) -> [Bind<'a>; 8] {
    [
        token.id.as_uuid().into(),
        Bind::Bytes(&token.digest),
        token.user_id.as_uuid().into(),
        name.into(),
        token.display.as_str().into(),
        scopes.as_stored().into(),
        token.created_at.into(),
        token.expires_at.into(),
    ]
}

fn revoke_token<'a>(
    lease: &'a mut Lease,
    (which, recording): &'a (TokenRef, Recording),
) -> Trying<'a, Option<UserId>> {
    Box::pin(async move {
        let now = recording.now();
        lease.begin(&[]).await?;
        let found = match which {
            TokenRef::Id(id) => lease.go_on(&[Ask::new(REVOKE, &[id.as_uuid().into(), now])]).await?,
            TokenRef::Of(owner, id) => {
                let binds = [id.as_uuid().into(), now, owner.as_uuid().into()];
                lease.go_on(&[Ask::new(REVOKE_OF, &binds)]).await?
            }
            TokenRef::Digest(digest) => {
                lease.go_on(&[Ask::new(REVOKE_DIGEST, &[Bind::Bytes(digest), now])]).await?
            }
        };
        let Some(row) = found[0].first() else { return Ok(None) };
        let (id, owner) = (Id::from_uuid(row.uuid(0)?), Id::from_uuid(row.uuid(1)?));
        let org = if row.is_null(2) { None } else { Some(Id::from_uuid(row.uuid(2)?)) };
        lease.commit_recording(recording, vec![which.event(id, owner, org)]).await?;
        Ok(Some(owner))
    })
}

/// A token that is to be put in the place of another.
struct Rotation {
    replaced: ApiTokenId,
    token: NewToken,
    old_expires_at: Timestamp,
    recording: Recording,
}

fn rotate_token<'a>(lease: &'a mut Lease, rotation: &'a Rotation) -> Trying<'a, Option<TokenRecord>> {
    Box::pin(async move {
        let Rotation { replaced, token, old_expires_at, recording } = rotation;
        let (id, user): (Bind<'_>, Bind<'_>) = (replaced.as_uuid().into(), token.user_id.as_uuid().into());
        let (now, new): (Bind<'_>, Bind<'_>) = (token.created_at.into(), token.id.as_uuid().into());
        // Whoever disables the user at the same time is waited for, or waits and then finds the new token too.
        let no_hash: Bind<'_> = None::<&str>.into();
        let binds = [user, no_hash];
        let lock = [Ask::new(LOCK_OWNER, &binds)];
        let owner = match &token.of_org {
            None => lease.begin(&lock).await?,
            Some(of_org) if begin_and_may_make(lease, of_org).await? => lease.go_on(&lock).await?,
            Some(_) => return Ok(None),
        };
        if !owner[0].first().map_or(Ok(false), |row| row.bool(0))? {
            return Ok(None);
        }
        let which = [id, user, now];
        let found = lease.go_on(&[Ask::new(REPLACED, &which)]).await?;
        let Some(found) = found[0].first() else { return Ok(None) };
        let found = record(found)?;
        let added = added(token, found.name.as_deref(), &found.scopes);
        let (before, ended, noted) = ([id, now], [id, (*old_expires_at).into(), now], [new, id]);
        let asks = [
            Ask::new(END_ONE_BEFORE, &before),
            Ask::new(END_REPLACED, &ended),
            Ask::new(ADD, &added),
            Ask::new(NOTE_REPLACED, &noted),
        ];
        lease.go_on(&asks).await?;
        lease.commit_recording(recording, token.rotation_events(*replaced)).await?;
        Ok(Some(found))
    })
}

fn org_record(row: &Row) -> Result<OrgTokenRecord, StoreError> {
    Ok(OrgTokenRecord {
        token: record(row)?,
        user_id: Id::from_uuid(row.uuid(8)?),
        role: role(row, 9)?,
        created_by: Id::from_uuid(row.uuid(10)?),
    })
}

fn record(row: &Row) -> Result<TokenRecord, DecodeError> {
    Ok(TokenRecord {
        id: Id::from_uuid(row.uuid(0)?),
        name: row.optional_text(1)?.map(str::to_owned),
        display: row.text(2)?.to_owned(),
        scopes: Scopes::from_stored(row.optional_text(3)?),
        created_at: row.time(4)?,
        expires_at: row.time(5)?,
        last_used_at: row.optional_time(6)?,
        revoked_at: row.optional_time(7)?,
    })
}
