-- Rooms ordered here that take nothing in any more because the operator has closed them. Times are
-- milliseconds since 1970.
CREATE TABLE closed_rooms (
    room   TEXT PRIMARY KEY,
    since  INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
