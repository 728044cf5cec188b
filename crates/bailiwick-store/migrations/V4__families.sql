-- Families of refresh tokens: a log-in, and all that was refreshed from it.
CREATE TABLE jwt_families (
    id           uuid        NOT NULL PRIMARY KEY,
    user_id      uuid        NOT NULL REFERENCES users (id),
    created_at   timestamptz NOT NULL,
    -- To a minute or so.
    last_used_at timestamptz NOT NULL,
    -- However much it is used.
    expires_at   timestamptz NOT NULL,
    revoked_at   timestamptz,
    -- The digest of the token that can be exchanged, and of the one that it was exchanged for.
    live         bytea       NOT NULL,
    parent       bytea
);

CREATE INDEX jwt_families_user ON jwt_families (user_id, expires_at);

-- Spent tokens stay for as long as their family: one that is used again gives a thief away.
CREATE TABLE refresh_tokens (
    digest            bytea       NOT NULL PRIMARY KEY,
    family_id         uuid        NOT NULL REFERENCES jwt_families (id) ON DELETE CASCADE,
    created_at        timestamptz NOT NULL,
    expires_at        timestamptz NOT NULL,
    used_at           timestamptz,
    -- The access token that was made with it.
    kid               text        NOT NULL,
    access_expires_at timestamptz NOT NULL
);

CREATE INDEX refresh_tokens_family ON refresh_tokens (family_id);
CREATE INDEX refresh_tokens_access ON refresh_tokens (access_expires_at);
