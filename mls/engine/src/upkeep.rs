//! What is due by the clock: leaves and certificates renewed, what has expired forgotten.

use comity_xmpp::jid::BareJid;

use crate::commit::is_aging;
use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::room::{Plan, Record, Stage};
use crate::rules::agreed;

/// A leaf is renewed no more often than this, whatever the policy says, unless its device commits
/// anyway.
const SHORTEST_UPDATE_MS: u64 = 60 * 60 * 1_000;

impl Engine {
    pub(crate) fn upkeep(&mut self, now: u64) -> Result<(), Error> {
        self.schedule_upkeep(now);
        self.drop_expired(now)?;
        self.restock(now)?;
        self.compare_devices(now)?;
        self.watch_own_log(now);
        self.forget_logged(now)?;
        self.forget_old(now)?;
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
            let due = self.is_update_due(&room, &record, now)?;
            if (due || aging) && !self.has_plan(&room, &Plan::Update)? {
                self.add_plan(&room, &mut record, &Plan::Update)?;
                self.write_record(&room, &record)?;
            }
            self.touched.insert(room);
        }
        Ok(())
    }

    /// Does the policy want this leaf to be updated by now? (RFC 9750 §7, members that do not update)
    fn is_update_due(&mut self, room: &BareJid, record: &Record, now: u64) -> Result<bool, Error> {
        if now <= record.updated.saturating_add(SHORTEST_UPDATE_MS) {
            return Ok(false);
        }
        // A group that cannot be read is come back from, and that renews the leaf.
        if self.is_damaged(room, record)? {
            return Ok(false);
        }
        let group = self.take_group(room, record)?;
        let every = u64::from(agreed(&group).leaf_update_s) * 1_000;
        self.keep_group(room, group);
        Ok(now > record.updated.saturating_add(every))
    }
}
