-- Revocation lists: of every issuing CA, ours and others', the newest.
CREATE TABLE revocation_lists (
    issuer BLOB PRIMARY KEY, -- SHA-256 of the issuing CA's SubjectPublicKeyInfo
    domain TEXT NOT NULL,
    number INTEGER NOT NULL,
    list   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- What a list is made of.
CREATE INDEX devices_revoked ON devices (id) WHERE revoked IS NOT NULL;
