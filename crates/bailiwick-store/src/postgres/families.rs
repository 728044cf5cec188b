//! Families of refresh tokens.
use bailiwick_core::{
    audit::Act,
    clock::Timestamp,
    error::{DecodeError, StoreError},
    id::Id,
    identity::FamilyId,
    query::Lane,
    store::{Answer, CredentialDigest, FamilyStore, Grant, NewFamily, Refresh, Refreshed},
};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    audit::Recording,
    failure::Failure,
    pool::{Ask, Lease, Trying},
    tokens::LOCK_OWNER,
    value::{Bind, Columns},
};
use crate::refresh::{Decision, Shown, decide};

const REMOVE_ENDED: &str =
    "DELETE FROM jwt_families WHERE user_id = $1 AND (expires_at <= $2 OR revoked_at IS NOT NULL)";
const ADD: &str = "INSERT INTO jwt_families (id, user_id, created_at, last_used_at, expires_at, live) \
     VALUES ($1, $2, $3, $3, $4, $5)";
const ADD_TOKEN: &str = "INSERT INTO refresh_tokens \
     (digest, family_id, created_at, expires_at, kid, access_expires_at) VALUES ($1, $2, $3, $4, $5, $6)";
/// The new one stays, also if the clock went back (RST-08). One that is revoked in this very moment has its event already.
const END_OLDEST: &str = "DELETE FROM jwt_families WHERE revoked_at IS NULL AND id IN (\
     SELECT id FROM jwt_families WHERE user_id = $1 \
     ORDER BY id = $2 DESC, last_used_at DESC, id DESC OFFSET $3) RETURNING id";

/// Whoever shows a token of the same family waits here for the first (JWT-49). What the family holds is read by the
/// next statement, which sees what the first has done.
const LOCK: &str = "SELECT id FROM jwt_families \
     WHERE id = (SELECT family_id FROM refresh_tokens WHERE digest = $1) FOR UPDATE";
const SHOWN: &str = "SELECT f.id, f.user_id, t.expires_at, t.used_at, f.expires_at, f.live, f.parent, \
     f.revoked_at IS NULL AND u.is_active FROM refresh_tokens t JOIN jwt_families f ON f.id = t.family_id \
     JOIN users u ON u.id = f.user_id WHERE t.digest = $1";
const END: &str = "UPDATE jwt_families SET revoked_at = $2 WHERE id = $1";
const SPEND: &str = "UPDATE refresh_tokens SET used_at = $2 WHERE digest = $1";
const ROTATE: &str = "UPDATE jwt_families \
     SET live = $2, parent = $3, last_used_at = greatest(last_used_at, $4) WHERE id = $1";
const NOTE_ACCESS: &str = "UPDATE refresh_tokens SET kid = $2, access_expires_at = $3 \
     WHERE digest = $1 AND access_expires_at <= $3";

const REVOKE: &str = "UPDATE jwt_families SET revoked_at = $2 \
     WHERE id = (SELECT family_id FROM refresh_tokens WHERE digest = $1) \
     AND revoked_at IS NULL AND expires_at > $2 RETURNING id, user_id";
pub(super) const END_FAMILIES: &str =
    "UPDATE jwt_families SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL";
const LIVE: &str = "SELECT t.kid, COUNT(*) FROM refresh_tokens t JOIN jwt_families f ON f.id = t.family_id \
     JOIN users u ON u.id = f.user_id \
     WHERE t.access_expires_at > $1 AND f.revoked_at IS NULL AND f.expires_at > $1 AND u.is_active \
     GROUP BY t.kid ORDER BY t.kid COLLATE \"C\"";

impl FamilyStore for PostgresStore {
    fn create_family(&self, family: NewFamily, act: Act) -> Answer<'_, bool> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((family, recording), create).await?) })
    }

    fn refresh_family(&self, refresh: Refresh, act: Act) -> Answer<'_, Refreshed> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((refresh, recording), exchange).await?) })
    }

    fn revoke_family(&self, token: CredentialDigest, act: Act) -> Answer<'_, Option<FamilyId>> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((token, recording), revoke).await?) })
    }

    fn live_access_tokens(&self, now: Timestamp) -> Answer<'_, Vec<(String, u64)>> {
        Box::pin(async move {
            let binds = [now.into()];
            let [rows] = self.pool.read(Lane::Scan, [Ask::new(LIVE, &binds)]).await?;
            let counts = rows.iter().map(|row| {
                let wrong = DecodeError { column: 1, expected: "a count" };
                Ok((row.text(0)?.to_owned(), u64::try_from(row.integer(1)?).map_err(|_| wrong)?))
            });
            counts.collect::<Result<_, StoreError>>()
        })
    }
}

fn create<'a>(lease: &'a mut Lease, (family, recording): &'a (NewFamily, Recording)) -> Trying<'a, bool> {
    Box::pin(async move {
        let (id, user): (Bind<'_>, Bind<'_>) = (family.id.as_uuid().into(), family.user_id.as_uuid().into());
        let now: Bind<'_> = family.created_at.into();
        let proved = family.password_hash.expose().as_str().into();
        let owner = lease.begin(&[Ask::new(LOCK_OWNER, &[user, proved])]).await?;
        if !owner[0].first().map_or(Ok(false), |row| row.bool(0))? {
            return Ok(false);
        }
        let ended = [user, now];
        let added = [id, user, now, family.ends_at().into(), Bind::Bytes(&family.digest)];
        let token = [
            Bind::Bytes(&family.digest),
            id,
            now,
            family.expires_at().into(),
            family.access.kid.as_str().into(),
            family.access.expires_at.into(),
        ];
        let surplus = [user, id, i64::from(family.max_per_user).into()];
        let asks = [
            Ask::new(REMOVE_ENDED, &ended),
            Ask::new(ADD, &added),
            Ask::new(ADD_TOKEN, &token),
            Ask::new(END_OLDEST, &surplus),
        ];
        let (done, head) = lease.go_on_to_the_head(&asks).await?;
        let oldest: Result<Vec<_>, DecodeError> =
            done[3].iter().map(|row| row.uuid(0).map(Id::from_uuid)).collect();
        lease.commit_recording_at(head, recording, family.events(&oldest?)).await?;
        Ok(true)
    })
}

fn revoke<'a>(
    lease: &'a mut Lease,
    (token, recording): &'a (CredentialDigest, Recording),
) -> Trying<'a, Option<FamilyId>> {
    Box::pin(async move {
        lease.begin(&[]).await?;
        let ended = lease.go_on(&[Ask::new(REVOKE, &[Bind::Bytes(token), recording.now()])]).await?;
        let Some(row) = ended[0].first() else { return Ok(None) };
        let grant = Grant { family: Id::from_uuid(row.uuid(0)?), user: Id::from_uuid(row.uuid(1)?) };
        lease.commit_recording(recording, vec![grant.revoked()]).await?;
        Ok(Some(grant.family))
    })
}

fn exchange<'a>(
    lease: &'a mut Lease,
    (refresh, recording): &'a (Refresh, Recording),
) -> Trying<'a, Refreshed> {
    Box::pin(async move {
        let (digest, now): (_, Bind<'_>) = (Bind::Bytes(&refresh.digest), refresh.now.into());
        lease.begin(&[Ask::new(LOCK, &[digest])]).await?;
        let found = lease.go_on(&[Ask::new(SHOWN, &[digest])]).await?;
        let Some(row) = found[0].first() else { return Ok(Refreshed::Refused) };
        let shown = shown(row)?;
        let family: Bind<'_> = shown.grant.family.as_uuid().into();
        let (outcome, head) = match decide(&shown, refresh) {
            Decision::Refuse => return Ok(Refreshed::Refused),
            Decision::Repeat(successor) => {
                let access = &refresh.access;
                let noted = [Bind::Bytes(&shown.live), access.kid.as_str().into(), access.expires_at.into()];
                let (_, head) = lease.go_on_to_the_head(&[Ask::new(NOTE_ACCESS, &noted)]).await?;
                (Refreshed::Repeated(shown.grant, successor), head)
            }
            Decision::End => {
                let (_, head) = lease.go_on_to_the_head(&[Ask::new(END, &[family, now])]).await?;
                (Refreshed::Reused(shown.grant), head)
            }
            Decision::Rotate { successor, expires_at } => {
                let spent = [digest, now];
                let added = [
                    Bind::Bytes(successor),
                    family,
                    now,
                    expires_at.into(),
                    refresh.access.kid.as_str().into(),
                    refresh.access.expires_at.into(),
                ];
                let rotated = [family, Bind::Bytes(successor), digest, now];
                let asks = [Ask::new(SPEND, &spent), Ask::new(ADD_TOKEN, &added), Ask::new(ROTATE, &rotated)];
                let (_, head) = lease.go_on_to_the_head(&asks).await?;
                (Refreshed::Rotated(shown.grant), head)
            }
        };
        lease.commit_recording_at(head, recording, outcome.events()).await?;
        Ok(outcome)
    })
}

fn shown(row: &Row) -> Result<Shown, Failure> {
    Ok(Shown {
        grant: Grant { family: Id::from_uuid(row.uuid(0)?), user: Id::from_uuid(row.uuid(1)?) },
        expires_at: row.time(2)?,
        used_at: row.optional_time(3)?,
        ends_at: row.time(4)?,
        live: row.bytes(5)?,
        parent: row.optional_bytes(6)?,
        may_come_in: row.bool(7)?,
    })
}
