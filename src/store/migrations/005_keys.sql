-- Of a key's text only a keyed digest is kept.
CREATE TABLE keys (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,
    name           TEXT NOT NULL,
    scopes         TEXT NOT NULL,
    adapters       TEXT NOT NULL,
    weight         REAL,
    digest         BLOB NOT NULL,
    -- Of the text before the last rotation, and until when it counts.
    replaced       BLOB,
    replaced_until INTEGER,
    created_at     INTEGER NOT NULL,
    expires_at     INTEGER,
    revoked_at     INTEGER,
    last_used_at   INTEGER
) STRICT;

-- What digests are made with: one row, so that digests of one data directory mean nothing in another.
CREATE TABLE key_digests (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    secret   BLOB NOT NULL
) STRICT;
