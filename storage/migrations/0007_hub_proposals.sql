-- The hub proposes removals by itself: such a proposal is no leaf's.
CREATE TABLE room_proposals (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    -- Whose proposal it is; NULL: the hub's.
    leaf INTEGER,
    -- The leaf it takes away, if it takes one away.
    removes INTEGER,
    reference BLOB NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;

INSERT INTO room_proposals SELECT room, seq, leaf, removes, reference FROM room_pending;
DROP TABLE room_pending;
ALTER TABLE room_proposals RENAME TO room_pending;

-- Rooms with members at a domain, for when its certificates are revoked.
CREATE INDEX room_members_by_domain ON room_members (substr(account, instr(account, '@') + 1), room);
