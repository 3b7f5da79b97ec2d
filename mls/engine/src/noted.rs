//! What this device has found of pending proposals beside what MLS keeps of them. It is kept until
//! the epoch ends; of a proposal of which nothing need be said nothing is kept.

use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::room::Entry;
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{ProposalMessageDescription, ProposalSender};
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Because, Device, Warning};
use crate::evidence::Looked;
use crate::follow::device;
use crate::mls::Group;
use crate::newcomers::{Leaves, said};
use crate::rows;
use crate::store::Space;

/// Proposals of one epoch that are noted: more than a hub lets wait.
const MAX_NOTED: usize = 1_024;
/// A revocation list that is named as evidence may take so long to come.
const EVIDENCE_WITHIN_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Noted {
    /// ProposalRef (RFC 9420 §5.2).
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    reference: Vec<u8>,
    finding: Finding,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
enum Finding {
    /// An Add for an account that is in the room and did not vouch for it.
    Unendorsed(String) = 1,
    /// A removal that the hub proposes.
    Removal(HubRemoval) = 2,
    /// The hub asks this device to commit what is pending. It is of no one proposal.
    Nominated = 3,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct HubRemoval {
    leaf: u32,
    who: Device,
    /// The ground, as authenticated data.
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    data: Vec<u8>,
    standing: Standing,
}

#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
#[repr(u8)]
enum Standing {
    Proven(Because) = 1,
    /// What proves it is asked for.
    Awaits = 2,
    /// The person has been told why it proves nothing.
    Unproven(String) = 3,
}

impl Noted {
    /// Why the Add of this reference may not be committed.
    pub(crate) fn unendorsed(&self, reference: &[u8]) -> Option<&str> {
        match &self.finding {
            Finding::Unendorsed(why) if self.reference == reference => Some(why),
            _ => None,
        }
    }

    /// Why the hub removes somebody by the proposal of this reference.
    pub(crate) fn because(&self, reference: &[u8]) -> Option<Because> {
        match &self.finding {
            Finding::Removal(removal) if self.reference == reference => {
                Some(match &removal.standing {
                    Standing::Proven(because) => because.clone(),
                    Standing::Awaits | Standing::Unproven(_) => Because::Unproven,
                })
            }
            _ => None,
        }
    }

    /// Nothing is made in an epoch with this proposal: no commit that carries it, and MLS lets
    /// nobody send past it (RFC 9420 §15.2).
    fn holds_up(&self) -> bool {
        match &self.finding {
            Finding::Unendorsed(_) => true,
            Finding::Nominated => false,
            Finding::Removal(removal) => !matches!(removal.standing, Standing::Proven(_)),
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
        now: u64,
    ) -> Result<(), Error> {
        let data = said(&proposal.authenticated_data);
        let finding = match (&proposal.proposal, &proposal.sender) {
            (Proposal::Add(add), ProposalSender::Member(sender)) => {
                let leaves = Leaves::new(group.group_id(), group.cipher_suite(), group.roster());
                let sender = leaves.account_of(*sender);
                let admitted = leaves.admit(add.signing_identity(), sender.as_ref(), &data);
                let Err(why) = admitted else { return Ok(()) };
                self.warn(
                    Some(&entry.room),
                    Warning::Unendorsed {
                        seq: entry.seq,
                        why: why.clone(),
                    },
                );
                Finding::Unendorsed(why)
            }
            (Proposal::Remove(remove), ProposalSender::External(_)) => {
                let leaf = remove.to_remove();
                let removal = self.judge_removal(&entry.room, group, leaf, &data, now);
                let Some(removal) = removal else {
                    return Ok(());
                };
                Finding::Removal(removal)
            }
            _ => return Ok(()),
        };
        let noted = Noted {
            reference: proposal.proposal_ref().to_vec(),
            finding,
        };
        let key = rows::numbered(entry.room.as_str(), entry.seq);
        self.rows.write(Space::Proposal, &key, &noted)
    }

    fn judge_removal(
        &mut self,
        room: &BareJid,
        group: &Group,
        leaf: u32,
        data: &AuthenticatedData,
        now: u64,
    ) -> Option<HubRemoval> {
        let who = device(&group.member_at_index(leaf)?.signing_identity)?;
        let standing = match self.look_up(room, group, leaf, data.ground.as_ref(), now) {
            Looked::Proven(because) => Standing::Proven(because),
            Looked::Awaits(wanted) => {
                self.ask_crl(&wanted.domain, wanted.issuer, 0, now);
                self.set_timer(Timer::Evidence(room.clone()), now + EVIDENCE_WITHIN_MS);
                Standing::Awaits
            }
            Looked::Unproven(why) => self.unproven(room, &who, why),
        };
        Some(HubRemoval {
            leaf,
            who,
            data: data.to_bytes().unwrap_or_default(),
            standing,
        })
    }

    fn unproven(&mut self, room: &BareJid, who: &Device, why: String) -> Standing {
        let warning = Warning::RemovalUnproven {
            account: who.account.clone(),
            device: who.id(),
            why: why.clone(),
        };
        self.warn(Some(room), warning);
        Standing::Unproven(why)
    }

    /// Looks again at the removals that were not proven: more is known of what is revoked, or time
    /// is `over` for what was to prove it.
    pub(crate) fn look_again(&mut self, room: &BareJid, over: bool) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        let noted = self
            .rows
            .list::<Noted>(Space::Proposal, &prefix, MAX_NOTED)?;
        if !noted.iter().any(|(_, noted)| noted.holds_up()) {
            return Ok(());
        }
        let Some(record) = self.record(room)? else {
            return Ok(());
        };
        let group = self.take_group(room, &record)?;
        for (key, mut noted) in noted {
            let Finding::Removal(removal) = &mut noted.finding else {
                continue;
            };
            let before = removal.standing.clone();
            if let Standing::Proven(_) = before {
                continue;
            }
            let data = said(&removal.data);
            // How long somebody was idle was judged when the proposal came.
            let ground = data.ground.as_ref();
            removal.standing = match self.look_up(room, &group, removal.leaf, ground, 0) {
                Looked::Proven(because) => Standing::Proven(because),
                Looked::Awaits(_) if over && before == Standing::Awaits => {
                    let why = "the revocation list that it names cannot be had";
                    self.unproven(room, &removal.who, why.to_owned())
                }
                // It was asked for when the proposal came; a list that stays behind what the hub
                // names is not asked for over and over.
                Looked::Awaits(_) => before,
                Looked::Unproven(_) if matches!(before, Standing::Unproven(_)) => before,
                Looked::Unproven(why) => self.unproven(room, &removal.who, why),
            };
            self.rows.write(Space::Proposal, &key, &noted)?;
        }
        self.keep_group(room, group);
        self.touched.insert(room.clone());
        Ok(())
    }

    /// After a restart, or with another session, what was awaited is asked for again.
    pub(crate) fn await_evidence(
        &mut self,
        room: &BareJid,
        group: &Group,
        now: u64,
    ) -> Result<(), Error> {
        if self.has_timer(&Timer::Evidence(room.clone())) {
            return Ok(());
        }
        for noted in self.noted(room)? {
            let Finding::Removal(removal) = &noted.finding else {
                continue;
            };
            let ground = said(&removal.data).ground;
            if removal.standing == Standing::Awaits
                && let Looked::Awaits(wanted) =
                    self.look_up(room, group, removal.leaf, ground.as_ref(), 0)
            {
                self.ask_crl(&wanted.domain, wanted.issuer, 0, now);
                self.set_timer(Timer::Evidence(room.clone()), now + EVIDENCE_WITHIN_MS);
            }
        }
        Ok(())
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

    /// The hub asks this device to commit what is pending, by that entry.
    pub(crate) fn note_nomination(&mut self, room: &BareJid, seq: u64) -> Result<(), Error> {
        let noted = Noted {
            reference: Vec::new(),
            finding: Finding::Nominated,
        };
        let key = rows::numbered(room.as_str(), seq);
        self.rows.write(Space::Proposal, &key, &noted)
    }

    pub(crate) fn is_nominated(&self, room: &BareJid) -> Result<bool, Error> {
        let asks = |noted: &Noted| noted.finding == Finding::Nominated;
        Ok(self.noted(room)?.iter().any(asks))
    }

    /// The epoch has ended.
    pub(crate) fn forget_noted(&mut self, room: &BareJid) -> Result<(), Error> {
        self.clear_timer(&Timer::Evidence(room.clone()));
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self.rows.scan(Space::Proposal, &prefix, None, MAX_NOTED)? {
            self.rows.delete(Space::Proposal, &key);
        }
        Ok(())
    }
}
