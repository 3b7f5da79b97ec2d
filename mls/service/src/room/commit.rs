//! A commit with all it brings along: the epoch ends, or everything stays as it was.

use std::collections::BTreeMap;
use std::sync::Arc;

use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::policy::{Policy, Sender};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Bundle, Change, Entry, EntryKind, Joiner, Member, Welcome};
use comity_storage::rooms::{self as rows_of, Append, At, Epoch, PendingChange};
use mls_rs::group::proposal::Proposal;
use mls_rs::{MlsMessage, MlsMessageDescription, WireFormat};

use super::fanout::{self, Audience};
use super::hub::{Decided, Deciding};
use super::log::{Draft, End, accepted, advanced};
use super::newcomers::{self, Coming};
use super::policy::{self, Deed};
use super::public_tree::{Committed, Fault, PublicTree};
use super::state::{Pending, Room, State, domains};
use super::{context, external, order, rows};
use crate::error::Refused;
use crate::framing::{self, Content, Framing};

/// Decides on a commit bundle.
pub fn commit(
    deciding: &Deciding<'_>,
    room: &Room,
    sender: &Member,
    bundle: &Bundle,
) -> Result<Decided, Refused> {
    if external::is_one(&bundle.commit) {
        return external::commit(deciding, room, sender, bundle);
    }
    let state = &room.state;
    let leaf = order::admit(state, sender, bundle.epoch)?;
    state.check_barred(sender)?;
    check_sizes(deciding, bundle)?;
    let (message, data) = read(state, framing::Sender::Member(leaf), bundle)?;
    if state.leaving(leaf) {
        return Err(Refusal::NotAllowed {
            rule: "a proposal to remove this device is pending: another member commits it"
                .to_owned(),
        }
        .into());
    }
    check_policy(deciding, room, sender, &message, &data)?;
    let committed = room.tree.commit(message, deciding.at()).map_err(invalid)?;
    if committed.committer != leaf {
        return Err(invalid_commit("another leaf has signed it").into());
    }
    let next = follow(deciding, room, committed, sender, bundle)?;
    decide(deciding, state, sender, bundle, next)
}

pub(super) fn check_sizes(deciding: &Deciding<'_>, bundle: &Bundle) -> Result<(), Refusal> {
    let most = deciding.limits.commit_bytes;
    if bundle.commit.len() > most {
        return Err(Refusal::LimitReached {
            limit: format!("{most} octets in a commit"),
        });
    }
    Ok(())
}

/// The commit as a message of this group, epoch and sender.
pub(super) fn read(
    state: &State,
    by: framing::Sender,
    bundle: &Bundle,
) -> Result<(MlsMessage, AuthenticatedData), Refusal> {
    let framing = Framing::read(&bundle.commit).map_err(|e| invalid_commit(e.to_string()))?;
    let Framing::Public {
        group_id,
        epoch,
        sender,
        content,
        authenticated_data,
    } = framing
    else {
        return Err(Refusal::NotAllowed {
            rule: "commits of this room are PublicMessages".to_owned(),
        });
    };
    if content != Content::Commit {
        return Err(invalid_commit("it is no commit"));
    }
    if group_id != &state.group_id[..] {
        return Err(invalid_commit("it belongs to another group"));
    }
    if epoch != bundle.epoch {
        return Err(invalid_commit(format!(
            "it ends epoch {epoch}, and the request says {}",
            bundle.epoch
        )));
    }
    if sender != by {
        return Err(invalid_commit("its sender is not the device that sends it"));
    }
    let comes_back = by == framing::Sender::NewMemberCommit;
    let data = super::authenticated(authenticated_data, comes_back)
        .map_err(|error| invalid_commit(error.to_string()))?;
    let message = MlsMessage::from_bytes(&bundle.commit)
        .map_err(|error| invalid_commit(error.to_string()))?;
    Ok((message, data))
}

fn check_policy(
    deciding: &Deciding<'_>,
    Room { state, tree }: &Room,
    sender: &Member,
    message: &MlsMessage,
    data: &AuthenticatedData,
) -> Result<(), Refused> {
    let by = Sender::Member(&sender.account);
    let by_value = proposals(deciding, state, by, message)?;
    // Those proposed by reference were let in when they were proposed, in this same epoch.
    let coming: Vec<Coming<'_>> = by_value
        .iter()
        .filter_map(|deed| match deed {
            Deed::Add { member, key } => Some(Coming {
                member,
                key,
                sender: Some(&sender.account),
            }),
            _ => None,
        })
        .collect();
    newcomers::admit(state, tree, &coming, data, deciding.now / 1000)
        .map_err(|denied| denied.refused(invalid_commit))
}

/// Judges what a commit carries, and gives what it carries by value.
pub(super) fn proposals(
    deciding: &Deciding<'_>,
    state: &State,
    by: Sender<'_>,
    message: &MlsMessage,
) -> Result<Vec<Deed>, Refused> {
    let by_value: Vec<Deed> = message
        .proposals_by_value()
        .into_iter()
        .map(|proposal| Deed::of(proposal, &state.members))
        .collect::<Result<_, _>>()
        .map_err(invalid)?;
    let references = message.proposals_by_reference();
    let (referred, left): (Vec<&Pending>, Vec<&Pending>) =
        state.pending.iter().partition(|pending| {
            references
                .iter()
                .any(|reference| reference.as_slice() == pending.reference)
        });
    if referred.len() != references.len() {
        let why = "it refers to a proposal that is not pending, or twice to one";
        return Err(invalid_commit(why).into());
    }
    // Only the hub refuses this: members apply whatever was accepted.
    let missing: Vec<u64> = left
        .iter()
        .filter(|pending| state.policy.must_include(by, &pending.item()))
        .map(|pending| pending.seq)
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::MissingProposals { seqs: missing }.into());
    }
    let has_path = message.commit_path_leaf_node().is_some();
    let most = deciding.limits.leaves;
    policy::check_commit(state, by, &by_value, &referred, has_path, most)?;
    Ok(by_value)
}

/// The room's group in its next epoch, with all that belongs to it checked.
pub(super) struct Next {
    tree: PublicTree,
    /// Of the committer.
    leaf: u32,
    members: Arc<BTreeMap<u32, Member>>,
    policy: Policy,
}

/// Checks what came of a commit of `sender`, and what it brings along.
pub(super) fn follow(
    deciding: &Deciding<'_>,
    room: &Room,
    committed: Committed,
    sender: &Member,
    bundle: &Bundle,
) -> Result<Next, Refused> {
    if committed.reinit {
        return Err(Refusal::NotAllowed {
            rule: "this server does not carry a room over to a successor group".to_owned(),
        }
        .into());
    }
    let Committed {
        mut tree,
        applied,
        committer: leaf,
        ..
    } = committed;
    let before = room.tree.context();
    let policy = context::check(tree.context(), Some(before), deciding.hub)?;
    let members = members(room, &tree)?;
    if members.get(&leaf) != Some(sender) {
        return Err(invalid_commit("the committer's leaf names another device").into());
    }
    check_joiners(added(deciding, &applied)?, bundle)?;
    check_group_info(&mut tree, leaf, bundle)?;
    Ok(Next {
        tree,
        leaf,
        members,
        policy,
    })
}

/// Who is in the room after the commit; the same map where nobody came or went.
fn members(room: &Room, tree: &PublicTree) -> Result<Arc<BTreeMap<u32, Member>>, Refused> {
    let mut members = Arc::clone(&room.state.members);
    for (leaf, now) in tree.changed(&room.tree).map_err(invalid)? {
        // Most have another key and are who they were.
        if members.get(&leaf) == now.as_ref() {
            continue;
        }
        let all = Arc::make_mut(&mut members);
        match now {
            Some(member) => all.insert(leaf, member),
            None => all.remove(&leaf),
        };
    }
    if !Arc::ptr_eq(&members, &room.state.members) {
        check_unique(&members)?;
    }
    Ok(members)
}

/// MLS itself knows clients by identity; a device is in a room once.
fn check_unique(members: &BTreeMap<u32, Member>) -> Result<(), Refusal> {
    let mut seen = std::collections::HashSet::new();
    match members.values().find(|member| !seen.insert(*member)) {
        None => Ok(()),
        Some(member) => Err(invalid_commit(format!(
            "device {} of {} would be in the room twice",
            member.device, member.account
        ))),
    }
}

/// Those who are added, as the joiners they must be named as.
fn added(
    deciding: &Deciding<'_>,
    applied: &[mls_rs::mls_rules::ProposalInfo<Proposal>],
) -> Result<Vec<Joiner>, Refused> {
    let mut added = Vec::new();
    for info in applied {
        let Proposal::Add(add) = &info.proposal else {
            continue;
        };
        let package = add.key_package();
        let member = super::public_tree::named(package.signing_identity()).map_err(invalid)?;
        let reference = deciding.observer.reference(package).map_err(invalid)?;
        added.push(Joiner {
            account: member.account,
            device: member.device,
            key_package: reference.into(),
        });
    }
    Ok(added)
}

/// The Welcome serves those who are added, all of them and nobody else.
fn check_joiners(mut added: Vec<Joiner>, bundle: &Bundle) -> Result<(), Refusal> {
    let key = |joiner: &Joiner| (joiner.account.clone(), joiner.device);
    let mut named = bundle.joiners.clone();
    named.sort_by_key(key);
    added.sort_by_key(key);
    if named != added {
        return Err(invalid_commit(
            "the joiners named are not those that the commit adds",
        ));
    }
    let Some(welcome) = &bundle.welcome else {
        return match added.is_empty() {
            true => Ok(()),
            false => Err(invalid_commit("the Welcome for those it adds is missing")),
        };
    };
    if added.is_empty() {
        return Err(invalid_commit("there is a Welcome, and nobody is added"));
    }
    let message =
        MlsMessage::from_bytes(welcome).map_err(|error| invalid_commit(error.to_string()))?;
    let MlsMessageDescription::Welcome {
        key_package_refs, ..
    } = message.description()
    else {
        return Err(invalid_commit("what should be the Welcome is none"));
    };
    let mut served: Vec<&[u8]> = key_package_refs.iter().map(|r| &r[..]).collect();
    let mut wanted: Vec<&[u8]> = added.iter().map(|joiner| &joiner.key_package[..]).collect();
    served.sort_unstable();
    wanted.sort_unstable();
    if served != wanted {
        return Err(invalid_commit(
            "the Welcome serves others than those the commit adds",
        ));
    }
    Ok(())
}

fn check_group_info(tree: &mut PublicTree, leaf: u32, bundle: &Bundle) -> Result<(), Refusal> {
    let mismatch = |why: String| Refusal::GroupInfoMismatch { why };
    let message =
        MlsMessage::from_bytes(&bundle.group_info).map_err(|error| mismatch(error.to_string()))?;
    if message.wire_format() != WireFormat::GroupInfo {
        return Err(mismatch("it is no GroupInfo".to_owned()));
    }
    let epoch = tree.context().epoch();
    if message.epoch() != Some(epoch) {
        return Err(mismatch(format!("it must be of epoch {epoch}")));
    }
    refuse_inner_tree(&message).map_err(|why| mismatch(why.to_owned()))?;
    let signer = tree
        .check_group_info(message)
        .map_err(|fault| mismatch(format!("signature, context or tag: {fault}")))?;
    if signer != leaf {
        return Err(mismatch("another leaf has signed it".to_owned()));
    }
    Ok(())
}

/// The tree travels beside GroupInfo and Welcome: inside, each joiner would cost its whole length.
pub(super) fn refuse_inner_tree(group_info: &MlsMessage) -> Result<(), &'static str> {
    let inside = group_info.as_group_info().is_some_and(|info| {
        info.extensions().iter().any(|extension| {
            extension.extension_type == mls_rs::extension::ExtensionType::RATCHET_TREE
        })
    });
    match inside {
        true => Err("the tree goes beside the GroupInfo, not into it"),
        false => Ok(()),
    }
}

pub(super) fn decide(
    deciding: &Deciding<'_>,
    state: &State,
    sender: &Member,
    bundle: &Bundle,
    next: Next,
) -> Result<Decided, Refused> {
    let moves = Moves::between(&state.members, &next.members);
    let draft = Draft {
        kind: EntryKind::Commit,
        epoch: bundle.epoch,
        sender: &sender.account,
        device: Some(sender.device),
        payload: &bundle.commit,
        now: deciding.now,
        changes: moves.changes(),
    };
    let Moves { went, came } = moves;
    let entry = End::of(state).append(&state.room, deciding.hub, draft)?;
    let epoch = next.tree.context().epoch();
    let welcome = welcome(deciding, &entry, epoch, bundle, &next.tree)?;
    let before = state.domains();
    let audience = Audience {
        after: match Arc::ptr_eq(&state.members, &next.members) {
            true => before.clone(),
            false => domains(next.members.values()),
        },
        before,
    };
    let plan = fanout::plan(deciding, &entry, welcome.as_ref(), &audience)?;
    let accepted = accepted(&entry, epoch);
    let at = At::Seq {
        epoch: state.epoch,
        seq: state.seq,
        next: Some(Epoch {
            epoch,
            group_info: bundle.group_info.to_vec(),
        }),
    };
    let append = Append {
        pending: PendingChange::Clear,
        updated: Some(next.leaf),
        gone: went.keys().copied().collect(),
        come: leaves(&came),
        welcome: welcome.as_ref().map(rows::welcome_row),
        ..deciding.append(at, &entry, Some((sender, bundle.key, &accepted)), plan)
    };
    let mut updates = BTreeMap::clone(&state.updates);
    updates.retain(|leaf, _| !went.contains_key(leaf));
    let updated = came.keys().chain(std::iter::once(&next.leaf));
    updates.extend(self::came(updated, epoch, entry.time));
    // Who is out and comes again begins anew.
    let mut barred = Vec::clone(&state.barred);
    if !append.gone.is_empty() {
        barred.retain(|barred| next.members.values().any(|m| *m == barred.member));
    }
    let state = State {
        barred: Arc::new(barred),
        epoch,
        epoch_seq: entry.seq,
        members: next.members,
        domains: Arc::new(audience.after),
        updates: Arc::new(updates),
        pending: Arc::default(),
        nominated: Arc::default(),
        policy: Arc::new(next.policy),
        group_info: Arc::from(&bundle.group_info[..]),
        since: state.since.and(&bundle.commit, entry.time),
        ..advanced(state, &entry)
    };
    let tree = Arc::new(next.tree);
    Ok(Decided {
        append,
        next: Room { state, tree },
        entry,
        accepted,
    })
}

/// Leaves that went and leaves that came; a leaf may do both, with another device in it.
struct Moves {
    went: BTreeMap<u32, Member>,
    came: BTreeMap<u32, Member>,
}

impl Moves {
    /// Devices that went and came. One that has only another leaf now reads on where it was.
    fn changes(&self) -> Vec<Change> {
        let only = |of: &BTreeMap<u32, Member>, other: &BTreeMap<u32, Member>| {
            let mut of: Vec<Member> = of.values().cloned().collect();
            of.retain(|member| !other.values().any(|there| there == member));
            of
        };
        let (went, came) = (&self.went, &self.came);
        fanout::changes(&only(went, came), &only(came, went))
    }

    fn between(before: &Arc<BTreeMap<u32, Member>>, after: &Arc<BTreeMap<u32, Member>>) -> Self {
        if Arc::ptr_eq(before, after) {
            let (went, came) = Default::default();
            return Self { went, came };
        }
        let only = |of: &BTreeMap<u32, Member>, other: &BTreeMap<u32, Member>| {
            of.iter()
                .filter(|(leaf, member)| other.get(leaf) != Some(member))
                .map(|(leaf, member)| (*leaf, member.clone()))
                .collect()
        };
        Self {
            went: only(before, after),
            came: only(after, before),
        }
    }
}

fn welcome(
    deciding: &Deciding<'_>,
    entry: &Entry,
    epoch: u64,
    bundle: &Bundle,
    tree: &PublicTree,
) -> Result<Option<Welcome>, Refused> {
    let Some(welcome) = bundle.welcome.clone() else {
        return Ok(None);
    };
    Ok(Some(Welcome {
        id: fanout::welcome_id(deciding.hub, &entry.room, entry.seq),
        room: entry.room.clone(),
        seq: entry.seq,
        head: entry.head,
        epoch,
        sender: entry.sender.clone(),
        joiners: bundle.joiners.clone(),
        welcome,
        tree: tree.packed().map_err(invalid)?,
    }))
}

/// Leaves that were updated, or came, with an entry.
pub(super) fn came<'a>(
    leaves: impl IntoIterator<Item = &'a u32>,
    epoch: u64,
    time: u64,
) -> BTreeMap<u32, rows_of::Updated> {
    let updated = |leaf: &u32| rows_of::Updated {
        leaf: *leaf,
        epoch,
        time,
    };
    leaves
        .into_iter()
        .map(|leaf| (*leaf, updated(leaf)))
        .collect()
}

/// Leaves as rows.
pub(super) fn leaves(members: &BTreeMap<u32, Member>) -> Vec<rows_of::Leaf> {
    members
        .iter()
        .map(|(leaf, member)| rows_of::Leaf {
            leaf: *leaf,
            account: member.account.as_str().to_owned(),
            device: member.device.into_bytes(),
        })
        .collect()
}

pub(super) fn invalid(fault: Fault) -> Refused {
    fault.refused(invalid_commit)
}

pub(super) fn invalid_commit(why: impl Into<String>) -> Refusal {
    Refusal::InvalidCommit { why: why.into() }
}
