//! What the hub proposes by itself, as the external sender of its rooms: the removal of a leaf, with
//! its ground. Members commit it; whoever is meant sends nothing meanwhile.

use bytes::Bytes;
use comity_mls_wire::authenticated::{AuthenticatedData, Ground, Idle, Revocation};
use comity_mls_wire::policy::Sender;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;

use super::hub::{Decided, Deciding};
use super::policy::{self, Deed};
use super::propose::{Author, wait};
use super::public_tree::{Fault, Observer};
use super::state::{Pending, Room, State};
use crate::error::Refused;

/// A leaf that should go, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub leaf: u32,
    pub ground: Ground,
}

/// The leaves of a room that should go, save those whose removal is proposed already: whose
/// certificates have been taken back, and which were not updated for longer than the policy allows.
pub fn due(deciding: &Deciding<'_>, Room { state, tree }: &Room) -> Result<Vec<Due>, Fault> {
    let mut due = Vec::new();
    for leaf in state.members.keys().filter(|leaf| !state.leaving(**leaf)) {
        let certificate = tree.certificate(*leaf)?;
        if let Some(revoked) = deciding.observer.revoked(&certificate) {
            let ground = Ground::Revocation(Revocation {
                serial: certificate.serial,
                crl_number: revoked.crl_number,
            });
            due.push(Due {
                leaf: *leaf,
                ground,
            });
        } else if let Some(ground) = idle(deciding, state, *leaf, certificate.not_before) {
            due.push(Due {
                leaf: *leaf,
                ground,
            });
        }
    }
    Ok(due)
}

/// Has the leaf not been updated for too long? Where that is so of everybody, nobody goes: a room
/// that nobody has used is there when somebody comes back. Members see how long a leaf may have been
/// idle by its certificate, which an update replaces in time; so it is old as well, or they would not
/// believe it.
fn idle(deciding: &Deciding<'_>, state: &State, leaf: u32, certified_s: u64) -> Option<Ground> {
    let limit_s = state.policy.idle_removal_s;
    let (limit, now) = (u64::from(limit_s) * 1000, deciding.now);
    let is_idle = |leaf: u32| limit > 0 && state.idle_ms(leaf, now) > limit;
    if !is_idle(leaf) || certified_s.saturating_mul(1000).saturating_add(limit) > now {
        return None;
    }
    let somebody = state.members.keys().any(|other| !is_idle(*other));
    let updated = state.updates.get(&leaf).filter(|_| somebody)?;
    Some(Ground::Idle(Idle {
        updated_epoch: updated.epoch,
        limit_s,
    }))
}

/// The next removal that the hub has to propose, if there is one.
pub fn next(deciding: &Deciding<'_>, room: &Room) -> Result<Option<Decided>, Refused> {
    // What finds no place now is found again when the epoch has ended.
    if room.state.pending.len() >= deciding.limits.pending {
        return Ok(None);
    }
    for due in due(deciding, room).map_err(failed)? {
        if let Some(decided) = propose(deciding, room, &due)? {
            return Ok(Some(decided));
        }
    }
    Ok(None)
}

/// Who is revoked sends nothing here any more (RFC 9750 §4, revocation), whatever its session with
/// its own server is worth.
pub fn check_sender(observer: &Observer, room: &Room, sender: &Member) -> Result<(), Refusal> {
    let Some(leaf) = room.state.leaf_of(sender) else {
        return Ok(());
    };
    let certificate = room.tree.certificate(leaf);
    match certificate.map(|certificate| observer.revoked(&certificate)) {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err(Refusal::UnknownDevice),
        Err(error) => Err(crate::error::internal(
            error,
            "reading a member's certificate",
        )),
    }
}

/// Decides on the removal of a leaf; `None` where the room's policy gives the hub no such right, or
/// nobody would be left to commit it.
pub fn propose(
    deciding: &Deciding<'_>,
    room: &Room,
    due: &Due,
) -> Result<Option<Decided>, Refused> {
    let Room { state, tree } = room;
    let Some(member) = state.members.get(&due.leaf) else {
        return Ok(None);
    };
    let deed = Deed::Remove {
        leaf: due.leaf,
        account: member.account.clone(),
    };
    let stays = |leaf: &u32| *leaf != due.leaf && !state.leaving(*leaf);
    let allowed = policy::check_proposal(state, Sender::Hub, &deed).is_ok();
    if !allowed || !state.members.keys().any(stays) {
        return Ok(None);
    }
    let data = AuthenticatedData::grounded(due.ground.clone())
        .to_bytes()
        .map_err(|error| crate::error::internal(error, "writing the ground of a removal"))?;
    let message = tree
        .remove_as_hub(deciding.observer, deciding.hub, due.leaf, data)
        .map_err(failed)?;
    let payload: Bytes = message
        .to_bytes()
        .map_err(Fault::from)
        .map_err(failed)?
        .into();
    let (tree, described) = tree.propose(message, deciding.at()).map_err(failed)?;
    let pending = Pending {
        seq: state.seq + 1,
        leaf: None,
        by: None,
        reference: described.proposal_ref(),
        deed,
        removes: Some(due.leaf),
        time: deciding.now,
    };
    let author = Author {
        account: &hub_address(state)?,
        asked: None,
    };
    wait(deciding, state, &author, &payload, tree, pending).map(Some)
}

/// As what the log names the hub: the room's domain.
fn hub_address(state: &State) -> Result<BareJid, Refusal> {
    BareJid::parse(state.room.domain())
        .map_err(|error| crate::error::internal(error, "naming the hub of a room"))
}

fn failed(fault: Fault) -> Refused {
    fault.refused(|why| crate::error::internal(why, "proposing a removal"))
}
