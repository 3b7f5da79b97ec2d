-- The transparency log of each domain: what its authority issued and revoked, in order, and the
-- hashes that prove it. Storage does not compute hashes; it keeps what it is given, by its place.

CREATE TABLE transparency_entries (
    domain  TEXT NOT NULL,
    idx     INTEGER NOT NULL, -- from 0, without gaps
    entry   BLOB NOT NULL,
    leaves  BLOB NOT NULL, -- the keys of the batch, 32 octets each, in order
    account BLOB NOT NULL, -- the account's hash
    place   INTEGER NOT NULL, -- among the account's entries, from 0
    device  BLOB NOT NULL,
    revoked INTEGER NOT NULL, -- 1: the device's end
    PRIMARY KEY (domain, idx)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX transparency_entries_of_account
    ON transparency_entries (domain, account, place);
CREATE INDEX transparency_entries_of_device ON transparency_entries (device, revoked);

-- Complete subtrees of the log.
CREATE TABLE transparency_nodes (
    domain TEXT NOT NULL,
    level  INTEGER NOT NULL,
    idx    INTEGER NOT NULL,
    hash   BLOB NOT NULL,
    PRIMARY KEY (domain, level, idx)
) STRICT, WITHOUT ROWID;

-- Subtrees of the map that hold something.
CREATE TABLE transparency_map (
    domain TEXT NOT NULL,
    depth  INTEGER NOT NULL,
    prefix BLOB NOT NULL,
    hash   BLOB NOT NULL,
    leaf   BLOB, -- where one account is below: what the map holds of it
    PRIMARY KEY (domain, depth, prefix)
) STRICT, WITHOUT ROWID;

-- Whose entries are whose. A name that is given again begins anew, with another hash.
CREATE TABLE transparency_accounts (
    domain   TEXT NOT NULL,
    hash     BLOB NOT NULL,
    account  TEXT NOT NULL,
    salt     BLOB NOT NULL,
    count    INTEGER NOT NULL,
    frontier BLOB NOT NULL, -- hashes of 32 octets, from which the account's tree goes on
    closed   INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (domain, hash)
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX transparency_open_accounts
    ON transparency_accounts (account) WHERE closed = 0;

CREATE TRIGGER transparency_of_deleted_account AFTER DELETE ON accounts BEGIN
    UPDATE transparency_accounts SET closed = 1 WHERE account = OLD.account;
END;

-- Every head there ever was, by the number of entries.
CREATE TABLE transparency_heads (
    domain TEXT NOT NULL,
    size   INTEGER NOT NULL,
    signed BLOB NOT NULL,
    PRIMARY KEY (domain, size)
) STRICT, WITHOUT ROWID;

-- Where a key's certificate is logged.
CREATE TABLE transparency_keys (
    key_hash BLOB PRIMARY KEY,
    domain   TEXT NOT NULL,
    idx      INTEGER NOT NULL,
    place    INTEGER NOT NULL -- in the batch
) STRICT, WITHOUT ROWID;
