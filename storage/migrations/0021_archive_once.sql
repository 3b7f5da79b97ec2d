-- A message is kept once for both of its sides, in the order of acceptance, at the end of one table:
-- writing it touches a page or two, however many accounts there are. What finds it by account and
-- by peer is made of many messages at a time (`archive_sorted`).

CREATE TABLE archive_messages (
    number             INTEGER PRIMARY KEY AUTOINCREMENT,
    uid                TEXT NOT NULL, -- begins with the time, so that the index grows at its end too
    sender             TEXT NOT NULL, -- bare addresses, and their resources or nothing
    sender_resource    TEXT NOT NULL,
    recipient          TEXT NOT NULL,
    recipient_resource TEXT NOT NULL,
    kept_by            INTEGER NOT NULL, -- 1: the sender, 2: the recipient, 3: both
    stanza             BLOB NOT NULL, -- without the name that each side's archive gives it
    received           INTEGER NOT NULL
) STRICT;

-- Accounts that were imported bring names along that another may have as well.
CREATE INDEX archive_by_uid ON archive_messages (uid);

-- Which messages an account keeps, up to the number in `archive_sorted`.
CREATE TABLE archive_entries (
    account  TEXT NOT NULL,
    number   INTEGER NOT NULL,
    received INTEGER NOT NULL,
    peer     TEXT NOT NULL, -- the other side
    resource TEXT NOT NULL,
    PRIMARY KEY (account, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX archive_entries_with_peer ON archive_entries (account, peer, number, received);

CREATE TABLE archive_sorted (
    only    INTEGER PRIMARY KEY CHECK (only = 1),
    through INTEGER NOT NULL
) STRICT;

-- The same of the messages behind that number.
CREATE VIEW archive_tail AS
    SELECT sender AS account, number, received, recipient AS peer, recipient_resource AS resource
    FROM archive_messages
    WHERE number > (SELECT through FROM archive_sorted) AND kept_by & 1
    UNION ALL
    SELECT recipient, number, received, sender, sender_resource
    FROM archive_messages
    WHERE number > (SELECT through FROM archive_sorted) AND kept_by & 2;

-- Of the messages so far it is not said who had sent them: they are the recipient's.
INSERT INTO archive_messages
    SELECT number, uid, peer, resource, account, '', 2, stanza, received FROM archive ORDER BY number;
INSERT INTO archive_entries
    SELECT account, number, received, peer, resource FROM archive ORDER BY account, number;
INSERT INTO archive_sorted
    SELECT 1, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'archive'), 0);
-- Numbers are not used twice.
DELETE FROM sqlite_sequence WHERE name = 'archive_messages';
INSERT INTO sqlite_sequence (name, seq) SELECT 'archive_messages', through FROM archive_sorted;
DROP TABLE archive;

CREATE TRIGGER archive_of_nobody AFTER DELETE ON accounts BEGIN
    UPDATE archive_messages SET kept_by = kept_by & 2
    WHERE sender = OLD.account
    AND (number > (SELECT through FROM archive_sorted)
         OR number IN (SELECT number FROM archive_entries WHERE account = OLD.account));
    UPDATE archive_messages SET kept_by = kept_by & 1
    WHERE recipient = OLD.account
    AND (number > (SELECT through FROM archive_sorted)
         OR number IN (SELECT number FROM archive_entries WHERE account = OLD.account));
    DELETE FROM archive_messages
    WHERE kept_by = 0
    AND (number > (SELECT through FROM archive_sorted)
         OR number IN (SELECT number FROM archive_entries WHERE account = OLD.account));
    DELETE FROM archive_entries WHERE account = OLD.account;
END;
