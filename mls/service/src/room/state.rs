//! What the hub knows of a room: facts, all of them derived from what is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use comity_mls_wire::policy::{Policy, PolicyError};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Hash, Member};
use comity_storage::rooms::{Entry, RoomRow, Snapshot, Updated};
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use uuid::Uuid;

use super::policy::Deed;
use super::public_tree::{Fault, Observer, PublicTree};
use super::replay::ReplayError;
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
    /// Theirs.
    pub domains: Arc<BTreeSet<String>>,
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
    /// What is to be followed from the snapshot that is stored.
    pub since: Since,
}

/// How much has changed the group since the snapshot of it that is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// Octets of the snapshot.
    snapshot: usize,
    entries: usize,
    octets: usize,
    /// Of the first of them, milliseconds since 1970.
    oldest: Option<u64>,
}

impl Since {
    /// Entries that are followed, at most, when a room is taken up: a few milliseconds each in a
    /// room of ten thousand.
    pub const MOST_ENTRIES: usize = 256;
    /// How long an entry is followed, at most, where somebody asks daily.
    const OLDEST_MS: u64 = 24 * 60 * 60 * 1000;
    /// Of small rooms more is followed than the snapshot is long.
    const FEWEST_OCTETS: usize = 64 * 1024;

    #[must_use]
    pub fn snapshot(octets: usize) -> Self {
        Self {
            snapshot: octets,
            ..Self::default()
        }
    }

    /// With one more entry.
    #[must_use]
    pub fn and(self, payload: &[u8], time: u64) -> Self {
        Self {
            entries: self.entries + 1,
            octets: self.octets + payload.len(),
            oldest: self.oldest.or(Some(time)),
            ..self
        }
    }

    /// Is it time for another snapshot? So that what is written for snapshots is no more than a
    /// small part of what their rooms are, and for large commits no more than these are.
    #[must_use]
    pub fn is_long(&self) -> bool {
        self.entries >= Self::MOST_ENTRIES || self.octets >= self.snapshot.max(Self::FEWEST_OCTETS)
    }

    /// Have its entries been kept for this alone? They are not purged before another snapshot.
    #[must_use]
    pub fn is_old(&self, now: u64) -> bool {
        self.oldest
            .is_some_and(|oldest| oldest.saturating_add(Self::OLDEST_MS) < now)
    }
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
    #[error("the group: {0}")]
    Replay(#[from] ReplayError),
    #[error("what was followed leads to epoch {found}, and the room is in {epoch}")]
    Elsewhere { found: u64, epoch: u64 },
    #[error("the policy: {0}")]
    Policy(#[from] PolicyError),
    #[error("proposal {0} is not in the group's state")]
    Proposal(u64),
}

impl Room {
    /// Takes up a room as it is stored.
    pub fn load(observer: &Observer, room: &BareJid, row: RoomRow) -> Result<Self, LoadError> {
        let snapshot = row.snapshot.state.len() + row.snapshot.tree.len();
        let since = row
            .since
            .iter()
            .fold(Since::snapshot(snapshot), |since, entry| {
                since.and(entry.payload.as_deref().unwrap_or_default(), entry.time)
            });
        let tree = resume(
            observer,
            row.snapshot,
            &row.since,
            (row.epoch, &row.group_info),
        )?;
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
            group_id: row.group_id.into(),
            epoch: row.epoch,
            seq: row.seq,
            head: row.head,
            time: row.time,
            epoch_seq: row.epoch_seq,
            domains: Arc::new(domains(members.values())),
            members: Arc::new(members),
            updates: Arc::new(row.updates.into_iter().map(|u| (u.leaf, u)).collect()),
            pending: Arc::new(pending),
            policy: Arc::new(policy),
            group_info: row.group_info.into(),
            barred: Arc::new(barred(row.barred)?),
            nominated: Arc::new(nominated(row.nominated)?),
            signed: row.signed,
            since,
        };
        Ok(Self {
            state,
            tree: Arc::new(tree),
        })
    }
}

/// The group as it stands, which must be the one that the GroupInfo of its epoch speaks of.
fn resume(
    observer: &Observer,
    snapshot: Snapshot,
    since: &[Entry],
    (epoch, group_info): (u64, &[u8]),
) -> Result<PublicTree, LoadError> {
    let mut tree = observer.resume(snapshot, since)?;
    let found = tree.context().epoch();
    if found != epoch {
        return Err(LoadError::Elsewhere { found, epoch });
    }
    if !since.is_empty() {
        let info = MlsMessage::from_bytes(group_info).map_err(Fault::from)?;
        tree.check_group_info(info)?;
    }
    Ok(tree)
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
        BTreeSet::clone(&self.domains)
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
