-- The base a job was created for. Empty: from before this was recorded.
ALTER TABLE jobs ADD COLUMN base_name TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN base_digest TEXT NOT NULL DEFAULT '';
