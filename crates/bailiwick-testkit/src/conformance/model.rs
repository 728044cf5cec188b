//! The rows that the suite writes. By hand: the derives are tested elsewhere.
use bailiwick_core::{
    access::{Create, Delete, List, Retrieve, Rules, Update, authenticated, is_me, own, role},
    clock::Timestamp,
    error::DecodeError,
    id::Id,
    identity::{
        OrgId,
        Role::{Admin, Member as AtLeastMember, Viewer},
        UserId,
    },
    model::{
        Column, ColumnDef, Direction, FieldType, FilterOps, Model, Part, RowReader, ScopeKind, ServerOwned,
        TableDef, Writable, read_column,
    },
};

pub(super) const TABLES: &[&TableDef] = &[Note::TABLE, Diary::TABLE, Member::TABLE];

/// Runs on SQLite and on PostgreSQL alike.
pub(super) const SCHEMA: &str = "
CREATE TABLE conformance_notes (
    org_id     uuid        NOT NULL REFERENCES orgs (id),
    id         uuid        NOT NULL,
    slug       text        NOT NULL,
    title      text        NOT NULL,
    body       text,
    rank       text        NOT NULL CHECK (rank IN ('low', 'normal', 'high', 'urgent')),
    score      bigint,
    done       boolean     NOT NULL,
    due_at     timestamptz,
    peer       uuid,
    parent     uuid,
    made_by    uuid        NOT NULL REFERENCES users (id),
    changed_by uuid        NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version    bigint      NOT NULL,
    PRIMARY KEY (org_id, id),
    UNIQUE (org_id, slug),
    FOREIGN KEY (org_id, peer) REFERENCES memberships (org_id, user_id),
    FOREIGN KEY (org_id, parent) REFERENCES conformance_notes (org_id, id)
);
CREATE INDEX conformance_notes_newest ON conformance_notes (org_id, created_at DESC, id DESC);

CREATE TABLE conformance_diaries (
    user_id uuid NOT NULL REFERENCES users (id),
    id      uuid NOT NULL,
    line    text NOT NULL,
    PRIMARY KEY (user_id, id)
);
";

bailiwick_core::choices! {
    /// A rank whose names are in another order than their ranks.
    pub(super) enum Rank {
        /// The first.
        Low = "low",
        /// The second.
        Normal = "normal",
        /// The third.
        High = "high",
        /// The last.
        Urgent = "urgent",
    }
}

/// A row of an organisation with a column of every kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) org_id: OrgId,
    pub(super) id: Id<Note>,
    pub(super) slug: String,
    pub(super) title: String,
    pub(super) body: Option<String>,
    pub(super) rank: Rank,
    pub(super) score: Option<i64>,
    pub(super) done: bool,
    pub(super) due_at: Option<Timestamp>,
    pub(super) peer: Option<UserId>,
    pub(super) parent: Option<Id<Note>>,
    pub(super) made_by: UserId,
    pub(super) changed_by: UserId,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) version: i64,
}

/// The columns of [`Note`].
pub(super) mod note {
    use super::*;

    macro_rules! columns {
        ($($name:ident: $type:ty, $writer:ty, $position:literal;)+) => {
            $(pub(in crate::conformance) const $name: Column<Note, $type, $writer> = Column::new($position);)+
        };
    }

    columns! {
        SLUG: String, Writable, 2;
        TITLE: String, Writable, 3;
        BODY: Option<String>, Writable, 4;
        RANK: Rank, Writable, 5;
        SCORE: Option<i64>, Writable, 6;
        DONE: bool, Writable, 7;
        DUE_AT: Option<Timestamp>, Writable, 8;
        PEER: Option<UserId>, Writable, 9;
        PARENT: Option<Id<Note>>, Writable, 10;
        MADE_BY: UserId, ServerOwned, 11;
    }
}

const EQUAL: FilterOps = FilterOps { eq: true, ..FilterOps::NONE };
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

impl Model for Note {
    type Key = Id<Self>;
    const TABLE: &'static TableDef = &TableDef {
        name: "conformance_notes",
        scope: ScopeKind::Org,
        counted: true,
        columns: &[
            column::<OrgId>("org_id", Part::Tenant),
            column::<Id<Self>>("id", Part::Id),
            ColumnDef { filters: EQUAL, order: true, ..column::<String>("slug", Part::Writable) },
            ColumnDef {
                filters: EQUAL,
                order: true,
                search: true,
                ..column::<String>("title", Part::Writable)
            },
            ColumnDef { order: true, search: true, ..column::<Option<String>>("body", Part::Writable) },
            ColumnDef { filters: ALL, order: true, ..column::<Rank>("rank", Part::Writable) },
            ColumnDef { filters: ALL, order: true, ..column::<Option<i64>>("score", Part::Writable) },
            ColumnDef { filters: EQUAL, order: true, ..column::<bool>("done", Part::Writable) },
            ColumnDef { filters: ALL, order: true, ..column::<Option<Timestamp>>("due_at", Part::Writable) },
            ColumnDef { filters: EQUAL, ..column::<Option<UserId>>("peer", Part::Writable) },
            column::<Option<Id<Self>>>("parent", Part::Writable),
            ColumnDef { filters: EQUAL, ..column::<UserId>("made_by", Part::Owner) },
            column::<UserId>("changed_by", Part::UpdatedBy),
            ColumnDef {
                filters: ALL,
                order: true,
                default_order: Some(Direction::Descending),
                ..column::<Timestamp>("created_at", Part::CreatedAt)
            },
            ColumnDef { order: true, ..column::<Timestamp>("updated_at", Part::UpdatedAt) },
            column::<i64>("version", Part::Version),
        ],
    };

    fn from_row(row: &dyn RowReader) -> Result<Self, DecodeError> {
        Ok(Self {
            org_id: read_column(row, 0)?,
            id: read_column(row, 1)?,
            slug: read_column(row, 2)?,
            title: read_column(row, 3)?,
            body: read_column(row, 4)?,
            rank: read_column(row, 5)?,
            score: read_column(row, 6)?,
            done: read_column(row, 7)?,
            due_at: read_column(row, 8)?,
            peer: read_column(row, 9)?,
            parent: read_column(row, 10)?,
            made_by: read_column(row, 11)?,
            changed_by: read_column(row, 12)?,
            created_at: read_column(row, 13)?,
            updated_at: read_column(row, 14)?,
            version: read_column(row, 15)?,
        })
    }

    fn version(&self) -> Option<i64> {
        Some(self.version)
    }

    fn key(&self) -> Id<Self> {
        self.id
    }
}

/// Who may do what with notes: as with tasks.
pub(super) fn rules() -> Rules<Note> {
    Rules::deny_all()
        .allow::<List>(role(Viewer))
        .allow::<Retrieve>(role(Viewer))
        .allow::<Create>(role(AtLeastMember))
        .allow::<Update>(role(Admin).or(role(AtLeastMember).and(own().or(is_me(note::PEER)))))
        .allow::<Delete>(role(Admin).or(own()))
}

/// Rules that hide rows from members: what one did not make, one does not know of. A peer may change a row that they
/// made, its maker may not.
pub(super) fn hiding_rules() -> Rules<Note> {
    Rules::deny_all()
        .allow::<List>(own())
        .allow::<Retrieve>(role(Admin).or(is_me(note::MADE_BY)))
        .allow::<Update>(is_me(note::PEER))
        .allow::<Delete>(is_me(note::PEER))
}

/// A row of one user, in a table that keeps neither a version nor a count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Diary {
    pub(super) user_id: UserId,
    pub(super) id: Id<Diary>,
    pub(super) line: String,
}

pub(super) const LINE: Column<Diary, String, Writable> = Column::new(2);

impl Model for Diary {
    type Key = Id<Self>;
    const TABLE: &'static TableDef = &TableDef {
        name: "conformance_diaries",
        scope: ScopeKind::Caller,
        counted: false,
        columns: &[
            column::<UserId>("user_id", Part::Tenant),
            column::<Id<Self>>("id", Part::Id),
            ColumnDef { order: true, search: true, ..column::<String>("line", Part::Writable) },
        ],
    };

    fn from_row(row: &dyn RowReader) -> Result<Self, DecodeError> {
        Ok(Self { user_id: read_column(row, 0)?, id: read_column(row, 1)?, line: read_column(row, 2)? })
    }

    fn version(&self) -> Option<i64> {
        None
    }

    fn key(&self) -> Id<Self> {
        self.id
    }
}

pub(super) fn diary_rules() -> Rules<Diary> {
    Rules::deny_all()
        .allow::<List>(authenticated())
        .allow::<Retrieve>(authenticated())
        .allow::<Create>(authenticated())
        .allow::<Update>(authenticated())
        .allow::<Delete>(authenticated())
}

/// A member, as notes point at them: a view of the framework.
#[derive(Clone, Debug)]
pub(super) struct Member;

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

    /// # Panics
    /// Always: the suite points at members, and never reads one.
    fn key(&self) -> UserId {
        panic!("the suite does not read members")
    }
}
