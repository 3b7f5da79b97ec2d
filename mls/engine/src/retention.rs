//! What was said is deleted from the device when its person no longer wants to keep it (RFC 9750
//! §8.3.4). What engines need to know of it, that it was said and by whom, is kept: it is no content.

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Item;
use crate::rows;
use crate::store::Space;

/// Lines of one room that go at a time, and how often within an hour; what is left goes in the next.
const CHUNK: usize = 1_000;
const CHUNKS: usize = 16;

impl Engine {
    /// Deletes the lines of all rooms that are older than they are to be kept, by the hubs' clocks.
    pub(crate) fn forget_old(&mut self, now: u64) -> Result<(), Error> {
        let Some(kept_ms) = self.options.keep_history_ms else {
            return Ok(());
        };
        let before = now.saturating_sub(kept_ms);
        for (room, _) in self.all_rooms()? {
            let prefix = rows::of_room(room.as_str());
            for _ in 0..CHUNKS {
                let lines = self.rows.list::<Item>(Space::History, &prefix, CHUNK)?;
                // They stand in the order of the log, and a log's times do not go back.
                let old = lines.iter().take_while(|(_, item)| item.time < before);
                let old: Vec<_> = old.map(|(key, _)| key).collect();
                old.iter()
                    .for_each(|key| self.rows.delete(Space::History, key));
                if old.len() < CHUNK {
                    break;
                }
            }
        }
        Ok(())
    }
}
