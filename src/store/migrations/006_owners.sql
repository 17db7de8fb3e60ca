-- The key that made it; none where no key was asked for.
ALTER TABLE files ADD COLUMN owner TEXT;
ALTER TABLE jobs ADD COLUMN owner TEXT;
CREATE INDEX files_by_owner ON files (owner, number);
CREATE INDEX jobs_by_owner ON jobs (owner, number);
