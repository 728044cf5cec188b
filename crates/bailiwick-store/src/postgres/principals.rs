//! Whom a credential speaks for.
use std::time::Duration;

use bailiwick_core::{
    clock::Timestamp,
    error::StoreError,
    id::Id,
    identity::{Credential, Membership, Principal, PrincipalParts, Scopes},
    query::Lane,
    store::{Answer, PrincipalStore, Proof},
};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{
    PostgresStore,
    directory::{role, storable},
    pool::Ask,
    value::{Bind, Columns},
};

/// The two look-ups of one kind of credential.
struct LookUps {
    of: &'static str,
    within: &'static str,
    credential: fn(Uuid) -> Credential,
}

macro_rules! look_up {
    ($table:literal, $key:literal, $last_used_at:literal, $live:literal, $scopes:literal, $columns:literal, $joins:literal) => {
        concat!(
            "SELECT u.id, u.username, u.email, u.is_staff, u.created_at, found.id, found.",
            $last_used_at,
            ", found.expires_at, ",
            $scopes,
            ", u.service_org_id",
            $columns,
            " FROM ",
            $table,
            " AS found JOIN users u ON u.id = found.user_id",
            $joins,
            " WHERE found.",
            $key,
            " = $1 AND found.expires_at > $2 AND u.is_active",
            $live
        )
    };
}

macro_rules! look_ups {
    ($table:literal, $key:literal, $last_used_at:literal, $live:literal, $scopes:literal, $credential:expr) => {
        LookUps {
            of: look_up!($table, $key, $last_used_at, $live, $scopes, "", ""),
            within: look_up!(
                $table,
                $key,
                $last_used_at,
                $live,
                $scopes,
                ", m.org_id, m.role",
                " LEFT JOIN orgs o ON o.slug = $3 \
                 LEFT JOIN memberships m ON m.org_id = o.id AND m.user_id = u.id"
            ),
            credential: $credential,
        }
    };
}

const API_TOKENS: LookUps = look_ups!(
    "api_tokens",
    "digest",
    "last_used_at",
    " AND found.revoked_at IS NULL",
    "found.scopes",
    |id| { Credential::ApiToken(Id::from_uuid(id)) }
);
const SESSIONS: LookUps =
    look_ups!("sessions", "digest", "last_seen_at", "", "NULL::text", |id| Credential::Session(
        Id::from_uuid(id)
    ));
const FAMILIES: LookUps =
    look_ups!("jwt_families", "id", "last_used_at", " AND found.revoked_at IS NULL", "NULL::text", |id| {
        Credential::Family(Id::from_uuid(id))
    });

/// People stand for what others issue to them, and services for nothing of the kind. That ends at the last time there is,
/// by itself.
const USERS: LookUps = look_ups!(
    "(SELECT id, id AS user_id, lower(username) AS username, NULL::timestamptz AS last_used_at, \
      timestamptz '9999-12-30 22:00:00+00' AS expires_at FROM users WHERE service_org_id IS NULL)",
    "username",
    "last_used_at",
    "",
    "NULL::text",
    |id| { Credential::External(Id::from_uuid(id)) }
);

const USE_TOKEN: &str = "UPDATE api_tokens SET last_used_at = greatest(last_used_at, $2) \
     WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING expires_at";
const USE_SESSION: &str = "UPDATE sessions SET last_seen_at = greatest(last_seen_at, $2), \
       expires_at = least(ends_at, greatest(expires_at, $3)) \
     WHERE id = $1 AND expires_at > $2 RETURNING expires_at";
const USE_FAMILY: &str = "UPDATE jwt_families SET last_used_at = greatest(last_used_at, $2) \
     WHERE id = $1 AND revoked_at IS NULL AND expires_at > $2 RETURNING expires_at";

impl PrincipalStore for PostgresStore {
    fn principal_of(&self, proof: Proof, now: Timestamp) -> Answer<'_, Option<Principal>> {
        Box::pin(async move {
            let (look_ups, key) = LookUps::by(&proof);
            let binds = [key, now.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(look_ups.of, &binds)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            Ok(Some(look_ups.principal(row)?))
        })
    }

    fn principal_in<'a>(
        &'a self,
        proof: Proof,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>> {
        Box::pin(async move {
            if !storable(slug) {
                return Ok(self.principal_of(proof, now).await?.map(|principal| (principal, None)));
            }
            let (look_ups, key) = LookUps::by(&proof);
            let binds = [key, now.into(), slug.into()];
            let [rows] = self.pool.read(Lane::Short, [Ask::new(look_ups.within, &binds)]).await?;
            let Some(row) = rows.first() else { return Ok(None) };
            let membership = match row.is_null(10) {
                true => None,
                false => Some(Membership::from_store(Id::from_uuid(row.uuid(10)?), role(row, 11)?)),
            };
            Ok(Some((look_ups.principal(row)?, membership)))
        })
    }

    fn note_use(
        &self,
        credential: Credential,
        now: Timestamp,
        idle: Duration,
    ) -> Answer<'_, Option<Timestamp>> {
        Box::pin(async move {
            let id: Bind<'_> = credential.as_uuid().into();
            let rows = match credential {
                Credential::ApiToken(_) => self.change(USE_TOKEN, &[id, now.into()]).await?,
                Credential::Session(_) => {
                    let expires_at = now.saturating_add(idle);
                    self.change(USE_SESSION, &[id, now.into(), expires_at.into()]).await?
                }
                Credential::Family(_) => self.change(USE_FAMILY, &[id, now.into()]).await?,
                _ => return Ok(None),
            };
            Ok(rows.first().map(|row| row.time(0)).transpose()?)
        })
    }
}

impl LookUps {
    /// With what the record is found by.
    fn by(proof: &Proof) -> (&'static Self, Bind<'_>) {
        match proof {
            Proof::ApiToken(digest) => (&API_TOKENS, Bind::Bytes(digest)),
            Proof::Session(digest) => (&SESSIONS, Bind::Bytes(digest)),
            Proof::Family(id) => (&FAMILIES, id.as_uuid().into()),
            Proof::External(name) => (&USERS, name.as_str().into()),
        }
    }

    fn principal(&self, row: &Row) -> Result<Principal, StoreError> {
        Ok(Principal::new(PrincipalParts {
            user_id: Id::from_uuid(row.uuid(0)?),
            username: row.text(1)?.to_owned(),
            email: row.text(2)?.to_owned(),
            is_staff: row.bool(3)?,
            created_at: row.time(4)?,
            credential: (self.credential)(row.uuid(5)?),
            last_used_at: row.optional_time(6)?,
            expires_at: row.time(7)?,
            scopes: Scopes::from_stored(row.optional_text(8)?),
            service_of: if row.is_null(9) { None } else { Some(Id::from_uuid(row.uuid(9)?)) },
        }))
    }
}
