-- Uploaded files; the content lies beside the database under the file's id.
CREATE TABLE files (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    bytes      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    filename   TEXT NOT NULL,
    purpose    TEXT NOT NULL,
    digest     TEXT NOT NULL
) STRICT;

-- `number` is the order of creation, which is also the order of running.
CREATE TABLE jobs (
    number          INTEGER PRIMARY KEY AUTOINCREMENT,
    id              TEXT NOT NULL UNIQUE,
    name            TEXT NOT NULL,
    status          TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    finished_at     INTEGER,
    training_file   TEXT NOT NULL,
    validation_file TEXT,
    recipe          TEXT NOT NULL,
    metadata        TEXT NOT NULL,
    data_digest     TEXT NOT NULL,
    -- The generation the job continues from.
    parent          TEXT,
    step            INTEGER NOT NULL DEFAULT 0,
    total_steps     INTEGER NOT NULL,
    tokens          INTEGER NOT NULL DEFAULT 0,
    train_loss      REAL,
    trainable       INTEGER,
    parameters      INTEGER,
    estimated_finish INTEGER,
    -- Set before the adapter is published: what the name pointed to, and what it is to point to. Such a job can no
    -- longer be cancelled or paused, and publishing it again after a crash finds out what was already done.
    publish_before  TEXT,
    publish_after   TEXT,
    generation      TEXT,
    error_code      TEXT,
    error_message   TEXT,
    error_param     TEXT
) STRICT;
CREATE INDEX jobs_by_status ON jobs (status, number);

CREATE TABLE job_events (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    job        TEXT NOT NULL REFERENCES jobs (id),
    created_at INTEGER NOT NULL,
    level      TEXT NOT NULL,
    kind       TEXT NOT NULL,
    message    TEXT NOT NULL,
    data       TEXT NOT NULL,
    -- Of a metrics event; a step that is done again after a crash is told once.
    step       INTEGER
) STRICT;
CREATE INDEX job_events_by_job ON job_events (job, seq);
CREATE UNIQUE INDEX job_events_once_a_step ON job_events (job, step) WHERE step IS NOT NULL;

CREATE TABLE job_checkpoints (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    job        TEXT NOT NULL REFERENCES jobs (id),
    step       INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    metrics    TEXT NOT NULL,
    UNIQUE (job, step)
) STRICT;
