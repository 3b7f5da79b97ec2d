//! What this domain owes other hubs, or wants of them: acknowledgements of what is stored, and the
//! entries its copies lack. For each hub one task acknowledges, for each room one task fetches,
//! whatever comes in meanwhile: their answers come by the hub's own stream, which must not wait.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

/// Rooms of one hub that may be owed an acknowledgement at a time. What finds no place is
/// acknowledged with the room's next entry.
const ROOMS: usize = 65_536;
/// Welcomes acknowledged at once.
const WELCOMES: usize = 256;
/// Rooms that are fetched from at a time; a gap beyond is met again with the next entry.
const FETCHES: usize = 65_536;

/// One acknowledgement: cumulative for entries, one by one for Welcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) seq: u64,
    pub(crate) welcomes: Vec<Uuid>,
}

#[derive(Default)]
pub(crate) struct Owed {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    /// By our domain and the hub's.
    hubs: HashMap<(String, String), Hub>,
    /// By our domain and the room: whether there was another gap meanwhile.
    fetching: HashMap<(String, BareJid), bool>,
}

#[derive(Default)]
struct Hub {
    rooms: BTreeMap<BareJid, Due>,
    /// Somebody is about to acknowledge.
    busy: bool,
}

impl Owed {
    /// Notes that everything up to `seq` is stored; `true`: the caller begins to acknowledge to
    /// the room's hub, and goes on until [`Owed::due`] gives nothing.
    pub(crate) fn note(
        &self,
        domain: &str,
        room: &BareJid,
        seq: u64,
        welcome: Option<Uuid>,
    ) -> bool {
        let mut table = self.lock();
        let hub = table.hubs.entry(key(domain, room.domain())).or_default();
        if hub.rooms.len() < ROOMS || hub.rooms.contains_key(room) {
            hub.rooms.entry(room.clone()).or_default().add(seq, welcome);
        }
        !std::mem::replace(&mut hub.busy, true)
    }

    /// Takes what is to be said to a hub now, at most `limit` rooms. When there is nothing, the
    /// next [`Owed::note`] begins anew.
    pub(crate) fn due(&self, domain: &str, hub: &str, limit: usize) -> Vec<(BareJid, Due)> {
        let mut table = self.lock();
        let key = key(domain, hub);
        let Some(found) = table.hubs.get_mut(&key) else {
            return Vec::new();
        };
        let mut due = Vec::new();
        while due.len() < limit {
            let Some(next) = found.rooms.pop_first() else {
                break;
            };
            due.push(next);
        }
        if due.is_empty() {
            table.hubs.remove(&key);
        }
        due
    }

    /// The hub could not be told: what is named one by one waits for the next [`Owed::note`], and
    /// so does the rest, which whoever was acknowledging leaves alone.
    pub(crate) fn put_back(&self, domain: &str, hub: &str, untold: Vec<(BareJid, Due)>) {
        let mut table = self.lock();
        let found = table.hubs.entry(key(domain, hub)).or_default();
        found.busy = false;
        for (room, due) in untold {
            if found.rooms.len() >= ROOMS && !found.rooms.contains_key(&room) {
                continue;
            }
            let known = found.rooms.entry(room).or_default();
            known.add(due.seq, None);
            for id in due.welcomes {
                known.add(due.seq, Some(id));
            }
        }
    }

    /// `true`: the caller fetches what a copy lacks, until [`Owed::fetched`] says so. Else somebody
    /// does already, and will look once more.
    pub(crate) fn fetch(&self, domain: &str, room: &BareJid) -> bool {
        let mut table = self.lock();
        let key = (domain.to_owned(), room.clone());
        if let Some(again) = table.fetching.get_mut(&key) {
            *again = true;
            return false;
        }
        if table.fetching.len() >= FETCHES {
            return false;
        }
        table.fetching.insert(key, false);
        true
    }

    /// Nothing more is there; `true`: there was another gap meanwhile, so it is to be looked again.
    pub(crate) fn fetched(&self, domain: &str, room: &BareJid) -> bool {
        let mut table = self.lock();
        let key = (domain.to_owned(), room.clone());
        match table.fetching.get_mut(&key) {
            Some(again) if *again => {
                *again = false;
                true
            }
            _ => {
                table.fetching.remove(&key);
                false
            }
        }
    }

    /// It cannot be fetched now: the next gap begins anew.
    pub(crate) fn fetch_failed(&self, domain: &str, room: &BareJid) {
        let key = (domain.to_owned(), room.clone());
        self.lock().fetching.remove(&key);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it holds the lock.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Due {
    fn add(&mut self, seq: u64, welcome: Option<Uuid>) {
        self.seq = self.seq.max(seq);
        if let Some(id) = welcome
            && !self.welcomes.contains(&id)
            && self.welcomes.len() < WELCOMES
        {
            self.welcomes.push(id);
        }
    }
}

fn key(domain: &str, hub: &str) -> (String, String) {
    (domain.to_owned(), hub.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(name: &str) -> BareJid {
        BareJid::parse(&format!("~{name}@b.example")).unwrap()
    }

    #[test]
    fn what_comes_together_is_acknowledged_together_and_by_one() {
        let owed = Owed::default();
        let id = Uuid::from_u128(1);
        assert!(owed.note("a.example", &room("r"), 3, Some(id)));
        assert!(!owed.note("a.example", &room("r"), 5, Some(id)));
        // Another room of the same hub is no second task; another domain of ours is.
        assert!(!owed.note("a.example", &room("s"), 1, None));
        assert!(owed.note("c.example", &room("r"), 5, None));
        let due = |seq, welcomes| Due { seq, welcomes };
        let all = owed.due("a.example", "b.example", 9);
        let expected = [
            (room("r"), due(5, vec![id])),
            (room("s"), due(1, Vec::new())),
        ];
        assert_eq!(all, expected);
        // Whoever says it looks once more before the next may begin.
        assert!(!owed.note("a.example", &room("r"), 6, None));
        assert_eq!(owed.due("a.example", "b.example", 9).len(), 1);
        assert_eq!(owed.due("a.example", "b.example", 9), []);
        assert!(owed.note("a.example", &room("r"), 7, None));
    }

    #[test]
    fn what_could_not_be_said_is_said_with_the_next() {
        let owed = Owed::default();
        let id = Uuid::from_u128(1);
        owed.note("a.example", &room("r"), 3, Some(id));
        let untold = owed.due("a.example", "b.example", 1);
        owed.put_back("a.example", "b.example", untold);
        assert!(owed.note("a.example", &room("r"), 4, None));
        let due = Due {
            seq: 4,
            welcomes: vec![id],
        };
        assert_eq!(owed.due("a.example", "b.example", 9), [(room("r"), due)]);
    }

    #[test]
    fn a_thousand_entries_behind_a_gap_are_one_fetch() {
        let owed = Owed::default();
        assert!(owed.fetch("a.example", &room("r")));
        for _ in 0..1000 {
            assert!(!owed.fetch("a.example", &room("r")));
        }
        assert!(owed.fetch("a.example", &room("s")));
        // One came while the last answer was on its way.
        assert!(owed.fetched("a.example", &room("r")));
        assert!(!owed.fetched("a.example", &room("r")));
        assert!(owed.fetch("a.example", &room("r")));
        owed.fetch_failed("a.example", &room("r"));
        assert!(owed.fetch("a.example", &room("r")));
    }
}
