//! A new epoch: who came, who went, and what that means for this device.

use comity_mls_wire::room::Entry;
use comity_xmpp::jid::BareJid;
use mls_rs::group::proposal::Proposal;
use mls_rs::group::{CommitEffect, CommitMessageDescription, Member, NewEpoch, Sender};
use mls_rs::mls_rules::ProposalInfo;
use uuid::Uuid;

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Because, Change, Device, Event, HubRemoval, Rejoined, Warning, What};
use crate::follow::device;
use crate::mls::Group;
use crate::noted::Noted;
use crate::role;
use crate::room::{CommitBody, Plan, Record, Stage};
use crate::rows;
use crate::store::Space;

impl Engine {
    /// The log has this device's own commit: its plan is carried out.
    pub(crate) fn commit_accepted(
        &mut self,
        record: &mut Record,
        body: &CommitBody,
        entry: &Entry,
    ) -> Result<(), Error> {
        let room = &entry.room;
        self.forget_in_flight(room);
        if body.rotates
            && let Some(next) = record.next_leaf.take()
        {
            let old = record.leaf.replace(next);
            if !record.rotate {
                self.unused_keys.extend(old.map(|old| old.key()));
            }
            // A last resort's key stays for the other rooms it was used in.
            record.rotate = false;
        }
        record.updated = entry.time;
        let Some(number) = body.plan else {
            return Ok(());
        };
        let key = rows::numbered(room.as_str(), number);
        match self.rows.read::<Plan>(Space::Plan, &key)? {
            // Packages that did not fit come with the next commit, which drops the plan if there
            // are none.
            Some(Plan::Add(add)) => {
                let left = add.invited.iter().map(|i| i.packages.len()).sum::<usize>();
                if left == body.joiners.len() {
                    self.rows.delete(Space::Plan, &key);
                }
            }
            // First the account's other devices went; this one's own proposal follows.
            Some(Plan::Leave) => {}
            _ => self.rows.delete(Space::Plan, &key),
        }
        if !body.joiners.is_empty()
            && let Some(name) = record.name.clone()
        {
            self.queue_name(room, &name)?;
        }
        Ok(())
    }

    /// Writes the state after a commit and tells what changed.
    pub(crate) fn new_epoch(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        mut group: Group,
        description: &CommitMessageDescription,
        now: u64,
    ) -> Result<(), Error> {
        let room = &entry.room;
        self.clear_timer(&Timer::Proposals(room.clone()));
        self.paused.remove(room);
        let noted = self.noted(room)?;
        self.forget_noted(room)?;
        match &description.effect {
            CommitEffect::NewEpoch(new) => {
                let comer = group.member_at_index(description.committer);
                let proven = self.is_proven(room, description, comer.as_ref())?;
                let whats = changes(new, description, comer.as_ref(), &noted, proven);
                let by = committer(new, description, comer.as_ref());
                if let (true, Some(by)) = (description.is_external, &by) {
                    // It counts its messages anew.
                    self.forget_counter(room, by);
                }
                self.forget_counters_of_comers(room, &whats);
                self.check_sender(entry, by.as_ref());
                record.epoch = group.current_epoch();
                self.marks_after_commit(room, description, &group, &whats, now)?;
                self.see_changes(room, &whats, now)?;
                self.check_new_logged(&group, new, description, now)?;
                self.mls.save_epoch(&mut group)?;
                self.remember_rejoin(room, &group)?;
                self.keep_group(room, group);
                self.write_record(room, record)?;
                let back = by.as_ref().filter(|_| description.is_external);
                self.psks_at_epoch(room, new, back)?;
                self.note(room, entry.seq, entry.time, whats)
            }
            CommitEffect::Removed { new_epoch, remover } => {
                let by = sender(new_epoch, *remover);
                let me = Device {
                    account: self.account.as_str().to_owned(),
                    device: self.own_device()?.into_bytes(),
                };
                let mut removals = new_epoch.applied_proposals().iter();
                let because = removals.find_map(|info| because(info, &noted));
                let what = match (remover, because) {
                    (Sender::External(_), because) => What::RemovedByHub(HubRemoval {
                        who: me,
                        because: because.unwrap_or(Because::Unproven),
                    }),
                    _ => What::Removed(Change {
                        who: me,
                        by: by.clone(),
                    }),
                };
                self.note(room, entry.seq, entry.time, vec![what])?;
                self.close_room(room, record, by)?;
                // Someone may have invited this device again already.
                self.sync(now)
            }
            CommitEffect::ReInit(_) => {
                record.stage = Stage::Stopped;
                self.tell(Event::RoomStopped {
                    room: room.clone(),
                    seq: entry.seq,
                    why: "the room moved on to a successor, which this version cannot follow"
                        .to_owned(),
                });
                Ok(())
            }
        }
    }

    /// Has who made a commit sent it?
    fn check_sender(&mut self, entry: &Entry, by: Option<&Device>) {
        let Some(by) = by.filter(|by| by.account != entry.sender.as_str()) else {
            return;
        };
        let warning = Warning::WrongSender {
            account: by.account.clone(),
            claimed: entry.sender.as_str().to_owned(),
            seq: entry.seq,
        };
        self.warn(Some(&entry.room), warning);
    }

    /// This device is out: its secrets go, the history stays.
    pub(crate) fn close_room(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        by: Option<Device>,
    ) -> Result<(), Error> {
        self.forget_in_flight(room);
        self.forget_group(room);
        self.mls.forget(&record.group_id);
        self.forget_noted(room)?;
        self.forget_resync(room)?;
        self.forget_psks(room)?;
        self.flags.remove(room);
        for leaf in [record.leaf.take(), record.next_leaf.take()] {
            // A last resort's key may be in other rooms.
            if !record.rotate {
                self.unused_keys.extend(leaf.map(|leaf| leaf.key()));
            }
        }
        record.stage = Stage::Left;
        record.leaving = false;
        self.tell(Event::RoomLeft {
            room: room.clone(),
            by: by.and_then(|by| BareJid::parse(&by.account).ok()),
        });
        self.drop_wishes(room)
    }
}

/// `comer` is the committer's leaf once the commit is applied.
pub(crate) fn committer(
    new: &NewEpoch,
    description: &CommitMessageDescription,
    comer: Option<&Member>,
) -> Option<Device> {
    if description.is_external {
        return device(&comer?.signing_identity);
    }
    let member = new.prior_state().member_at_index(description.committer);
    device(&member?.signing_identity)
}

/// Who proposed it; the hub is nobody's device.
fn sender(new: &NewEpoch, sender: Sender) -> Option<Device> {
    let Sender::Member(index) = sender else {
        return None;
    };
    device(&new.prior_state().member_at_index(index)?.signing_identity)
}

pub(crate) fn changes(
    new: &NewEpoch,
    description: &CommitMessageDescription,
    comer: Option<&Member>,
    noted: &[Noted],
    proven: bool,
) -> Vec<What> {
    let by = committer(new, description, comer);
    let mut whats = Vec::new();
    let mut back = false;
    for info in new.applied_proposals() {
        let change = |who: Option<Device>, by: Option<Device>| who.map(|who| Change { who, by });
        let what = match &info.proposal {
            Proposal::Add(add) => {
                change(device(add.signing_identity()), by.clone()).map(What::Added)
            }
            Proposal::Remove(remove) => {
                let gone = new.prior_state().member_at_index(remove.to_remove());
                let gone = gone.and_then(|member| device(&member.signing_identity));
                if description.is_external && info.is_by_value() {
                    // Its own old leaf: it comes back, and has not been away for anybody.
                    back = gone.is_some() && gone == by;
                    continue;
                }
                if let Sender::External(_) = info.sender {
                    let because = because(info, noted).unwrap_or(Because::Unproven);
                    let by_hub = |who| What::RemovedByHub(HubRemoval { who, because });
                    whats.extend(gone.map(by_hub));
                    continue;
                }
                change(gone, removed_by(new, info, by.as_ref())).map(What::Removed)
            }
            Proposal::SelfRemove(_) => {
                let gone = sender(new, info.sender);
                change(gone.clone(), gone).map(What::Removed)
            }
            Proposal::Psk(_)
                if whats
                    .iter()
                    .any(|what| matches!(what, What::Strengthened(_))) =>
            {
                None
            }
            Proposal::Psk(_) => by.clone().map(What::Strengthened),
            Proposal::GroupContextExtensions(next) => {
                whats.extend(role::changes(new, next, by.as_ref()));
                None
            }
            _ => None,
        };
        whats.extend(what);
    }
    if back {
        whats.extend(by.map(|who| What::Rejoined(Rejoined { who, proven })));
    } else if description.is_external {
        let who = by.clone();
        whats.extend(who.map(|who| What::Added(Change { who, by })));
    } else if whats.is_empty() {
        whats.extend(by.map(What::Updated));
    }
    whats
}

fn because(info: &ProposalInfo<Proposal>, noted: &[Noted]) -> Option<Because> {
    let reference = info.proposal_ref()?;
    noted.iter().find_map(|noted| noted.because(reference))
}

fn removed_by(
    new: &NewEpoch,
    info: &ProposalInfo<Proposal>,
    committer: Option<&Device>,
) -> Option<Device> {
    match info.sender {
        Sender::Member(_) if info.is_by_reference() => sender(new, info.sender),
        Sender::Member(_) | Sender::NewMemberCommit => committer.cloned(),
        _ => None,
    }
}

/// Without a device, in the rare place where none can be named.
#[must_use]
pub(crate) fn nobody(account: &BareJid) -> Device {
    Device {
        account: account.as_str().to_owned(),
        device: Uuid::nil().into_bytes(),
    }
}
