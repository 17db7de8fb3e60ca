-- What a certificate calls who holds the key; none where only its text is one's proof.
ALTER TABLE keys ADD COLUMN identity TEXT;
