//! What the hub knows of a room: facts, all of them derived from what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use comity_mls_wire::policy::{Policy, PolicyError};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Hash, Member};
use comity_storage::rooms::{RoomRow, Updated};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use super::policy::Deed;
use super::public_tree::{Fault, Observer, PublicTree};
use super::rows::{Corrupt, address};

/// A room in memory. Cheap to clone; a decision makes the next one and leaves this as it is.
#[derive(Clone)]
pub struct Room {
    pub state: State,
    pub tree: Arc<PublicTree>,
}

#[derive(Clone, Debug)]
pub struct State {
    pub room: BareJid,
    pub group_id: Arc<[u8]>,
    pub epoch: u64,
    /// Of the last entry.
    pub seq: u64,
    pub head: Hash,
    /// Of the last entry, milliseconds since 1970.
    pub time: u64,
    /// The entry that began the epoch.
    pub epoch_seq: u64,
    /// By leaf index.
    pub members: Arc<BTreeMap<u32, Member>>,
    /// When each leaf was last updated, by leaf index.
    pub updates: Arc<BTreeMap<u32, Updated>>,
    /// In the order in which they came.
    pub pending: Arc<Vec<Pending>>,
    pub policy: Arc<Policy>,
    /// Of the epoch, without the tree.
    pub group_info: Arc<[u8]>,
    /// Devices that commit no more.
    pub barred: Arc<Vec<Barred>>,
    /// Who was asked to commit what is pending, in that order.
    pub nominated: Arc<Vec<Nominated>>,
    /// Of the last entry whose head is signed, milliseconds since 1970.
    pub signed: u64,
}

/// A device that was asked to commit what is pending.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nominated {
    pub member: Member,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// A device of which several accounts could not apply a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Barred {
    pub member: Member,
    /// The commit.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub time: u64,
}

/// A proposal that waits for a commit.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    pub seq: u64,
    /// Whose proposal it is; none: the hub's.
    pub leaf: Option<u32>,
    pub by: Option<BareJid>,
    pub reference: Vec<u8>,
    pub deed: Deed,
    /// The leaf it takes away.
    pub removes: Option<u32>,
    /// When it came, milliseconds since 1970.
    pub time: u64,
}

/// Why what is stored of a room makes no room.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Row(#[from] Corrupt),
    #[error("the group: {0}")]
    Group(#[from] Fault),
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
    #[error("proposal {0} is not in the group's state")]
    Proposal(u64),
}

impl Room {
    /// Takes up a room as it is stored.
    pub fn load(observer: &Observer, room: &BareJid, row: RoomRow) -> Result<Self, LoadError> {
        let tree = observer.load(&row.group.state, &row.group.tree)?;
        let policy = Policy::of(tree.context().extensions())?;
        let mut members = BTreeMap::new();
        for leaf in row.members {
            let member = Member {
                account: address(&leaf.account)?,
                device: Uuid::from_bytes(leaf.device),
            };
            members.insert(leaf.leaf, member);
        }
        let proposals = tree.proposals();
        let mut pending = Vec::new();
        for waiting in row.pending {
            let found = proposals.iter().find(|(r, _)| *r == waiting.reference);
            let by = match waiting.leaf {
                None => Some(None),
                Some(leaf) => members
                    .get(&leaf)
                    .map(|member| Some(member.account.clone())),
            };
            let (Some((_, proposal)), Some(by)) = (found, by) else {
                return Err(LoadError::Proposal(waiting.seq));
            };
            pending.push(Pending {
                seq: waiting.seq,
                leaf: waiting.leaf,
                by,
                deed: Deed::of(proposal, &members)?,
                reference: waiting.reference,
                removes: waiting.removes,
                time: waiting.time,
            });
        }
        let state = State {
            room: room.clone(),
            group_id: row.group.group_id.into(),
            epoch: row.group.epoch,
            seq: row.seq,
            head: row.head,
            time: row.time,
            epoch_seq: row.epoch_seq,
            members: Arc::new(members),
            updates: Arc::new(row.updates.into_iter().map(|u| (u.leaf, u)).collect()),
            pending: Arc::new(pending),
            policy: Arc::new(policy),
            group_info: row.group.group_info.into(),
            barred: Arc::new(barred(row.barred)?),
            nominated: Arc::new(nominated(row.nominated)?),
            signed: row.signed,
        };
        Ok(Self {
            state,
            tree: Arc::new(tree),
        })
    }
}

fn barred(rows: Vec<comity_storage::rooms::Barred>) -> Result<Vec<Barred>, Corrupt> {
    let read = |row: comity_storage::rooms::Barred| {
        Ok(Barred {
            member: Member {
                account: address(&row.account)?,
                device: Uuid::from_bytes(row.device),
            },
            seq: row.seq,
            time: row.time,
        })
    };
    rows.into_iter().map(read).collect()
}

fn nominated(rows: Vec<comity_storage::rooms::Nomination>) -> Result<Vec<Nominated>, Corrupt> {
    let read = |row: comity_storage::rooms::Nomination| {
        Ok(Nominated {
            member: Member {
                account: address(&row.account)?,
                device: Uuid::from_bytes(row.device),
            },
            time: row.time,
        })
    };
    rows.into_iter().map(read).collect()
}

impl State {
    #[must_use]
    pub fn leaf_of(&self, member: &Member) -> Option<u32> {
        self.members
            .iter()
            .find(|(_, found)| *found == member)
            .map(|(leaf, _)| *leaf)
    }

    /// Milliseconds that a leaf was not updated for.
    #[must_use]
    pub fn idle_ms(&self, leaf: u32, now: u64) -> u64 {
        let updated = self.updates.get(&leaf);
        updated.map_or(0, |updated| now.saturating_sub(updated.time))
    }

    #[must_use]
    pub fn has_account(&self, account: &BareJid) -> bool {
        self.members
            .values()
            .any(|member| member.account == *account)
    }

    /// Refuses the commit of a device that commits no more.
    pub fn check_barred(&self, member: &Member) -> Result<(), Refusal> {
        match self.barred.iter().find(|barred| barred.member == *member) {
            None => Ok(()),
            Some(barred) => Err(Refusal::NotAllowed {
                rule: format!(
                    "members could not apply the commit of this device at seq {}: others commit, \
                     until it is removed and added again",
                    barred.seq
                ),
            }),
        }
    }

    /// The domains with devices in the room.
    #[must_use]
    pub fn domains(&self) -> BTreeSet<String> {
        domains(self.members.values())
    }

    /// Is a proposal to take this leaf away pending?
    #[must_use]
    pub fn leaving(&self, leaf: u32) -> bool {
        self.pending
            .iter()
            .any(|pending| pending.removes == Some(leaf))
    }
}

pub fn domains<'a>(members: impl Iterator<Item = &'a Member>) -> BTreeSet<String> {
    let mut domains = BTreeSet::new();
    for member in members {
        if !domains.contains(member.account.domain()) {
            domains.insert(member.account.domain().to_owned());
        }
    }
    domains
}
