//! What a person is told.

use comity_mls_wire::policy::Role;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::content::MessageId;

#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// This device exists for the Authentication Service now, its KeyPackages are published, and
    /// others can invite it.
    Enrolled {
        device: Uuid,
    },
    /// The session speaks for the device; rooms are catching up.
    Online,
    /// Another device of one's own account appeared or ended. One that the person did not set up
    /// is an intruder: revoke it. Told again with each session until it is confirmed.
    OwnDevice {
        id: Uuid,
        name: Option<String>,
        revoked: bool,
    },
    /// The list of one's own devices is as the Authentication Service has it now.
    OwnDevices,
    /// The person found the code of this device the same: it is theirs.
    DeviceConfirmed {
        id: Uuid,
    },
    RoomCreated {
        room: BareJid,
    },
    /// The direct room exists at the other side's or an earlier device's initiative: its Welcome
    /// is awaited.
    AwaitingWelcome {
        room: BareJid,
    },
    RoomJoined {
        room: BareJid,
        by: BareJid,
    },
    /// This device is out of the room: it left or was removed.
    RoomLeft {
        room: BareJid,
        by: Option<BareJid>,
    },
    RoomNamed {
        room: BareJid,
        name: String,
    },
    /// Something the room's log says; kept in the history as well, see `Engine::history`.
    Item {
        room: BareJid,
        item: Item,
    },
    /// The person has compared codes with this device.
    Verified {
        room: BareJid,
        device: Device,
    },
    /// A device that was compared is there with keys its former ones did not sign for: it was set
    /// up anew, or it is somebody else. Compare again.
    VerificationLost {
        room: BareJid,
        device: Device,
    },
    /// Somebody whose devices were compared came with another.
    UnverifiedDevice {
        room: BareJid,
        device: Device,
    },
    /// The credential of a member was taken back: nothing is said in the room before it is out.
    MemberRevoked {
        room: BareJid,
        device: Device,
    },
    /// A message of this device has its place in the log.
    Sent {
        room: BareJid,
        id: MessageId,
        seq: u64,
    },
    /// A member's device says, by a message or by an acknowledgement alone, that it holds the log up to
    /// the entry `seq`.
    Acknowledged {
        room: BareJid,
        by: Device,
        seq: u64,
    },
    /// A member's device said something to those who are there now, such as that somebody types. It is
    /// not in the log, and stands in no history.
    Ephemeral {
        room: BareJid,
        by: Device,
        content_type: String,
        content: Vec<u8>,
    },
    /// Much of a room's log has come about while this device was away: `done` of `total` entries are
    /// there. Told at the start, some twenty times on the way, and at the end, where they are equal.
    CatchingUp {
        room: BareJid,
        done: u64,
        total: u64,
    },
    /// The data of this device is an older copy: its server knows of things that it has done since.
    /// What it had in stock for new rooms is made anew; rooms that it cannot read any more are come
    /// back to, which [`Self::RoomResyncing`] tells of each.
    Restored,
    /// The hub's operator has been shown this message.
    Reported {
        room: BareJid,
        id: MessageId,
    },
    /// Another commit came first: the change or message is prepared anew for the new epoch.
    Retrying {
        room: BareJid,
        epoch: u64,
    },
    /// Somebody is about to be added, with these devices; what is not theirs would read along.
    Inviting {
        room: BareJid,
        account: BareJid,
        /// Nothing was known of the account's devices before.
        first: bool,
        devices: Vec<InvitedDevice>,
    },
    /// An account, or some of its devices, could not be invited.
    NotInvited {
        room: BareJid,
        account: BareJid,
        device: Option<Uuid>,
        why: String,
    },
    /// Something asked for will not happen.
    Refused {
        room: Option<BareJid>,
        what: Refused,
        why: String,
    },
    /// This device cannot follow the room from the entry `seq` on, and comes back by itself. What is
    /// said meanwhile it cannot read; what the person says waits.
    RoomResyncing {
        room: BareJid,
        seq: u64,
        why: String,
    },
    /// This device is back. `missed` messages were said meanwhile; each stands in the history as one
    /// that cannot be read.
    RoomResynced {
        room: BareJid,
        missed: u64,
    },
    /// The room cannot go on here: the accepted entry `seq` cannot be applied.
    RoomStopped {
        room: BareJid,
        seq: u64,
        why: String,
    },
    Warning {
        room: Option<BareJid>,
        warning: Warning,
    },
}

/// A device that a directory names for an account.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvitedDevice {
    pub id: Uuid,
    /// It was not there when the account's devices were last looked at.
    pub new: bool,
}

/// What was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    Enrolment,
    Session,
    KeyPackages,
    Creation,
    Invitation,
    Removal,
    Role,
    Update,
    Departure,
    Proposals,
    Message(MessageId),
    /// To show this message to the hub's operator.
    Report(MessageId),
    Lookup,
    /// To use a pre-shared key.
    Psk,
    /// To come back to a room, for now.
    Resync,
}

/// One line of a room's history.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Item {
    /// The entry of the log it comes from. A commit may bring several changes.
    pub seq: u64,
    /// Milliseconds since 1970, by the hub's clock.
    pub time: u64,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
#[non_exhaustive]
pub enum What {
    Message(Message) = 1,
    /// Who is in the room when this device comes to it.
    Joined(Vec<Device>) = 2,
    Added(Change) = 3,
    Removed(Change) = 4,
    /// A member renewed the keys of its leaf; names whom.
    Updated(Device) = 5,
    Named(Name) = 6,
    /// An entry that cannot be read: in the sender's name, with the reason.
    Unreadable(Unreadable) = 7,
    /// The hub proposed it and a member committed it.
    RemovedByHub(HubRemoval) = 8,
    /// A device had lost the group and took its own place again.
    Rejoined(Rejoined) = 9,
    /// The hub takes no more commits of a device: members could not apply one.
    Barred(Barred) = 10,
    /// A member has committed a pre-shared key into the room's keys; names whom.
    Strengthened(Device) = 11,
    /// An account may do more, or less, than before.
    Role(RoleChange) = 20,
}

impl What {
    /// Whose commit it is that did this, as far as the line tells.
    pub(crate) fn committed_by(&self) -> Option<&Device> {
        match self {
            Self::Added(change) | Self::Removed(change) => change.by.as_ref(),
            Self::Updated(who) | Self::Strengthened(who) => Some(who),
            Self::Rejoined(rejoined) => Some(&rejoined.who),
            Self::Role(change) => change.by.as_ref(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Message {
    pub sender: Device,
    pub id: [u8; 16],
    pub content_type: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub content: Vec<u8>,
}

impl Message {
    #[must_use]
    pub fn message_id(&self) -> MessageId {
        MessageId(Uuid::from_bytes(self.id))
    }
}

/// An account's role in a room, before and since.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct RoleChange {
    pub account: String,
    pub was: Role,
    pub is: Role,
    pub by: Option<Device>,
}

/// A member as MLS authenticated it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, MlsSize, MlsEncode, MlsDecode)]
pub struct Device {
    pub account: String,
    pub device: [u8; 16],
}

impl Device {
    #[must_use]
    pub fn id(&self) -> Uuid {
        Uuid::from_bytes(self.device)
    }
}

impl From<&Member> for Device {
    fn from(member: &Member) -> Self {
        Self {
            account: member.account.as_str().to_owned(),
            device: member.device.into_bytes(),
        }
    }
}

/// A device that came or went, and who committed it; None if that cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Change {
    pub who: Device,
    pub by: Option<Device>,
}

/// A device that commits no more.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Barred {
    pub who: Device,
    /// Its commit that could not be applied.
    pub seq: u64,
}

/// A device that came back, and whether it proved to this one that it held an earlier epoch.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Rejoined {
    pub who: Device,
    pub proven: bool,
}

/// Whom the hub removed, and why.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct HubRemoval {
    pub who: Device,
    pub because: Because,
}

/// Why the hub removes a device, as this device has found it to be.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
#[non_exhaustive]
pub enum Because {
    /// Its domain has taken its certificate back.
    Revoked = 1,
    /// Its account asked for it.
    Departed = 2,
    /// This account, which may, asked for it.
    Banned(String) = 3,
    /// It was not heard of for longer than the room allows.
    Idle = 4,
    /// The hub gave no proof that holds.
    Unproven = 5,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Name {
    pub name: String,
    pub by: Device,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub struct Unreadable {
    pub sender: String,
    pub why: String,
}

/// Signs of a lying server or a broken peer. The engine never believes what it warns of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    #[error(
        "entry {seq} does not continue the room's log: the server changed or dropped something"
    )]
    ChainBroken { seq: u64 },
    #[error("the room's server did not sign the head of the log at {seq}")]
    HeadUnsigned { seq: u64 },
    #[error("the signature over the head of the log at {seq} is wrong")]
    HeadForged { seq: u64 },
    #[error(
        "{account} saw another log at entry {seq}: the server shows members different histories"
    )]
    Fork { account: String, seq: u64 },
    #[error("{missing} messages of {account} before entry {seq} never arrived")]
    Lost {
        account: String,
        seq: u64,
        missing: u64,
    },
    #[error(
        "entry {seq} of {account} bears no tag that fits what it says, so that it could not be \
         reported: it is not shown"
    )]
    Unfranked { account: String, seq: u64 },
    #[error("entry {seq} repeats an earlier message of {account}")]
    Replayed { account: String, seq: u64 },
    #[error(
        "entry {seq} of {account} bears the id of a message of {of}, as if it were that: it is not \
         shown"
    )]
    ForgedId {
        account: String,
        seq: u64,
        of: String,
    },
    #[error(
        "the server speaks of entry {seq} and does not give it, however often it is asked: what was \
         said there is kept from you, or the server is broken"
    )]
    Withheld { seq: u64 },
    #[error("entry {seq} is said to come from {claimed} and was written by {account}")]
    WrongSender {
        account: String,
        claimed: String,
        seq: u64,
    },
    #[error("entry {seq} proposes a device that its account does not vouch for: {why}")]
    Unendorsed { seq: u64, why: String },
    #[error("the room's server removes the device {device} of {account} without proof: {why}")]
    RemovalUnproven {
        account: String,
        device: Uuid,
        why: String,
    },
    #[error("a certificate names an issuer of {domain} that its anchors do not: waiting")]
    UnknownIssuer { domain: String },
    #[error("the anchors of {domain} are not believed: {why}")]
    Anchors { domain: String, why: String },
    #[error(
        "{account} has the device {device} in {inside} of the {all} rooms you share, and not in the \
         others: if it is no new device of theirs, somebody reads along there. Ask them"
    )]
    OddDevice {
        account: String,
        device: Uuid,
        inside: usize,
        all: usize,
    },
    #[error(
        "{account} is here with the device {device}, and its domain names no such device: it was \
         revoked, or never was theirs. Ask them, and remove it"
    )]
    UnnamedDevice { account: String, device: Uuid },
    #[error(
        "your domain says that your device {name:?} ({device}) has another key than before: \
         compare codes again, or revoke it"
    )]
    DeviceKeyChanged { name: String, device: Uuid },
    #[error(
        "no revocation list of {domain} has come since the one that ended at {since}: whom it \
         revoked meanwhile is not known"
    )]
    OldRevocations {
        domain: String,
        /// Seconds since 1970.
        since: u64,
    },
    #[error("a revocation list of {domain} is not believed: {why}")]
    Revocations { domain: String, why: String },
    #[error(
        "{domain} shows two different logs of the certificates it issued, both of {size} entries and \
         both signed: it hides from some what it shows to others. Trust no new device of its people \
         until its operator has explained it"
    )]
    TwoLogs { domain: String, size: u64 },
    #[error("the log of the certificates that {domain} issued is not believed: {why}")]
    Log { domain: String, why: String },
    #[error(
        "the certificate of {account}'s device {device} is not shown to be in its domain's log, \
         because {why}: it may have been made in secret. Compare codes with {account} by another way"
    )]
    NotLogged {
        account: String,
        device: Uuid,
        why: String,
    },
    #[error(
        "your domain certified keys for your device {device} that it did not ask for: somebody may \
         pose as you. Ask your operator, and warn those you talk to"
    )]
    RogueCertificate { device: Uuid },
    #[error(
        "your domain certified keys for a device {device} of yours that it does not show you: \
         somebody may pose as you. Ask your operator, and warn those you talk to"
    )]
    GhostDevice { device: Uuid },
    #[error("your device {device} was ended by your domain's operator, not by one of your devices")]
    EndedByOperator { device: Uuid },
    #[error("what your domain logged of your account is not believed: {why}")]
    OwnLog { why: String },
    #[error("what {account} is said to say at this moment is not believed: {why}")]
    Ephemeral { account: String, why: String },
    #[error("an invitation cannot be used: {why}")]
    BadWelcome { why: String },
    #[error("the server sent what was not asked for or cannot be: {what}")]
    Unexpected { what: &'static str },
    #[error("the server does not answer in time: {what}")]
    Silent { what: &'static str },
}
