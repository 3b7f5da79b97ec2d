-- What clients keep with their account: elements by namespace and name (XEP-0049, XEP-0054).
CREATE TABLE private_xml (
    account TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    ns      TEXT NOT NULL,
    name    TEXT NOT NULL,
    payload BLOB NOT NULL,
    updated INTEGER NOT NULL, -- milliseconds since 1970
    PRIMARY KEY (account, ns, name)
) STRICT, WITHOUT ROWID;

-- When an account's last session went, and what it said then (XEP-0012).
CREATE TABLE last_activity (
    account TEXT PRIMARY KEY REFERENCES accounts (account) ON DELETE CASCADE,
    gone    INTEGER NOT NULL, -- milliseconds since 1970
    status  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
