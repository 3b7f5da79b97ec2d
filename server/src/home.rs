//! What every module may use: storage, sessions, services, and the ways out.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use comity_s2s::link::{Incoming, Status};
use comity_storage::Storage;
use comity_xmpp::error::StanzaError;
use comity_xmpp::stanza::Stanza;

use crate::afterwards::Afterwards;
use crate::blocklists::Blocklists;
use crate::counters::Counters;
use crate::expiries::Expiries;
use crate::fast::Tokens;
use crate::guard::Guard;
use crate::live::Live;
use crate::managed::Acknowledgements;
use crate::module::archive::Preferences;
use crate::module::registration::new::Registrations;
use crate::offers::Offers;
use crate::outreach::Outreach;
use crate::pace::Pace;
use crate::passwords::Passwords;
use crate::requests::Requests;
use crate::route::Hosts;
use crate::services::Services;
use crate::sessions::Sessions;
use crate::uploads::Uploads;
use crate::web::Places;

/// The streams to other domains, as the server uses them.
pub trait Remote: Send + Sync + 'static {
    /// Sends a stanza that is not worth keeping (presence, IQ), behind the rows that were told of
    /// before. What cannot be sent comes back, now or through
    /// `s2s::link::Server::undeliverable`.
    fn send(&self, domain: &str, stanza: Stanza) -> Result<(), Box<(Stanza, StanzaError)>>;
    /// There are new rows for this domain in the outbox.
    fn wake(&self, domain: &str);
    /// There are rows for this domain, perhaps since long: nothing happens where it is known.
    fn remind(&self, domain: &str);
    /// Our streams, and the wishes for one.
    fn outgoing(&self) -> Vec<Status> {
        Vec::new()
    }
    /// How many streams each domain has to us.
    fn incoming(&self) -> HashMap<String, Incoming> {
        HashMap::new()
    }
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
    pub limits: Live<Limits>,
    /// Whose messages are kept, and for how long.
    pub archive: Preferences,
    /// What clients have of what is kept for them.
    pub acknowledgements: Acknowledgements,
    pub federation: Federation,
    /// Bounds how many other domains an account addresses.
    pub outreach: Outreach,
    /// Makes keys of new passwords.
    pub passwords: Passwords,
    /// Who makes accounts.
    pub registrations: Registrations,
    /// Who fails to log in too often.
    pub guard: Guard,
    /// How fast accounts may send.
    pub pace: Pace,
    /// Whom our accounts do not want to hear of.
    pub blocklists: Blocklists,
    /// What the operator has us offer beside.
    pub offers: Live<Offers>,
    /// When the server began, in milliseconds since 1970.
    pub started_ms: u64,
    /// With which clients log in again.
    pub tokens: Tokens,
    /// Who may read the metrics.
    pub metrics_from: Live<Vec<IpAddr>>,
    /// Where browsers find us.
    pub web: Places,
    /// Files that people have uploaded.
    pub uploads: Uploads,
    /// From which the salts of unknown users are derived, by domain.
    pub host_secrets: HashMap<String, Vec<u8>>,
    /// When our own certificates end.
    pub expiries: Expiries,
    /// What has passed since the server began.
    pub counters: Counters,
    /// Bounds what is done after a stanza (see [`crate::deliver::Deliveries::afterwards`]).
    pub afterwards: Afterwards,
}

/// How much the server keeps for its users.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Messages kept for one account while it is away.
    pub offline_messages: usize,
    /// Items in one roster, and requests that await an answer.
    pub roster_items: usize,
    /// Addresses that one account blocks.
    pub blocked: usize,
    /// Addresses that one session may send directed presence to.
    pub directed_presences: usize,
    /// Sessions of one account at a time.
    pub resources: usize,
    /// PBKDF2 rounds of new passwords: what unknown users are told, so that they look alike.
    pub scram_iterations: u32,
    /// Of the publish-subscribe service of one account: nodes, items kept in one node, and bytes
    /// of all items.
    pub pubsub_nodes: usize,
    pub pubsub_items: usize,
    pub pubsub_bytes: u64,
    /// Bytes of private XML and the vCard of one account.
    pub private_bytes: u64,
    /// Milliseconds a stanza waits in the outbox before its sender is told.
    pub outbox_expiry_ms: u64,
    /// The same, where there is no such domain.
    pub unknown_expiry_ms: u64,
}

/// With which domains there may be streams.
#[derive(Clone, Debug, Default)]
pub struct Federation {
    /// By our domains; one without has streams with all. What is changed is changed for everybody.
    pub lists: Arc<Live<HashMap<String, Lists>>>,
    /// Domains of components (XEP-0114), which are reached another way.
    pub components: std::collections::BTreeSet<String>,
    /// In no case these, which the operator has blocked while the server ran.
    pub blocked: Blocked,
}

/// With whom one of our domains has streams.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Only these; `None`: all.
    pub allow: Option<HashSet<String>>,
    /// In any case not these.
    pub deny: HashSet<String>,
}

/// Changes while the server runs. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Blocked(Arc<RwLock<HashSet<String>>>);

impl Blocked {
    pub fn set(&self, domain: &str, blocked: bool) {
        let mut domains = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if blocked {
            domains.insert(domain.to_owned());
        } else {
            domains.remove(domain);
        }
    }

    #[must_use]
    pub fn contains(&self, domain: &str) -> bool {
        (self.0.read().unwrap_or_else(PoisonError::into_inner)).contains(domain)
    }
}

impl Federation {
    /// May there be streams between one of our domains and another?
    #[must_use]
    pub fn with(&self, ours: &str, peer: &str) -> bool {
        let lists = self.lists.now();
        let listed = lists.get(ours).is_none_or(|lists| lists.with(peer));
        listed && !self.blocked.contains(peer)
    }
}

impl Lists {
    fn with(&self, peer: &str) -> bool {
        !self.deny.contains(peer) && self.allow.as_ref().is_none_or(|allow| allow.contains(peer))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            offline_messages: 10_000,
            roster_items: 2_000,
            blocked: 1_000,
            directed_presences: 1_000,
            resources: 32,
            scram_iterations: 10_000,
            pubsub_nodes: 256,
            pubsub_items: 1_000,
            pubsub_bytes: 16 * 1024 * 1024,
            private_bytes: 1024 * 1024,
            outbox_expiry_ms: 3 * 24 * 3600 * 1000,
            unknown_expiry_ms: 5 * 60 * 1000,
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
