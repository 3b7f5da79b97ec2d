//! `[accounts]`: what is kept for one account, at most.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// PBKDF2 rounds of new SCRAM keys. Default 10,000: what phones can do at every login (RFC 7677
    /// §4 asks for 4,096 or more). Existing passwords keep theirs until they are set anew.
    pub scram_iterations: u32,
    /// Messages kept while nobody is online. Default 10,000, weeks of a busy person's absence.
    pub offline_messages: u32,
    /// Contacts in a roster, and requests awaiting an answer. Default 2,000.
    pub roster_items: u32,
    /// Sessions at a time. Default 32.
    pub sessions: u32,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            scram_iterations: 10_000,
            offline_messages: 10_000,
            roster_items: 2_000,
            sessions: 32,
        }
    }
}
