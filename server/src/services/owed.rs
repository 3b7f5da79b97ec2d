//! What this domain has stored of other hubs' rooms and not yet acknowledged to them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

/// Rooms that may be owed an acknowledgement at a time. What finds no place is acknowledged with
/// the room's next entry.
const ROOMS: usize = 65_536;
/// Welcomes acknowledged at once.
const WELCOMES: usize = 256;

/// One acknowledgement: cumulative for entries, one by one for Welcomes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) seq: u64,
    pub(crate) welcomes: Vec<Uuid>,
}

#[derive(Default)]
pub(crate) struct Owed {
    /// By our domain and the room.
    rooms: Mutex<HashMap<(String, BareJid), Due>>,
}

impl Owed {
    /// Notes that everything up to `seq` is stored; `true` if nobody is about to say so yet.
    pub(crate) fn note(
        &self,
        domain: &str,
        room: &BareJid,
        seq: u64,
        welcome: Option<Uuid>,
    ) -> bool {
        let mut rooms = self.lock();
        let key = (domain.to_owned(), room.clone());
        let new = !rooms.contains_key(&key);
        if new && rooms.len() >= ROOMS {
            return false;
        }
        let due = rooms.entry(key).or_default();
        due.seq = due.seq.max(seq);
        if let Some(id) = welcome
            && !due.welcomes.contains(&id)
            && due.welcomes.len() < WELCOMES
        {
            due.welcomes.push(id);
        }
        new
    }

    /// What is to be said now.
    pub(crate) fn take(&self, domain: &str, room: &BareJid) -> Option<Due> {
        self.lock().remove(&(domain.to_owned(), room.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, BareJid), Due>> {
        // Nothing panics while it holds the lock.
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_together_is_acknowledged_together() {
        let owed = Owed::default();
        let room = BareJid::parse("~r@b.example").unwrap();
        let id = Uuid::from_u128(1);
        assert!(owed.note("a.example", &room, 3, Some(id)));
        assert!(!owed.note("a.example", &room, 5, Some(id)));
        assert!(!owed.note("a.example", &room, 4, None));
        let due = Due {
            seq: 5,
            welcomes: vec![id],
        };
        assert_eq!(owed.take("c.example", &room), None);
        assert_eq!(owed.take("a.example", &room), Some(due));
        assert_eq!(owed.take("a.example", &room), None);
        assert!(owed.note("a.example", &room, 6, None));
    }
}
