//! The Delivery Service of this server: the hub of our rooms, the copies of others, the devices
//! that are syncing, and what is still to be acknowledged to other hubs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use comity_conf::Conf;
use comity_mls_service::authority::{Authority, Trust};
use comity_mls_service::room::{Copies, Hub, HubKey, Limits, Pool, Surroundings};
use comity_mls_wire::blob;
use comity_mls_wire::room::Fanout;
use comity_storage::Storage;
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::{Kind, MessageType, Stanza};

use super::closed::ClosedRooms;
use super::feeds::Feeds;
use super::nominations::Nominations;
use super::owed::Owed;
use super::spent::Spent;
use crate::work::Work;

/// What the modules of the Delivery Service share.
pub struct Rooms {
    pub hub: Hub<Work>,
    pub copies: Copies,
    /// Of ours, those that the operator has closed.
    pub closed: ClosedRooms,
    /// Milliseconds that entries and Welcomes are kept.
    pub retention_ms: u64,
    pub(crate) feeds: Feeds,
    pub(crate) owed: Owed,
    pub(crate) spent: Spent,
    pub(crate) nominations: Nominations,
    /// When all rooms were last looked through, in milliseconds since 1970.
    pub(crate) swept: AtomicU64,
}

impl Rooms {
    pub(super) fn open(
        conf: &Conf,
        storage: &Storage,
        trust: &Trust,
        work: &Work,
        authorities: BTreeMap<String, Authority>,
    ) -> Self {
        let surroundings: Arc<dyn Surroundings> = Arc::new(Around { authorities });
        let section = &conf.mls.rooms;
        let retention_ms = u64::try_from(section.log_retention.as_millis()).unwrap_or(u64::MAX);
        let count = |of: u32| usize::try_from(of).unwrap_or(usize::MAX);
        let mut limits = Limits {
            reports_per_day: count(section.reports_per_day),
            reports_of_room: count(section.reports_of_room),
            leaves: count(section.devices),
            fanout_lifetime_ms: retention_ms,
            ..Limits::default()
        };
        limits.rates.messages = section.entries_per_minute;
        limits.rates.ephemerals = section.entries_per_minute;
        limits.rates.creations_per_day = section.created_per_day;
        let hub = Hub::new(
            storage.clone(),
            trust.provider.clone(),
            Arc::clone(&surroundings),
            limits,
            work.clone(),
        );
        Self {
            hub,
            copies: Copies::new(storage.clone(), surroundings),
            closed: ClosedRooms::default(),
            retention_ms,
            feeds: Feeds::default(),
            owed: Owed::default(),
            spent: Spent::default(),
            nominations: Nominations::default(),
            swept: AtomicU64::new(0),
        }
    }
}

impl Pool for Work {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Self::run(self, work).await.ok()
    }
}

struct Around {
    authorities: BTreeMap<String, Authority>,
}

impl Surroundings for Around {
    fn serves(&self, domain: &str) -> bool {
        self.authorities.contains_key(domain)
    }

    fn hub_key(&self, domain: &str) -> Option<Arc<HubKey>> {
        self.authorities
            .get(domain)
            .and_then(HubKey::of)
            .map(Arc::new)
    }

    fn stanza(&self, room: &BareJid, domain: &str, fanout: &Fanout) -> Vec<u8> {
        let mut payload = fanout.to_element();
        // The change that puts this stanza into the outbox keeps what is large.
        blob::put_out(&mut payload);
        let mut stanza = Stanza::new(Kind::Message(MessageType::Normal))
            .with_from(room.clone())
            .with(&payload);
        // The domain of an account's address is an address.
        stanza.to = Jid::parse(domain).ok();
        stanza.to_bytes(None).to_vec()
    }
}
