//! A device whose data was put back to an older copy (a backup of the computer, a snapshot of a disk):
//! it learns of it from what its server and the hub remember of it, and then trusts nothing that it
//! may have used meanwhile (RFC 9420 §15.1, RFC 9750 §6.6).
//!
//! A room that it has left since is closed here. One that it has come to since is taken back by an
//! external commit, if the key of the leaf that it has there can still be found.

use comity_mls_credential::provider::certificate;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Head, Welcome};
use comity_mls_wire::sync::Standing;
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::group::Member;

use crate::certify::ENROL;
use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::Event;
use crate::memory::MAX_ROOMS;
use crate::mls::{Certified, OwnPackage};
use crate::outgoing::{Destination, Request};
use crate::publish::PUBLISH;
use crate::requests::Purpose;
use crate::resync::Lost;
use crate::room::{Body, Record, Stage};
use crate::stock::MAX_PACKAGES_READ;
use crate::store::Space;

/// What the server holds for a device comes within this time, Welcomes first.
const ARRIVES_MS: u64 = 10_000;
/// So soon after all packages were made anew, one that is not found was claimed before.
const AGAIN_MS: u64 = 10 * 60 * 1_000;
/// Before the certified keys that may have been used: no suite has this number.
const USED: [u8; 2] = [0xff, 0xff];
const MAX_KEYS_READ: usize = 1_024;
const WHY: &str = "how this device came to the room is not in its data, as in an older copy of it";

/// How a room stands that the server sees otherwise than this store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stray {
    /// The server gives nothing of it any more.
    Gone,
    /// The device came to it with an entry that is not held.
    Came {
        since: u64,
        /// What was held when it was last looked at.
        held: u64,
        /// The server gives nothing of what was before.
        lost: bool,
    },
}

impl Engine {
    /// Holds what is stored against what the server remembers of this device.
    pub(crate) fn compare_standings(
        &mut self,
        standings: &[Standing],
        now: u64,
    ) -> Result<(), Error> {
        let mut restored = false;
        for (room, record) in self.all_rooms()? {
            let standing = standings.iter().find(|standing| standing.room == room);
            if !record.stage.follows() {
                continue;
            }
            match standing {
                Some(standing) => restored |= standing.stored > record.seq,
                None => {
                    self.strays.insert(room.clone(), Stray::Gone);
                    self.ask_head(&room, now);
                }
            }
        }
        for standing in standings.iter().take(MAX_ROOMS) {
            let record = self.record(&standing.room)?;
            let held = match &record {
                Some(record) if matches!(record.stage, Stage::Preparing | Stage::Creating) => {
                    continue;
                }
                Some(record) => record.seq,
                None => 0,
            };
            if held < standing.since {
                // It has stored more than it came with.
                restored |= standing.stored > standing.since;
                let stray = Stray::Came {
                    since: standing.since,
                    held,
                    lost: standing.stored >= standing.since,
                };
                self.astray(&standing.room, stray, now);
            }
        }
        match restored {
            true => self.distrust(now),
            false => Ok(()),
        }
    }

    fn astray(&mut self, room: &BareJid, stray: Stray, now: u64) {
        if self.strays.len() < MAX_ROOMS {
            self.strays.insert(room.clone(), stray);
            self.set_timer(Timer::Strays, now + ARRIVES_MS);
        }
    }

    /// What was to come has come, or never will: then the hub is asked where the room stands.
    pub(crate) fn look_for_strays(&mut self, now: u64) -> Result<(), Error> {
        let strays: Vec<(BareJid, Stray)> =
            self.strays.iter().map(|(r, s)| (r.clone(), *s)).collect();
        for (room, stray) in strays {
            let Stray::Came { since, held, lost } = stray else {
                continue;
            };
            let seq = self.record(&room)?.map_or(0, |record| record.seq);
            if seq >= since {
                self.strays.remove(&room);
            } else if seq > held || self.welcomes.iter().any(|welcome| welcome.room == room) {
                let held = seq;
                self.astray(&room, Stray::Came { since, held, lost }, now);
            } else {
                self.ask_head(&room, now);
            }
        }
        Ok(())
    }

    /// A Welcome for a package that this store does not have: its device is in the room all the same.
    pub(crate) fn on_lost_package(&mut self, welcome: &Welcome, now: u64) -> Result<(), Error> {
        let unknown = MlsMessage::from_bytes(&welcome.welcome)
            .is_ok_and(|message| matches!(self.own_package(&message), Ok(None)));
        let held = self.record(&welcome.room)?.map_or(0, |record| record.seq);
        if !unknown || held >= welcome.seq {
            return Ok(());
        }
        let stray = Stray::Came {
            since: welcome.seq,
            held,
            lost: true,
        };
        self.astray(&welcome.room, stray, now);
        self.distrust(now)
    }

    /// Is this Welcome the only way into a room whose log the server gives from there on alone?
    pub(crate) fn leads_back(&self, welcome: &Welcome) -> bool {
        matches!(self.strays.get(&welcome.room),
            Some(Stray::Came { since, lost: true, .. }) if *since == welcome.seq)
    }

    /// Does the log end where this store says? Before the first message of a program that was started
    /// anew the hub is asked: what was sent since the store was copied would be sent with the same key
    /// again. True if there is nothing to fear.
    pub(crate) fn is_fresh(&mut self, room: &BareJid, now: u64) -> bool {
        let fresh = self.fresh.contains(room);
        if !fresh {
            self.ask_head(room, now);
        }
        fresh
    }

    fn ask_head(&mut self, room: &BareJid, now: u64) {
        self.ask(
            Purpose::Head(room.clone()),
            Destination::Room(room.clone()),
            Request::Room(room::Request::Head),
            now,
        );
    }

    pub(crate) fn on_head(&mut self, room: &BareJid, head: &Head, now: u64) -> Result<(), Error> {
        self.fresh.insert(room.clone());
        let stray = self.strays.remove(room);
        let record = self.record(room)?;
        let held = record.as_ref().map_or(0, |record| record.seq);
        match (record, stray) {
            (record, Some(Stray::Came { since, .. })) if held < since && held < head.seq => {
                self.find_again(room, record, head, now)?;
            }
            (Some(record), _) if record.stage.follows() => {
                if head.seq > record.seq {
                    self.expect_seq(room, head.seq, ARRIVES_MS, now);
                }
                self.touched.insert(room.clone());
            }
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn on_head_refused(
        &mut self,
        room: &BareJid,
        refusal: &Refusal,
        now: u64,
    ) -> Result<(), Error> {
        // Whatever is asked of the room next is refused by its own name.
        self.fresh.insert(room.clone());
        self.touched.insert(room.clone());
        let (Some(_), Refusal::NoRoom) = (self.strays.remove(room), refusal) else {
            return Ok(());
        };
        if let Some(mut record) = self.record(room)?
            && record.stage.follows()
        {
            // It was put out in the time that is lost here.
            self.distrust(now)?;
            record.next_leaf = None;
            self.close_room(room, &mut record, None)?;
            self.write_record(room, &record)?;
        }
        Ok(())
    }

    /// The device is in a room, and how it came there is lost: it goes on where the log stands now, as
    /// one that cannot read, until it is back.
    fn find_again(
        &mut self,
        room: &BareJid,
        known: Option<Record>,
        head: &Head,
        now: u64,
    ) -> Result<(), Error> {
        if known.is_none() && self.all_rooms()?.len() >= MAX_ROOMS {
            return Ok(());
        }
        let mut record = known.unwrap_or_else(|| Record::new(Stage::Resyncing));
        if !record.group_id.is_empty() && record.group_id != head.group_id {
            self.mls.forget(&record.group_id);
        }
        let lost = Lost {
            epoch: record.epoch,
            seq: head.seq,
            hash: head.head,
            why: WHY.to_owned(),
            public: None,
            missed: 0,
            report: false,
        };
        record.group_id = head.group_id.to_vec();
        record.epoch = head.epoch;
        record.seq = head.seq;
        record.head = head.head;
        self.early.remove(room);
        self.blocked.remove(room);
        self.known_seq.remove(room);
        self.begin_resync(room, &mut record, lost, now)?;
        self.remember_head(room, &record);
        self.write_record(room, &record)?;
        self.tell(Event::RoomResyncing {
            room: room.clone(),
            seq: head.seq,
            why: WHY.to_owned(),
        });
        self.acknowledge(room, now)
    }

    /// What is in stock may have been used since the copy was made: packages at the directory may have
    /// no private half here, and a key that is kept for the next leaf may be in a tree. All is made
    /// anew; the old keys stay, in case one of them is that of a leaf to come back to.
    pub(crate) fn distrust(&mut self, now: u64) -> Result<(), Error> {
        let lately = |at: u64| now < at.saturating_add(AGAIN_MS);
        if self.distrusted.is_some_and(lately) {
            return Ok(());
        }
        self.distrusted = Some(now);
        let Some(mut identity) = self.identity()? else {
            return Ok(());
        };
        // Older than any stock.
        identity.published = 0;
        self.write_identity(&identity)?;
        self.rows.delete(Space::Batch, ENROL);
        self.rows.delete(Space::Batch, PUBLISH);
        self.requests
            .drop_matching(|purpose| matches!(purpose, Purpose::Enrol | Purpose::Publish));
        for (key, spare) in self.keys_kept()? {
            if !key.starts_with(&USED) {
                self.rows.delete(Space::Certificate, &key);
                self.set_aside(&spare)?;
            }
        }
        for (room, mut record) in self.all_rooms()? {
            let in_flight = self.in_flight(&room)?.map(|in_flight| in_flight.body);
            if matches!(in_flight, Some(Body::Commit(body)) if body.rotates) {
                // It is settled with its commit.
                continue;
            }
            if let Some(next) = record.next_leaf.take() {
                self.set_aside(&next)?;
                self.write_record(&room, &record)?;
            }
        }
        self.tell(Event::Restored);
        self.restock(now)
    }

    fn keys_kept(&self) -> Result<Vec<(Vec<u8>, Certified)>, Error> {
        self.rows
            .list::<Certified>(Space::Certificate, b"", MAX_KEYS_READ)
    }

    fn set_aside(&self, key: &Certified) -> Result<(), Error> {
        let row = [&USED[..], &key.handle].concat();
        self.rows.write(Space::Certificate, &row, key)
    }

    /// The key of a leaf that has this device's name, wherever it is kept, and whether it may be in
    /// other rooms as well.
    pub(crate) fn key_of_leaf(
        &self,
        record: &Record,
        leaf: &Member,
    ) -> Result<Option<(Certified, bool)>, Error> {
        let public = leaf.signing_identity.signature_key.as_ref();
        let is_it = |key: &&Certified| {
            let own = self.keys.public(&key.key());
            own.is_ok_and(|own| own.as_mls() == public)
        };
        if let Some(key) = record.leaf.as_ref().filter(is_it) {
            return Ok(Some((key.clone(), record.rotate)));
        }
        let Ok(der) = certificate(&leaf.signing_identity.credential) else {
            return Ok(None);
        };
        let kept = self.keys_kept()?.into_iter().map(|(_, key)| (key, false));
        let packages = self
            .rows
            .list::<OwnPackage>(Space::KeyPackage, b"", MAX_PACKAGES_READ)?
            .into_iter()
            .filter_map(|(_, package)| Some((package.certified?, package.last_resort)));
        let mut found = kept
            .chain(packages)
            .filter(|(key, _)| key.certificate == der);
        Ok(found.find(|(key, _)| is_it(&key)))
    }
}
