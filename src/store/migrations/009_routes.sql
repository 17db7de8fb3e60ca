-- What takes part of a name's requests beside what the name points to; a row where anything does. Both are kept as JSON, and
-- their generations beside that, so that neither can be forgotten meanwhile.
CREATE TABLE adapter_routes (
    name              TEXT PRIMARY KEY REFERENCES adapter_names (name),
    canary            TEXT,
    canary_generation TEXT,
    shadow            TEXT,
    shadow_generation TEXT,
    -- What is counted of them, as of now and then.
    watched           TEXT,
    FOREIGN KEY (name, canary_generation) REFERENCES adapter_history (name, generation),
    FOREIGN KEY (name, shadow_generation) REFERENCES adapter_history (name, generation)
) STRICT;

-- How a job's generation reaches its name, decided before it does (`publish_how`), and whether it is served (1), or only
-- kept (0).
ALTER TABLE jobs ADD COLUMN publish_how TEXT;
ALTER TABLE jobs ADD COLUMN published INTEGER;
