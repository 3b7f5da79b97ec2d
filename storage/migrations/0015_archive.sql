-- What accounts have said and heard (XEP-0313), and what they want kept of it (XEP-0441).

-- Numbers grow in the order of acceptance and are never used twice, so that whoever pages forwards
-- misses nothing; what clients see of a message is its uid.
CREATE TABLE archive (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    account  TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    uid      TEXT NOT NULL,
    peer     TEXT NOT NULL, -- bare address of the other side
    resource TEXT NOT NULL, -- and its resource, or nothing
    stanza   BLOB NOT NULL,
    received INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX archive_of_account ON archive (account, uid);
-- With the time, so that a period is found without reading the messages.
CREATE INDEX archive_in_order ON archive (account, number, received);
CREATE INDEX archive_with_peer ON archive (account, peer, number, received);

CREATE TABLE archive_preferences (
    account TEXT PRIMARY KEY REFERENCES accounts (account) ON DELETE CASCADE,
    policy  INTEGER NOT NULL -- 0: always, 1: never, 2: contacts
) STRICT, WITHOUT ROWID;

CREATE TABLE archive_exceptions (
    account TEXT NOT NULL REFERENCES archive_preferences (account) ON DELETE CASCADE,
    address TEXT NOT NULL,
    keep    INTEGER NOT NULL,
    PRIMARY KEY (account, address)
) STRICT, WITHOUT ROWID;
