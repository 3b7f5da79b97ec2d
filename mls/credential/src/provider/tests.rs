//! A table of certificates, good and bad, and what `verify` says of each.
