-- The audit trail: who did what to whom. Each entry is linked to the one before it in its chain, by a key that is not in
-- the database. Triggers that `migrate` writes let nobody change or remove one.
CREATE TABLE audit_entries (
    -- The organisation, or the nil UUID for the site. Entries outlast what they tell of: nothing is referred to by key.
    chain       uuid        NOT NULL,
    -- From 1 on, without a gap.
    sequence    bigint      NOT NULL CHECK (sequence > 0),
    event       text        NOT NULL,
    at          timestamptz NOT NULL,
    actor_kind  text        NOT NULL,
    actor_id    uuid,
    actor_name  text,
    target_kind text,
    target_id   text,
    request_id  text,
    remote_addr text,
    outcome     text        NOT NULL,
    -- A JSON object.
    details     text        NOT NULL,
    -- Which key the link was made with.
    key_id      text        NOT NULL,
    hash        bytea       NOT NULL,
    PRIMARY KEY (chain, sequence)
);

-- Where each chain ends. Whoever appends holds the row until the transaction ends.
CREATE TABLE audit_heads (
    chain    uuid   NOT NULL PRIMARY KEY,
    sequence bigint NOT NULL,
    hash     bytea  NOT NULL
);
