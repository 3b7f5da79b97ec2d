-- Domains the operator has no streams with, whatever the configuration says. Times are milliseconds
-- since 1970.
CREATE TABLE blocked_peers (
    domain TEXT PRIMARY KEY,
    since  INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT, WITHOUT ROWID;
