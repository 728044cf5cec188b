-- What callers have spent of their quotas, where the servers of a site share it in the database.
CREATE TABLE counters (
    -- The policy and the caller: anon:192.0.2.1
    key     text   NOT NULL PRIMARY KEY,
    -- When the quota is full again, in microseconds since 1970, by the clock of the database. From then on the row is as
    -- good as none.
    arrival bigint NOT NULL
);

CREATE INDEX counters_arrival ON counters (arrival);
