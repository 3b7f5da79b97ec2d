-- What a device has left is counted at each claim: from this alone, without the packages.
CREATE INDEX key_packages_stock
    ON key_packages (account, device, suite, last_resort, served, not_after)
    WHERE gone IS NULL;
