//! All that a domain's server remembers in one file, and back: the database as it was at one moment,
//! and the other files of the data directory, keys among them.
//!
//! The file is sealed under a passphrase ([`seal`]). It begins with a [`Manifest`]; then come the
//! database and the files, in its order. The database is copied before the files are read: a key
//! that is newer than the database is taken up by the server at its next start, while a database
//! whose key is missing would be of no use.
//!
//! What is not in it: the configuration, what it names outside the data directory, and keys that are
//! in tokens or offline.

mod restore;
mod save;
mod seal;

use std::io;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::lock::{self, LockError};
use crate::mishap;

pub use restore::restore;
pub use save::save;

/// In a data directory while it is filled.
const MARK: &str = "comity.restoring";
/// Octets of a manifest.
const MANIFEST_BYTES: u32 = 4 << 20;
/// Files beside the database, and octets of one of them: they are keys, certificates and the like.
const FILES: usize = 10_000;
const FILE_BYTES: u64 = 16 << 20;

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Seconds since 1970.
    pub made: u64,
    /// Of comity.
    pub version: String,
    /// Of the database.
    pub schema: i64,
    pub domains: Vec<String>,
    /// Octets of the database.
    pub database: u64,
    pub files: Vec<Stored>,
}

/// A file beside the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    /// Its path in the data directory.
    pub name: String,
    pub mode: u32,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} cannot be read or written: {source}; {}", path.display(), mishap::of_io(source))]
    File { path: PathBuf, source: io::Error },
    #[error("{} exists already: name another file", .0.display())]
    Exists(PathBuf),
    #[error(
        "{} lies in the data directory: name a file elsewhere, on another disk at best", .0.display()
    )]
    Inside(PathBuf),
    #[error("there is no database {}: nothing to back up; is it the right configuration?", .0.display())]
    Nothing(PathBuf),
    #[error("the database {} cannot be copied: {source}; {}", path.display(), source.trouble().todo())]
    Copy {
        path: PathBuf,
        source: comity_storage::Error,
    },
    #[error("{} is more than a data directory holds: move what is not the server's away", .0.display())]
    TooMuch(PathBuf),
    #[error("{} is no backup, as `comity backup` writes them", .0.display())]
    NoBackup(PathBuf),
    #[error(
        "the backup is of version {found}, and only version {} is known: upgrade",
        seal::VERSION
    )]
    Version { found: u8 },
    #[error("the backup cannot be opened: {0}; nothing was changed")]
    Closed(String),
    #[error("the backup holds what no backup holds: {0}")]
    Malformed(String),
    #[error(
        "the backup is of a newer version (comity {version}, schema {schema} > {known}): upgrade \
         comity, then restore"
    )]
    Newer {
        version: String,
        schema: i64,
        known: i64,
    },
    #[error(
        "{} is not empty ({found}): restore into an empty directory, or move away what is in it",
        data_dir.display()
    )]
    NotEmpty { data_dir: PathBuf, found: String },
    #[error("the database {} exists: move it away, or name another (storage.database)", .0.display())]
    Occupied(PathBuf),
    #[error("the backup is of {of}, which server.domains of this configuration does not name")]
    NotServed { of: String },
    #[error("{0}; the directory is not to be used: empty it, and try again")]
    Unfinished(Box<Self>),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("the cryptographic library failed: {0}")]
    Crypto(String),
}

/// Was a directory being filled when that ended?
#[must_use]
pub fn unfinished(data_dir: &Path) -> bool {
    data_dir.join(MARK).exists()
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::File {
        path: path.to_owned(),
        source,
    }
}

/// Files of a data directory that are of no use elsewhere, or are there already in another form.
fn passing(name: &str) -> bool {
    [lock::FILE, MARK, "admin.sock"].contains(&name)
}

/// Does a name lead to a place inside the data directory, and nowhere else?
fn proper(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_))) && !passing(name)
}

#[cfg(test)]
mod tests;
