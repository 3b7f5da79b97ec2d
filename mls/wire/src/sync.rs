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
    /// The rooms the device is in, each with the last seq its domain holds.
    Syncing {
        rooms: Vec<(BareJid, u64)>,
    },
    Acknowledged,
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
