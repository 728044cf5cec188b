//! Sessions of browsers.
use bailiwick_core::{
    audit::Act,
    clock::Timestamp,
    error::{DecodeError, StoreError},
    id::Id,
    identity::{SessionId, UserId},
    query::Lane,
    store::{Answer, NewSession, SessionRecord, SessionStore, WhichSessions, ended_session},
};
use tokio_postgres::Row;

use super::{
    PostgresStore,
    audit::Recording,
    pool::{Ask, Lease, Trying},
    tokens::LOCK_OWNER,
    value::{Bind, Columns},
};

const REMOVE_EXPIRED: &str = "DELETE FROM sessions WHERE user_id = $1 AND expires_at <= $2";
const ADD: &str = "INSERT INTO sessions \
     (id, digest, user_id, created_at, last_seen_at, expires_at, ends_at, user_agent, address) \
     VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8)";
/// The new one stays, also if the clock went back (RST-08).
const END_OLDEST: &str = "DELETE FROM sessions WHERE id IN (\
     SELECT id FROM sessions WHERE user_id = $1 \
     ORDER BY id = $2 DESC, last_seen_at DESC, id DESC OFFSET $3) RETURNING id";
const REPLACE: &str = "DELETE FROM sessions WHERE digest = $1 RETURNING id, user_id";

pub(super) const END_ALL: &str = "DELETE FROM sessions WHERE user_id = $1 RETURNING id";
const END_ONE: &str = "DELETE FROM sessions WHERE user_id = $1 AND id = $2 RETURNING id";
pub(super) const END_OTHERS: &str = "DELETE FROM sessions WHERE user_id = $1 AND id <> $2 RETURNING id";

const SESSIONS: &str = "SELECT id, created_at, last_seen_at, expires_at, user_agent, address FROM sessions \
     WHERE user_id = $1 AND expires_at > $2 ORDER BY last_seen_at DESC, id DESC";

impl SessionStore for PostgresStore {
    fn create_session(&self, session: NewSession, act: Act) -> Answer<'_, bool> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((session, recording), create_session).await?) })
    }

    fn end_sessions(&self, user: UserId, which: WhichSessions, act: Act) -> Answer<'_, u64> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((user, which, recording), end_sessions).await?) })
    }

    fn sessions_of(&self, user: UserId, now: Timestamp) -> Answer<'_, Vec<SessionRecord>> {
        Box::pin(async move {
            let binds = [user.as_uuid().into(), now.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(SESSIONS, &binds)]).await?;
            rows.iter().map(record).collect()
        })
    }
}

fn create_session<'a>(
    lease: &'a mut Lease,
    (session, recording): &'a (NewSession, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        let (user, id): (Bind<'_>, Bind<'_>) =
            (session.user_id.as_uuid().into(), session.id.as_uuid().into());
        let now: Bind<'_> = session.created_at.into();
        let proved = session.password_hash.expose().as_str().into();
        let owner = lease.begin(&[Ask::new(LOCK_OWNER, &[user, proved])]).await?;
        if !owner[0].first().map_or(Ok(false), |row| row.bool(0))? {
            return Ok(false);
        }
        let added = [
            id,
            Bind::Bytes(&session.digest),
            user,
            now,
            session.expires_at().into(),
            session.ends_at().into(),
            session.user_agent.as_str().into(),
            session.address.as_str().into(),
        ];
        let (expired, surplus) = ([user, now], [user, id, i64::from(session.max_per_user).into()]);
        let replaced = [Bind::Bytes(session.replaces.as_ref().map_or(&[], |digest| digest.as_slice()))];
        let asks = [
            Ask::new(REMOVE_EXPIRED, &expired),
            Ask::new(REPLACE, &replaced),
            Ask::new(ADD, &added),
            Ask::new(END_OLDEST, &surplus),
        ];
        let (done, head) = lease.go_on_to_the_head(&asks).await?;
        let replaced = done[1]
            .first()
            .map(|row| Ok::<_, DecodeError>((Id::from_uuid(row.uuid(0)?), Id::from_uuid(row.uuid(1)?))));
        let events = session.events(replaced.transpose()?, &ids(&done[3])?);
        lease.commit_recording_at(head, recording, events).await?;
        Ok(true)
    })
}

fn end_sessions<'a>(
    lease: &'a mut Lease,
    (user, which, recording): &'a (UserId, WhichSessions, Recording),
) -> Trying<'a, u64> {
    Box::pin(async move {
        let bind: Bind<'_> = user.as_uuid().into();
        lease.begin(&[]).await?;
        let ended = match which {
            WhichSessions::All => lease.go_on(&[Ask::new(END_ALL, &[bind])]).await?,
            WhichSessions::Only(id) => {
                lease.go_on(&[Ask::new(END_ONE, &[bind, id.as_uuid().into()])]).await?
            }
            WhichSessions::AllBut(id) => {
                lease.go_on(&[Ask::new(END_OTHERS, &[bind, id.as_uuid().into()])]).await?
            }
        };
        let ended = ids(&ended[0])?;
        let events = ended.iter().map(|id| ended_session(*id, *user)).collect();
        lease.commit_recording(recording, events).await?;
        Ok(ended.len() as u64)
    })
}

fn ids(rows: &[Row]) -> Result<Vec<SessionId>, DecodeError> {
    rows.iter().map(|row| row.uuid(0).map(Id::from_uuid)).collect()
}

fn record(row: &Row) -> Result<SessionRecord, StoreError> {
    Ok(SessionRecord {
        id: Id::from_uuid(row.uuid(0)?),
        created_at: row.time(1)?,
        last_seen_at: row.time(2)?,
        expires_at: row.time(3)?,
        user_agent: row.text(4)?.to_owned(),
        address: row.text(5)?.to_owned(),
    })
}
