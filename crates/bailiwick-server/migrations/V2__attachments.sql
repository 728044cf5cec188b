-- Files that are attached to tasks. Their bytes are elsewhere, under the id in `file`, which no other row ever has: a file
-- that no row names is taken away.
--
-- With a task go its attachments.
CREATE TABLE attachments (
    org_id       uuid        NOT NULL REFERENCES orgs (id),
    id           uuid        NOT NULL,
    task_id      uuid        NOT NULL,
    file         uuid        NOT NULL UNIQUE,
    filename     text        NOT NULL,
    content_type text        NOT NULL,
    size         bigint      NOT NULL CHECK (size >= 0),
    sha256       text        NOT NULL,
    width        bigint,
    height       bigint,
    created_by   uuid        NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    version      bigint      NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, task_id) REFERENCES tasks (org_id, id) ON DELETE CASCADE
);

CREATE INDEX attachments_newest ON attachments (org_id, task_id, created_at DESC, id DESC);
-- What the quotas sum up, from the index alone.
CREATE INDEX attachments_of_user ON attachments (created_by, size);
CREATE INDEX attachments_of_org ON attachments (org_id, size);
