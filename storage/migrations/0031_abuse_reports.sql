-- What members have shown of messages in rooms that are ordered here, each found to be what its sender
-- said: for the operator, until it is discarded. It outlasts the room and its log.

CREATE TABLE abuse_reports (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room TEXT NOT NULL,
    seq INTEGER NOT NULL,
    -- Who said it, by the log.
    sender TEXT NOT NULL,
    device BLOB,
    sent INTEGER NOT NULL,
    -- What was said.
    message BLOB NOT NULL,
    content_type TEXT NOT NULL,
    content BLOB NOT NULL,
    -- Who shows it, and what they say to it.
    reporter TEXT NOT NULL,
    why TEXT NOT NULL,
    time INTEGER NOT NULL,
    UNIQUE (room, seq, reporter)
) STRICT;

CREATE INDEX abuse_reports_by_reporter ON abuse_reports (reporter, time);
