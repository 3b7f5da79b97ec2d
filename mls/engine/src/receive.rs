//! Following a room's log: entries in the order of their numbers, each chained to the one before.
//! An entry that is wrong leaves everything as it was.

use comity_mls_wire::room::{Entry, EntryKind, Payload};
use comity_mls_wire::sync::{self, Standing};
use comity_xmpp::jid::BareJid;

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::Warning;
use crate::follow::{Step, carries, hub_key};
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::room::{Record, Stage};
use crate::rows;
use crate::store::Space;

/// Entries of one room held before their turn; beyond it the server is asked again later.
const MAX_EARLY: usize = 1_024;
const MAX_EARLY_BYTES: usize = 4 * 1024 * 1024;
/// Rooms of which early entries are held.
const MAX_EARLY_ROOMS: usize = 256;
/// Heads kept for comparison with what other members saw.
const HEADS_KEPT: u64 = 4_096;
/// Entries after which it is said how far this device has come; the server sends 64 ahead.
const ACKNOWLEDGED_EVERY: u64 = 16;
/// Fewer wait so long for others: all who hear something would answer it at once.
const ACKNOWLEDGED_AFTER_MS: u64 = 2_000;
const RESYNC_MS: u64 = 1_000;
/// A server whose log does not chain is asked again after this.
const BROKEN_MS: u64 = 60_000;
/// What the server says it will send may take so long.
const ARRIVES_MS: u64 = 10_000;

impl Engine {
    pub(crate) fn on_entry(&mut self, entry: Entry, now: u64) -> Result<(), Error> {
        let room = entry.room.clone();
        let record = self.record(&room)?;
        if let Some(record) = &record
            && record.stage == Stage::Creating
        {
            return self.on_own_creation(&room, record, &entry, now);
        }
        let welcome = self.welcomes.iter().find(|welcome| welcome.room == room);
        let held = match (record, welcome) {
            (Some(record), _) if record.stage.follows() => record.seq,
            // It comes in as soon as its Welcome can be checked, and the entry is not given twice.
            (_, Some(welcome)) => welcome.seq,
            _ => return Ok(()),
        };
        if entry.seq <= held {
            return Ok(());
        }
        if !self.hold(entry) {
            self.broken.insert(room);
            self.set_timer(Timer::Behind, now + BROKEN_MS);
            return Ok(());
        }
        if self.blocked.contains_key(&room) {
            return Ok(());
        }
        self.drain_early(&room, now)
    }

    /// The answer to a creation may be lost; the log's first entry says the same.
    fn on_own_creation(
        &mut self,
        room: &BareJid,
        record: &Record,
        entry: &Entry,
        now: u64,
    ) -> Result<(), Error> {
        let Some(in_flight) = self.in_flight(room)? else {
            return Ok(());
        };
        if !carries(entry, &in_flight) {
            return Ok(());
        }
        let accepted = comity_mls_wire::room::Accepted {
            seq: entry.seq,
            epoch: record.epoch,
            time: entry.time,
            head: entry.head,
        };
        self.on_created(room, record.clone(), &in_flight, &accepted)?;
        self.acknowledge(room, now)
    }

    /// Keeps an entry until its turn; false if there is no place for it.
    fn hold(&mut self, entry: Entry) -> bool {
        if self.early.len() >= MAX_EARLY_ROOMS && !self.early.contains_key(&entry.room) {
            return false;
        }
        let early = self.early.entry(entry.room.clone()).or_default();
        let place = early.partition_point(|held| held.seq < entry.seq);
        if early.get(place).is_some_and(|held| held.seq == entry.seq) {
            // The log gives each number once; the first to come is judged first.
            return true;
        }
        let held: usize = early.iter().map(size).sum();
        if early.len() >= MAX_EARLY || held + size(&entry) > MAX_EARLY_BYTES {
            return false;
        }
        early.insert(place, entry);
        true
    }

    /// Takes the entries whose turn it is.
    pub(crate) fn drain_early(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        let mut advanced = false;
        while let Some(record) = self.record(room)? {
            let Some(early) = self.early.get_mut(room) else {
                break;
            };
            while early.front().is_some_and(|entry| entry.seq <= record.seq) {
                early.pop_front();
            }
            let awaits = self.welcomes.iter().any(|welcome| welcome.room == *room);
            if !record.stage.follows() && !awaits {
                early.clear();
            }
            match early.front() {
                Some(entry) if record.seq.checked_add(1) == Some(entry.seq) => {}
                Some(_) => {
                    self.set_timer(Timer::Behind, now + RESYNC_MS);
                    break;
                }
                None => {
                    self.early.remove(room);
                    break;
                }
            }
            let Some(entry) = early.pop_front() else {
                break;
            };
            match self.take_entry(record, &entry, now)? {
                Step::Done => {
                    advanced = true;
                    self.caught(room, entry.seq);
                }
                Step::Blocked(domain) => {
                    self.warn(
                        Some(room),
                        Warning::UnknownIssuer {
                            domain: domain.clone(),
                        },
                    );
                    self.await_issuer(&domain, now);
                    self.blocked.insert(room.clone(), domain);
                    self.hold(entry);
                    break;
                }
                Step::Dropped => {
                    self.early.remove(room);
                    self.broken.insert(room.clone());
                    self.set_timer(Timer::Behind, now + BROKEN_MS);
                    break;
                }
            }
        }
        if advanced {
            self.touched.insert(room.clone());
            self.acknowledge_soon(room, now)?;
        }
        Ok(())
    }

    fn take_entry(&mut self, mut record: Record, entry: &Entry, now: u64) -> Result<Step, Error> {
        let room = &entry.room;
        if !entry.follows(&record.head) {
            self.warn(Some(room), Warning::ChainBroken { seq: entry.seq });
            return Ok(Step::Dropped);
        }
        let step = match entry.kind {
            _ if record.stage == Stage::Resyncing => self.take_public(&mut record, entry, now)?,
            EntryKind::Notice => self.take_notice(&record, entry, now)?,
            _ if self.is_damaged(room, &record)? => {
                let why = "what this device had stored of the group cannot be read";
                self.lose(&mut record, entry, why, now)?
            }
            EntryKind::Application => self.take_message(&mut record, entry, now)?,
            EntryKind::Proposal => self.take_proposal(&mut record, entry, now)?,
            EntryKind::Commit => self.take_commit(&mut record, entry, now)?,
        };
        if let Step::Done = step {
            self.check_signed(&record, entry)?;
            if record.stage != Stage::Stopped {
                record.seq = entry.seq;
                record.head = entry.head;
                self.remember_head(room, &record);
            }
            self.write_record(room, &record)?;
        }
        Ok(step)
    }

    /// Between commits the hub signs some heads; those are looked at where they come.
    fn check_signed(&mut self, record: &Record, entry: &Entry) -> Result<(), Error> {
        let signed = entry.kind != EntryKind::Commit && entry.signature.is_some();
        if !signed || record.stage != Stage::Active || self.is_damaged(&entry.room, record)? {
            return Ok(());
        }
        let group = self.take_group(&entry.room, record)?;
        let hub = hub_key(&group);
        self.keep_group(&entry.room, group);
        self.check_head(hub.as_ref(), entry);
        Ok(())
    }

    pub(crate) fn remember_head(&mut self, room: &BareJid, record: &Record) {
        let key = |seq| rows::numbered(room.as_str(), seq);
        self.rows
            .put(Space::Head, &key(record.seq), record.head.to_vec());
        if let Some(old) = record.seq.checked_sub(HEADS_KEPT) {
            self.rows.delete(Space::Head, &key(old));
        }
    }

    /// This device has come further: it says so, or waits for more to say it of.
    fn acknowledge_soon(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        let Some(record) = self.record(room)? else {
            return Ok(());
        };
        let Some(said) = self.said.get(room) else {
            return self.acknowledge(room, now);
        };
        let unsaid = record.seq.saturating_sub(*said);
        self.unsaid.insert(room.clone(), unsaid);
        // Nothing comes after the end. And the server counts what is on its way of all rooms together.
        if record.stage != Stage::Active || self.unsaid.values().sum::<u64>() >= ACKNOWLEDGED_EVERY
        {
            return self.acknowledge_all(now);
        }
        self.set_timer(
            Timer::Acknowledge,
            now.saturating_add(ACKNOWLEDGED_AFTER_MS),
        );
        Ok(())
    }

    pub(crate) fn acknowledge_all(&mut self, now: u64) -> Result<(), Error> {
        self.clear_timer(&Timer::Acknowledge);
        for room in std::mem::take(&mut self.unsaid).into_keys() {
            self.acknowledge(&room, now)?;
        }
        Ok(())
    }

    /// Says how far this device has come; while one acknowledgement is under way, the next waits.
    pub(crate) fn acknowledge(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        self.unsaid.remove(room);
        if let Some(record) = self.record(room)? {
            self.said.insert(room.clone(), record.seq);
            let request = sync::Request::Acknowledge {
                room: room.clone(),
                seq: record.seq,
            };
            self.ask(
                Purpose::Acknowledge(room.clone()),
                Destination::Own,
                Request::Sync(request),
                now,
            );
        }
        Ok(())
    }

    pub(crate) fn on_acknowledged(
        &mut self,
        room: &BareJid,
        request: &Request,
        now: u64,
    ) -> Result<(), Error> {
        let Request::Sync(sync::Request::Acknowledge { seq, .. }) = request else {
            return Ok(());
        };
        match self.record(room)? {
            Some(record) if record.seq > *seq => self.acknowledge_soon(room, now),
            _ => Ok(()),
        }
    }

    /// The server will send what is missing; it says how much there is.
    pub(crate) fn on_syncing(&mut self, rooms: &[Standing], now: u64) -> Result<(), Error> {
        let first = !std::mem::replace(&mut self.synced, true);
        self.compare_standings(rooms, now)?;
        for Standing { room, seq, .. } in rooms.iter().take(crate::memory::MAX_ROOMS) {
            if let Some(record) = self.record(room)?
                && record.stage.follows()
                && *seq > record.seq
            {
                self.begin_catching(room, &record, *seq);
                self.expect_seq(room, *seq, ARRIVES_MS, now);
            }
        }
        if first {
            // Nothing new was made before.
            let rooms = self.all_rooms()?.into_iter();
            let active = rooms.filter(|(_, record)| record.stage.follows());
            self.touched.extend(active.map(|(room, _)| room));
            self.restock(now)?;
        }
        if !self.rooms_behind()?.is_empty() {
            // What it spoke of before and now does not is asked for as well.
            self.set_timer(Timer::Behind, now + ARRIVES_MS);
        }
        Ok(())
    }
}

fn size(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Held(payload) => payload.len(),
        Payload::Purged(_) => 0,
    }
}
