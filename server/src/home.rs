//! What every module may use: storage, sessions, services, and the ways out.

use std::sync::Arc;
use std::time::SystemTime;

use comity_storage::Storage;
use comity_xmpp::stanza::Stanza;

use crate::requests::Requests;
use crate::route::Hosts;
use crate::services::Services;
use crate::sessions::Sessions;

/// The streams to other domains, as the server uses them.
pub trait Remote: Send + Sync + 'static {
    /// Sends a stanza that is not worth keeping (presence, IQ). What cannot be sent comes back
    /// through `s2s::link::Server::undeliverable`.
    fn send(&self, domain: &str, stanza: Stanza);
    /// There are new rows for this domain in the outbox.
    fn wake(&self, domain: &str);
}

/// The clock of the server, so that plays over simulated weeks run in one process.
pub trait Clock: Send + Sync + 'static {
    fn wall(&self) -> SystemTime;
}

/// The clock of the machine.
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}

/// One homeserver's shared state. Cheap to clone.
#[derive(Clone)]
pub struct Home(Arc<Shared>);

/// What [`Home`] shares.
pub struct Shared {
    pub hosts: Hosts,
    pub storage: Storage,
    pub sessions: Sessions,
    pub services: Services,
    pub requests: Requests,
    pub remote: Arc<dyn Remote>,
    pub clock: Arc<dyn Clock>,
    pub limits: Limits,
}

/// How much the server keeps for its users.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages kept for one account while it is away.
    pub offline_messages: u32,
    /// Items in one roster.
    pub roster_items: u32,
    /// Sessions of one account at a time.
    pub resources: usize,
    /// Milliseconds a stanza waits in the outbox before its sender is told.
    pub outbox_expiry_ms: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            offline_messages: 10_000,
            roster_items: 2_000,
            resources: 32,
            outbox_expiry_ms: 3 * 24 * 3600 * 1000,
        }
    }
}

impl Home {
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self(Arc::new(shared))
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        millis(self.clock.wall())
    }

    /// Seconds since 1970.
    #[must_use]
    pub fn now_s(&self) -> u64 {
        self.now_ms() / 1000
    }
}

impl std::ops::Deref for Home {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

pub(crate) fn millis(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
