-- Sessions of browsers, and what is known of API tokens besides. A session that was ended is no row.
CREATE TABLE sessions (
    id           uuid        NOT NULL PRIMARY KEY,
    digest       bytea       NOT NULL UNIQUE,
    user_id      uuid        NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    last_seen_at timestamptz NOT NULL,
    -- If it is not used again; never after ends_at.
    expires_at   timestamptz NOT NULL,
    ends_at      timestamptz NOT NULL,
    user_agent   text        NOT NULL,
    address      text        NOT NULL
);

CREATE INDEX sessions_user ON sessions (user_id, last_seen_at);

-- To a minute or so.
ALTER TABLE api_tokens ADD COLUMN last_used_at timestamptz;
-- What it may be used for, by name, with spaces between; null for all that its owner may do.
ALTER TABLE api_tokens ADD COLUMN scopes text;
-- The token in whose place it was put, and since when it has a successor itself: a token has one.
ALTER TABLE api_tokens ADD COLUMN replaces uuid;
ALTER TABLE api_tokens ADD COLUMN replaced_at timestamptz;
