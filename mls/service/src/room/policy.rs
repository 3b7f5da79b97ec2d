//! What the room's policy says to a commit or a proposal: the rules themselves are `mls/wire`'s,
//! shared with the engines.

use std::collections::BTreeMap;

use comity_mls_wire::policy::{Commit, Item, Policy, Proposed, Sender};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;

use super::public_tree::{Fault, named};
use super::state::{Pending, State};

/// A proposal, as far as the rules look into it.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    Add {
        member: Member,
        /// The signature key of the leaf, as MLS writes it.
        key: Vec<u8>,
    },
    Remove {
        leaf: u32,
        account: BareJid,
    },
    SelfRemove,
    Update,
    Context(Option<Box<Policy>>),
    Psk {
        external: bool,
    },
    ReInit(u16),
    ExternalInit,
    Other(u16),
}

impl Deed {
    /// Reads a proposal against the members at that time.
    pub fn of(proposal: &Proposal, members: &BTreeMap<u32, Member>) -> Result<Self, Fault> {
        Ok(match proposal {
            Proposal::Add(add) => {
                let identity = add.key_package().signing_identity();
                Self::Add {
                    member: named(identity)?,
                    key: identity.signature_key.as_ref().to_vec(),
                }
            }
            Proposal::Update(_) => Self::Update,
            Proposal::Remove(remove) => {
                let leaf = remove.to_remove();
                let member = members
                    .get(&leaf)
                    .ok_or_else(|| Fault::Invalid(format!("there is no leaf {leaf} to remove")))?;
                Self::Remove {
                    leaf,
                    account: member.account.clone(),
                }
            }
            Proposal::Psk(psk) => Self::Psk {
                external: psk.external_psk_id().is_some(),
            },
            Proposal::ReInit(reinit) => Self::ReInit(*reinit.new_cipher_suite()),
            Proposal::ExternalInit(_) => Self::ExternalInit,
            Proposal::GroupContextExtensions(next) => {
                Self::Context(Policy::of(next).ok().map(Box::new))
            }
            Proposal::SelfRemove(_) => Self::SelfRemove,
            Proposal::Custom(custom) => Self::Other(custom.proposal_type().raw_value()),
            other => Self::Other(other.proposal_type().raw_value()),
        })
    }

    #[must_use]
    pub fn proposed(&self) -> Proposed<'_> {
        match self {
            Self::Add { member, .. } => Proposed::Add {
                account: &member.account,
            },
            Self::Remove { account, .. } => Proposed::Remove { account },
            Self::SelfRemove => Proposed::SelfRemove,
            Self::Update => Proposed::Update,
            Self::Context(next) => Proposed::Context {
                next: next.as_deref(),
            },
            Self::Psk { external } => Proposed::Psk {
                external: *external,
            },
            Self::ReInit(suite) => Proposed::ReInit { suite: *suite },
            Self::ExternalInit => Proposed::ExternalInit,
            Self::Other(number) => Proposed::Other(*number),
        }
    }
}

impl Pending {
    #[must_use]
    pub fn item(&self) -> Item<'_> {
        Item {
            by: self.by.as_ref().map_or(Sender::Hub, Sender::Member),
            by_reference: true,
            proposal: self.deed.proposed(),
        }
    }
}

/// Judges a commit: its own proposals, and the pending ones it refers to.
pub fn check_commit(
    state: &State,
    by: Sender<'_>,
    by_value: &[Deed],
    by_reference: &[&Pending],
    has_path: bool,
    leaves_limit: usize,
) -> Result<(), Refusal> {
    let items: Vec<Item<'_>> = by_value
        .iter()
        .map(|deed| Item {
            by,
            by_reference: false,
            proposal: deed.proposed(),
        })
        .chain(by_reference.iter().map(|pending| pending.item()))
        .collect();
    let deeds = || by_value.iter().chain(by_reference.iter().map(|p| &p.deed));
    let adds = deeds()
        .filter(|deed| matches!(deed, Deed::Add { .. }))
        .count();
    let removes = deeds()
        .filter(|deed| matches!(deed, Deed::Remove { .. } | Deed::SelfRemove))
        .count();
    let comes = usize::from(matches!(by, Sender::Joiner(_)));
    let leaves_after = (state.members.len() + adds + comes).saturating_sub(removes);
    let account_is_in = match by {
        Sender::Joiner(account) => state.has_account(account),
        Sender::Member(_) | Sender::Hub => true,
    };
    state.policy.check_commit(&Commit {
        committer: by,
        account_is_in,
        proposals: &items,
        has_path,
        leaves_after,
    })?;
    if leaves_after > leaves_limit {
        return Err(Refusal::LimitReached {
            limit: format!("{leaves_limit} devices in a room of this server"),
        });
    }
    Ok(())
}

/// A proposal by reference.
pub fn check_proposal(state: &State, by: Sender<'_>, deed: &Deed) -> Result<(), Refusal> {
    Ok(state.policy.check_proposal(by, &deed.proposed())?)
}
