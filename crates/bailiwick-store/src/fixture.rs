//! A resource for the tests of this crate, written by hand.
use std::borrow::Cow;

use bailiwick_core::{
    access::{self, Access, Create, Delete, List, Operation, Retrieve, Rules, Update, is_me, own, role},
    clock::{Clock, Entropy, OsEntropy, SystemClock, Timestamp},
    error::DecodeError,
    id::Id,
    identity::{ApiTokenId, Credential, Membership, OrgId, Principal, PrincipalParts, Role, Scopes, UserId},
    model::{
        Assignments, Column, ColumnDef, Direction, FieldType, FilterOps, InputValue, Model, Part, Ref,
        RowReader, ScopeKind, TableDef, Writable, json::Json, read_column,
    },
    query::{ListQuery, PageSettings, Plan, Precondition},
};
use refinery::{Migration, Runner};
use uuid::Uuid;

pub(crate) const SCHEMA: &str = "
CREATE TABLE cards (
    org_id     uuid        NOT NULL REFERENCES orgs (id),
    id         uuid        NOT NULL,
    title      text        NOT NULL,
    notes      text,
    rank       text        NOT NULL CHECK (rank IN ('low', 'it''s high')),
    assignee   uuid,
    created_by uuid        NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    version    bigint      NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, title),
    FOREIGN KEY (org_id, assignee) REFERENCES memberships (org_id, user_id)
);
CREATE INDEX cards_newest ON cards (org_id, created_at DESC, id DESC);
";

pub(crate) fn migrations() -> Runner {
    Runner::new(&[Migration::unapplied("V1__cards", SCHEMA).unwrap()])
}

bailiwick_core::choices! {
    /// A rank with a quote in its name.
    pub enum Rank {
        /// First.
        Low = "low",
        /// Last.
        High = "it's high",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) id: Id<Card>,
    pub(crate) title: String,
    pub(crate) notes: Option<String>,
    pub(crate) version: i64,
}

pub(crate) const TITLE: Column<Card, String, Writable> = Column::new(2);
pub(crate) const NOTES: Column<Card, Option<String>, Writable> = Column::new(3);
pub(crate) const RANK: Column<Card, Rank, Writable> = Column::new(4);
pub(crate) const ASSIGNEE: Column<Card, Option<UserId>, Writable> = Column::new(5);

const ALL: FilterOps = FilterOps { eq: true, gte: true, lte: true, is_in: true };

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

impl Model for Card {
    type Key = Id<Self>;
    const TABLE: &'static TableDef = &TableDef {
        name: "cards",
        scope: ScopeKind::Org,
        counted: true,
        columns: &[
            column::<OrgId>("org_id", Part::Tenant),
            column::<Id<Self>>("id", Part::Id),
            ColumnDef {
                filters: ALL,
                order: true,
                search: true,
                ..column::<String>("title", Part::Writable)
            },
            ColumnDef { order: true, search: true, ..column::<Option<String>>("notes", Part::Writable) },
            ColumnDef { filters: ALL, order: true, ..column::<Rank>("rank", Part::Writable) },
            ColumnDef { filters: ALL, ..column::<Option<UserId>>("assignee", Part::Writable) },
            column::<UserId>("created_by", Part::Owner),
            ColumnDef {
                filters: ALL,
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
            notes: read_column(row, 3)?,
            version: read_column(row, 8)?,
        })
    }

    fn version(&self) -> Option<i64> {
        Some(self.version)
    }

    fn key(&self) -> Id<Self> {
        self.id
    }
}

/// A member, as cards point at them.
pub(crate) struct Member;

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
        unreachable!("no test reads members")
    }
}

fn rules() -> Rules<Card> {
    Rules::deny_all()
        .allow::<List>(role(Role::Viewer))
        .allow::<Retrieve>(role(Role::Viewer))
        .allow::<Create>(role(Role::Member))
        .allow::<Update>(role(Role::Admin).or(own().or(is_me(ASSIGNEE))))
        .allow::<Delete>(role(Role::Admin).or(own()))
}

/// A member of an organisation, who makes plans.
#[derive(Clone)]
pub(crate) struct Actor {
    pub(crate) principal: Principal,
    pub(crate) membership: Membership,
}

impl Actor {
    pub(crate) fn new(user_id: UserId, org_id: OrgId, role: Role) -> Self {
        let principal = Principal::new(PrincipalParts {
            user_id,
            username: "someone".to_owned(),
            email: "someone@example.com".to_owned(),
            is_staff: false,
            service_of: None,
            created_at: Timestamp::default(),
            credential: Credential::ApiToken(ApiTokenId::from_uuid(Uuid::nil())),
            scopes: Scopes::ALL,
            last_used_at: None,
            expires_at: Timestamp::MAX,
        });
        Self { principal, membership: Membership::from_store(org_id, role) }
    }

    /// Somebody in an organisation that no database knows.
    pub(crate) fn invented(role: Role) -> Self {
        Self::new(Id::from_uuid(Uuid::from_u128(0xa)), Id::from_uuid(Uuid::from_u128(0xb)), role)
    }

    pub(crate) fn may<Op: Operation>(&self) -> Access<Card, Op> {
        access::decide(&rules(), &self.principal, Some(&self.membership)).unwrap()
    }

    pub(crate) fn list(&self, parameters: &str) -> Plan {
        Plan::list(&self.may::<List>(), &query(parameters))
    }

    pub(crate) fn retrieve(&self, id: Id<Card>) -> Plan {
        Plan::retrieve(&self.may::<Retrieve>(), id)
    }

    pub(crate) fn create(&self, values: Assignments<Card>) -> Plan {
        Plan::create(&self.may::<Create>(), values, &[], &SystemClock::new(), &OsEntropy)
    }

    pub(crate) fn update(&self, id: Id<Card>, values: Assignments<Card>, precondition: Precondition) -> Plan {
        Plan::update(&self.may::<Update>(), id, values, precondition, &SystemClock::new())
    }

    pub(crate) fn delete(&self, id: Id<Card>, precondition: Precondition) -> Plan {
        Plan::delete(&self.may::<Delete>(), id, precondition)
    }
}

pub(crate) fn titled(title: &str) -> Assignments<Card> {
    Assignments::new().set(TITLE, title.to_owned()).set(RANK, Rank::Low)
}

pub(crate) fn assigned(mut values: Assignments<Card>, to: UserId) -> Assignments<Card> {
    let member = Ref::<Member>::from_json(&Json::String(to.to_string().into())).unwrap();
    values.put(ASSIGNEE, "assignee", Some(member));
    values
}

pub(crate) fn version_in(versions: &[i64]) -> Precondition {
    Precondition::VersionIn(versions.iter().copied().collect())
}

pub(crate) fn query(parameters: &str) -> ListQuery<Card> {
    let pairs = parameters.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap();
        (Cow::Borrowed(name), Cow::Borrowed(value))
    });
    ListQuery::parse(pairs, &PageSettings::default()).unwrap()
}

pub(crate) fn now() -> Timestamp {
    SystemClock::new().now()
}

pub(crate) fn random() -> Uuid {
    let mut bytes = [0; 16];
    OsEntropy.fill(&mut bytes);
    Uuid::from_bytes(bytes)
}
