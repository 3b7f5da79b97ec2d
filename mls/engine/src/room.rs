//! What is stored of a room beside its MLS group: where this device stands in the log, what is in
//! flight, what is wanted of it, what waits to be said.

use comity_mls_wire::room::{self, Hash, IdempotencyKey};
use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::mls::Certified;

#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Wanted; the hub is asked for its certificate before the group can be made.
    Preparing = 1,
    /// The group exists here and has been offered to the hub.
    Creating = 2,
    /// Somebody else made the room; their Welcome is on its way.
    Awaiting = 3,
    Active = 4,
    /// Out of the room. The history stays.
    Left = 5,
    /// An accepted entry cannot be applied here, and coming back does not help.
    Stopped = 6,
    /// The group's secrets are lost here: the log is followed as anyone can, until this device has
    /// come back by an external commit.
    Resyncing = 7,
}

impl Stage {
    /// The room's log is of use here.
    pub(crate) fn follows(self) -> bool {
        matches!(self, Self::Active | Self::Resyncing)
    }
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Record {
    pub(crate) stage: Stage,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) group_id: Vec<u8>,
    pub(crate) epoch: u64,
    /// The last entry of the log that is held, and its head.
    pub(crate) seq: u64,
    pub(crate) head: Hash,
    /// Messages of this device that the room accepted.
    pub(crate) counter: u64,
    pub(crate) name: Option<String>,
    /// Somebody came by this device's commit: the room's name is sent to them.
    pub(crate) announce: bool,
    pub(crate) direct_with: Option<String>,
    /// The key and certificate of this device's leaf.
    pub(crate) leaf: Option<Certified>,
    /// Reserved for this room's next leaf, so that no key signs in two groups.
    pub(crate) next_leaf: Option<Certified>,
    /// The leaf came from a last resort package: its key may be in other groups and is renewed in
    /// this device's first commit.
    pub(crate) rotate: bool,
    /// Milliseconds since 1970; when this device's leaf was last updated by a path.
    pub(crate) updated: u64,
    /// The person asked to leave.
    pub(crate) leaving: bool,
    /// What the person has seen of the history.
    pub(crate) read: u64,
    pub(crate) next_plan: u64,
    pub(crate) next_message: u64,
}

impl Record {
    pub(crate) fn new(stage: Stage) -> Self {
        Self {
            stage,
            group_id: Vec::new(),
            epoch: 0,
            seq: 0,
            head: room::GENESIS,
            counter: 0,
            name: None,
            announce: false,
            direct_with: None,
            leaf: None,
            next_leaf: None,
            rotate: false,
            updated: 0,
            leaving: false,
            read: 0,
            next_plan: 1,
            next_message: 1,
        }
    }
}

/// The one request of a room that is under way; kept byte for byte until the log or a refusal
/// settles it, and sent again with the same key after a crash.
#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct InFlight {
    pub(crate) key: [u8; 16],
    /// The entry the hub says it became; it takes effect when the log has come to it.
    pub(crate) accepted: Option<Place>,
    pub(crate) body: Body,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Place {
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) head: Hash,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub(crate) enum Body {
    Create(CreateBody) = 1,
    Commit(CommitBody) = 2,
    Propose(ProposeBody) = 3,
    Send(SendBody) = 4,
    Rejoin(RejoinBody) = 5,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct CreateBody {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) group_info: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) tree: Vec<u8>,
    pub(crate) direct_with: Option<String>,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct CommitBody {
    pub(crate) epoch: u64,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) commit: Vec<u8>,
    /// Empty if nobody joins.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) welcome: Vec<u8>,
    pub(crate) joiners: Vec<StoredJoiner>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) group_info: Vec<u8>,
    /// The state behind the commit (mls-rs's CommitSecrets).
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) secrets: Vec<u8>,
    /// The plan it carries out; none if it only commits pending proposals.
    pub(crate) plan: Option<u64>,
    /// The leaf changes to the record's next one.
    pub(crate) rotates: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct StoredJoiner {
    pub(crate) account: String,
    pub(crate) device: [u8; 16],
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) key_package: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct ProposeBody {
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) proposal: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct SendBody {
    pub(crate) epoch: u64,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) message: Vec<u8>,
    /// The row of the outbox it encrypts.
    pub(crate) number: u64,
}

/// An external commit by which this device comes to the room. The group after it is kept under the
/// attempt until the log has the commit.
#[derive(Clone, Debug, PartialEq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct RejoinBody {
    pub(crate) epoch: u64,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) commit: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) group_info: Vec<u8>,
    pub(crate) attempt: [u8; 16],
    pub(crate) leaf: Certified,
}

impl InFlight {
    pub(crate) fn new(key: Uuid, body: Body) -> Self {
        Self {
            key: key.into_bytes(),
            accepted: None,
            body,
        }
    }

    /// The request, the same octets each time.
    pub(crate) fn request(&self) -> Option<room::Request> {
        let key = IdempotencyKey(Uuid::from_bytes(self.key));
        Some(match &self.body {
            Body::Create(body) => room::Request::Create(room::Create {
                key,
                group_info: body.group_info.clone().into(),
                tree: body.tree.clone().into(),
                direct_with: match &body.direct_with {
                    Some(account) => Some(BareJid::parse(account).ok()?),
                    None => None,
                },
            }),
            Body::Commit(body) => room::Request::Commit(room::Bundle {
                key,
                epoch: body.epoch,
                commit: body.commit.clone().into(),
                welcome: (!body.welcome.is_empty()).then(|| body.welcome.clone().into()),
                joiners: body
                    .joiners
                    .iter()
                    .map(StoredJoiner::joiner)
                    .collect::<Option<_>>()?,
                group_info: body.group_info.clone().into(),
            }),
            Body::Rejoin(body) => room::Request::Commit(room::Bundle {
                key,
                epoch: body.epoch,
                commit: body.commit.clone().into(),
                welcome: None,
                joiners: Vec::new(),
                group_info: body.group_info.clone().into(),
            }),
            Body::Propose(body) => room::Request::Propose {
                key,
                proposal: body.proposal.clone().into(),
            },
            Body::Send(body) => room::Request::Send {
                key,
                epoch: body.epoch,
                message: body.message.clone().into(),
            },
        })
    }

    /// What the log will carry of it.
    pub(crate) fn payload(&self) -> &[u8] {
        match &self.body {
            Body::Create(body) => &body.group_info,
            Body::Commit(body) => &body.commit,
            Body::Rejoin(body) => &body.commit,
            Body::Propose(body) => &body.proposal,
            Body::Send(body) => &body.message,
        }
    }

    pub(crate) fn kind(&self) -> room::EntryKind {
        match self.body {
            Body::Create(_) => room::EntryKind::Notice,
            Body::Commit(_) | Body::Rejoin(_) => room::EntryKind::Commit,
            Body::Propose(_) => room::EntryKind::Proposal,
            Body::Send(_) => room::EntryKind::Application,
        }
    }
}

impl StoredJoiner {
    fn joiner(&self) -> Option<room::Joiner> {
        Some(room::Joiner {
            account: BareJid::parse(&self.account).ok()?,
            device: Uuid::from_bytes(self.device),
            key_package: self.key_package.clone().into(),
        })
    }
}

/// A change of the room that somebody asked for, until it is in the log or refused.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub(crate) enum Plan {
    Add(AddPlan) = 1,
    Remove(RemovePlan) = 2,
    Update = 3,
    /// By a proposal of its own; others commit it.
    Leave = 4,
    Psk(PskPlan) = 5,
    Role(RolePlan) = 8,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct PskPlan {
    pub(crate) nonce: [u8; 16],
    /// The room it is exported from.
    pub(crate) from: Option<String>,
    /// Milliseconds since 1970.
    pub(crate) since: u64,
    /// How often it was handed out.
    pub(crate) offers: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct AddPlan {
    pub(crate) invited: Vec<Invited>,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Invited {
    pub(crate) account: String,
    /// This device alone; None: all of the account.
    pub(crate) only: Option<[u8; 16]>,
    /// The directory has answered.
    pub(crate) claimed: bool,
    pub(crate) packages: Vec<ClaimedPackage>,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct ClaimedPackage {
    pub(crate) device: [u8; 16],
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) package: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct RolePlan {
    pub(crate) account: String,
    pub(crate) role: comity_mls_wire::policy::Role,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct RemovePlan {
    pub(crate) account: String,
    /// None: all devices of the account.
    pub(crate) device: Option<[u8; 16]>,
}

/// A message that waits for its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Waiting {
    pub(crate) id: [u8; 16],
    pub(crate) content_type: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    pub(crate) content: Vec<u8>,
}
