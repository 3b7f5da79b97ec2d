//! `[accounts]`: who makes them, and what is kept for one at most.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Accounts {
    /// People make accounts by themselves (XEP-0077). Default false.
    pub registration: bool,
    /// Tries to make one in an hour, of everybody. Default 100.
    pub registrations_per_hour: u32,
    /// And from one address. Default 5.
    pub registrations_per_address: u32,
    /// PBKDF2 rounds of new SCRAM keys. Default 10,000: what phones can do at every login (RFC 7677
    /// §4 asks for 4,096 or more). Existing passwords keep theirs until they are set anew.
    pub scram_iterations: u32,
    /// Messages kept while nobody is online. Default 10,000, weeks of a busy person's absence.
    pub offline_messages: u32,
    /// Contacts in a roster, and requests awaiting an answer. Default 2,000.
    pub roster_items: u32,
    /// Addresses it blocks (XEP-0191). Default 1,000; they are held in memory.
    pub blocked: u32,
    /// Sessions at a time. Default 32.
    pub sessions: u32,
    /// Nodes of its publish-subscribe service (XEP-0163). Default 256: clients use some twenty.
    pub pubsub_nodes: u32,
    /// Items of one node, where its owner wants as many as there can be. Default 1,000: a bookmark
    /// is an item.
    pub pubsub_items: u32,
    /// Octets of all items together. Default 16,777,216: avatars are the largest.
    pub pubsub_bytes: u64,
    /// Octets of private XML (XEP-0049) and the vCard. Default 1,048,576.
    pub private_bytes: u64,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            registration: false,
            registrations_per_hour: 100,
            registrations_per_address: 5,
            scram_iterations: 10_000,
            offline_messages: 10_000,
            roster_items: 2_000,
            blocked: 1_000,
            sessions: 32,
            pubsub_nodes: 256,
            pubsub_items: 1_000,
            pubsub_bytes: 16_777_216,
            private_bytes: 1_048_576,
        }
    }
}
