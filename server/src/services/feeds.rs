//! The devices that are syncing, what has happened that each of them should look at, and the newest
//! entries of their rooms, ready to be sent: who keeps up is not read for.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use comity_mls_wire::room::{Ephemeral, Member};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::stanza::Stanza;
use tokio::sync::Notify;

/// Messages outside the log that wait for one feed: what comes beyond is nothing to it.
const EPHEMERAL: usize = 32;

/// Entries kept of a room while somebody watches it, and how long each may be; who lacks more, or
/// a longer one, is read for.
const RECENT: usize = 16;
const RECENT_BYTES: usize = 4096;

/// Who is syncing: at most one session of each device, the latest.
#[derive(Default)]
pub(crate) struct Feeds {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    devices: HashMap<Member, Fed>,
    rooms: HashMap<String, Watched>,
}

#[derive(Default)]
struct Watched {
    by: HashSet<Member>,
    /// The newest entries, without a gap, with their numbers.
    recent: VecDeque<(u64, Arc<Stanza>)>,
}

/// What follows an entry, ready to be sent.
pub(crate) struct Following {
    pub(crate) entries: Vec<(u64, Arc<Stanza>)>,
    /// As far as is known here, nothing follows those.
    pub(crate) complete: bool,
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
            let watched = table.rooms.entry(room.to_owned()).or_default();
            watched.by.insert(device.clone());
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
            if let Some(watched) = table.rooms.get_mut(&room) {
                watched.by.remove(device);
                if watched.by.is_empty() {
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

    /// Does anybody watch the room?
    pub(crate) fn watched(&self, room: &str) -> bool {
        self.lock().rooms.contains_key(room)
    }

    /// A room's log has grown: by this entry, if it is told.
    pub(crate) fn grown(&self, room: &str, entry: Option<(u64, Arc<Stanza>)>) {
        let mut table = self.lock();
        let Table { devices, rooms } = &mut *table;
        let Some(watched) = rooms.get_mut(room) else {
            return;
        };
        if let Some((seq, stanza)) = entry {
            watched.keep(seq, stanza);
        }
        for device in &watched.by {
            if let Some(fed) = devices.get(device) {
                fed.signals.tell(|news| {
                    news.grown.insert(room.to_owned());
                });
            }
        }
    }

    /// There is a message outside a room's log, for all who watch the room but its sender.
    pub(crate) fn pass(&self, ephemeral: &Arc<Ephemeral>, sender: &Member) {
        let table = self.lock();
        let watched = table.rooms.get(ephemeral.room.as_str());
        let watching = watched.into_iter().flat_map(|watched| &watched.by);
        for device in watching.filter(|device| *device != sender) {
            if let Some(fed) = table.devices.get(device) {
                fed.signals.tell(|news| {
                    if news.ephemeral.len() < EPHEMERAL {
                        news.ephemeral.push(Arc::clone(ephemeral));
                    }
                });
            }
        }
    }

    /// What follows `after`, up to `through` and at most `limit`; nothing, where that has to be read,
    /// as where `after` is not here itself: then it may not have been told yet that somebody went by
    /// it. Of whom [`Self::moved`] was told by an entry that is here, that was before.
    pub(crate) fn following(
        &self,
        room: &str,
        after: u64,
        through: u64,
        limit: usize,
    ) -> Option<Following> {
        let table = self.lock();
        let recent = &table.rooms.get(room)?.recent;
        let (first, last) = (recent.front()?.0, recent.back()?.0);
        // What is kept has no gap, so its places are its numbers.
        let skip = usize::try_from(after.checked_sub(first)?).ok()? + 1;
        let entries: Vec<_> = recent
            .iter()
            .skip(skip)
            .take_while(|(seq, _)| *seq <= through)
            .take(limit)
            .cloned()
            .collect();
        let complete = entries.last()?.0 == last;
        Some(Following { entries, complete })
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

impl Watched {
    fn keep(&mut self, seq: u64, stanza: Arc<Stanza>) {
        let follows = (self.recent.back()).is_none_or(|(last, _)| last.checked_add(1) == Some(seq));
        if !follows {
            // It may be an older one, told again; what stands here is as good without it.
            if (self.recent.back()).is_some_and(|(last, _)| seq <= *last) {
                return;
            }
            self.recent.clear();
        }
        if stanza.payload().len() > RECENT_BYTES {
            self.recent.clear();
            return;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, stanza));
    }
}

impl Signals {
    fn tell(&self, change: impl FnOnce(&mut News)) {
        change(&mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
        self.bell.notify_one();
    }

    /// Is there news of coming to the room, or going, that was not looked at?
    pub(crate) fn moved(&self, room: &str) -> bool {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        news.moved.contains(room)
    }

    pub(crate) fn take(&self) -> News {
        std::mem::take(&mut *self.news.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use comity_xmpp::element::Element;
    use comity_xmpp::stanza::{Kind, MessageType};
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
        feeds.grown("r", None);
        assert!(of_alice.take().grown.contains("r"));
        assert_eq!(of_alice.take(), News::default());
        assert_eq!(of_bob.take(), News::default());
        feeds.end(&alice, &of_alice);
        feeds.grown("r", None);
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
    fn who_keeps_up_gets_what_is_kept() {
        let feeds = Feeds::default();
        let alice = device("alice@a.example");
        let signals = feeds.begin(&alice, session("alice@a.example/1"));
        let stanza = || Arc::new(Stanza::new(Kind::Message(MessageType::Normal)));
        let grow = |seq| feeds.grown("r", Some((seq, stanza())));
        let seqs = |after, through, limit| {
            let found = feeds.following("r", after, through, limit)?;
            let seqs = found.entries.iter().map(|(seq, _)| *seq);
            Some((seqs.collect::<Vec<_>>(), found.complete))
        };
        // Nobody watches: nothing is kept.
        grow(4);
        assert_eq!(seqs(3, u64::MAX, 9), None);
        feeds.watch(&alice, "r");
        (4..8).for_each(grow);
        assert_eq!(seqs(4, u64::MAX, 9), Some((vec![5, 6, 7], true)));
        assert_eq!(seqs(6, u64::MAX, 9), Some((vec![7], true)));
        assert_eq!(seqs(4, u64::MAX, 2), Some((vec![5, 6], false)));
        assert_eq!(seqs(4, 5, 9), Some((vec![5], false)));
        // These are to be read, or there are none yet.
        assert_eq!(seqs(3, u64::MAX, 9), None);
        assert_eq!(seqs(7, u64::MAX, 9), None);
        assert_eq!(seqs(u64::MAX, u64::MAX, 9), None);
        // One that was told before changes nothing; after a gap everything begins anew.
        grow(6);
        assert_eq!(seqs(4, u64::MAX, 9), Some((vec![5, 6, 7], true)));
        grow(9);
        assert_eq!(seqs(7, u64::MAX, 9), None);
        assert_eq!(seqs(8, u64::MAX, 9), None);
        (10..40).for_each(grow);
        assert_eq!(feeds.lock().rooms["r"].recent.len(), RECENT);
        // A long one is read for.
        let long = Element::new("urn:x", "x").with_text("x".repeat(RECENT_BYTES));
        let long = Stanza::new(Kind::Message(MessageType::Normal)).with(&long);
        feeds.grown("r", Some((40, Arc::new(long))));
        assert_eq!(seqs(39, u64::MAX, 9), None);
        feeds.end(&alice, &signals);
        assert!(feeds.lock().rooms.is_empty());
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
        feeds.grown("r", None);
        assert!(second.take().grown.contains("r"));
        feeds.gone(&session("alice@a.example/1"), &alice.account);
        assert!(!second.take().over);
        feeds.gone(&session("alice@a.example/2"), &alice.account);
        assert!(second.take().over);
    }
}
