-- Devices, the certificates issued to them, and the anchors of domains. Times are seconds since
-- 1970, as certificates count them.

-- A device id is never given twice, so rows stay when a device or its account is gone.
CREATE TABLE devices (
    id         BLOB PRIMARY KEY, -- UUID, 16 octets
    account    TEXT NOT NULL,
    name       TEXT NOT NULL,
    device_key BLOB NOT NULL UNIQUE, -- SubjectPublicKeyInfo
    registered INTEGER NOT NULL,
    revoked    INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX devices_of_account ON devices (account, registered);

-- Whoever is given the name of a deleted account is not given its devices.
CREATE TRIGGER devices_of_deleted_account AFTER DELETE ON accounts BEGIN
    UPDATE devices SET revoked = unixepoch() WHERE account = OLD.account AND revoked IS NULL;
END;

-- Everything ever issued. A key has one certificate, so that no two leaves share a key by our hand.
CREATE TABLE certificates (
    key_hash    BLOB PRIMARY KEY, -- SHA-256 of the SubjectPublicKeyInfo
    serial      BLOB NOT NULL UNIQUE,
    issuer      BLOB NOT NULL, -- SHA-256 of the issuing CA's SubjectPublicKeyInfo
    device      BLOB NOT NULL REFERENCES devices (id),
    certificate BLOB NOT NULL,
    issued      INTEGER NOT NULL,
    expires     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX certificates_of_device ON certificates (device, issued);

-- Our own anchors statements, each the successor of the one before.
CREATE TABLE published_anchors (
    domain   TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    signed   BLOB NOT NULL,
    issued   INTEGER NOT NULL,
    PRIMARY KEY (domain, sequence)
) STRICT, WITHOUT ROWID;

-- Other domains as they were last believed; the root is pinned.
CREATE TABLE pinned_anchors (
    domain   TEXT PRIMARY KEY,
    root     BLOB NOT NULL, -- SHA-256 of the root's certificate
    sequence INTEGER NOT NULL,
    expires  INTEGER NOT NULL,
    record   BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX pinned_anchors_by_expiry ON pinned_anchors (expires);
