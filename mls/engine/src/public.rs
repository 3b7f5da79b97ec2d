//! Following a room's log without the group's secrets, as anyone can who reads it (RFC 9420 §6.2):
//! what was said cannot be read, who comes and goes can be seen and judged as ever.

use comity_mls_wire::policy::Policy;
use comity_mls_wire::room::{Entry, EntryKind, Payload};
use mls_rs::WireFormat;
use mls_rs::external_client::ExternalReceivedMessage;
use mls_rs::group::{CommitEffect, CommitMessageDescription, Member};

use crate::engine::Engine;
use crate::epoch::{changes, committer};
use crate::error::Error;
use crate::event::{Change, Device, Unreadable, Warning, What};
use crate::follow::{Step, carries, device, hub_key_of, parse};
use crate::mls::{PublicGroup, unknown_issuer};
use crate::newcomers::check_commit;
use crate::resync::{Resync, snapshot};
use crate::room::{Body, InFlight, Record};

const UNREAD: &str = "this device had lost the room's group when it was said";

impl Engine {
    pub(crate) fn take_public(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        let mut resync = self.resync(room)?;
        match entry.kind {
            EntryKind::Notice => self.take_notice(record, entry, now),
            EntryKind::Application => {
                if let Some(lost) = &mut resync.lost {
                    lost.missed += 1;
                }
                self.write_resync(room, &resync)?;
                let unreadable = Unreadable {
                    sender: entry.sender.as_str().to_owned(),
                    why: UNREAD.to_owned(),
                };
                let what = vec![What::Unreadable(unreadable)];
                self.note(room, entry.seq, entry.time, what)?;
                Ok(Step::Done)
            }
            EntryKind::Proposal => self.follow_public(record, &mut resync, entry, now),
            EntryKind::Commit => {
                if let Some(in_flight) = self.in_flight(room)? {
                    if let (
                        true,
                        InFlight {
                            body: Body::Rejoin(body),
                            ..
                        },
                    ) = (carries(entry, &in_flight), &in_flight)
                    {
                        return self.come_back(record, &mut resync, entry, body, now);
                    }
                    // Another's commit ended the epoch: what was made for it is void.
                    self.forget_in_flight(room);
                    self.try_soon_in(&mut resync, now);
                }
                self.follow_public(record, &mut resync, entry, now)
            }
        }
    }

    fn try_soon_in(&mut self, resync: &mut Resync, now: u64) {
        // It was no fault of the attempt's.
        resync.tried.pop();
        resync.not_before = now;
    }

    fn follow_public(
        &mut self,
        record: &mut Record,
        resync: &mut Resync,
        entry: &Entry,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        let held = resync.lost.as_ref().and_then(|lost| lost.public.clone());
        let (Some(held), Payload::Held(payload)) = (held, &entry.payload) else {
            // The thread is lost: who is in the room is seen again after the return.
            if let Some(lost) = &mut resync.lost {
                lost.public = None;
            }
            if entry.kind == EntryKind::Commit {
                record.epoch = entry.epoch.saturating_add(1);
            }
            self.write_resync(room, resync)?;
            return Ok(Step::Done);
        };
        let mut public = self.mls.load_public(&held.0)?;
        let message = match parse(payload, record) {
            Ok(message) if message.wire_format() == WireFormat::PublicMessage => message,
            Ok(_) => return self.stop(record, entry, "it is in the wrong wire format"),
            Err(why) => return self.stop(record, entry, why),
        };
        let policy = Policy::of(&public.group_context().extensions);
        let full = entry.kind == EntryKind::Commit && policy.is_ok_and(|p| p.full_commits);
        if full && message.commit_path_leaf_node().is_none() {
            let why = "every commit of this room has an update path";
            return self.stop(record, entry, why);
        }
        let hub = hub_key_of(public.group_context());
        match (public.process_incoming_message(message), entry.kind) {
            (Ok(ExternalReceivedMessage::Proposal(_)), EntryKind::Proposal) => {}
            (Ok(ExternalReceivedMessage::Commit(commit)), EntryKind::Commit) => {
                self.check_head(hub.as_ref(), entry);
                if let Some(step) = self.public_epoch(record, entry, &public, &commit, now)? {
                    return Ok(step);
                }
            }
            (Ok(_), _) => return self.stop(record, entry, "it is not what its entry says"),
            (Err(error), _) => {
                return match unknown_issuer(&error) {
                    Some(domain) => Ok(Step::Blocked(domain)),
                    None => self.stop(record, entry, &error.to_string()),
                };
            }
        }
        if let Some(lost) = &mut resync.lost {
            lost.public = Some(snapshot(&public)?);
        }
        self.write_resync(room, resync)?;
        Ok(Step::Done)
    }

    /// A commit has been followed. A step: there is no more to follow.
    fn public_epoch(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        public: &PublicGroup,
        commit: &CommitMessageDescription,
        now: u64,
    ) -> Result<Option<Step>, Error> {
        let room = &entry.room;
        let CommitEffect::NewEpoch(new) = &commit.effect else {
            let why = "the room moved on to a successor, which this version cannot follow";
            return self.stop(record, entry, why).map(Some);
        };
        let comer = member(public, commit.committer);
        if let Err(why) = check_commit(new, commit, comer.clone(), &[]) {
            return self.stop(record, entry, &why).map(Some);
        }
        let proven = self.is_proven(room, commit, comer.as_ref())?;
        let whats = changes(new, commit, comer.as_ref(), &[], proven);
        let by = committer(new, commit, comer.as_ref());
        if let Some(by) = by.as_ref().filter(|by| by.account != entry.sender.as_str()) {
            let warning = Warning::WrongSender {
                account: by.account.clone(),
                claimed: entry.sender.as_str().to_owned(),
                seq: entry.seq,
            };
            self.warn(Some(room), warning);
        }
        record.epoch = public.group_context().epoch;
        self.see_changes(room, &whats, now)?;
        let gone = self.own_leaf(public)?.is_none();
        self.note(room, entry.seq, entry.time, whats.clone())?;
        if !gone {
            return Ok(None);
        }
        let me = self.own_device()?.into_bytes();
        let by = whats.into_iter().find_map(|what| match what {
            What::Removed(Change { who, by }) if who.device == me => by,
            _ => None,
        });
        self.close_room(room, record, by)?;
        Ok(Some(Step::Done))
    }

    /// This device's leaf in a group, and its signature key there.
    pub(crate) fn own_leaf(&self, public: &PublicGroup) -> Result<Option<Member>, Error> {
        let me = Device {
            account: self.account.as_str().to_owned(),
            device: self.own_device()?.into_bytes(),
        };
        let mut members = public.roster().members_iter();
        Ok(members.find(|member| device(&member.signing_identity).as_ref() == Some(&me)))
    }
}

fn member(public: &PublicGroup, leaf: u32) -> Option<Member> {
    public.roster().member_with_index(leaf).ok()
}
