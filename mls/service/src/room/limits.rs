//! How much a hub takes, and from whom how often.

/// Octets of one stanza as it travels between servers (RFC 6120 §13.12 lets a server limit them).
pub const STANZA_BYTES: usize = 256 * 1024;

/// What a hub accepts.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Octets of an application message or a proposal. Default 64 KiB.
    pub message_bytes: usize,
    /// Octets of the commit. Default 4 MiB: path secrets for ten thousand leaves, each by itself.
    pub commit_bytes: usize,
    /// Devices in a room, whatever its policy says. Default 1,000.
    pub leaves: usize,
    /// Proposals waiting at a time. Default 64.
    pub pending: usize,
    /// Rooms kept in memory beside the database. Default 256.
    pub rooms_in_memory: usize,
    /// Entries of one answer to a domain that fetches. Default 100.
    pub fetch_entries: usize,
    /// Octets of payloads in it. Default 128 KiB.
    pub fetch_bytes: usize,
    /// Milliseconds an entry for another domain waits in the outbox. Default 90 days, as long as
    /// the log is kept: a domain that was away gets all of it.
    pub fanout_lifetime_ms: u64,
    /// Messages that an account may report in a day. Default 20.
    pub reports_per_day: usize,
    /// Reports of one room that are kept for the operator. Default 1,000.
    pub reports_of_room: usize,
    pub rates: RateLimits,
}

/// Requests an account may make in a minute, and as many at once after a pause.
#[derive(Clone, Debug)]
pub struct RateLimits {
    /// In a day, and a tenth as many at once. Default 100.
    pub creations_per_day: u32,
    /// Default 240.
    pub commits: u32,
    /// Default 60.
    pub proposals: u32,
    /// Default 1,200.
    pub messages: u32,
    /// Messages outside the log. Default 120: a chat state every half a second.
    pub ephemerals: u32,
    /// Default 1,200. For a domain that fetches and acknowledges, a hundred times as many.
    pub questions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 64 * 1024,
            commit_bytes: 4 * 1024 * 1024,
            leaves: 1_000,
            pending: 64,
            rooms_in_memory: 256,
            fetch_entries: 100,
            fetch_bytes: 128 * 1024,
            fanout_lifetime_ms: 90 * 24 * 3600 * 1000,
            reports_per_day: 20,
            reports_of_room: 1_000,
            rates: RateLimits::default(),
        }
    }
}

impl Default for RateLimits {
    fn default() -> Self {
        Self {
            creations_per_day: 100,
            commits: 240,
            proposals: 60,
            messages: 1_200,
            ephemerals: 120,
            questions: 1_200,
        }
    }
}
