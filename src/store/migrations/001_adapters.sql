-- One row for each stored content. The folder `adapters/<generation>/` is complete before its row exists.
CREATE TABLE adapter_versions (
    generation TEXT PRIMARY KEY,
    kind       TEXT    NOT NULL,
    rank       INTEGER NOT NULL,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- Every generation a name has had; `sequence` grows with each publication.
CREATE TABLE adapter_history (
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    name        TEXT NOT NULL,
    generation  TEXT NOT NULL REFERENCES adapter_versions (generation),
    source      TEXT NOT NULL,
    evaluation  TEXT,
    base_name   TEXT NOT NULL,
    base_digest BLOB NOT NULL,
    UNIQUE (name, generation)
) STRICT;

CREATE INDEX adapter_history_generation ON adapter_history (generation);

-- What each name points to now.
CREATE TABLE adapter_names (
    name       TEXT PRIMARY KEY,
    generation TEXT    NOT NULL,
    pinned     INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (name, generation) REFERENCES adapter_history (name, generation)
) STRICT;

-- What it pointed to before, the newest at the greatest depth; a rollback takes that one away.
CREATE TABLE adapter_lineage (
    name       TEXT    NOT NULL,
    depth      INTEGER NOT NULL,
    generation TEXT    NOT NULL,
    PRIMARY KEY (name, depth),
    FOREIGN KEY (name, generation) REFERENCES adapter_history (name, generation)
) STRICT;

CREATE TABLE adapter_audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    action     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    generation TEXT,
    previous   TEXT,
    source     TEXT
) STRICT;
