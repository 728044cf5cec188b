-- Tokens that replace a lost password, each once; only their digests are kept (PWD-19).
CREATE TABLE password_resets (
    digest     bytea       NOT NULL PRIMARY KEY,
    user_id    uuid        NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE INDEX password_resets_user ON password_resets (user_id);

-- Several users may have one address.
CREATE INDEX users_email ON users (lower(email));
