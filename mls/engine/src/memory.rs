//! Rooms as the store has them, and the groups kept decoded.

use comity_xmpp::jid::BareJid;

use crate::engine::Engine;
use crate::error::Error;
use crate::mls::Group;
use crate::room::Record;
use crate::store::Space;

/// Rooms one engine follows.
pub const MAX_ROOMS: usize = 2_000;

/// Groups kept decoded; others are read from the store when needed.
const CACHED_GROUPS: usize = 64;

impl Engine {
    pub(crate) fn record(&self, room: &BareJid) -> Result<Option<Record>, Error> {
        self.rows.read(Space::Room, room.as_str().as_bytes())
    }

    pub(crate) fn write_record(&self, room: &BareJid, record: &Record) -> Result<(), Error> {
        self.rows
            .write(Space::Room, room.as_str().as_bytes(), record)
    }

    pub(crate) fn known_room(&self, room: &BareJid) -> Result<Record, Error> {
        self.record(room)?
            .ok_or_else(|| Error::UnknownRoom(room.clone()))
    }

    /// Every room this device has a record of.
    pub(crate) fn all_rooms(&self) -> Result<Vec<(BareJid, Record)>, Error> {
        let rows = self.rows.list::<Record>(Space::Room, b"", MAX_ROOMS)?;
        rows.into_iter()
            .map(|(key, record)| {
                let room = std::str::from_utf8(&key)
                    .ok()
                    .and_then(|text| BareJid::parse(text).ok())
                    .ok_or(Error::Corrupt { space: "room" })?;
                Ok((room, record))
            })
            .collect()
    }

    /// Takes a room's group out of the cache, or reads it. Give it back with [`Self::keep_group`]
    /// only if what it went through is written; drop it otherwise.
    pub(crate) fn take_group(&mut self, room: &BareJid, record: &Record) -> Result<Group, Error> {
        match self.groups.remove(room) {
            Some(group) => Ok(group),
            None => self.mls.load(&record.group_id),
        }
    }

    pub(crate) fn keep_group(&mut self, room: &BareJid, group: Group) {
        if self.groups.len() >= CACHED_GROUPS {
            let victim = self.groups.keys().next().cloned();
            if let Some(victim) = victim {
                self.groups.remove(&victim);
            }
        }
        self.groups.insert(room.clone(), group);
    }

    pub(crate) fn forget_group(&mut self, room: &BareJid) {
        self.groups.remove(room);
    }
}
