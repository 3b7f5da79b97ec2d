//! `[storage]`: where facts are kept.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// The SQLite database; in the data directory unless absolute. Default `comity.db`. Put it on
    /// a disk that does not lie about having written.
    pub database: PathBuf,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            database: "comity.db".into(),
        }
    }
}
