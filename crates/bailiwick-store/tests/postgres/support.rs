//! A database with things in it, seen from the store and from outside.
use std::{num::NonZeroU32, sync::Arc, time::Duration};

use bailiwick_core::{
    access::{self, Create, Delete, List, Retrieve, Rules, Update, authenticated},
    clock::{Clock, Timestamp},
    db::{Db, DbError},
    error::{DecodeError, StoreError},
    id::Id,
    identity::{Credential, Membership, OrgId, Principal, PrincipalParts, Role, Scopes, UserId},
    model::{
        Assignments, Column, ColumnDef, Direction, FieldType, FilterOps, InputValue, Model, Part, Ref,
        RowReader, ScopeKind, TableDef, Writable, json::Json, read_column,
    },
    query::{ListQuery, Page, PageSettings, Precondition},
    secret::Secret,
    store::{Directory, NewOrg, NewUser},
};
use bailiwick_store::{
    OpenOptions, PostgresOptions, PostgresStore, migrate,
    refinery::{Migration, Runner},
};
use bailiwick_testkit::{
    FakeClock, SeededEntropy, act, audit_keys,
    databases::{FreshPostgres, fresh_postgres},
};
use tokio_postgres::{Client, NoTls};

pub(crate) const SCHEMA: &str = "
CREATE TABLE things (
    org_id     uuid        NOT NULL REFERENCES orgs (id),
    id         uuid        NOT NULL,
    title      text        NOT NULL,
    peer       uuid,
    created_at timestamptz NOT NULL,
    version    bigint      NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, peer) REFERENCES memberships (org_id, user_id)
);
CREATE INDEX things_newest ON things (org_id, created_at DESC, id DESC);
";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Thing {
    pub(crate) id: Id<Thing>,
    pub(crate) title: String,
    pub(crate) peer: Option<UserId>,
    pub(crate) version: i64,
}

const TITLE: Column<Thing, String, Writable> = Column::new(2);
const PEER: Column<Thing, Option<UserId>, Writable> = Column::new(3);

const fn column<T: FieldType>(name: &'static str, part: Part) -> ColumnDef {
    ColumnDef {
        name,
        kind: T::KIND,
        nullable: T::NULLABLE,
        choices: T::CHOICES,
        part,
        filters: FilterOps::NONE,
        order: false,
        default_order: None,
        search: false,
    }
}

impl Model for Thing {
    type Key = Id<Self>;
    const TABLE: &'static TableDef = &TableDef {
        name: "things",
        scope: ScopeKind::Org,
        counted: true,
        columns: &[
            column::<OrgId>("org_id", Part::Tenant),
            column::<Id<Self>>("id", Part::Id),
            ColumnDef {
                search: true,
                order: true,
                filters: FilterOps { is_in: true, ..FilterOps::NONE },
                ..column::<String>("title", Part::Writable)
            },
            column::<Option<UserId>>("peer", Part::Writable),
            ColumnDef {
                order: true,
                default_order: Some(Direction::Descending),
                ..column::<Timestamp>("created_at", Part::CreatedAt)
            },
            column::<i64>("version", Part::Version),
        ],
    };

    fn from_row(row: &dyn RowReader) -> Result<Self, DecodeError> {
        Ok(Self {
            id: read_column(row, 1)?,
            title: read_column(row, 2)?,
            peer: read_column(row, 3)?,
            version: read_column(row, 5)?,
        })
    }

    fn version(&self) -> Option<i64> {
        Some(self.version)
    }

    fn key(&self) -> Id<Self> {
        self.id
    }
}

/// A member, to be pointed at.
struct Member;

impl Model for Member {
    type Key = UserId;
    const TABLE: &'static TableDef = &TableDef {
        name: "members",
        scope: ScopeKind::Org,
        counted: false,
        columns: &[column::<OrgId>("org_id", Part::Tenant), column::<UserId>("user_id", Part::Id)],
    };

    fn from_row(_: &dyn RowReader) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    fn version(&self) -> Option<i64> {
        None
    }

    fn key(&self) -> UserId {
        unreachable!("members are not read here")
    }
}

pub(crate) fn migrations(names: &[(&str, &str)]) -> Runner {
    let migrations: Vec<_> =
        names.iter().map(|(name, sql)| Migration::unapplied(name, sql).unwrap()).collect();
    Runner::new(&migrations)
}

pub(crate) fn options() -> PostgresOptions {
    PostgresOptions::default()
}

pub(crate) fn connections(count: u32) -> PostgresOptions {
    let mut options = options();
    options.max_connections = NonZeroU32::new(count).unwrap();
    options
}

/// A connection beside the store's.
pub(crate) async fn outside(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A store with one organisation of one owner, who acts.
pub(crate) struct World {
    pub(crate) store: PostgresStore,
    pub(crate) outside: Client,
    pub(crate) clock: FakeClock,
    pub(crate) entropy: SeededEntropy,
    pub(crate) user: UserId,
    principal: Principal,
    membership: Membership,
    db: Db,
    pub(crate) database: FreshPostgres,
}

impl World {
    /// None where there is no server.
    pub(crate) async fn new(options: PostgresOptions) -> Option<Self> {
        let database = fresh_postgres().await?;
        let url = database.url();
        migrate(&url, &OpenOptions::default(), &migrations(&[("V1__things", SCHEMA)]), &[Thing::TABLE])
            .await
            .unwrap();
        Some(Self::at(database, &url, options).await)
    }

    /// On the database as `url` reaches it.
    pub(crate) async fn at(database: FreshPostgres, url: &str, options: PostgresOptions) -> Self {
        let store = PostgresStore::connect(url, &options, audit_keys()).await.unwrap();
        let (clock, entropy) = (FakeClock::new(), SeededEntropy::new(7));
        let user = NewUser {
            id: Id::new(&clock, &entropy),
            username: "alice".parse().unwrap(),
            email: "alice@example.com".to_owned(),
            password_hash: Secret::new("hash".to_owned()),
            is_staff: false,
            created_at: clock.now(),
        };
        let user_id = user.id;
        store.create_user(user, act()).await.unwrap();
        let org = NewOrg {
            id: Id::new(&clock, &entropy),
            slug: "acme".parse().unwrap(),
            name: "Acme".to_owned(),
            owner: user_id,
            created_at: clock.now(),
        };
        let membership = Membership::from_store(org.id, Role::Owner);
        store.create_org(org, act()).await.unwrap();
        let principal = Principal::new(PrincipalParts {
            user_id,
            username: "alice".to_owned(),
            email: "alice@example.com".to_owned(),
            is_staff: false,
            service_of: None,
            created_at: clock.now(),
            credential: Credential::ApiToken(Id::new(&clock, &entropy)),
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        });
        let db = Db::new(Arc::new(store.clone()), Arc::new(clock.clone()), Arc::new(entropy.clone()));
        let outside = outside(&database.url()).await;
        Self { store, outside, clock, entropy, user: user_id, principal, membership, db, database }
    }

    pub(crate) fn may<Op: access::Operation>(&self) -> access::Access<Thing, Op> {
        let rules = Rules::deny_all()
            .allow::<List>(authenticated())
            .allow::<Retrieve>(authenticated())
            .allow::<Create>(authenticated())
            .allow::<Update>(authenticated())
            .allow::<Delete>(authenticated());
        access::decide(&rules, &self.principal, Some(&self.membership)).unwrap()
    }

    pub(crate) async fn create(&self, title: &str) -> Result<Thing, DbError> {
        self.db.create(&self.may(), titled(title)).await
    }

    pub(crate) async fn create_with_peer(&self, title: &str) -> Result<Thing, DbError> {
        self.db.create(&self.may(), with_peer(titled(title), self.user)).await
    }

    pub(crate) async fn update(&self, id: Id<Thing>, title: &str) -> Result<Thing, DbError> {
        self.db.update(&self.may(), id, titled(title), Precondition::None).await
    }

    pub(crate) async fn update_with_peer(&self, id: Id<Thing>, title: &str) -> Result<Thing, DbError> {
        self.db.update(&self.may(), id, with_peer(titled(title), self.user), Precondition::None).await
    }

    pub(crate) async fn retrieve(&self, id: Id<Thing>) -> Result<Thing, DbError> {
        self.db.retrieve(&self.may(), id).await
    }

    pub(crate) async fn delete(&self, id: Id<Thing>) -> Result<(), DbError> {
        self.db.delete(&self.may(), id, Precondition::None).await
    }

    pub(crate) async fn list(&self) -> Result<Page<Thing>, DbError> {
        self.query(&[]).await
    }

    pub(crate) async fn search(&self, term: &str) -> Result<Page<Thing>, DbError> {
        self.query(&[("search", term)]).await
    }

    pub(crate) async fn query(&self, parameters: &[(&str, &str)]) -> Result<Page<Thing>, DbError> {
        let pairs = parameters.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let query = ListQuery::parse(pairs, &PageSettings::default()).unwrap();
        self.db.list(&self.may(), &query).await
    }

    /// How many connections of the store are in this state, as the server sees them.
    pub(crate) async fn connections(&self, state: &str) -> i64 {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND pid <> pg_backend_pid() AND application_name = 'bailiwick' AND state LIKE $1";
        self.outside.query_one(asked, &[&state]).await.unwrap().get(0)
    }

    /// Ends every connection of the store.
    pub(crate) async fn terminate(&self) -> i64 {
        let ended = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND application_name = 'bailiwick'";
        self.outside.query_one(ended, &[]).await.unwrap().get(0)
    }

    /// Waits until so many connections of the store wait for a lock.
    pub(crate) async fn until_waiting(&self, count: i64) {
        let asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                     AND application_name = 'bailiwick' AND wait_event_type = 'Lock'";
        self.until(asked, count).await;
    }

    /// Waits until the server answers so to a statement that counts.
    pub(crate) async fn until(&self, asked: &str, expected: i64) {
        let mut last = -1;
        for _ in 0..200 {
            last = self.outside.query_one(asked, &[]).await.unwrap().get(0);
            if last == expected {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("{asked}: {last} and not {expected}");
    }
}

fn titled(title: &str) -> Assignments<Thing> {
    Assignments::new().set(TITLE, title.to_owned())
}

fn with_peer(mut values: Assignments<Thing>, peer: UserId) -> Assignments<Thing> {
    let Ok(peer) = Ref::<Member>::from_json(&Json::String(peer.to_string().into())) else { unreachable!() };
    values.put(PEER, "peer", Some(peer));
    values
}

pub(crate) fn is_unavailable<T>(done: &Result<T, DbError>) -> bool {
    matches!(done, Err(DbError::Store(StoreError::Unavailable(_))))
}
