-- Whom an account does not want to hear of (XEP-0191). The address may be a whole domain, an account,
-- or one resource of either.
CREATE TABLE blocklists (
    account TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    jid     TEXT NOT NULL,
    PRIMARY KEY (account, jid)
) STRICT, WITHOUT ROWID;
