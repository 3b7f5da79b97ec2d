//! How this device stands to a room whose group is lost here (RFC 9750 §5.3, §6.6): what was lost and
//! why, and how often it has tried to come back.

use comity_mls_wire::limits::REASON_CHARACTERS;
use comity_mls_wire::room::{Entry, EntryKind, Hash, Payload};
use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Event, Refused};
use crate::flow::ARRIVES_WITHIN_MS;
use crate::follow::Step;
use crate::mls::PublicGroup;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{Record, Stage};
use crate::store::Space;

/// The first attempt waits so long; each further one of a day four times longer.
const FIRST_PAUSE_MS: u64 = 2_000;
/// Attempts in a day: who cannot stay does not wear out the room (RFC 9750 §5.3).
pub(crate) const ATTEMPTS_A_DAY: usize = 6;
const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

/// Kept after a return as well, so that the cap holds.
#[derive(Clone, Debug, Default, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Resync {
    /// Milliseconds since 1970: the attempts of the last day.
    pub(crate) tried: Vec<u64>,
    pub(crate) not_before: u64,
    pub(crate) lost: Option<Lost>,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Lost {
    /// The last epoch that was held.
    pub(crate) epoch: u64,
    /// The entry that could not be applied.
    pub(crate) seq: u64,
    pub(crate) hash: Hash,
    pub(crate) why: String,
    /// The group as anyone can follow it; none where its thread was lost.
    pub(crate) public: Option<Snapshot>,
    /// Messages that could not be read since.
    pub(crate) missed: u64,
    /// It is a commit that anyone can follow and this member cannot apply: the hub is to know.
    pub(crate) report: bool,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Snapshot(#[mls_codec(with = "mls_rs_codec::byte_vec")] pub(crate) Vec<u8>);

impl Resync {
    /// When the next attempt may be made.
    fn wait(&mut self, now: u64) {
        self.tried.retain(|at| at.saturating_add(DAY_MS) > now);
        let pause = match self.tried.len() {
            full if full >= ATTEMPTS_A_DAY => {
                let first = self.tried.iter().copied().min().unwrap_or(now);
                first.saturating_add(DAY_MS).saturating_sub(now)
            }
            tried => FIRST_PAUSE_MS << (2 * tried),
        };
        self.not_before = now.saturating_add(pause);
    }
}

impl Engine {
    pub(crate) fn resync(&self, room: &BareJid) -> Result<Resync, Error> {
        let found = self.rows.read(Space::Resync, room.as_str().as_bytes())?;
        Ok(found.unwrap_or_default())
    }

    pub(crate) fn write_resync(&self, room: &BareJid, resync: &Resync) -> Result<(), Error> {
        let key = room.as_str().as_bytes();
        self.rows.write(Space::Resync, key, resync)
    }

    /// The device is out of the room, or in it by another way.
    pub(crate) fn forget_resync(&mut self, room: &BareJid) -> Result<(), Error> {
        self.rows.delete(Space::Resync, room.as_str().as_bytes());
        self.forget_rejoin(room)
    }

    /// An accepted entry cannot be applied here; others may have applied it. It is followed as anyone
    /// can; if nobody could, the fault is the room's and coming back would not mend it.
    pub(crate) fn lose(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        why: &str,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        let own = entry.sender == self.account && entry.device == Some(self.own_device()?);
        if own {
            // It was made by this device, and its store does not know it.
            self.distrust(now)?;
            record.next_leaf = None;
        }
        self.forget_group(room);
        let public = match self.mls.load(&record.group_id) {
            Ok(group) => self.mls.observe(&group).ok(),
            Err(_) => None,
        };
        let before = record.clone();
        let lost = Lost {
            epoch: record.epoch,
            seq: entry.seq,
            hash: entry.payload.hash(),
            why: why.to_owned(),
            public: public.as_ref().map(snapshot).transpose()?,
            missed: 0,
            // One's own is nobody's fault but this device's.
            report: entry.kind == EntryKind::Commit
                && matches!(entry.payload, Payload::Held(_))
                && public.is_some()
                && !own,
        };
        self.begin_resync(room, record, lost, now)?;
        let step = self.take_public(record, entry, now)?;
        match step {
            Step::Done if record.stage == Stage::Resyncing => {
                self.tell(Event::RoomResyncing {
                    room: room.clone(),
                    seq: entry.seq,
                    why: why.to_owned(),
                });
            }
            Step::Done => {}
            // Its turn comes once more.
            Step::Blocked(_) | Step::Dropped => {
                *record = before;
                self.rows.delete(Space::Resync, room.as_str().as_bytes());
            }
        }
        Ok(step)
    }

    /// What was stored of the group cannot be read any more.
    pub(crate) fn lose_state(
        &mut self,
        room: &BareJid,
        mut record: Record,
        now: u64,
    ) -> Result<(), Error> {
        let why = "what this device had stored of the group cannot be read";
        let lost = Lost {
            epoch: record.epoch,
            seq: record.seq,
            hash: record.head,
            why: why.to_owned(),
            public: None,
            missed: 0,
            report: false,
        };
        self.begin_resync(room, &mut record, lost, now)?;
        self.tell(Event::RoomResyncing {
            room: room.clone(),
            seq: record.seq,
            why: why.to_owned(),
        });
        self.write_record(room, &record)
    }

    /// Can the group not be read from the store?
    pub(crate) fn is_damaged(&mut self, room: &BareJid, record: &Record) -> Result<bool, Error> {
        if self.groups.contains_key(room) {
            return Ok(false);
        }
        match self.mls.load(&record.group_id) {
            Ok(group) => {
                self.keep_group(room, group);
                Ok(false)
            }
            Err(Error::Corrupt { .. } | Error::Mls(_)) => Ok(true),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn begin_resync(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        lost: Lost,
        now: u64,
    ) -> Result<(), Error> {
        self.forget_in_flight(room);
        self.forget_group(room);
        self.forget_noted(room)?;
        self.clear_timer(&Timer::Proposals(room.clone()));
        record.stage = Stage::Resyncing;
        let mut resync = self.resync(room)?;
        resync.lost = Some(lost);
        self.put_off(room, &mut resync, now)?;
        self.touched.insert(room.clone());
        Ok(())
    }

    /// Sets the time of the next attempt; the person learns where it is far.
    pub(crate) fn put_off(
        &mut self,
        room: &BareJid,
        resync: &mut Resync,
        now: u64,
    ) -> Result<(), Error> {
        resync.wait(now);
        if resync.tried.len() >= ATTEMPTS_A_DAY {
            let why = format!("it was tried {ATTEMPTS_A_DAY} times today, and is again tomorrow");
            self.refused(Some(room), Refused::Resync, why);
        }
        self.set_timer(Timer::Retry(room.clone()), resync.not_before);
        self.write_resync(room, resync)
    }

    /// The next step of a device that comes back.
    pub(crate) fn resync_step(
        &mut self,
        room: &BareJid,
        record: &Record,
        now: u64,
    ) -> Result<(), Error> {
        if self.send_in_flight(room, now)? || !self.synced || self.is_behind(room, record) {
            return Ok(());
        }
        let resync = self.resync(room)?;
        if let Some(lost) = resync.lost.as_ref().filter(|lost| lost.report) {
            let report = comity_mls_wire::room::Request::Report {
                seq: lost.seq,
                hash: lost.hash,
                why: lost.why.chars().take(REASON_CHARACTERS).collect(),
            };
            self.ask(
                Purpose::Report(room.clone()),
                Destination::Room(room.clone()),
                Request::Room(report),
                now,
            );
        }
        if now < resync.not_before {
            self.set_timer(Timer::Retry(room.clone()), resync.not_before);
            return Ok(());
        }
        self.ask(
            Purpose::GroupInfo(room.clone()),
            Destination::Room(room.clone()),
            Request::Room(comity_mls_wire::room::Request::GroupInfo),
            now,
        );
        Ok(())
    }

    /// The hub knows that the commit cannot be applied here.
    pub(crate) fn on_reported(&mut self, room: &BareJid) -> Result<(), Error> {
        let mut resync = self.resync(room)?;
        match &mut resync.lost {
            Some(lost) => lost.report = false,
            None => return Ok(()),
        }
        self.write_resync(room, &resync)
    }

    /// Looked at again soon, without counting as an attempt.
    pub(crate) fn try_soon(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        let mut resync = self.resync(room)?;
        resync.not_before = now + ARRIVES_WITHIN_MS;
        self.set_timer(Timer::Retry(room.clone()), resync.not_before);
        self.write_resync(room, &resync)
    }
}

pub(crate) fn snapshot(public: &PublicGroup) -> Result<Snapshot, Error> {
    Ok(Snapshot(public.snapshot().to_bytes()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_a_day_has_a_cap() {
        let mut resync = Resync::default();
        let mut now = 1_000_000;
        let mut pauses = Vec::new();
        for _ in 0..ATTEMPTS_A_DAY {
            resync.wait(now);
            pauses.push(resync.not_before - now);
            now = resync.not_before;
            resync.tried.push(now);
        }
        assert_eq!(pauses[..3], [2_000, 8_000, 32_000]);
        resync.wait(now);
        let first = resync.tried[0];
        assert_eq!(resync.not_before, first + DAY_MS);
        resync.wait(first + DAY_MS);
        assert!(resync.tried.len() < ATTEMPTS_A_DAY);
    }
}
