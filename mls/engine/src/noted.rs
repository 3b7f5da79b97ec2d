//! What this device has found of pending proposals beside what MLS keeps of them. It is kept until
//! the epoch ends; of a proposal of which nothing need be said nothing is kept.

use comity_mls_wire::room::Entry;
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{ProposalMessageDescription, ProposalSender};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::engine::Engine;
use crate::error::Error;
use crate::event::Warning;
use crate::mls::Group;
use crate::newcomers::{Leaves, said};
use crate::rows;
use crate::store::Space;

/// Proposals of one epoch that are noted: more than a hub lets wait.
const MAX_NOTED: usize = 1_024;

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Noted {
    /// ProposalRef (RFC 9420 §5.2).
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    reference: Vec<u8>,
    finding: Finding,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
pub(crate) enum Finding {
    /// An Add for an account that is in the room and did not vouch for it.
    Unendorsed(String) = 1,
}

impl Noted {
    /// Why the Add of this reference may not be committed.
    pub(crate) fn unendorsed(&self, reference: &[u8]) -> Option<&str> {
        match &self.finding {
            Finding::Unendorsed(why) if self.reference == reference => Some(why),
            _ => None,
        }
    }

    /// Nothing is made in an epoch with this proposal: no commit that carries it, and MLS lets
    /// nobody send past it (RFC 9420 §15.2).
    fn holds_up(&self) -> bool {
        match &self.finding {
            Finding::Unendorsed(_) => true,
        }
    }
}

impl Engine {
    /// Looks at a proposal that the log has brought.
    pub(crate) fn note_proposal(
        &mut self,
        entry: &Entry,
        group: &Group,
        proposal: &ProposalMessageDescription,
    ) -> Result<(), Error> {
        let Some(finding) = self.find(entry, group, proposal) else {
            return Ok(());
        };
        let noted = Noted {
            reference: proposal.proposal_ref().to_vec(),
            finding,
        };
        let key = rows::numbered(entry.room.as_str(), entry.seq);
        self.rows.write(Space::Proposal, &key, &noted)
    }

    fn find(
        &mut self,
        entry: &Entry,
        group: &Group,
        proposal: &ProposalMessageDescription,
    ) -> Option<Finding> {
        let leaves = Leaves {
            group_id: group.group_id(),
            suite: group.cipher_suite(),
            roster: group.roster(),
        };
        match (&proposal.proposal, &proposal.sender) {
            (Proposal::Add(add), ProposalSender::Member(sender)) => {
                let sender = leaves.account_of(*sender);
                let data = said(&proposal.authenticated_data);
                let why = leaves
                    .admit(add.signing_identity(), sender.as_ref(), &data)
                    .err()?;
                self.warn(
                    Some(&entry.room),
                    Warning::Unendorsed {
                        seq: entry.seq,
                        why: why.clone(),
                    },
                );
                Some(Finding::Unendorsed(why))
            }
            _ => None,
        }
    }

    pub(crate) fn noted(&self, room: &BareJid) -> Result<Vec<Noted>, Error> {
        let prefix = rows::of_room(room.as_str());
        let found = self.rows.list(Space::Proposal, &prefix, MAX_NOTED)?;
        Ok(found.into_iter().map(|(_, noted)| noted).collect())
    }

    /// A pending proposal keeps this device from making anything before the epoch ends.
    pub(crate) fn is_held_up(&self, room: &BareJid) -> Result<bool, Error> {
        Ok(self.noted(room)?.iter().any(Noted::holds_up))
    }

    /// The epoch has ended.
    pub(crate) fn forget_noted(&self, room: &BareJid) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self.rows.scan(Space::Proposal, &prefix, None, MAX_NOTED)? {
            self.rows.delete(Space::Proposal, &key);
        }
        Ok(())
    }
}
