-- Large objects, once for the whole domain, whatever names them. In chunks, so that a part is read
-- without the rest.

CREATE TABLE blobs (
    hash BLOB NOT NULL,
    -- Who sends it, while it is incomplete; empty once it is whole and its hash was checked.
    owner TEXT NOT NULL,
    size INTEGER NOT NULL,
    -- Octets that are here.
    held INTEGER NOT NULL,
    -- When it was last written or asked for: what nothing names is kept for a while from then on.
    stored INTEGER NOT NULL,
    PRIMARY KEY (hash, owner)
) STRICT, WITHOUT ROWID;

CREATE INDEX blobs_by_age ON blobs (stored);
CREATE INDEX blobs_by_owner ON blobs (owner) WHERE owner <> '';

CREATE TABLE blob_chunks (
    hash BLOB NOT NULL,
    owner TEXT NOT NULL,
    number INTEGER NOT NULL,
    octets BLOB NOT NULL,
    UNIQUE (hash, owner, number)
) STRICT;

-- A payload that is a blob: the row's own is empty, and NULL once purged; its digest is the hash.
ALTER TABLE room_log ADD COLUMN blob INTEGER NOT NULL DEFAULT 0;
CREATE INDEX room_log_blobs ON room_log (digest) WHERE blob = 1 AND payload IS NOT NULL;

-- The same for what a Welcome brings.
ALTER TABLE welcomes ADD COLUMN welcome_blob BLOB;
ALTER TABLE welcomes ADD COLUMN tree_blob BLOB;
CREATE INDEX welcomes_by_welcome_blob ON welcomes (welcome_blob)
    WHERE welcome_blob IS NOT NULL AND welcome IS NOT NULL;
CREATE INDEX welcomes_by_tree_blob ON welcomes (tree_blob)
    WHERE tree_blob IS NOT NULL AND welcome IS NOT NULL;
