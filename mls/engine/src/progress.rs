//! How far a room is, where much of its log is still to come: for the person, who may wait for it.

use comity_xmpp::jid::BareJid;

use crate::engine::Engine;
use crate::event::Event;
use crate::room::Record;

/// Fewer entries are there before anybody has read how many there are.
const MANY: u64 = 64;
/// It is told so often on the way.
const STEPS: u64 = 20;

/// From where a room catches up, and how much of that was told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Catching {
    from: u64,
    told: u64,
}

impl Engine {
    /// The server speaks of entries up to `seq`.
    pub(crate) fn begin_catching(&mut self, room: &BareJid, record: &Record, seq: u64) {
        if seq.saturating_sub(record.seq) < MANY {
            self.catching.remove(room);
            return;
        }
        let catching = Catching {
            from: record.seq,
            told: 0,
        };
        self.catching.insert(room.clone(), catching);
        self.tell_catching(room, 0, seq - record.seq);
    }

    /// The room holds its log up to `seq` now.
    pub(crate) fn caught(&mut self, room: &BareJid, seq: u64) {
        let Some(catching) = self.catching.get_mut(room) else {
            return;
        };
        let known = self.known_seq.get(room).copied().unwrap_or(seq).max(seq);
        let (done, total) = (
            seq - catching.from.min(seq),
            known - catching.from.min(known),
        );
        let ended = done >= total;
        if ended || done - catching.told.min(done) >= (total / STEPS).max(1) {
            catching.told = done;
            self.tell_catching(room, done, total);
        }
        if ended {
            self.catching.remove(room);
        }
    }

    fn tell_catching(&mut self, room: &BareJid, done: u64, total: u64) {
        self.tell(Event::CatchingUp {
            room: room.clone(),
            done,
            total,
        });
    }
}
