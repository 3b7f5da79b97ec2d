//! A commit of one who comes to the room by itself (RFC 9420 §12.4.3.2): a further device of an
//! account that is in it, a device that takes its own place again, or anyone where the policy opens
//! the room.

use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::policy::{ExternalJoins, Sender};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Bundle, Member};

use super::commit::{self, invalid, invalid_commit};
use super::hub::{Decided, Deciding};
use super::newcomers::{self, Coming};
use super::order;
use super::policy::Deed;
use super::public_tree::Committed;
use super::state::{Room, State};
use crate::error::Refused;
use crate::framing::{self, Framing};

/// Does it say that its sender is not in the group yet?
#[must_use]
pub fn is_one(commit: &[u8]) -> bool {
    matches!(
        Framing::read(commit),
        Ok(Framing::Public {
            sender: framing::Sender::NewMemberCommit,
            ..
        })
    )
}

/// May this device come by itself? Whoever may not learns nothing of the room.
#[must_use]
pub fn may_come(state: &State, sender: &Member) -> bool {
    if state.leaf_of(sender).is_some() {
        return true;
    }
    match state.policy.external_joins {
        ExternalJoins::Nobody => false,
        ExternalJoins::OwnAccount => state.has_account(&sender.account),
        ExternalJoins::Anyone => state.policy.admits(&sender.account),
    }
}

/// Decides on the bundle of an external commit.
pub fn commit(
    deciding: &Deciding<'_>,
    room: &Room,
    sender: &Member,
    bundle: &Bundle,
) -> Result<Decided, Refused> {
    let state = &room.state;
    if !may_come(state, sender) {
        return Err(Refusal::NoRoom.into());
    }
    order::in_time(state, bundle.epoch)?;
    state.check_barred(sender)?;
    commit::check_sizes(deciding, bundle)?;
    let (message, data) = commit::read(state, framing::Sender::NewMemberCommit, bundle)?;
    let old = state.leaf_of(sender);
    if old.is_some_and(|leaf| state.leaving(leaf)) {
        return Err(not_allowed("a proposal to remove this device is pending").into());
    }
    let by = Sender::Joiner(&sender.account);
    let deeds = commit::proposals(deciding, state, by, &message)?;
    check_place(old, &deeds, &data)?;
    let committed = room.tree.commit(message, deciding.at()).map_err(invalid)?;
    check_right(deciding, room, sender, &committed, &data)?;
    let next = commit::follow(deciding, room, committed, sender, bundle)?;
    commit::decide(deciding, state, sender, bundle, next)
}

/// Who has a leaf replaces it, and nobody else's; who has none takes none away.
fn check_place(old: Option<u32>, deeds: &[Deed], data: &AuthenticatedData) -> Result<(), Refusal> {
    let removed = deeds.iter().find_map(|deed| match deed {
        Deed::Remove { leaf, .. } => Some(*leaf),
        _ => None,
    });
    if removed != old {
        return Err(not_allowed(match old {
            Some(_) => "a device that comes back removes its own old leaf, and no other",
            None => "a device that is not in the room removes no leaf by coming to it",
        }));
    }
    if data.rejoin.is_some() && old.is_none() {
        return Err(invalid_commit(
            "it proves an earlier epoch to a room that the device is not in",
        ));
    }
    Ok(())
}

/// Its account's leaves vouch for it, the one it replaces among them.
fn check_right(
    deciding: &Deciding<'_>,
    Room { state, tree }: &Room,
    sender: &Member,
    committed: &Committed,
    data: &AuthenticatedData,
) -> Result<(), Refused> {
    let leaf = committed.committer;
    let identity = committed.tree.identity(leaf).map_err(invalid)?;
    let certificate = committed.tree.certificate(leaf).map_err(invalid)?;
    if deciding.observer.revoked(&certificate).is_some() {
        return Err(Refusal::UnknownDevice.into());
    }
    let coming = Coming {
        member: sender,
        key: identity.signature_key.as_ref(),
        sender: None,
    };
    newcomers::admit(state, tree, &[coming], data, deciding.now / 1000)
        .map_err(|denied| denied.refused(invalid_commit))
}

fn not_allowed(rule: &str) -> Refusal {
    Refusal::NotAllowed {
        rule: rule.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use comity_mls_wire::authenticated::Rejoin;
    use comity_xmpp::jid::BareJid;

    use super::*;

    /// What no program of ours can make, mls-rs refusing it first.
    #[test]
    fn a_device_takes_its_own_place_and_no_other() {
        let remove = |leaf| Deed::Remove {
            leaf,
            account: BareJid::parse("bob@b.example").unwrap(),
        };
        let plain = AuthenticatedData::default();
        let check = |old, deeds: &[Deed], data: &AuthenticatedData| check_place(old, deeds, data);
        check(None, &[Deed::ExternalInit], &plain).unwrap();
        check(Some(3), &[Deed::ExternalInit, remove(3)], &plain).unwrap();
        for (old, deeds) in [
            // In the place of another, twice in the room, and taking away who is not oneself.
            (Some(3), vec![remove(4)]),
            (Some(3), vec![Deed::ExternalInit]),
            (None, vec![remove(4)]),
        ] {
            let refused = check(old, &deeds, &plain);
            assert!(matches!(refused, Err(Refusal::NotAllowed { .. })));
        }
        let proving = AuthenticatedData {
            rejoin: Some(Rejoin {
                epoch: 1,
                mac: [0; 32],
            }),
            ..plain
        };
        check(Some(3), &[remove(3)], &proving).unwrap();
        let refused = check(None, &[], &proving);
        assert!(matches!(refused, Err(Refusal::InvalidCommit { .. })));
    }
}
