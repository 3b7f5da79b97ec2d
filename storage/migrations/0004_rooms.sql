-- MLS rooms. A room is ordered by its hub; every member domain, the hub's own included, holds the
-- log once and knows which of its devices are in the room from which entry to which.

-- Rooms that are ordered here.
CREATE TABLE rooms (
    room TEXT NOT NULL PRIMARY KEY,
    group_id BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    head BLOB NOT NULL,
    -- Of the last entry.
    time INTEGER NOT NULL,
    -- The entry that began the epoch: the commit, or the creation.
    epoch_seq INTEGER NOT NULL,
    -- The public group as its follower keeps it, and apart from it the tree and the GroupInfo of
    -- the epoch.
    state BLOB NOT NULL,
    tree BLOB NOT NULL,
    group_info BLOB NOT NULL,
    -- The two accounts of a direct room.
    direct_a TEXT,
    direct_b TEXT,
    created INTEGER NOT NULL
) STRICT;

-- The leaves of a room ordered here.
CREATE TABLE room_members (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    leaf INTEGER NOT NULL,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    PRIMARY KEY (room, leaf)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_members_by_account ON room_members (account);

-- Proposals of the current epoch.
CREATE TABLE room_pending (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    -- Whose proposal it is.
    leaf INTEGER NOT NULL,
    -- The leaf it takes away, if it takes one away.
    removes INTEGER,
    reference BLOB NOT NULL,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;

-- What was accepted under which idempotency key.
CREATE TABLE room_answers (
    room TEXT NOT NULL,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    key BLOB NOT NULL,
    -- Of the request.
    digest BLOB NOT NULL,
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    time INTEGER NOT NULL,
    head BLOB NOT NULL,
    PRIMARY KEY (room, account, device, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_answers_by_time ON room_answers (time);

-- Other domains with devices in a room ordered here.
CREATE TABLE room_domains (
    room TEXT NOT NULL REFERENCES rooms (room) ON DELETE CASCADE,
    domain TEXT NOT NULL,
    -- First and last entry it gets.
    since INTEGER NOT NULL,
    until INTEGER,
    -- It holds everything up to here.
    acknowledged INTEGER NOT NULL,
    PRIMARY KEY (room, domain)
) STRICT, WITHOUT ROWID;

-- Who came or went with an entry of a room ordered here, for domains that have to fetch it.
CREATE TABLE room_changes (
    room TEXT NOT NULL,
    seq INTEGER NOT NULL,
    position INTEGER NOT NULL,
    domain TEXT NOT NULL,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    joined INTEGER NOT NULL,
    PRIMARY KEY (room, seq, position)
) STRICT, WITHOUT ROWID;

-- Rooms ordered elsewhere with devices of ours: how far the copy of each of our domains reaches
-- without a gap. The entries themselves are shared.
CREATE TABLE room_copies (
    room TEXT NOT NULL,
    domain TEXT NOT NULL,
    seq INTEGER NOT NULL,
    head BLOB NOT NULL,
    -- The entry with which the domain's last device left.
    until INTEGER,
    PRIMARY KEY (room, domain)
) STRICT, WITHOUT ROWID;

-- The entries of both.
CREATE TABLE room_log (
    id INTEGER PRIMARY KEY,
    room TEXT NOT NULL,
    seq INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    time INTEGER NOT NULL,
    sender TEXT NOT NULL,
    device BLOB,
    -- NULL once purged; the hash stays, so that the chain of heads still closes.
    payload BLOB,
    digest BLOB NOT NULL,
    head BLOB NOT NULL,
    signature BLOB,
    -- When it was stored here.
    stored INTEGER NOT NULL,
    UNIQUE (room, seq)
) STRICT;

-- What still has to be purged one day, oldest first.
CREATE INDEX room_log_held ON room_log (stored) WHERE payload IS NOT NULL;

-- Our devices in rooms, whoever orders them. A device that comes back has another row.
CREATE TABLE room_devices (
    room TEXT NOT NULL,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    domain TEXT NOT NULL,
    -- It joined with this entry and gets what follows.
    since INTEGER NOT NULL,
    -- It left with this entry, the last that it gets.
    until INTEGER,
    -- It has everything up to here.
    cursor INTEGER NOT NULL,
    PRIMARY KEY (account, device, room, since)
) STRICT, WITHOUT ROWID;

CREATE INDEX room_devices_by_room ON room_devices (room, until);

-- Welcomes, stored once, until each joiner has it: devices of ours, and at the hub other domains.
CREATE TABLE welcomes (
    id BLOB NOT NULL PRIMARY KEY,
    room TEXT NOT NULL,
    seq INTEGER NOT NULL,
    head BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    sender TEXT NOT NULL,
    -- NULL when nobody waits for them any more.
    welcome BLOB,
    tree BLOB,
    stored INTEGER NOT NULL
) STRICT;

CREATE INDEX welcomes_by_entry ON welcomes (room, seq);
CREATE INDEX welcomes_by_age ON welcomes (stored);

CREATE TABLE welcome_joiners (
    id BLOB NOT NULL REFERENCES welcomes (id) ON DELETE CASCADE,
    account TEXT NOT NULL,
    device BLOB NOT NULL,
    domain TEXT NOT NULL,
    key_package BLOB NOT NULL,
    acknowledged INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, account, device)
) STRICT, WITHOUT ROWID;

CREATE INDEX welcome_joiners_waiting ON welcome_joiners (account, device) WHERE acknowledged = 0;
