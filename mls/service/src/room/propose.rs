//! A proposal by reference: checked whole on arrival, since a commit has to carry it.

use std::sync::Arc;

use comity_mls_wire::policy::Sender;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{EntryKind, IdempotencyKey, Member};
use comity_storage::rooms::{self as rows_of, Append, At, PendingChange};
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::group::ProposalMessageDescription;
use mls_rs::group::proposal::Proposal;

use bytes::Bytes;

use super::fanout::{self, Audience};
use super::hub::{Decided, Deciding};
use super::log::{Draft, End, accepted, advanced};
use super::newcomers::{self, Coming};
use super::policy::{self, Deed};
use super::public_tree::{Fault, PublicTree};
use super::state::{Pending, Room, State};
use super::{additions, order};
use crate::error::Refused;
use crate::framing::{self, Content, Framing};

/// Decides on a proposal.
pub fn propose(
    deciding: &Deciding<'_>,
    room: &Room,
    sender: &Member,
    key: IdempotencyKey,
    proposal: &Bytes,
) -> Result<Decided, Refused> {
    let state = &room.state;
    let (leaf, message) = read(deciding, state, sender, proposal)?;
    let (tree, described) = room.tree.propose(message, deciding.at()).map_err(invalid)?;
    let deed = Deed::of(&described.proposal, &state.members).map_err(invalid)?;
    policy::check_proposal(state, Sender::Member(&sender.account), &deed)?;
    check_pending(deciding, state, leaf, &deed)?;
    check_deed(deciding, room, sender, leaf, &deed, &described)?;
    let removes = match &deed {
        Deed::Remove { leaf, .. } => Some(*leaf),
        Deed::SelfRemove => Some(leaf),
        _ => None,
    };
    let pending = Pending {
        seq: state.seq + 1,
        leaf: Some(leaf),
        by: Some(sender.account.clone()),
        reference: described.proposal_ref(),
        deed,
        removes,
        time: deciding.now,
    };
    check_somebody_stays(state, &pending)?;
    let author = Author {
        account: &sender.account,
        asked: Some((sender, key)),
    };
    wait(deciding, state, &author, proposal, tree, pending)
}

fn read(
    deciding: &Deciding<'_>,
    state: &State,
    sender: &Member,
    proposal: &Bytes,
) -> Result<(u32, MlsMessage), Refusal> {
    let most = deciding.limits.message_bytes;
    if proposal.len() > most {
        return Err(Refusal::LimitReached {
            limit: format!("{most} octets in a proposal"),
        });
    }
    let framing = Framing::read(proposal).map_err(|e| invalid_message(e.to_string()))?;
    let Framing::Public {
        group_id,
        epoch,
        sender: by,
        content,
        ..
    } = framing
    else {
        // Nobody learns from the form of the refusal whether there is a room.
        state.leaf_of(sender).ok_or(Refusal::NoRoom)?;
        return Err(Refusal::NotAllowed {
            rule: "proposals of this room are PublicMessages".to_owned(),
        });
    };
    let leaf = order::admit(state, sender, epoch)?;
    if content != Content::Proposal {
        return Err(invalid_message("it is no proposal"));
    }
    if group_id != &state.group_id[..] {
        return Err(invalid_message("it belongs to another group"));
    }
    if by != framing::Sender::Member(leaf) {
        return Err(invalid_message(
            "its sender is not the device that sends it",
        ));
    }
    let message =
        MlsMessage::from_bytes(proposal).map_err(|error| invalid_message(error.to_string()))?;
    Ok((leaf, message))
}

fn check_pending(
    deciding: &Deciding<'_>,
    state: &State,
    leaf: u32,
    deed: &Deed,
) -> Result<(), Refusal> {
    if state
        .pending
        .iter()
        .any(|pending| pending.leaf == Some(leaf))
    {
        return Err(Refusal::LimitReached {
            limit: "one pending proposal of a device: it has to be committed first".to_owned(),
        });
    }
    if state.pending.len() >= deciding.limits.pending {
        return Err(Refusal::LimitReached {
            limit: format!("{} pending proposals", deciding.limits.pending),
        });
    }
    let twice = state.pending.iter().any(|pending| match deed {
        Deed::Remove { leaf, .. } => pending.removes == Some(*leaf),
        Deed::SelfRemove => pending.removes == Some(leaf),
        Deed::Add { member, .. } => {
            matches!(&pending.deed, Deed::Add { member: other, .. } if other == member)
        }
        _ => false,
    });
    if twice {
        return Err(invalid_message("the same is proposed already"));
    }
    Ok(())
}

fn check_deed(
    deciding: &Deciding<'_>,
    Room { state, tree }: &Room,
    sender: &Member,
    leaf: u32,
    deed: &Deed,
    described: &ProposalMessageDescription,
) -> Result<(), Refused> {
    let data = &super::authenticated(&described.authenticated_data, false)
        .map_err(|error| invalid_message(error.to_string()))?;
    if !data.endorsements.is_empty() && !matches!(deed, Deed::Add { .. }) {
        return Err(invalid_message("it endorses a device and adds none").into());
    }
    match (deed, &described.proposal) {
        (Deed::Remove { leaf: target, .. }, _) if *target == leaf => {
            Err(invalid_message("who leaves proposes SelfRemove, not a Remove of itself").into())
        }
        (Deed::Add { member, key }, Proposal::Add(add)) => {
            if state.leaf_of(member).is_some() {
                let why = format!(
                    "device {} of {} is in the room",
                    member.device, member.account
                );
                return Err(invalid_message(why).into());
            }
            let coming = Coming {
                member,
                key,
                sender: Some(&sender.account),
            };
            newcomers::admit(state, tree, &[coming], data, deciding.now / 1000)
                .map_err(|denied| denied.refused(invalid_message))?;
            // MLS judges an Add when it is committed; one that can never be would be in the way of
            // every commit of the epoch.
            let package = add.key_package();
            deciding
                .observer
                .check_key_package(package, deciding.at())
                .and_then(|()| additions::check(tree, package))
                .map_err(invalid)
        }
        _ => Ok(()),
    }
}

/// A commit needs a leaf that nobody proposes to remove.
fn check_somebody_stays(state: &State, pending: &Pending) -> Result<(), Refusal> {
    let Some(removed) = pending.removes else {
        return Ok(());
    };
    let stays = |leaf: &u32| *leaf != removed && !state.leaving(*leaf);
    if state.members.keys().any(stays) {
        return Ok(());
    }
    Err(Refusal::NotAllowed {
        rule: "nobody would be left to commit the removal".to_owned(),
    })
}

/// Whose entry a proposal becomes.
pub(super) struct Author<'a> {
    /// An account; the room's domain for the hub.
    pub(super) account: &'a BareJid,
    /// The device, and the key of its request; the hub asks nobody.
    pub(super) asked: Option<(&'a Member, IdempotencyKey)>,
}

/// The proposal becomes an entry and waits for a commit.
pub(super) fn wait(
    deciding: &Deciding<'_>,
    state: &State,
    author: &Author<'_>,
    payload: &Bytes,
    tree: PublicTree,
    pending: Pending,
) -> Result<Decided, Refused> {
    let draft = Draft {
        kind: EntryKind::Proposal,
        epoch: state.epoch,
        sender: author.account,
        device: author.asked.map(|(member, _)| member.device),
        payload,
        now: deciding.now,
        changes: Vec::new(),
    };
    let entry = End::of(state).append(&state.room, deciding.hub, draft)?;
    let domains = state.domains();
    let audience = Audience {
        before: domains.clone(),
        after: domains,
    };
    let plan = fanout::plan(deciding, &entry, None, &audience)?;
    let accepted = accepted(&entry, state.epoch);
    let at = At::Seq {
        epoch: state.epoch,
        seq: state.seq,
        next: None,
    };
    let append = Append {
        pending: PendingChange::Add(rows_of::Pending {
            seq: pending.seq,
            leaf: pending.leaf,
            removes: pending.removes,
            reference: pending.reference.clone(),
            time: pending.time,
        }),
        ..deciding.append(
            at,
            &entry,
            author.asked.map(|(member, key)| (member, key, &accepted)),
            plan,
        )
    };
    let mut all = Vec::clone(&state.pending);
    all.push(pending);
    let state = State {
        pending: Arc::new(all),
        since: state.since.and(payload, entry.time),
        ..advanced(state, &entry)
    };
    Ok(Decided {
        append,
        next: Room {
            state,
            tree: Arc::new(tree),
        },
        entry,
        accepted,
    })
}

fn invalid(fault: Fault) -> Refused {
    fault.refused(invalid_message)
}

fn invalid_message(why: impl Into<String>) -> Refusal {
    Refusal::InvalidMessage { why: why.into() }
}
