//! A room's next step. One request of a room is in flight at a time, so the order in which a person
//! said things is the order of the log; the log alone says what took effect.

use comity_xmpp::jid::BareJid;
use mls_rs::group::Sender;
use mls_rs::group::proposal::Proposal;

use crate::commit::{Built, each_member};
use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::mls::Group;
use crate::outgoing::{Destination, Request};
use crate::psk::Readiness;
use crate::requests::Purpose;
use crate::revoked::is_own;
use crate::room::{Plan, Record, Stage};
use crate::rows;
use crate::session::Session;
use crate::store::Space;

/// How long accepted entries may take to arrive before they are asked for.
pub(crate) const ARRIVES_WITHIN_MS: u64 = 5_000;
/// Pending proposals are committed by whoever has something to send, else by whom the hub asks. Where
/// it asks nobody they are committed after this, each member waiting longer than the one before it in
/// the tree.
const PROPOSALS_AFTER_MS: u64 = 120_000;
const PROPOSALS_STEP_MS: u64 = 5_000;
const PROPOSALS_STEPS: u64 = 60;
/// A refused commit of proposals is tried again after this.
pub(crate) const TRY_AGAIN_MS: u64 = 60_000;
/// Changes of one room that wait.
pub(crate) const MAX_PLANS: usize = 256;

impl Engine {
    pub(crate) fn look_after(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        if !matches!(self.session, Session::Up { .. }) {
            return Ok(());
        }
        let Some(record) = self.record(room)? else {
            return Ok(());
        };
        match record.stage {
            Stage::Preparing => {
                self.ask_hub(room, now);
                Ok(())
            }
            Stage::Creating => self.send_in_flight(room, now).map(drop),
            Stage::Active => match self.is_damaged(room, &record)? {
                true => self.lose_state(room, record, now),
                false => self.step(room, record, now),
            },
            Stage::Resyncing => self.resync_step(room, &record, now),
            Stage::Awaiting | Stage::Left | Stage::Stopped => Ok(()),
        }
    }

    /// Sends what is in flight, if its answer is still to come. True if something is in flight.
    pub(crate) fn send_in_flight(&mut self, room: &BareJid, now: u64) -> Result<bool, Error> {
        let Some(in_flight) = self.in_flight(room)? else {
            return Ok(false);
        };
        if in_flight.accepted.is_none() {
            let request = in_flight.request().ok_or(Error::Corrupt {
                space: Space::InFlight.name(),
            })?;
            self.ask(
                Purpose::InFlight(room.clone(), in_flight.key),
                Destination::Room(room.clone()),
                Request::Room(request),
                now,
            );
        }
        Ok(true)
    }

    fn step(&mut self, room: &BareJid, mut record: Record, now: u64) -> Result<(), Error> {
        let paused = self.paused.get(room).is_some_and(|until| now < *until);
        let waits = !self.synced || self.is_behind(room, &record) || paused;
        if self.send_in_flight(room, now)? || waits {
            return Ok(());
        }
        let mut group = self.take_group(room, &record)?;
        let flagged = self.flagged(room, &group);
        self.await_removal(room, &group, &flagged, now);
        self.await_evidence(room, &group, now)?;
        if self.is_held_up(room)? || is_own(&group, &flagged) {
            self.keep_group(room, group);
            return Ok(());
        }
        if own_departure_pending(&group) {
            // RFC 9420 §12.4: one cannot commit one's own removal; somebody else will.
            self.keep_group(room, group);
            return Ok(());
        }
        let plans =
            self.rows
                .list::<Plan>(Space::Plan, &rows::of_room(room.as_str()), MAX_PLANS)?;
        let mut inviting = false;
        for (key, plan) in plans {
            if let Plan::Add(add) = &plan
                && !self.all_claimed(room, add, now)?
            {
                inviting = true;
                continue;
            }
            if let Plan::Psk(psk) = &plan {
                let plan = (rows::number(&key), psk);
                match self.psk_is_held(room, &mut record, &group, plan, now)? {
                    Readiness::Held => {}
                    Readiness::Waits | Readiness::GivenUp => {
                        self.write_record(room, &record)?;
                        continue;
                    }
                }
            }
            let number = rows::number(&key);
            let built = self.build(room, &mut record, &mut group, Some((number, plan)), now)?;
            if !self.settle(room, &record, group, built, now)? {
                return Ok(());
            }
            // The plan needed nothing: the room may have changed for the next one.
            group = self.take_group(room, &record)?;
        }
        let waiting = match inviting && self.is_alone(&group) {
            // Who speaks first and invites first wants to be heard.
            true => None,
            false => self.next_waiting(room)?,
        };
        let asked = self.is_nominated(room)?;
        let must_commit = group.commit_required() && (waiting.is_some() || asked);
        let renews = record.rotate && self.reserve_leaf(&mut record, now)?;
        if must_commit || renews {
            let built = self.build(room, &mut record, &mut group, None, now)?;
            if !self.settle(room, &record, group, built, now)? {
                return Ok(());
            }
            group = self.take_group(room, &record)?;
        }
        if group.commit_required() {
            self.await_commit(room, &group, now);
        } else if let Some((number, message)) = waiting
            && flagged.is_empty()
            && self.is_fresh(room, now)
        {
            return self.encrypt(room, &record, group, number, &message, now);
        }
        self.keep_group(room, group);
        Ok(())
    }

    fn is_alone(&self, group: &Group) -> bool {
        each_member(group).all(|(account, _)| account == self.account)
    }

    /// What became of an attempt to build a commit. True if the next thing can be looked at.
    fn settle(
        &mut self,
        room: &BareJid,
        record: &Record,
        group: Group,
        built: Built,
        now: u64,
    ) -> Result<bool, Error> {
        self.write_record(room, record)?;
        match built {
            // A group that has built a commit stays as it was until the log brings the commit.
            Built::InFlight => {
                self.keep_group(room, group);
                self.send_in_flight(room, now)?;
                Ok(false)
            }
            Built::Nothing => {
                self.keep_group(room, group);
                Ok(true)
            }
            // It may be half changed: read it anew.
            Built::Awaits => Ok(false),
            Built::Failed => Ok(true),
        }
    }

    /// Members wait in the order of their leaves, so that one of them commits.
    fn await_commit(&mut self, room: &BareJid, group: &Group, now: u64) {
        let timer = Timer::Proposals(room.clone());
        if !self.has_timer(&timer) {
            let place = u64::from(group.current_member_index()).min(PROPOSALS_STEPS);
            let after = PROPOSALS_AFTER_MS + place * PROPOSALS_STEP_MS;
            self.set_timer(timer, now + after);
        }
    }

    pub(crate) fn commit_proposals(&mut self, room: &BareJid, now: u64) -> Result<(), Error> {
        let Some(mut record) = self.record(room)? else {
            return Ok(());
        };
        let ready = record.stage == Stage::Active
            && self.synced
            && self.paused.get(room).is_none_or(|until| now >= *until)
            && self.in_flight(room)?.is_none()
            && !self.is_behind(room, &record);
        if !ready || !matches!(self.session, Session::Up { .. }) {
            return Ok(());
        }
        let mut group = self.take_group(room, &record)?;
        let held_up = self.is_held_up(room)?;
        if held_up || !group.commit_required() || own_departure_pending(&group) {
            self.keep_group(room, group);
            return Ok(());
        }
        let built = self.build(room, &mut record, &mut group, None, now)?;
        self.settle(room, &record, group, built, now).map(drop)
    }

    /// Nothing new is made for a while.
    pub(crate) fn pause(&mut self, room: &BareJid, ms: u64, now: u64) {
        self.paused.insert(room.clone(), now + ms);
        self.clear_timer(&Timer::Proposals(room.clone()));
        self.set_timer(Timer::Retry(room.clone()), now + ms);
    }

    /// Entries exist that are not held yet: nothing new is made before they are.
    pub(crate) fn is_behind(&self, room: &BareJid, record: &Record) -> bool {
        self.blocked.contains_key(room)
            || self.early.get(room).is_some_and(|early| !early.is_empty())
            || self
                .known_seq
                .get(room)
                .is_some_and(|known| *known > record.seq)
    }

    pub(crate) fn expect_seq(&mut self, room: &BareJid, seq: u64, within_ms: u64, now: u64) {
        let known = self.known_seq.entry(room.clone()).or_default();
        *known = seq.max(*known);
        self.set_timer(Timer::Behind, now + within_ms);
    }
}

/// This device's own SelfRemove has been accepted and waits for a commit.
fn own_departure_pending(group: &Group) -> bool {
    let own = Sender::Member(group.current_member_index());
    group.get_cached_proposals().iter().any(|cached| {
        matches!(cached.proposal(), Proposal::SelfRemove(_)) && *cached.sender() == own
    })
}
