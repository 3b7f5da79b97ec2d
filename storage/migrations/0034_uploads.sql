-- Files that people have uploaded (XEP-0363). The octets are files beside the database.

CREATE TABLE uploads (
    -- 16 random octets: what nobody guesses is read by whom it was told.
    id BLOB PRIMARY KEY NOT NULL,
    owner TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    -- When the place was asked for.
    promised INTEGER NOT NULL,
    -- When all of it was durable; NULL: not yet.
    stored INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX uploads_by_owner ON uploads (owner, stored, promised, size);
CREATE INDEX uploads_by_age ON uploads (stored, promised);

-- What all of them take, promises too: asked for at every promise.
CREATE TABLE upload_totals (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    files INTEGER NOT NULL,
    octets INTEGER NOT NULL
) STRICT;
INSERT INTO upload_totals (one, files, octets) VALUES (1, 0, 0);

CREATE TRIGGER uploads_more AFTER INSERT ON uploads BEGIN
    UPDATE upload_totals SET files = files + 1, octets = octets + NEW.size;
END;
CREATE TRIGGER uploads_less AFTER DELETE ON uploads BEGIN
    UPDATE upload_totals SET files = files - 1, octets = octets - OLD.size;
END;
