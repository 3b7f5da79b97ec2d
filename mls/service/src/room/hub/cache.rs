//! The rooms in memory: a lock for each, so that one change is in flight, and what was last known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use comity_xmpp::jid::BareJid;

use super::Slot;
use crate::room::state::Room;

type Lock = Arc<tokio::sync::Mutex<Option<Room>>>;

pub(super) struct Cache {
    most: usize,
    rooms: Mutex<Rooms>,
}

#[derive(Default)]
struct Rooms {
    locks: HashMap<BareJid, (Lock, u64)>,
    /// Counts uses, so that the room longest unused is known.
    clock: u64,
}

impl Cache {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            rooms: Mutex::default(),
        }
    }

    /// Waits until nobody else changes the room.
    pub(super) async fn lock(&self, room: &BareJid) -> Slot {
        let lock = self.of(room);
        lock.lock_owned().await
    }

    fn of(&self, room: &BareJid) -> Lock {
        // Nothing panics while it holds the lock.
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        rooms.clock += 1;
        let now = rooms.clock;
        if let Some((lock, used)) = rooms.locks.get_mut(room) {
            *used = now;
            return Arc::clone(lock);
        }
        if rooms.locks.len() >= self.most {
            rooms.forget(self.most);
        }
        let lock = Lock::default();
        rooms.locks.insert(room.clone(), (Arc::clone(&lock), now));
        lock
    }
}

impl Rooms {
    /// Forgets the quarter that was longest unused. A room in use is kept, so there may be as many
    /// more as there are requests in hand.
    fn forget(&mut self, most: usize) {
        let mut idle: Vec<(u64, BareJid)> = self
            .locks
            .iter()
            .filter(|(_, (lock, _))| Arc::strong_count(lock) == 1)
            .map(|(room, (_, used))| (*used, room.clone()))
            .collect();
        idle.sort_unstable();
        for (_, room) in idle.into_iter().take((most / 4).max(1)) {
            self.locks.remove(&room);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(number: usize) -> BareJid {
        BareJid::parse(&format!("~{number}@a.example")).unwrap()
    }

    #[tokio::test]
    async fn keeps_a_bounded_number_and_those_in_use() {
        let cache = Cache::new(8);
        let held = cache.lock(&room(0)).await;
        for number in 1..100 {
            drop(cache.lock(&room(number)).await);
        }
        let count = cache.rooms.lock().unwrap().locks.len();
        assert!(count <= 9, "{count}");
        assert!(Arc::strong_count(&cache.of(&room(0))) > 2);
        drop(held);
    }
}
