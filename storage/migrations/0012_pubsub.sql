-- Publish-subscribe services of accounts (XEP-0163). Times are milliseconds since 1970.

CREATE TABLE pubsub_nodes (
    account   TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    node      TEXT NOT NULL,
    -- As the service writes it; a change names the one that it was decided upon.
    config    TEXT NOT NULL,
    -- Items kept, newest first; older ones are evicted.
    max_items INTEGER NOT NULL,
    created   INTEGER NOT NULL,
    PRIMARY KEY (account, node)
) STRICT, WITHOUT ROWID;

-- An item that is published again gets a new place: the order is that of the last publication.
CREATE TABLE pubsub_items (
    place     INTEGER PRIMARY KEY AUTOINCREMENT,
    account   TEXT NOT NULL,
    node      TEXT NOT NULL,
    item      TEXT NOT NULL,
    publisher TEXT NOT NULL,
    payload   BLOB NOT NULL,
    bytes     INTEGER NOT NULL,
    published INTEGER NOT NULL,
    UNIQUE (account, node, item),
    FOREIGN KEY (account, node) REFERENCES pubsub_nodes (account, node) ON DELETE CASCADE
) STRICT;

CREATE INDEX pubsub_items_in_order ON pubsub_items (account, node, place);
-- How much an account keeps, without reading what it keeps.
CREATE INDEX pubsub_items_by_size ON pubsub_items (account, bytes);

-- Entities with another affiliation than "none" (XEP-0060 §4.1); the owner is the account itself.
CREATE TABLE pubsub_affiliations (
    account     TEXT NOT NULL,
    node        TEXT NOT NULL,
    jid         TEXT NOT NULL,
    affiliation TEXT NOT NULL,
    PRIMARY KEY (account, node, jid),
    FOREIGN KEY (account, node) REFERENCES pubsub_nodes (account, node) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE TABLE pubsub_subscriptions (
    account TEXT NOT NULL,
    node    TEXT NOT NULL,
    jid     TEXT NOT NULL,
    -- Awaits the owner's approval (XEP-0060 §8.6).
    pending INTEGER NOT NULL,
    PRIMARY KEY (account, node, jid),
    FOREIGN KEY (account, node) REFERENCES pubsub_nodes (account, node) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
