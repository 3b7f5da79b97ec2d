//! How far members have come, as they say inside the group (RFC 9750 §5.2): each message says up to
//! which entry its sender holds the log, and who has nothing to say may say that alone. No server has
//! a part in it.

use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::content::{ACKNOWLEDGEMENT, MessageId};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, What};
use crate::messages::counter_key;
use crate::plan::check_open;
use crate::room::Record;
use crate::rows;
use crate::store::Space;

/// Members of one room that are told apart.
const MAX_MEMBERS: usize = 100_000;

/// What is remembered of a sender in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Counted {
    /// Of its last message; nothing of this device's own.
    pub(crate) counter: u64,
    /// The last entry it is known to hold; for this device: has said that it holds.
    pub(crate) held: u64,
}

impl Engine {
    /// The last entry of the room's log that each other device is known to hold. Who has said nothing
    /// since it or this device came is not among them.
    pub fn held_by(&self, room: &BareJid) -> Result<Vec<(Device, u64)>, Error> {
        self.known_room(room)?;
        let prefix = rows::of_room(room.as_str());
        let own = counter_key(room, &self.own()?);
        let rows = self
            .rows
            .list::<Counted>(Space::Counter, &prefix, MAX_MEMBERS)?;
        let others = rows.into_iter().filter(|(key, _)| *key != own);
        let read = |(key, counted): (Vec<u8>, Counted)| {
            let (account, device) = key.get(prefix.len()..)?.split_last_chunk::<16>()?;
            let account = std::str::from_utf8(account.strip_suffix(&[0])?).ok()?;
            let device = Device {
                account: account.to_owned(),
                device: *device,
            };
            Some((device, counted.held))
        };
        Ok(others.filter_map(read).collect())
    }

    /// The person has read the room as far as this device holds it, and its members may know. Nothing
    /// is sent where nobody said anything since this device last spoke, or where something waits to be
    /// sent, which says the same. `None`: nothing was to be sent.
    pub fn acknowledge_reading(
        &mut self,
        room: &BareJid,
        now: u64,
    ) -> Result<Option<MessageId>, Error> {
        self.input(now, |engine| {
            let mut record = engine.known_room(room)?;
            check_open(room, &record)?;
            if record.leaving
                || engine.next_waiting(room)?.is_some()
                || !engine.is_owed(room, &record)?
            {
                return Ok(None);
            }
            let id = engine.queue(room, record.next_message, ACKNOWLEDGEMENT, b"")?;
            record.next_message += 1;
            engine.write_record(room, &record)?;
            engine.touched.insert(room.clone());
            Ok(Some(id))
        })
    }

    /// Has anybody else said anything since this device last said how far it is?
    fn is_owed(&self, room: &BareJid, record: &Record) -> Result<bool, Error> {
        let own = self.own()?;
        let said: Option<Counted> = self.rows.read(Space::Counter, &counter_key(room, &own))?;
        let mut after = said.map_or(0, |counted| counted.held);
        while after < record.seq {
            let page = self.history(room, after, crate::history::MAX_HISTORY)?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = last.seq;
            let others = |what: &What| matches!(what, What::Message(m) if m.sender != own);
            if page.iter().any(|item| others(&item.what)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A message under way says that this device holds the log up to where it is.
    pub(crate) fn said_to_hold(&self, room: &BareJid, record: &Record) -> Result<(), Error> {
        let counted = Counted {
            counter: 0,
            held: record.seq,
        };
        let key = counter_key(room, &self.own()?);
        self.rows.write(Space::Counter, &key, &counted)
    }

    pub(crate) fn own(&self) -> Result<Device, Error> {
        Ok(Device {
            account: self.account.as_str().to_owned(),
            device: self.device()?.unwrap_or(Uuid::nil()).into_bytes(),
        })
    }
}
