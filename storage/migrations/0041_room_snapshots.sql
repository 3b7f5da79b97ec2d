-- The public group of a room, as it stood after some entry: what has ended or proposed since is
-- followed anew in the log. So a commit does not write what it leaves as it was, and what changes
-- with each entry does not lie beside what is large.

CREATE TABLE room_snapshots (
    room TEXT NOT NULL PRIMARY KEY REFERENCES rooms (room) ON DELETE CASCADE,
    -- The last entry that is in it.
    seq INTEGER NOT NULL,
    -- As the group's follower keeps it, and apart from it the tree.
    state BLOB NOT NULL,
    tree BLOB NOT NULL
) STRICT;

INSERT INTO room_snapshots (room, seq, state, tree) SELECT room, seq, state, tree FROM rooms;

ALTER TABLE rooms DROP COLUMN state;
ALTER TABLE rooms DROP COLUMN tree;

-- The entries to be followed from there, whose payloads stay until the next snapshot.
CREATE TABLE room_since (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
