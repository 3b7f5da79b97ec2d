//! `[uploads]`: files that people send by way of this server (XEP-0363).

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Uploads {
    /// Octets of one file. Default 100 MiB; 0: nothing is taken in, and clients are told of no
    /// uploads.
    pub file_bytes: u64,
    /// Octets of all files of one account. Default 1 GiB.
    pub account_bytes: u64,
    /// Octets of all files. Default 20 GiB: a disk that is full takes in no messages either.
    pub total_bytes: u64,
    /// Files are kept for so long. Default "31d".
    #[serde(with = "crate::duration")]
    pub retention: Duration,
    /// Where they lie; in the data directory unless absolute. Nothing else may. Default `uploads`.
    pub folder: PathBuf,
}

impl Default for Uploads {
    fn default() -> Self {
        Self {
            file_bytes: 100 * 1024 * 1024,
            account_bytes: 1024 * 1024 * 1024,
            total_bytes: 20 * 1024 * 1024 * 1024,
            retention: Duration::from_secs(31 * 24 * 3600),
            folder: PathBuf::from("uploads"),
        }
    }
}

impl Uploads {
    /// What is wrong with it.
    pub(crate) fn broken(&self) -> Option<String> {
        if self.folder.as_os_str().is_empty() {
            return Some("folder is empty: name one that holds nothing else".to_owned());
        }
        if self.retention < Duration::from_secs(3600) {
            return Some("retention is less than an hour: nobody could fetch in time".to_owned());
        }
        None
    }
}
