//! Rooms of ours in which proposals wait, and when each is to be looked at.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Rooms looked at in one go; the others have their turn a moment later.
const AT_ONCE: usize = 256;
/// Rooms kept; beyond, the members themselves commit in the end.
const MOST: usize = 100_000;

/// By room, milliseconds since 1970.
#[derive(Default)]
pub(crate) struct Nominations {
    due: Mutex<HashMap<String, u64>>,
    /// What storage holds from before the start has been read.
    read: std::sync::atomic::AtomicBool,
}

impl Nominations {
    /// The room is to be looked at then, or before.
    pub(crate) fn look(&self, room: &str, at: u64) {
        let mut due = self.lock();
        let full = due.len() >= MOST;
        match due.get_mut(room) {
            Some(known) => *known = at.min(*known),
            None if full => {}
            None => drop(due.insert(room.to_owned(), at)),
        }
    }

    /// The rooms to be looked at now, those that wait longest first; they are kept no longer.
    pub(crate) fn take(&self, now: u64) -> Vec<String> {
        let mut due = self.lock();
        let ready = due.iter().filter(|(_, at)| **at <= now);
        let mut ready: Vec<(u64, String)> = ready.map(|(room, at)| (*at, room.clone())).collect();
        ready.sort_unstable();
        ready.truncate(AT_ONCE);
        for (_, room) in &ready {
            due.remove(room);
        }
        ready.into_iter().map(|(_, room)| room).collect()
    }

    /// True once: what waits from before the start is to be read.
    pub(crate) fn begin(&self) -> bool {
        !self.read.swap(true, std::sync::atomic::Ordering::Relaxed)
    }

    /// It could not be read: once more.
    pub(crate) fn again(&self) {
        self.read.store(false, std::sync::atomic::Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        // Nothing panics while it holds the lock.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_have_their_turn_when_it_is_time() {
        let nominations = Nominations::default();
        nominations.look("late", 20);
        nominations.look("early", 9);
        nominations.look("late", 30);
        nominations.look("earlier", 8);
        assert_eq!(nominations.take(7), Vec::<String>::new());
        assert_eq!(nominations.take(19), ["earlier", "early"]);
        assert_eq!(nominations.take(19), Vec::<String>::new());
        assert_eq!(nominations.take(20), ["late"]);
        for number in 0..2 * AT_ONCE {
            nominations.look(&number.to_string(), 1);
        }
        assert_eq!(nominations.take(1).len(), AT_ONCE);
        assert_eq!(nominations.take(1).len(), AT_ONCE);
        assert!(nominations.begin());
        assert!(!nominations.begin());
        nominations.again();
        assert!(nominations.begin());
    }
}
