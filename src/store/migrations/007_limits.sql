-- What a key may ask for; none is no limit.
ALTER TABLE keys ADD COLUMN requests_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN tokens_per_minute INTEGER;
ALTER TABLE keys ADD COLUMN concurrent INTEGER;
ALTER TABLE keys ADD COLUMN queued_jobs INTEGER;
ALTER TABLE keys ADD COLUMN training_tokens_per_day INTEGER;
ALTER TABLE keys ADD COLUMN storage_bytes INTEGER;
-- Tokens that a job reads when it runs to its end, as far as could be told when it was created.
ALTER TABLE jobs ADD COLUMN planned_tokens INTEGER NOT NULL DEFAULT 0;
