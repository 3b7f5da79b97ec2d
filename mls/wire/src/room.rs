//! `urn:xmpp:mls:0:room`: the Delivery Service (RFC 9750 §5.2). IQs to the room's address at its
//! hub; entries and Welcomes come back as messages from the room to each member domain.

mod address;
mod answer;
mod entry;
mod ephemeral;
mod log;
mod notice;
mod request;
mod tree;

use bytes::Bytes;
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

pub use address::{SIGIL, direct, direct_domain, is_room, random};
pub use log::{GENESIS, head, payload_hash};
pub use notice::{Barred, Nominated, Notice};
pub use request::stamp;
pub use tree::{Tree, TreeError};

/// SHA-256.
pub type Hash = [u8; 32];

/// Chosen by the device, unique among its requests to this room: the same key and bytes get the
/// same answer, the same key with other bytes is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(pub Uuid);

/// What a device asks of a room. Its own server has stamped the request with the device the session
/// has proved (`<device id='…'/>`), as `Stamped` carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// IQ get, to the room: what a creator has to know beforehand; answered for rooms that do not
    /// exist too.
    Hub,
    /// IQ set: a group of one, at epoch 0. The group's external_senders must name the hub.
    Create(Create),
    /// IQ get: where the room stands. Members only.
    Info,
    /// IQ get: the same without the members, however many there are. Members only.
    Head,
    /// IQ set: ends the epoch.
    Commit(Bundle),
    /// IQ set: a proposal by reference (PublicMessage).
    Propose {
        key: IdempotencyKey,
        proposal: Bytes,
    },
    /// IQ set: an application message (PrivateMessage) of the current epoch.
    Send {
        key: IdempotencyKey,
        epoch: u64,
        message: Bytes,
    },
    /// IQ set: a message (PrivateMessage) of the current epoch for those who are there now. It gets
    /// no place in the log, and who is away never sees it.
    Ephemeral { epoch: u64, message: Bytes },
    /// IQ get: what became of an earlier request of this device.
    Status { key: IdempotencyKey },
    /// IQ get: GroupInfo and tree of the current epoch, for those who may join from outside.
    GroupInfo,
    /// IQ set: an accepted commit, the entry `seq`, cannot be applied by this device.
    Report {
        seq: u64,
        /// SHA-256 of the commit.
        hash: Hash,
        why: String,
    },
    /// IQ set: somebody's message, for the hub's operator.
    ReportMessage(Box<MessageReport>),
    /// IQ get, from a member domain: entries it lacks.
    Fetch { after: u64, limit: u16 },
    /// IQ set, from a member domain: it holds all entries up to `seq`, and these Welcomes.
    Acknowledge {
        seq: u64,
        welcomes: Vec<Uuid>,
        /// Its devices that have acknowledged something of the room last, the latest first.
        active: Vec<Member>,
    },
}

/// A room request together with the device the sender's server vouches for; none where a domain
/// itself asks (`Fetch`, `Acknowledge`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    pub device: Option<Uuid>,
    pub request: Request,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Create {
    pub key: IdempotencyKey,
    /// MLSMessage holding a GroupInfo signed by the creator, without the tree.
    pub group_info: Bytes,
    /// The ratchet tree as the ratchet_tree extension encodes it.
    pub tree: Bytes,
    /// Set for the direct room of two accounts: the other one. The address must be the computed one.
    pub direct_with: Option<BareJid>,
}

/// Everything one commit brings along; accepted or refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    pub key: IdempotencyKey,
    /// The epoch the commit ends.
    pub epoch: u64,
    pub commit: Bytes,
    /// One MLSMessage for all that join, or none.
    pub welcome: Option<Bytes>,
    /// Whom the Welcome serves.
    pub joiners: Vec<Joiner>,
    /// GroupInfo of the new epoch, without the tree.
    pub group_info: Bytes,
}

/// What was said at an entry, with the key that its sender put into it. Whoever could read it has both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageReport {
    pub seq: u64,
    /// The message's id.
    pub id: Uuid,
    pub content_type: String,
    pub content: Bytes,
    /// The franking key.
    pub key: Hash,
    /// What the reporter says to it.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joiner {
    pub account: BareJid,
    pub device: Uuid,
    /// KeyPackageRef (RFC 9420 §5.2).
    pub key_package: Bytes,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Hub(Hub),
    Accepted(Accepted),
    Info(Info),
    Head(Head),
    /// `None`: no such request was accepted.
    Status(Option<Accepted>),
    GroupInfo {
        group_info: Bytes,
        tree: Tree,
        epoch: u64,
        seq: u64,
        /// Pending SelfRemoves, which an external commit has to carry (PublicMessages).
        proposals: Vec<Bytes>,
    },
    /// The report is kept.
    Reported,
    Entries(Vec<Entry>),
    Acknowledged,
    /// Whoever is there gets it; whether anybody was, is not told.
    Relayed,
}

/// The hub as an external sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hub {
    /// Its certificate (DER), issued by the room's domain for the domain itself.
    pub certificate: Bytes,
    /// Cipher suites it follows.
    pub suites: Vec<u16>,
    /// Where the room is known already: its info is for members; this says only that it exists.
    pub exists: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub seq: u64,
    pub epoch: u64,
    /// Milliseconds since 1970, by the hub's clock.
    pub time: u64,
    /// h(seq), see [`Entry`].
    pub head: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    pub group_id: Bytes,
    pub epoch: u64,
    pub seq: u64,
    pub head: Hash,
    pub members: Vec<Member>,
}

/// Where the log of a room ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub group_id: Bytes,
    pub epoch: u64,
    pub seq: u64,
    pub head: Hash,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Member {
    pub account: BareJid,
    pub device: Uuid,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    Commit,
    Proposal,
    Application,
    Notice,
}

/// One entry of a room's log.
///
/// `h(seq) = SHA-256(h(seq-1) ‖ room ‖ 0x00 ‖ seq ‖ kind ‖ time ‖ sender ‖ 0x00 ‖ SHA-256(payload))`,
/// numbers as u64, kind as one octet (1 commit, 2 proposal, 3 application, 4 notice), h(0) = 32 zero
/// octets. The room's creation is entry 1, a notice with the creator's GroupInfo as payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub room: BareJid,
    pub seq: u64,
    pub kind: EntryKind,
    /// The epoch the payload was made in.
    pub epoch: u64,
    /// Milliseconds since 1970, by the hub's clock.
    pub time: u64,
    /// The account whose device sent it; the domain itself for the hub.
    pub sender: BareJid,
    pub device: Option<Uuid>,
    pub payload: Payload,
    /// h(seq).
    pub head: Hash,
    /// The hub's signature over `signed::HEAD` at commits.
    pub signature: Option<Bytes>,
    /// Only from hub to a member domain: which of its devices came or went with this entry.
    pub changes: Vec<Change>,
}

/// A purged payload leaves its hash, so that the chain still closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    Held(Bytes),
    Purged(Hash),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub member: Member,
    pub joined: bool,
}

/// A Welcome on its way to a device: hub → domain → device. Waits there until acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub id: Uuid,
    pub room: BareJid,
    /// The commit it belongs to: the joiner holds the log from here.
    pub seq: u64,
    pub head: Hash,
    pub epoch: u64,
    /// Who added the device.
    pub sender: BareJid,
    /// The devices it is for; one when it reaches a device.
    pub joiners: Vec<Joiner>,
    pub welcome: Bytes,
    pub tree: Tree,
}

/// What a hub sends to a member domain: one stanza per (room, seq, domain).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fanout {
    pub entry: Entry,
    /// Beside the commit that it belongs to, for the joiners of this domain.
    pub welcome: Option<Welcome>,
}

/// A message outside the log on its way: hub → domain → device. Nobody keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ephemeral {
    pub room: BareJid,
    pub epoch: u64,
    /// The device that sent it, as its domain says.
    pub sender: BareJid,
    pub device: Uuid,
    pub message: Bytes,
}

#[cfg(test)]
mod tests;
