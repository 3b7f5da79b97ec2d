//! A device and its own server: which entries it has, which it still wants (`urn:xmpp:mls:0:room`,
//! IQs to one's own domain, entries and Welcomes as messages from there).

mod xml;

use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::room::{Entry, Ephemeral, Welcome};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// IQ set: waiting Welcomes, and of every room the device is in what follows the seq it names
    /// (rooms not named: from the device's own stored cursor), then live until the session ends.
    Sync { cursors: Vec<(BareJid, u64)> },
    /// IQ set: the device has stored everything up to `seq`.
    Acknowledge { room: BareJid, seq: u64 },
    /// IQ set: the device has joined by this Welcome, or can never use it.
    AcknowledgeWelcome { id: Uuid },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The rooms the device is in.
    Syncing {
        rooms: Vec<Standing>,
    },
    Acknowledged,
}

/// How a device stands to a room, as its domain sees it. From `since` and `stored` a device whose data
/// was restored from an older copy learns of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub room: BareJid,
    /// The last entry its domain holds for it.
    pub seq: u64,
    /// The entry with which it has come, the last time: it gets what follows.
    pub since: u64,
    /// What it has said to have stored, or where it begins.
    pub stored: u64,
}

/// A message from the room (relayed by one's own server) to the device's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    Entry(Entry),
    Welcome(Welcome),
    /// Outside the log, to a device that has caught up; never kept for later.
    Ephemeral(Ephemeral),
}

#[cfg(test)]
mod tests;
