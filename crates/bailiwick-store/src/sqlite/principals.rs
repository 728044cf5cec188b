//! Whom a credential speaks for, on SQLite.
use std::time::Duration;

use bailiwick_core::{
    clock::Timestamp,
    identity::{Credential, FoldedUsername, Membership, Principal, PrincipalParts, Scopes},
    store::{Answer, PrincipalStore, Proof},
};
use rusqlite::{
    Connection, OptionalExtension, Row, params,
    types::{ToSql, ToSqlOutput},
};
use smallvec::SmallVec;

use super::{
    SqliteStore,
    directory::role,
    error::store_error,
    row::{Key, Moment},
};

impl PrincipalStore for SqliteStore {
    fn principal_of(&self, proof: Proof, now: Timestamp) -> Answer<'_, Option<Principal>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            principal_of(&reader, proof, now).optional().map_err(store_error)
        })
    }

    fn principal_in<'a>(
        &'a self,
        proof: Proof,
        now: Timestamp,
        slug: &'a str,
    ) -> Answer<'a, Option<(Principal, Option<Membership>)>> {
        Box::pin(async move {
            let reader = self.readers.get()?;
            principal_in(&reader, proof, now, slug).optional().map_err(store_error)
        })
    }

    fn note_use(
        &self,
        credential: Credential,
        now: Timestamp,
        idle: Duration,
    ) -> Answer<'_, Option<Timestamp>> {
        Box::pin(self.writer.run(move |connection| {
            note_use(connection, credential, now, idle).optional().map_err(store_error)
        }))
    }
}

/// The two look-ups of one kind of credential.
struct LookUps {
    of: &'static str,
    within: &'static str,
    credential: fn(&Key) -> Credential,
}

macro_rules! look_up {
    ($table:literal, $key:literal, $last_used_at:literal, $live:literal, $scopes:literal, $columns:literal, $joins:literal) => {
        concat!(
            "SELECT users.id, users.username, users.email, users.is_staff, users.created_at, found.id, found.",
            $last_used_at,
            ", found.expires_at, ",
            $scopes,
            ", users.service_org_id",
            $columns,
            " FROM ",
            $table,
            " AS found JOIN users ON users.id = found.user_id",
            $joins,
            " WHERE found.",
            $key,
            " = ?1 AND found.expires_at > ?2 AND users.is_active",
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
                ", memberships.org_id, memberships.role",
                " LEFT JOIN orgs ON orgs.slug = ?3 \
                 LEFT JOIN memberships ON memberships.org_id = orgs.id AND memberships.user_id = users.id"
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
    |id| { Credential::ApiToken(id.id()) }
);
const SESSIONS: LookUps =
    look_ups!("sessions", "digest", "last_seen_at", "", "NULL", |id| Credential::Session(id.id()));
const FAMILIES: LookUps =
    look_ups!("jwt_families", "id", "last_used_at", " AND found.revoked_at IS NULL", "NULL", |id| {
        Credential::Family(id.id())
    });

/// People stand for what others issue to them, and services for nothing of the kind. That ends at the last time there is,
/// by itself.
const USERS: LookUps = look_ups!(
    "(SELECT id, id AS user_id, lower(username) AS username, NULL AS last_used_at, \
      253402207200000000 AS expires_at FROM users WHERE service_org_id IS NULL)",
    "username",
    "last_used_at",
    "",
    "NULL",
    |id| { Credential::External(id.id()) }
);

/// What a record is found by.
enum FoundBy {
    Bytes(SmallVec<[u8; 32]>),
    Name(FoldedUsername),
}

impl ToSql for FoundBy {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self {
            Self::Bytes(bytes) => bytes.as_slice().into(),
            Self::Name(name) => name.as_str().into(),
        })
    }
}

impl LookUps {
    /// With what the record is found by.
    fn by(proof: Proof) -> (&'static Self, FoundBy) {
        let bytes = |bytes: &[u8]| FoundBy::Bytes(SmallVec::from_slice(bytes));
        match proof {
            Proof::ApiToken(digest) => (&API_TOKENS, bytes(&digest)),
            Proof::Session(digest) => (&SESSIONS, bytes(&digest)),
            Proof::Family(id) => (&FAMILIES, bytes(id.as_uuid().as_bytes())),
            Proof::External(name) => (&USERS, FoundBy::Name(name)),
        }
    }

    fn principal(&self, row: &Row<'_>) -> rusqlite::Result<Principal> {
        Ok(Principal::new(PrincipalParts {
            user_id: row.get::<_, Key>(0)?.id(),
            username: row.get(1)?,
            email: row.get(2)?,
            is_staff: row.get(3)?,
            created_at: row.get::<_, Moment>(4)?.0,
            credential: (self.credential)(&row.get(5)?),
            last_used_at: row.get::<_, Option<Moment>>(6)?.map(|at| at.0),
            expires_at: row.get::<_, Moment>(7)?.0,
            scopes: Scopes::from_stored(row.get_ref(8)?.as_str_or_null()?),
            service_of: row.get::<_, Option<Key>>(9)?.map(|org| org.id()),
        }))
    }
}

fn principal_of(connection: &Connection, proof: Proof, now: Timestamp) -> rusqlite::Result<Principal> {
    let (look_ups, key) = LookUps::by(proof);
    let mut find = connection.prepare_cached(look_ups.of)?;
    find.query_row(params![key, Moment(now)], |row| look_ups.principal(row))
}

fn principal_in(
    connection: &Connection,
    proof: Proof,
    now: Timestamp,
    slug: &str,
) -> rusqlite::Result<(Principal, Option<Membership>)> {
    let (look_ups, key) = LookUps::by(proof);
    let mut find = connection.prepare_cached(look_ups.within)?;
    find.query_row(params![key, Moment(now), slug], |row| {
        let membership = match row.get::<_, Option<Key>>(10)? {
            Some(org) => Some(Membership::from_store(org.id(), role(row, 11)?)),
            None => None,
        };
        Ok((look_ups.principal(row)?, membership))
    })
}

fn note_use(
    connection: &Connection,
    credential: Credential,
    now: Timestamp,
    idle: Duration,
) -> rusqlite::Result<Timestamp> {
    let expires_at = |row: &Row<'_>| Ok(row.get::<_, Moment>(0)?.0);
    match credential {
        Credential::ApiToken(id) => connection
            .prepare_cached(
                "UPDATE api_tokens SET last_used_at = max(coalesce(last_used_at, ?2), ?2)
                 WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2 RETURNING expires_at",
            )?
            .query_row(params![Key::from(id), Moment(now)], expires_at),
        Credential::Session(id) => connection
            .prepare_cached(
                "UPDATE sessions SET last_seen_at = max(last_seen_at, ?2),
                   expires_at = min(ends_at, max(expires_at, ?3))
                 WHERE id = ?1 AND expires_at > ?2 RETURNING expires_at",
            )?
            .query_row(params![Key::from(id), Moment(now), Moment(now.saturating_add(idle))], expires_at),
        Credential::Family(id) => connection
            .prepare_cached(
                "UPDATE jwt_families SET last_used_at = max(last_used_at, ?2)
                 WHERE id = ?1 AND revoked_at IS NULL AND expires_at > ?2 RETURNING expires_at",
            )?
            .query_row(params![Key::from(id), Moment(now)], expires_at),
        _ => Err(rusqlite::Error::QueryReturnedNoRows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name_without_looking_at_the_others() {
        let connection = Connection::open_in_memory().unwrap();
        for migration in [
            include_str!("../../migrations/V1__identity.sql"),
            include_str!("../../migrations/V6__services.sql"),
        ] {
            connection.execute_batch(migration).unwrap();
        }
        for text in [USERS.of, USERS.within] {
            let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
            let nothing = (0..explain.parameter_count()).map(|_| rusqlite::types::Null);
            let steps = explain.query_map(rusqlite::params_from_iter(nothing), |row| row.get::<_, String>(3));
            let steps: Vec<_> = steps.unwrap().map(Result::unwrap).collect();
            assert!(steps[0].contains("USING INDEX users_username"), "{steps:?}");
            assert!(steps.iter().all(|step| step.starts_with("SEARCH")), "{steps:?}");
        }
    }
}
