-- Streams between domains that count (s2s/QUEUE.md): what makes every stanza arrive once.

-- Who we are as a sender: the ids of `outbox` are numbers of this queue. Another identity whenever
-- the ids cannot be relied on to be new, as after a backup was restored.
CREATE TABLE outbox_identity (
    only  INTEGER PRIMARY KEY CHECK (only = 1),
    queue TEXT NOT NULL
) STRICT;

INSERT INTO outbox_identity (only, queue) VALUES (1, lower(hex(randomblob(16))));

-- What we hold of other domains' queues: everything up to `number`, with all that came of it.
CREATE TABLE inbound_queues (
    ours   TEXT NOT NULL,
    peer   TEXT NOT NULL,
    queue  TEXT NOT NULL,
    number INTEGER NOT NULL,
    heard  INTEGER NOT NULL,
    PRIMARY KEY (ours, peer)
) STRICT, WITHOUT ROWID;
