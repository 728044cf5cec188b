-- Keys that sign tokens. The private part is encrypted under the master key that sealed_by names, and empty once the
-- key has ended.
CREATE TABLE signing_keys (
    purpose      text        NOT NULL,
    kid          text        NOT NULL,
    algorithm    text        NOT NULL,
    state        text        NOT NULL CHECK (state IN ('next', 'active', 'retiring', 'retired', 'revoked')),
    sealed_by    text        NOT NULL,
    sealed       bytea       NOT NULL,
    created_at   timestamptz NOT NULL,
    promote_at   timestamptz,
    activated_at timestamptz,
    retiring_at  timestamptz,
    ends_at      timestamptz,
    PRIMARY KEY (purpose, kid)
);

-- One key of a purpose signs, whatever the program does (KEY-01).
CREATE UNIQUE INDEX signing_keys_active ON signing_keys (purpose) WHERE state = 'active';

-- Raised with every change of a ring: what servers look at to know whether they have to read it again.
CREATE TABLE key_rings (
    purpose text   NOT NULL PRIMARY KEY,
    version bigint NOT NULL
);

INSERT INTO key_rings (purpose, version) VALUES ('access', 0);
