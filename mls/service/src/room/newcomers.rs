//! Devices that come to a room, and by what right: the rule itself is `mls/credential`'s, shared
//! with the engines.

use std::collections::BTreeSet;

use comity_mls_credential::endorsement::{self, Newcomer, Offered, Present};
use comity_mls_wire::authenticated::{AuthenticatedData, Endorsement};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;

use super::public_tree::{Fault, PublicTree};
use super::state::State;

/// A leaf that a proposal or a commit brings.
#[derive(Clone, Copy, Debug)]
pub struct Coming<'a> {
    pub member: &'a Member,
    /// Its signature key, as MLS writes it.
    pub key: &'a [u8],
    /// The account whose leaf brings it; none where it comes by itself.
    pub sender: Option<&'a BareJid>,
}

/// Lets all of them in or says why not, `at` in seconds since 1970.
pub fn admit(
    state: &State,
    tree: &PublicTree,
    coming: &[Coming<'_>],
    data: &AuthenticatedData,
    at: u64,
) -> Result<(), Denied> {
    let idle = |offered: &&Endorsement| {
        !coming
            .iter()
            .any(|one| one.member.device == offered.device())
    };
    if data.endorsements.iter().find(idle).is_some() {
        return Err(Denied::Invalid("it endorses a device that does not come"));
    }
    let present = present(state, tree, coming)?;
    for one in coming {
        let newcomer = Newcomer {
            account: &one.member.account,
            device: one.member.device,
            signature_key: one.key,
            sender: one.sender,
        };
        let offered = data.endorsements.iter().map(offered);
        endorsement::admit(&state.group_id, &newcomer, &present, offered, Some(at)).map_err(
            |unendorsed| {
                Denied::Rule(Refusal::NotAllowed {
                    rule: unendorsed.to_string(),
                })
            },
        )?;
    }
    Ok(())
}

/// Why nobody comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    Rule(Refusal),
    Fault(Fault),
    Invalid(&'static str),
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Denied {
    /// The refusal it comes to, where `invalid` says what is wrong with the message.
    pub fn refused(self, invalid: impl Fn(String) -> Refusal) -> crate::error::Refused {
        match self {
            Self::Rule(refusal) => refusal.into(),
            Self::Fault(fault) => fault.refused(invalid),
            Self::Invalid(why) => invalid(why.to_owned()).into(),
        }
    }
}

/// The leaves that may vouch: those of the accounts that come.
fn present(state: &State, tree: &PublicTree, coming: &[Coming<'_>]) -> Result<Vec<Present>, Fault> {
    let accounts: BTreeSet<&str> = coming
        .iter()
        .map(|one| one.member.account.as_str())
        .collect();
    state
        .members
        .iter()
        .filter(|(_, member)| accounts.contains(member.account.as_str()))
        .map(|(leaf, member)| {
            Ok(Present {
                account: member.account.clone(),
                device: member.device,
                key: tree.signature_key(*leaf)?,
            })
        })
        .collect()
}

fn offered(endorsement: &Endorsement) -> Offered<'_> {
    Offered {
        device: endorsement.device(),
        key_hash: &endorsement.key_hash,
        not_after: endorsement.not_after,
        endorser: endorsement.endorser(),
        signature: &endorsement.signature,
    }
}
