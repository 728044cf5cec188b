-- The tables of the yardstick: the columns of the Bailiwick server's own tables, as far as the three routes
-- need them. Ids are UUIDs as 16 bytes, times are microseconds since the epoch.

CREATE TABLE users (
    id            uuid PRIMARY KEY NOT NULL,
    username      text NOT NULL UNIQUE,
    email         text NOT NULL,
    is_active     boolean NOT NULL,
    created_at    integer NOT NULL
);

CREATE TABLE orgs (
    id            uuid PRIMARY KEY NOT NULL,
    slug          text NOT NULL UNIQUE,
    name          text NOT NULL,
    created_at    integer NOT NULL
);

CREATE TABLE memberships (
    org_id        uuid NOT NULL REFERENCES orgs (id),
    user_id       uuid NOT NULL REFERENCES users (id),
    role          text NOT NULL CHECK (role IN ('viewer', 'member', 'admin', 'owner')),
    joined_at     integer NOT NULL,
    PRIMARY KEY (org_id, user_id)
);

CREATE TABLE api_tokens (
    id            uuid PRIMARY KEY NOT NULL,
    digest        blob NOT NULL UNIQUE,
    user_id       uuid NOT NULL REFERENCES users (id),
    created_at    integer NOT NULL,
    expires_at    integer,
    revoked_at    integer
);

CREATE TABLE tasks (
    id            uuid PRIMARY KEY NOT NULL,
    org_id        uuid NOT NULL REFERENCES orgs (id),
    title         text NOT NULL,
    description   text NOT NULL,
    status        text NOT NULL CHECK (status IN ('todo', 'doing', 'done')),
    priority      text NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    assignee      uuid,
    due_at        integer,
    created_by    uuid NOT NULL REFERENCES users (id),
    updated_by    uuid NOT NULL REFERENCES users (id),
    created_at    integer NOT NULL,
    updated_at    integer NOT NULL,
    version       bigint NOT NULL DEFAULT 1,
    FOREIGN KEY (org_id, assignee) REFERENCES memberships (org_id, user_id)
);
CREATE INDEX tasks_by_age ON tasks (org_id, created_at DESC, id DESC);

-- How many tasks an organisation has, kept by triggers: counting them takes longer than the rest of a list.
CREATE TABLE task_counts (
    org_id        uuid PRIMARY KEY NOT NULL,
    rows          bigint NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER orgs_start_count AFTER INSERT ON orgs BEGIN
    INSERT INTO task_counts (org_id, rows) VALUES (new.id, 0);
END;
CREATE TRIGGER tasks_count_up AFTER INSERT ON tasks BEGIN
    UPDATE task_counts SET rows = rows + 1 WHERE org_id = new.org_id;
END;
CREATE TRIGGER tasks_count_down AFTER DELETE ON tasks BEGIN
    UPDATE task_counts SET rows = rows - 1 WHERE org_id = old.org_id;
END;
