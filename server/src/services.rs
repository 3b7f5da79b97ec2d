//! What modules keep in memory beside storage: keys, caches, locks. One field for each service of
//! the extension, opened once at start.

/// The services behind the modules of the MLS extension.
pub struct Services {}
