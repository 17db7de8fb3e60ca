-- What became of each key of the recipes that came with a job, as JSON.
ALTER TABLE jobs ADD COLUMN mappings TEXT NOT NULL DEFAULT '[]';
