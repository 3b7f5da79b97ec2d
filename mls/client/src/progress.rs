//! How far something large is on its way between this device and its server.

use comity_xmpp::jid::BareJid;

/// What is smaller is there before anybody has read how large it is.
pub(crate) const LARGE: u64 = 256 * 1024;

/// Octets of something large.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    pub task: Task,
    /// The room it is of, where that is known.
    pub room: Option<BareJid>,
    pub done: u64,
    /// Equal to `done` at the end; a transfer that is given up has none.
    pub total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Task {
    /// Comes down, such as the tree of a large room that this device joins.
    Receiving,
    /// Goes up, such as the commit that lets many into a room.
    Sending,
}

impl Progress {
    /// In words, for a person.
    #[must_use]
    pub fn words(&self) -> String {
        let verb = match self.task {
            Task::Receiving => "receiving",
            Task::Sending => "sending",
        };
        format!(
            "{verb} {} of {} KiB",
            self.done / 1024,
            self.total.div_ceil(1024)
        )
    }
}
