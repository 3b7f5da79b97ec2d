-- Sessions with stream management (XEP-0198) and the messages that they have been given, so that
-- their clients find them again after the server was killed.

CREATE TABLE managed_sessions (
    key        TEXT PRIMARY KEY, -- hash of what the client calls it
    account    TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    resource   TEXT NOT NULL,
    resumable  INTEGER NOT NULL,
    handled    INTEGER NOT NULL, -- h: stanzas of the client whose effects are kept
    epoch      INTEGER NOT NULL, -- counts the queues it has had: one for each life of the server
    -- What its client counts of the present queue: place + origin + 1. None: nothing yet.
    origin     INTEGER,
    presence   BLOB,
    priority   INTEGER NOT NULL DEFAULT 0,
    interested INTEGER NOT NULL DEFAULT 0,
    carbons    INTEGER NOT NULL DEFAULT 0,
    device     INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE INDEX managed_sessions_of_account ON managed_sessions (account);

CREATE TABLE managed_stanzas (
    key    TEXT NOT NULL REFERENCES managed_sessions (key) ON DELETE CASCADE,
    epoch  INTEGER NOT NULL,
    place  INTEGER NOT NULL, -- in the queue of that epoch
    said   INTEGER, -- of an earlier epoch: what its client counts it as, if it was ever said
    form   INTEGER NOT NULL, -- 0: as it is, 1: as a copy of what was sent, 2: of what was received
    uid    TEXT, -- in the account's archive, or
    stanza BLOB,
    PRIMARY KEY (key, epoch, place)
) STRICT, WITHOUT ROWID;
