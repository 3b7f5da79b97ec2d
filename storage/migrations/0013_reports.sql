-- Commits that members say they cannot apply, and devices that commit no more because several did.

CREATE TABLE room_reports (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    -- The commit.
    seq INTEGER NOT NULL,
    -- Who says so.
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    why TEXT NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (room, seq, account, device)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_reports_by_time ON room_reports (time);

CREATE TABLE room_barred (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    -- Its commit that could not be applied.
    seq INTEGER NOT NULL,
    time INTEGER NOT NULL,
    PRIMARY KEY (room, account, device)
) STRICT, WITHOUT ROWID;
