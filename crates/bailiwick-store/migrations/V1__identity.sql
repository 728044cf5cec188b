-- Users, organisations, memberships and API tokens.
--
-- This text runs on SQLite and on PostgreSQL alike. SQLite keeps uuid and bytes as BLOB, and timestamptz as INTEGER
-- microseconds since the epoch.

CREATE TABLE users (
    id            uuid        NOT NULL PRIMARY KEY,
    username      text        NOT NULL,
    email         text        NOT NULL,
    password_hash text        NOT NULL,
    is_active     boolean     NOT NULL,
    is_staff      boolean     NOT NULL,
    is_author     boolean     NOT NULL,
    is_editor     boolean     NOT NULL,
    created_at    timestamptz NOT NULL
);

-- User names are unique without regard to case (contract §2); they are ASCII, so lower() is the same everywhere.
CREATE UNIQUE INDEX users_username ON users (lower(username));

-- An organisation is its own tenant: org_id is its id under the name that all tenant rows have.
CREATE TABLE orgs (
    id         uuid        NOT NULL PRIMARY KEY,
    org_id     uuid        NOT NULL GENERATED ALWAYS AS (id) STORED,
    slug       text        NOT NULL UNIQUE,
    name       text        NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version    bigint      NOT NULL
);

CREATE TABLE memberships (
    org_id    uuid        NOT NULL REFERENCES orgs (id),
    user_id   uuid        NOT NULL REFERENCES users (id),
    role      text        NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    joined_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, user_id)
);

CREATE INDEX memberships_user ON memberships (user_id);

-- Only the digest of a token is kept (TOK-24).
CREATE TABLE api_tokens (
    id         uuid        NOT NULL PRIMARY KEY,
    digest     bytea       NOT NULL UNIQUE,
    user_id    uuid        NOT NULL REFERENCES users (id),
    name       text,
    display    text        NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz
);

CREATE INDEX api_tokens_user ON api_tokens (user_id, created_at);

-- How many rows each scope of a counted table has; triggers that `migrate` writes keep it. A scope has several slots
-- on PostgreSQL, so that two transactions that add a row do not wait for each other.
CREATE TABLE row_counts (
    table_name text   NOT NULL,
    scope_id   uuid   NOT NULL,
    slot       int    NOT NULL,
    rows       bigint NOT NULL,
    PRIMARY KEY (table_name, scope_id, slot)
);

-- What members of an organisation see of each other.
CREATE VIEW members AS
SELECT memberships.org_id, memberships.user_id, users.username, memberships.role, memberships.joined_at
FROM memberships JOIN users ON users.id = memberships.user_id;

-- What a user sees of their own organisations.
CREATE VIEW my_orgs AS
SELECT memberships.user_id, orgs.id, orgs.slug, orgs.name, memberships.role, orgs.created_at, orgs.updated_at
FROM memberships JOIN orgs ON orgs.id = memberships.org_id;
