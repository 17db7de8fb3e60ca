-- Every change, each row with a digest over the one before it and its own content. `number` has no gaps.
CREATE TABLE audit (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    -- The id of a key, `job:<id>`, `offline` or `system`; none where no key was asked for.
    who      TEXT,
    action   TEXT NOT NULL,
    object   TEXT NOT NULL,
    before   TEXT,
    after    TEXT,
    detail   TEXT,
    request  TEXT,
    outcome  TEXT NOT NULL,
    digest   BLOB NOT NULL
) STRICT;
CREATE INDEX audit_by_object ON audit (object, number);
CREATE INDEX audit_by_time ON audit (at);

-- Where the chain begins, after the last row that was trimmed, and where it ends: a row missing at either end is found.
CREATE TABLE audit_ends (
    only_row     INTEGER PRIMARY KEY CHECK (only_row = 1),
    first_number INTEGER NOT NULL,
    first_digest BLOB    NOT NULL,
    last_number  INTEGER NOT NULL,
    last_digest  BLOB    NOT NULL
) STRICT;
INSERT INTO audit_ends VALUES (1, 0, zeroblob(32), 0, zeroblob(32));

-- What jobs have published that may not know it yet.
CREATE TABLE publications (
    source     TEXT NOT NULL,
    name       TEXT NOT NULL,
    generation TEXT NOT NULL,
    PRIMARY KEY (source, name, generation)
) STRICT;
INSERT INTO publications
    SELECT DISTINCT source, name, generation FROM adapter_audit
    WHERE action = 'publish' AND source LIKE 'job:%' AND generation IS NOT NULL;
