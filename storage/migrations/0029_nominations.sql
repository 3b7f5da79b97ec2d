-- Whom the hub asks to commit pending proposals where nobody is sending. Times are milliseconds since
-- 1970.

-- When a device of ours acknowledged something last.
ALTER TABLE room_devices ADD COLUMN active INTEGER NOT NULL DEFAULT 0;
-- When a proposal came.
ALTER TABLE room_pending ADD COLUMN time INTEGER NOT NULL DEFAULT 0;

-- The same of devices of other domains in rooms ordered here, as their domains tell.
CREATE TABLE room_active (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (room, account, device)
) STRICT, WITHOUT ROWID;

-- Who was asked in the epoch of a room ordered here, by the entry that says so.
CREATE TABLE room_nominations (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
