-- Tasks of an organisation.
--
-- A task is found by its organisation and its id together, never by its id alone (ACL-04); an assignee who is no
-- member of the organisation cannot be stored (RLS-20).
CREATE TABLE tasks (
    org_id      uuid        NOT NULL REFERENCES orgs (id),
    id          uuid        NOT NULL,
    title       text        NOT NULL,
    description text        NOT NULL,
    status      text        NOT NULL CHECK (status IN ('todo', 'doing', 'done')),
    priority    text        NOT NULL CHECK (priority IN ('low', 'normal', 'high', 'urgent')),
    assignee    uuid,
    due_at      timestamptz,
    created_by  uuid        NOT NULL REFERENCES users (id),
    updated_by  uuid        NOT NULL REFERENCES users (id),
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    version     bigint      NOT NULL,
    PRIMARY KEY (org_id, id),
    FOREIGN KEY (org_id, assignee) REFERENCES memberships (org_id, user_id)
);

CREATE INDEX tasks_newest ON tasks (org_id, created_at DESC, id DESC);
-- Most tasks are nobody's, and whoever asks for an assignee's does not ask for those.
CREATE INDEX tasks_assignee ON tasks (org_id, assignee) WHERE assignee IS NOT NULL;
