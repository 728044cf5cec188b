//! Changes of passwords. Whoever changes one locks the user first, and their tokens and sessions after that.
use bailiwick_core::{
    audit::Act,
    clock::Timestamp,
    id::Id,
    identity::UserId,
    query::Lane,
    secret::Secret,
    store::{
        Addressee, Answer, CredentialDigest, NewPasswordReset, PasswordChange, PasswordStore,
        changed_password, reset_password,
    },
};

use super::{
    PostgresStore,
    audit::Recording,
    directory::{END_LOG_INS, SET_PASSWORD, storable},
    families::END_FAMILIES,
    pool::{Ask, Lease, Trying},
    sessions::{END_ALL, END_OTHERS},
    tokens::LOCK_OWNER,
    value::{Bind, Columns},
};

/// The session goes on, and whoever knew its cookie knows nothing any more.
const RENEW_SESSION: &str = "UPDATE sessions SET digest = $3 WHERE id = $2 AND user_id = $1";
pub(super) const END_RESETS: &str = "DELETE FROM password_resets WHERE user_id = $1";

const USERS_OF_EMAIL: &str = "SELECT id, username, email FROM users \
     WHERE lower(email) = lower($1) AND is_active AND service_org_id IS NULL \
     ORDER BY lower(username) COLLATE \"C\" LIMIT $2";
const REMOVE_EXPIRED: &str = "DELETE FROM password_resets WHERE user_id = $1 AND expires_at <= $2";
const ADD: &str =
    "INSERT INTO password_resets (digest, user_id, created_at, expires_at) VALUES ($1, $2, $3, $4)";
const FIND: &str = "SELECT u.username FROM password_resets r JOIN users u ON u.id = r.user_id \
     WHERE r.digest = $1 AND r.expires_at > $2 AND u.is_active";
const LOCK_USER: &str = "SELECT id, is_active FROM users \
     WHERE id = (SELECT user_id FROM password_resets WHERE digest = $1) FOR NO KEY UPDATE";
/// After the lock: who waited for another that used the same token finds it gone.
const USE_UP: &str = "DELETE FROM password_resets WHERE digest = $1 AND expires_at > $2 RETURNING user_id";

impl PasswordStore for PostgresStore {
    fn change_password(&self, change: PasswordChange, act: Act) -> Answer<'_, bool> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((change, recording), change_password).await?) })
    }

    fn users_of_email<'a>(&'a self, email: &'a str) -> Answer<'a, Vec<Addressee>> {
        Box::pin(async move {
            if !storable(email) {
                return Ok(Vec::new());
            }
            let binds = [email.into(), i64::from(Addressee::MOST).into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(USERS_OF_EMAIL, &binds)]).await?;
            let users = rows.iter().map(|row| {
                Ok(Addressee {
                    user_id: Id::from_uuid(row.uuid(0)?),
                    username: row.text(1)?.to_owned(),
                    email: row.text(2)?.to_owned(),
                })
            });
            users.collect()
        })
    }

    fn create_password_reset(&self, reset: NewPasswordReset, act: Act) -> Answer<'_, bool> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((reset, recording), create_reset).await?) })
    }

    fn password_reset(&self, digest: CredentialDigest, now: Timestamp) -> Answer<'_, Option<String>> {
        Box::pin(async move {
            let binds = [Bind::Bytes(&digest), now.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(FIND, &binds)]).await?;
            rows.first().map(|row| Ok(row.text(0)?.to_owned())).transpose()
        })
    }

    fn use_password_reset(
        &self,
        digest: CredentialDigest,
        hash: Secret<String>,
        act: Act,
    ) -> Answer<'_, Option<UserId>> {
        let recording = self.recording(act);
        Box::pin(async move { Ok(self.pool.to_the_end((digest, hash, recording), use_reset).await?) })
    }
}

fn change_password<'a>(
    lease: &'a mut Lease,
    (change, recording): &'a (PasswordChange, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        let user: Bind<'_> = change.user_id.as_uuid().into();
        let proved = change.old_hash.expose().as_str().into();
        let owner = lease.begin(&[Ask::new(LOCK_OWNER, &[user, proved])]).await?;
        if !owner[0].first().map_or(Ok(false), |row| row.bool(0))? {
            return Ok(false);
        }
        let set = [user, change.new_hash.expose().as_str().into()];
        let (end, all) = ([user, change.changed_at.into()], [user]);
        let changes = [
            Ask::new(SET_PASSWORD, &set),
            Ask::new(END_LOG_INS, &end),
            Ask::new(END_FAMILIES, &end),
            Ask::new(END_RESETS, &all),
        ];
        lease.go_on(&changes).await?;
        match &change.session {
            Some((session, digest)) => {
                let session: Bind<'_> = session.as_uuid().into();
                let (others, renewed) = ([user, session], [user, session, Bind::Bytes(digest)]);
                lease.go_on(&[Ask::new(END_OTHERS, &others), Ask::new(RENEW_SESSION, &renewed)]).await?;
            }
            None => drop(lease.go_on(&[Ask::new(END_ALL, &all)]).await?),
        }
        lease.commit_recording(recording, vec![changed_password(change.user_id)]).await?;
        Ok(true)
    })
}

fn create_reset<'a>(
    lease: &'a mut Lease,
    (reset, recording): &'a (NewPasswordReset, Recording),
) -> Trying<'a, bool> {
    Box::pin(async move {
        let (user, now): (Bind<'_>, Bind<'_>) = (reset.user_id.as_uuid().into(), reset.created_at.into());
        let owner = lease.begin(&[Ask::new(LOCK_OWNER, &[user, None::<&str>.into()])]).await?;
        if !owner[0].first().map_or(Ok(false), |row| row.bool(0))? {
            return Ok(false);
        }
        let (expired, added) =
            ([user, now], [Bind::Bytes(&reset.digest), user, now, reset.expires_at.into()]);
        lease.go_on(&[Ask::new(REMOVE_EXPIRED, &expired), Ask::new(ADD, &added)]).await?;
        lease.commit_recording(recording, vec![reset.event()]).await?;
        Ok(true)
    })
}

fn use_reset<'a>(
    lease: &'a mut Lease,
    (digest, hash, recording): &'a (CredentialDigest, Secret<String>, Recording),
) -> Trying<'a, Option<UserId>> {
    Box::pin(async move {
        let (digest, now) = (Bind::Bytes(digest), recording.now());
        let users = lease.begin(&[Ask::new(LOCK_USER, &[digest])]).await?;
        let Some(user) = users[0].first() else { return Ok(None) };
        let (user, is_active) = (user.uuid(0)?, user.bool(1)?);
        let used = lease.go_on(&[Ask::new(USE_UP, &[digest, now])]).await?;
        if !is_active || used[0].is_empty() {
            return Ok(None);
        }
        let bind: Bind<'_> = user.into();
        let (set, end, all) = ([bind, hash.expose().as_str().into()], [bind, now], [bind]);
        let changes = [
            Ask::new(SET_PASSWORD, &set),
            Ask::new(END_LOG_INS, &end),
            Ask::new(END_FAMILIES, &end),
            Ask::new(END_ALL, &all),
            Ask::new(END_RESETS, &all),
        ];
        lease.go_on(&changes).await?;
        let user = Id::from_uuid(user);
        lease.commit_recording(recording, vec![reset_password(user)]).await?;
        Ok(Some(user))
    })
}
