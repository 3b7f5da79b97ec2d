//! MLS rooms: the log of a room where it is ordered, the copy of it at every member domain, and
//! how far each device has come.
//!
//! [`Append`] is the one change that lengthens a log at its hub; [`Receive`] the one that lengthens
//! a copy. Both carry what is to be sent, so that a crash after them is healed from the outbox.

mod abuse;
mod append;
mod closed;
mod copy;
mod device;
mod entry;
mod hub;
mod nominate;
mod purge;
mod report;
mod snapshot;
mod summary;
mod welcome;

#[cfg(test)]
mod tests;

pub use abuse::{ABUSE_REPORTS, AbuseReport, AbuseReportKept, DiscardAbuseReport, KeepAbuseReport};
pub use append::{Append, Appended, At, Begin, Epoch, Pending, PendingChange, Presence};
pub use closed::{CLOSED_LIMIT, CloseRoom, Closed, OpenRoom, RoomClosed};
pub use copy::{CopyState, Receive, ReceiveWelcome, Received};
pub use device::{AdvanceCursor, DeviceRoom, DeviceView};
pub use hub::{AcknowledgeDomain, DomainState, EnqueueForRoom, RoomRow, Updated};
pub use nominate::{Active, Nomination};
pub use purge::{PURGE_CHUNK, PurgeRooms, Purged};
pub use report::{Barred, ReportCommit};
pub use snapshot::{KeepSnapshot, Snapshot};
pub use summary::{RoomDetail, RoomDomain, RoomSummary};
pub use welcome::AcknowledgeWelcome;

/// A device id.
pub type DeviceId = [u8; 16];
/// SHA-256.
pub type Digest = [u8; 32];

/// One entry of a room's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub kind: u8,
    pub epoch: u64,
    /// Milliseconds since 1970, by the hub's clock.
    pub time: u64,
    pub sender: String,
    pub device: Option<DeviceId>,
    /// `None` once purged.
    pub payload: Option<Vec<u8>>,
    /// Of the payload.
    pub digest: Digest,
    /// Of the chain up to this entry.
    pub head: Digest,
    pub signature: Option<Vec<u8>>,
}

/// A device in a room.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leaf {
    pub leaf: u32,
    pub account: String,
    pub device: DeviceId,
}

/// A device that came or went with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub account: String,
    /// The account's domain.
    pub domain: String,
    pub device: DeviceId,
    pub joined: bool,
    /// The domain is one of ours: the device gets the log from here.
    pub local: bool,
}

/// Whom a Welcome serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    pub account: String,
    pub domain: String,
    pub device: DeviceId,
    pub key_package: Vec<u8>,
}

/// A Welcome on its way, with the tree it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub id: [u8; 16],
    pub room: String,
    /// The commit it belongs to.
    pub seq: u64,
    pub head: Digest,
    pub epoch: u64,
    pub sender: String,
    pub joiners: Vec<Joiner>,
    pub welcome: Vec<u8>,
    /// SHA-256; looked at where it is large.
    pub welcome_hash: Digest,
    /// As it travels.
    pub tree: Vec<u8>,
    /// SHA-256; looked at where it is large.
    pub tree_hash: Digest,
    /// Octets that come out of it, where it is packed.
    pub tree_inflated: Option<u64>,
}

/// What was accepted under an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub account: String,
    pub device: DeviceId,
    pub key: [u8; 16],
    /// Of the request.
    pub digest: Digest,
    pub seq: u64,
    pub epoch: u64,
    pub time: u64,
    pub head: Digest,
}

/// A blob column of fixed length. One of another length was not written by us.
fn fixed<const N: usize>(bytes: &[u8], column: &'static str) -> Result<[u8; N], sqlx::Error> {
    <[u8; N]>::try_from(bytes).map_err(|_| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: format!("{N} bytes were expected, {} came", bytes.len()).into(),
    })
}
