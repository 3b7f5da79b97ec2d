//! The devices that are syncing, and what has happened that each of them should look at.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comity_mls_wire::room::{Ephemeral, Member};
use comity_xmpp::jid::{BareJid, Jid};
use tokio::sync::Notify;

/// Messages outside the log that wait for one feed: what comes beyond is nothing to it.
const EPHEMERAL: usize = 32;

/// Who is syncing: at most one session of each device, the latest.
#[derive(Default)]
pub(crate) struct Feeds {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    devices: HashMap<Member, Fed>,
    rooms: HashMap<String, HashSet<Member>>,
}

struct Fed {
    signals: Arc<Signals>,
    /// The rooms it watches.
    rooms: HashSet<String>,
}

/// What one feed has not looked at yet.
pub(crate) struct Signals {
    pub(crate) session: Jid,
    news: Mutex<News>,
    pub(crate) bell: Notify,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// Rooms whose log has grown.
    pub(crate) grown: BTreeSet<String>,
    /// Rooms that the device has joined or left.
    pub(crate) moved: BTreeSet<String>,
    pub(crate) welcome: bool,
    /// By room: the device holds everything up to there.
    pub(crate) acknowledged: HashMap<String, u64>,
    pub(crate) acknowledged_welcomes: Vec<[u8; 16]>,
    /// Messages outside the log, for a device that has caught up.
    pub(crate) ephemeral: Vec<Arc<Ephemeral>>,
    /// Another session has taken over, or this one is gone.
    pub(crate) over: bool,
}

impl Feeds {
    /// Begins the feed of a device; one that it had before ends.
    pub(crate) fn begin(&self, device: &Member, session: Jid) -> Arc<Signals> {
        let signals = Arc::new(Signals {
            session,
            news: Mutex::default(),
            bell: Notify::new(),
        });
        let mut table = self.lock();
        match table.devices.get_mut(device) {
            Some(fed) => {
                let old = std::mem::replace(&mut fed.signals, Arc::clone(&signals));
                old.tell(|news| news.over = true);
            }
            None => {
                let fed = Fed {
                    signals: Arc::clone(&signals),
                    rooms: HashSet::new(),
                };
                table.devices.insert(device.clone(), fed);
            }
        }
        signals
    }

    /// The device wants to hear of this room.
    pub(crate) fn watch(&self, device: &Member, room: &str) {
        let mut table = self.lock();
        let Some(fed) = table.devices.get_mut(device) else {
            return;
        };
        if fed.rooms.insert(room.to_owned()) {
            let watching = table.rooms.entry(room.to_owned()).or_default();
            watching.insert(device.clone());
        }
    }

    /// The feed is over.
    pub(crate) fn end(&self, device: &Member, signals: &Arc<Signals>) {
        let mut table = self.lock();
        match table.devices.get(device) {
            Some(fed) if Arc::ptr_eq(&fed.signals, signals) => {}
            // Another feed of the same device goes on.
            _ => return,
        }
        let rooms = table.devices.remove(device).map(|fed| fed.rooms);
        for room in rooms.into_iter().flatten() {
            if let Some(watching) = table.rooms.get_mut(&room) {
                watching.remove(device);
                if watching.is_empty() {
                    table.rooms.remove(&room);
                }
            }
        }
    }

    /// A session's stream has ended, and its feed with it.
    pub(crate) fn gone(&self, session: &Jid, account: &BareJid) {
        let table = self.lock();
        for (device, fed) in &table.devices {
            if device.account == *account && fed.signals.session == *session {
                fed.signals.tell(|news| news.over = true);
            }
        }
    }

    /// A room's log has grown.
    pub(crate) fn grown(&self, room: &str) {
        let table = self.lock();
        for device in table.rooms.get(room).into_iter().flatten() {
            if let Some(fed) = table.devices.get(device) {
                fed.signals.tell(|news| {
                    news.grown.insert(room.to_owned());
                });
            }
        }
    }

    /// There is a message outside a room's log, for all who watch the room but its sender.
    pub(crate) fn pass(&self, ephemeral: &Arc<Ephemeral>, sender: &Member) {
        let table = self.lock();
        let watching = table.rooms.get(ephemeral.room.as_str());
        for device in watching.into_iter().flatten().filter(|d| *d != sender) {
            if let Some(fed) = table.devices.get(device) {
                fed.signals.tell(|news| {
                    if news.ephemeral.len() < EPHEMERAL {
                        news.ephemeral.push(Arc::clone(ephemeral));
                    }
                });
            }
        }
    }

    /// A device has come into a room, or is about to go; there may be a Welcome for it.
    pub(crate) fn moved(&self, device: &Member, room: &str) {
        self.tell(device, |news| {
            news.moved.insert(room.to_owned());
            news.welcome = true;
        });
    }

    pub(crate) fn tell(&self, device: &Member, change: impl FnOnce(&mut News)) {
        if let Some(fed) = self.lock().devices.get(device) {
            fed.signals.tell(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signals {
    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn device(account: &str) -> Member {
        Member {
            account: BareJid::parse(account).unwrap(),
            device: Uuid::from_u128(1),
        }
    }

    fn session(text: &str) -> Jid {
        Jid::parse(text).unwrap()
    }

    #[test]
    fn those_who_watch_a_room_are_told() {
        let feeds = Feeds::default();
        let (alice, bob) = (device("alice@a.example"), device("bob@a.example"));
        let of_alice = feeds.begin(&alice, session("alice@a.example/1"));
        let of_bob = feeds.begin(&bob, session("bob@a.example/1"));
        feeds.watch(&alice, "r");
        feeds.grown("r");
        assert!(of_alice.take().grown.contains("r"));
        assert_eq!(of_alice.take(), News::default());
        assert_eq!(of_bob.take(), News::default());
        feeds.end(&alice, &of_alice);
        feeds.grown("r");
        assert_eq!(of_alice.take(), News::default());
        assert!(feeds.lock().rooms.is_empty());
    }

    #[test]
    fn what_is_outside_the_log_reaches_the_others_and_is_bounded() {
        let feeds = Feeds::default();
        let (alice, bob) = (device("alice@a.example"), device("bob@a.example"));
        let of_alice = feeds.begin(&alice, session("alice@a.example/1"));
        let of_bob = feeds.begin(&bob, session("bob@a.example/1"));
        let room = BareJid::parse("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example").unwrap();
        feeds.watch(&alice, room.as_str());
        feeds.watch(&bob, room.as_str());
        let ephemeral = Arc::new(Ephemeral {
            room,
            epoch: 1,
            sender: alice.account.clone(),
            device: alice.device,
            message: bytes::Bytes::new(),
        });
        for _ in 0..EPHEMERAL + 5 {
            feeds.pass(&ephemeral, &alice);
        }
        assert_eq!(of_alice.take(), News::default());
        assert_eq!(of_bob.take().ephemeral.len(), EPHEMERAL);
    }

    #[test]
    fn the_latest_session_of_a_device_is_fed() {
        let feeds = Feeds::default();
        let alice = device("alice@a.example");
        let first = feeds.begin(&alice, session("alice@a.example/1"));
        feeds.watch(&alice, "r");
        let second = feeds.begin(&alice, session("alice@a.example/2"));
        assert!(first.take().over);
        // The first ends late: the second is still told.
        feeds.end(&alice, &first);
        feeds.grown("r");
        assert!(second.take().grown.contains("r"));
        feeds.gone(&session("alice@a.example/1"), &alice.account);
        assert!(!second.take().over);
        feeds.gone(&session("alice@a.example/2"), &alice.account);
        assert!(second.take().over);
    }
}
