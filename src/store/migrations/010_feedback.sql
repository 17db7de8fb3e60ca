-- Which generation gave which answer, so that a score counts for it. Prompt and answer are there only where they may be
-- kept.
CREATE TABLE answers (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    at         INTEGER NOT NULL,
    owner      TEXT,
    -- None: the base.
    adapter    TEXT,
    generation TEXT,
    tokens     INTEGER NOT NULL DEFAULT 0,
    -- JSON: the messages or the prompt, as sent.
    input      TEXT,
    answer     TEXT,
    -- Of what callers wrote or got, their feedback included; 0 where nothing of it is kept.
    bytes      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX answers_by_time ON answers (at);
CREATE INDEX answers_by_owner ON answers (owner, number);
CREATE INDEX answers_with_content ON answers (number, bytes) WHERE bytes > 0;

CREATE TABLE feedback (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    -- The answer's, with `:KEY` behind it where another key than the answer's gave it.
    id         TEXT NOT NULL UNIQUE,
    answer     TEXT NOT NULL REFERENCES answers (id) ON DELETE CASCADE,
    given_by   TEXT,
    at         INTEGER NOT NULL,
    score      REAL NOT NULL,
    correction TEXT,
    label      TEXT,
    comment    TEXT,
    -- Grows when other feedback takes its place.
    version    INTEGER NOT NULL DEFAULT 1,
    -- The job that learned from it.
    used_by    TEXT
) STRICT;
CREATE INDEX feedback_by_answer ON feedback (answer);
CREATE INDEX feedback_by_giver ON feedback (given_by);
