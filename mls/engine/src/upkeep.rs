//! What is due by the clock: leaves and certificates renewed, what has expired forgotten.

use crate::commit::is_aging;
use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::room::{Plan, Stage};

/// A leaf is renewed this often, unless its device commits anyway.
const LEAF_UPDATE_MS: u64 = 7 * 24 * 60 * 60 * 1_000;

impl Engine {
    pub(crate) fn upkeep(&mut self, now: u64) -> Result<(), Error> {
        self.schedule_upkeep(now);
        self.drop_expired(now)?;
        self.restock(now)?;
        self.compare_devices(now)?;
        self.watch_own_log(now);
        self.forget_logged(now)?;
        self.ask_inclusion(now)?;
        for (room, mut record) in self.all_rooms()? {
            if record.stage != Stage::Active {
                continue;
            }
            let aging = match &record.leaf {
                Some(leaf) if is_aging(&leaf.certificate, seconds(now)) => {
                    record.next_leaf.is_some() || !self.spare(leaf.suite, now)?.is_empty()
                }
                _ => false,
            };
            let due = now > record.updated.saturating_add(LEAF_UPDATE_MS);
            if (due || aging) && !self.has_plan(&room, &Plan::Update)? {
                self.add_plan(&room, &mut record, &Plan::Update)?;
                self.write_record(&room, &record)?;
            }
            self.touched.insert(room);
        }
        Ok(())
    }
}
