//! What the hub itself says in the log: whom it asks to commit what is pending; and that a device
//! commits no more, since members of several accounts could not apply a commit of its. Somebody else
//! commits then, so that those who come back are not given what that device has made.

use comity_mls_wire::room::{self, Entry, Member, Notice, Payload};
use comity_xmpp::jid::BareJid;

use crate::engine::{Engine, Timer};
use crate::error::Error;
use crate::event::{Barred, Device, What};
use crate::follow::Step;
use crate::room::{Plan, Record, Stage};

/// Members wait in the order of their leaves, so that one of them commits.
const COMMIT_AFTER_MS: u64 = 500;
const STEP_MS: u64 = 1_000;
const STEPS: u64 = 60;

impl Engine {
    pub(crate) fn take_notice(
        &mut self,
        record: &Record,
        entry: &Entry,
        now: u64,
    ) -> Result<Step, Error> {
        let Payload::Held(payload) = &entry.payload else {
            return Ok(Step::Done);
        };
        // Only the hub speaks so; what a later version says is nothing to this one.
        if entry.device.is_some() {
            return Ok(Step::Done);
        }
        match Notice::from_bytes(payload) {
            Some(Notice::Barred(barred)) => self.take_barred(record, entry, &barred, now)?,
            Some(Notice::Nominated(nominated)) => {
                self.take_nomination(record, entry, nominated.member())?;
            }
            None => {}
        }
        Ok(Step::Done)
    }

    /// Who is asked commits what is pending as soon as it can, also after a restart, until the epoch
    /// has ended.
    fn take_nomination(
        &mut self,
        record: &Record,
        entry: &Entry,
        member: Option<Member>,
    ) -> Result<(), Error> {
        let Some(member) = member.filter(|member| member.account == self.account) else {
            return Ok(());
        };
        let asked = member.device == self.own_device()? && entry.epoch == record.epoch;
        // Once is enough, however often a hub says so.
        if asked && !self.is_nominated(&entry.room)? {
            self.note_nomination(&entry.room, entry.seq)?;
        }
        Ok(())
    }

    fn take_barred(
        &mut self,
        record: &Record,
        entry: &Entry,
        barred: &room::Barred,
        now: u64,
    ) -> Result<(), Error> {
        let room = &entry.room;
        let Some(who) = barred.member() else {
            return Ok(());
        };
        let own = who.account == self.account && who.device == self.own_device()?;
        let what = What::Barred(Barred {
            who: Device::from(&who),
            seq: barred.seq,
        });
        self.note(room, entry.seq, entry.time, vec![what])?;
        if record.stage == Stage::Active && !own {
            let group = self.take_group(room, record)?;
            let place = u64::from(group.current_member_index()).min(STEPS);
            self.keep_group(room, group);
            let timer = Timer::Fresh(room.clone(), record.epoch);
            self.set_timer(timer, now + COMMIT_AFTER_MS + place * STEP_MS);
        }
        Ok(())
    }

    /// A commit is wanted of this device, if nobody else has made one.
    pub(crate) fn commit_fresh(&mut self, room: &BareJid, epoch: u64) -> Result<(), Error> {
        let Some(mut record) = self.record(room)? else {
            return Ok(());
        };
        if record.stage != Stage::Active || record.epoch != epoch {
            return Ok(());
        }
        if !self.has_plan(room, &Plan::Update)? {
            self.add_plan(room, &mut record, &Plan::Update)?;
            self.write_record(room, &record)?;
        }
        self.touched.insert(room.clone());
        Ok(())
    }
}
