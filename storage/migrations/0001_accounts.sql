-- Accounts, rosters, messages waiting for their recipient, stanzas waiting for another domain.
-- Addresses are bare JIDs as RFC 7622 prepares them; times are milliseconds since 1970.

CREATE TABLE accounts (
    account TEXT PRIMARY KEY,
    domain  TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    created INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX accounts_of_domain ON accounts (domain, account);

-- RFC 5802 §3: enough to verify a password, not enough to log in. One row a hash function.
CREATE TABLE scram_keys (
    account    TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    hash       TEXT NOT NULL,
    salt       BLOB NOT NULL,
    iterations INTEGER NOT NULL,
    stored_key BLOB NOT NULL,
    server_key BLOB NOT NULL,
    PRIMARY KEY (account, hash)
) STRICT, WITHOUT ROWID;

-- From which unknown users' salts are derived.
CREATE TABLE host_secrets (
    domain TEXT PRIMARY KEY,
    secret BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Counts changes of an account's roster (RFC 6121 §2.6).
CREATE TABLE roster_versions (
    account TEXT PRIMARY KEY REFERENCES accounts (account) ON DELETE CASCADE,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE roster (
    account      TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    contact      TEXT NOT NULL,
    name         TEXT,
    subscription INTEGER NOT NULL, -- bit 0: to, bit 1: from
    ask          INTEGER NOT NULL,
    approved     INTEGER NOT NULL,
    PRIMARY KEY (account, contact)
) STRICT, WITHOUT ROWID;

CREATE TABLE roster_groups (
    account TEXT NOT NULL,
    contact TEXT NOT NULL,
    name    TEXT NOT NULL,
    PRIMARY KEY (account, contact, name),
    FOREIGN KEY (account, contact) REFERENCES roster (account, contact) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

-- Requests to subscribe that await the account's answer (RFC 6121 §3.1.3).
CREATE TABLE subscription_requests (
    account  TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    contact  TEXT NOT NULL,
    stanza   BLOB NOT NULL,
    received INTEGER NOT NULL,
    PRIMARY KEY (account, contact)
) STRICT, WITHOUT ROWID;

CREATE TABLE offline (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    account  TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    stanza   BLOB NOT NULL,
    received INTEGER NOT NULL
) STRICT;

CREATE INDEX offline_of_account ON offline (account, id);

-- Ids are never used twice: a peer's acknowledgement of the last row must not cover a later one.
CREATE TABLE outbox (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT NOT NULL,
    stanza      BLOB NOT NULL,
    created     INTEGER NOT NULL,
    expires     INTEGER NOT NULL
) STRICT;

CREATE INDEX outbox_of_destination ON outbox (destination, id);
CREATE INDEX outbox_by_expiry ON outbox (expires);

-- How long each queue is, so that its bound costs no count.
CREATE TABLE outbox_queues (
    destination TEXT PRIMARY KEY,
    length      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER outbox_grows AFTER INSERT ON outbox BEGIN
    INSERT INTO outbox_queues (destination, length) VALUES (NEW.destination, 1)
    ON CONFLICT (destination) DO UPDATE SET length = length + 1;
END;

CREATE TRIGGER outbox_shrinks AFTER DELETE ON outbox BEGIN
    UPDATE outbox_queues SET length = length - 1 WHERE destination = OLD.destination;
    DELETE FROM outbox_queues WHERE destination = OLD.destination AND length <= 0;
END;
