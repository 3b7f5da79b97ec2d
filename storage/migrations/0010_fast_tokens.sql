-- Tokens that clients log in with again (XEP-0484). No token is here: each is derived, under a key
-- that is not in this database, from what stands here. A generation is the moment it was made, in
-- milliseconds since 1970, and so never comes twice.
CREATE TABLE fast_tokens (
    account          TEXT NOT NULL REFERENCES accounts (account) ON DELETE CASCADE,
    agent            TEXT NOT NULL,
    mechanism        TEXT NOT NULL,
    generation       INTEGER NOT NULL,
    expires          INTEGER NOT NULL,
    -- The one before, valid until the newer one is first used.
    previous         INTEGER,
    previous_expires INTEGER,
    -- The highest that a client has counted (XEP-0484 §4.2).
    replays          INTEGER NOT NULL,
    used             INTEGER NOT NULL,
    PRIMARY KEY (account, agent, mechanism)
) STRICT, WITHOUT ROWID;

-- A new password ends what was given for the old one.
CREATE TRIGGER fast_tokens_end_with_new_keys AFTER INSERT ON scram_keys BEGIN
    DELETE FROM fast_tokens WHERE account = NEW.account;
END;

CREATE TRIGGER fast_tokens_end_with_changed_keys AFTER UPDATE ON scram_keys BEGIN
    DELETE FROM fast_tokens WHERE account = NEW.account;
END;
