-- Names of accounts that were deleted. Nobody but the operator gives one to somebody else, who would
-- get what is meant for the one who had it.
CREATE TABLE former_accounts (
    account TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;
