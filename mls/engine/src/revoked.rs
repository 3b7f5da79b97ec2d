//! Members whose credential was taken back after they came: they are flagged, nothing is said while
//! they are there, and they are removed (RFC 9750 §4). A commit of theirs, or with them, is followed
//! all the same, so that nobody's list of what is revoked splits a room.

use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::certificate;
use comity_mls_wire::policy::{Policy, Proposed, Sender};
use comity_xmpp::jid::BareJid;

use crate::commit::going;
use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Device, Event};
use crate::mls::Group;
use crate::room::{Plan, RemovePlan, Stage};

/// The hub is given so long to propose a removal before those who may do it themselves.
const HUB_PROPOSES_WITHIN_MS: u64 = 30_000;
/// Each member waits a little longer than the one before it in the tree.
const STEP_MS: u64 = 500;
const STEPS: u64 = 60;

/// The revoked leaves of a room, as they were last looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flagged {
    epoch: u64,
    /// Of what is known to be revoked.
    generation: u64,
    pub(crate) leaves: Vec<Revoked>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Revoked {
    pub(crate) leaf: u32,
    pub(crate) who: Device,
}

impl Engine {
    /// The leaves of the group whose certificates were taken back. Those that are new are told.
    pub(crate) fn flagged(&mut self, room: &BareJid, group: &Group) -> Vec<Revoked> {
        let epoch = group.current_epoch();
        let before = match self.flags.get(room) {
            Some(known) if known.epoch == epoch && known.generation == self.crl_generation => {
                return known.leaves.clone();
            }
            before => before.map(|known| known.leaves.clone()).unwrap_or_default(),
        };
        let leaves: Vec<Revoked> = group
            .roster()
            .members_iter()
            .filter_map(|member| {
                let der = certificate(&member.signing_identity.credential).ok()?;
                let leaf = Leaf::read(der).ok()?;
                self.mls.provider().revoked(&leaf)?;
                Some(Revoked {
                    leaf: member.index,
                    who: Device {
                        account: leaf.account.as_str().to_owned(),
                        device: leaf.device?.into_bytes(),
                    },
                })
            })
            .collect();
        for new in leaves.iter().filter(|new| !before.contains(new)) {
            self.tell(Event::MemberRevoked {
                room: room.clone(),
                device: new.who.clone(),
            });
        }
        let flagged = Flagged {
            epoch,
            generation: self.crl_generation,
            leaves: leaves.clone(),
        };
        self.flags.insert(room.clone(), flagged);
        leaves
    }

    /// Makes sure that somebody removes them: the hub is first, then members that may.
    pub(crate) fn await_removal(
        &mut self,
        room: &BareJid,
        group: &Group,
        flagged: &[Revoked],
        now: u64,
    ) {
        let timer = Timer::Revoked(room.clone());
        let going = going(group);
        if flagged.iter().all(|one| going.contains(&one.leaf)) {
            self.clear_timer(&timer);
        } else if !self.has_timer(&timer) {
            let place = u64::from(group.current_member_index()).min(STEPS);
            self.set_timer(timer, now + HUB_PROPOSES_WITHIN_MS + place * STEP_MS);
        }
    }

    /// The hub has not proposed it in time.
    pub(crate) fn remove_revoked(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        let Some(mut record) = self.record(room)? else {
            return Ok(());
        };
        if record.stage != Stage::Active {
            return Ok(());
        }
        let group = self.take_group(room, &record)?;
        let flagged = self.flagged(room, &group);
        let going = going(&group);
        for one in flagged.iter().filter(|one| !going.contains(&one.leaf)) {
            let Some(plan) = self.may_remove(&group, one) else {
                continue;
            };
            if !self.has_plan(room, &plan)? {
                self.add_plan(room, &mut record, &plan)?;
            }
        }
        self.keep_group(room, group);
        self.write_record(room, &record)?;
        self.set_timer(
            Timer::Revoked(room.clone()),
            now + 10 * HUB_PROPOSES_WITHIN_MS,
        );
        self.touched.insert(room.clone());
        Ok(())
    }

    fn may_remove(&self, group: &Group, revoked: &Revoked) -> Option<Plan> {
        let account = BareJid::parse(&revoked.who.account).ok()?;
        let policy = Policy::of(&group.context().extensions).ok()?;
        let proposed = Proposed::Remove { account: &account };
        policy
            .check_proposal(Sender::Member(&self.account), &proposed)
            .ok()?;
        Some(Plan::Remove(RemovePlan {
            account: revoked.who.account.clone(),
            device: Some(revoked.who.device),
        }))
    }
}

/// This device itself is revoked: its hub takes nothing from it.
pub(crate) fn is_own(group: &Group, flagged: &[Revoked]) -> bool {
    let own = group.current_member_index();
    flagged.iter().any(|one| one.leaf == own)
}
