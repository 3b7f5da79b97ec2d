//! `[archive]`: what accounts have said and heard, kept for their clients (XEP-0313).

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Archive {
    /// Messages are kept for so long. Default "365d"; "0s": for ever.
    #[serde(with = "crate::duration")]
    pub retention: Duration,
    /// Messages of one account; the oldest go first. Default 100,000.
    pub messages: u32,
    /// Whose messages are kept, where an account has not said otherwise (XEP-0441). Default always.
    pub default: ArchivePolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ArchivePolicy {
    Always,
    /// Those with contacts.
    Roster,
    Never,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            retention: Duration::from_secs(365 * 24 * 3600),
            messages: 100_000,
            default: ArchivePolicy::Always,
        }
    }
}
