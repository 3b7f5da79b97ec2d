//! What a person may read of a room, kept in the store, and questions about rooms.

use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;

use crate::commit::each_member;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Item, What};
use crate::room::Stage;
use crate::rows;
use crate::store::Space;

/// Lines of history given at once.
pub const MAX_HISTORY: usize = 1_000;

/// How a room stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoomInfo {
    pub room: BareJid,
    pub name: Option<String>,
    /// The other account, if it is the direct room of two.
    pub direct_with: Option<BareJid>,
    pub state: RoomState,
    pub epoch: u64,
    /// The last entry of the log this device holds.
    pub seq: u64,
    /// What [`Engine::mark_read`] was last given.
    pub read: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RoomState {
    /// Made here, not yet accepted by its hub.
    Creating,
    /// Made by somebody else; the Welcome is on its way.
    Awaiting,
    Active,
    /// The person asked to leave; the others still have to commit it.
    Leaving,
    Left,
    /// The group is lost here, and this device is coming back, see [`Event::RoomResyncing`].
    Resyncing,
    /// It cannot go on here, see [`Event::RoomStopped`].
    Stopped,
}

/// Who is in a room, in one epoch of it.
pub(crate) struct Listed {
    /// Its authenticator, which no other epoch of any room has.
    epoch: Vec<u8>,
    members: Vec<Member>,
}

impl Engine {
    /// All rooms this device is in, comes to or was in, by address.
    pub fn rooms(&self) -> Result<Vec<RoomInfo>, Error> {
        let rooms = self.all_rooms()?;
        Ok(rooms
            .into_iter()
            .map(|(room, record)| RoomInfo {
                room,
                name: record.name,
                direct_with: record.direct_with.and_then(|a| BareJid::parse(&a).ok()),
                state: match record.stage {
                    Stage::Preparing | Stage::Creating => RoomState::Creating,
                    Stage::Awaiting => RoomState::Awaiting,
                    Stage::Active if record.leaving => RoomState::Leaving,
                    Stage::Active => RoomState::Active,
                    Stage::Left => RoomState::Left,
                    Stage::Stopped => RoomState::Stopped,
                    Stage::Resyncing => RoomState::Resyncing,
                },
                epoch: record.epoch,
                seq: record.seq,
                read: record.read,
            })
            .collect())
    }

    /// The devices in a room, as MLS knows them.
    pub fn members(&mut self, room: &BareJid) -> Result<Vec<Member>, Error> {
        let record = self.known_room(room)?;
        if !matches!(record.stage, Stage::Active | Stage::Creating) {
            return Ok(Vec::new());
        }
        let group = self.take_group(room, &record)?;
        let epoch = group.epoch_authenticator()?.as_bytes().to_vec();
        let members = match self.listed.take() {
            Some(listed) if listed.epoch == epoch => listed.members,
            _ => {
                let mut members: Vec<Member> = each_member(&group)
                    .map(|(account, device)| Member { account, device })
                    .collect();
                members.sort();
                members
            }
        };
        self.keep_group(room, group);
        self.listed = Some(Listed {
            epoch,
            members: members.clone(),
        });
        Ok(members)
    }

    /// Equal on all devices that hold the same epoch, and on no other (RFC 9420 §8.7). Compared out
    /// of band it shows that nobody sits between.
    pub fn epoch_authenticator(&mut self, room: &BareJid) -> Result<Vec<u8>, Error> {
        let record = self.known_room(room)?;
        if record.stage != Stage::Active {
            return Err(Error::RoomClosed(room.clone(), "it has no epoch here"));
        }
        let group = self.take_group(room, &record)?;
        let authenticator = group.epoch_authenticator()?.as_bytes().to_vec();
        self.keep_group(room, group);
        Ok(authenticator)
    }

    /// Lines of a room's history after the entry `after`, oldest first, at most `limit`; a commit's
    /// lines are never torn apart unless they alone exceed it. Give the last line's `seq` to read
    /// on.
    pub fn history(&self, room: &BareJid, after: u64, limit: usize) -> Result<Vec<Item>, Error> {
        let limit = limit.min(MAX_HISTORY);
        let prefix = rows::of_room(room.as_str());
        let mut start = rows::numbered(room.as_str(), after);
        start.extend_from_slice(&[0xff; 4]);
        let found = self
            .rows
            .scan(Space::History, &prefix, Some(&start), limit + 1)?;
        let more = found.len() > limit;
        let mut items = found
            .into_iter()
            .take(limit)
            .map(|(_, bytes)| rows::decode::<Item>(Space::History, &bytes))
            .collect::<Result<Vec<_>, _>>()?;
        if let (true, Some(last)) = (more, items.last().map(|item| item.seq))
            && items.first().is_some_and(|first| first.seq != last)
        {
            items.retain(|item| item.seq != last);
        }
        Ok(items)
    }

    /// Everything up to the entry `seq` has been shown to the person. What lies beyond is in
    /// [`Self::history`] after a restart, so that nothing is shown twice or lost.
    pub fn mark_read(&mut self, room: &BareJid, seq: u64, now: u64) -> Result<(), Error> {
        self.input(now, |engine| {
            let mut record = engine.known_room(room)?;
            record.read = seq.max(record.read);
            engine.write_record(room, &record)
        })
    }

    /// Writes lines of history and tells of them.
    pub(crate) fn note(
        &mut self,
        room: &BareJid,
        seq: u64,
        time: u64,
        whats: Vec<What>,
    ) -> Result<(), Error> {
        for (place, what) in (0_u32..).zip(whats) {
            let item = Item { seq, time, what };
            let mut key = rows::numbered(room.as_str(), seq);
            key.extend_from_slice(&place.to_be_bytes());
            self.rows.write(Space::History, &key, &item)?;
            self.tell(Event::Item {
                room: room.clone(),
                item,
            });
        }
        Ok(())
    }
}
