-- KeyPackages that wait to be claimed. Lifetimes are seconds since 1970, as MLS writes them; other
-- times milliseconds.

CREATE TABLE key_packages (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    account     TEXT NOT NULL,
    device      BLOB NOT NULL,
    suite       INTEGER NOT NULL,
    last_resort INTEGER NOT NULL,
    -- KeyPackageRef. A row outlives its claim until the package has expired, so that a package
    -- which was served once is not taken in again.
    reference   BLOB NOT NULL UNIQUE,
    -- SHA-256 of the signature key: each package has a key of its own.
    signer      BLOB NOT NULL UNIQUE,
    -- Extension types its leaf supports, as ",1,2,3,".
    extensions  TEXT NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    package     BLOB NOT NULL,
    -- When it left the directory: claimed, replaced or deleted. NULL while it may be claimed.
    gone        INTEGER,
    -- Of a last resort: when it was first served. It may be served again.
    served      INTEGER
) STRICT;

CREATE INDEX key_packages_to_claim ON key_packages (account, device, last_resort, id)
    WHERE gone IS NULL;
CREATE INDEX key_packages_by_expiry ON key_packages (not_after);

-- A device that is revoked, for whatever reason, can no longer be invited.
CREATE TRIGGER key_packages_of_revoked_device AFTER UPDATE OF revoked ON devices
WHEN NEW.revoked IS NOT NULL BEGIN
    UPDATE key_packages SET gone = NEW.revoked * 1000
    WHERE gone IS NULL AND account = NEW.account AND device = NEW.id;
END;

-- Claims in the current window, by who asks, who is asked for, and whose domain asks.
CREATE TABLE key_package_claims (
    scope  TEXT NOT NULL,
    name   TEXT NOT NULL,
    -- Number of the window.
    window INTEGER NOT NULL,
    claims INTEGER NOT NULL,
    PRIMARY KEY (scope, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX key_package_claims_by_window ON key_package_claims (window);
