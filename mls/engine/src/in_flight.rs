//! What is in flight to a room: kept until the log or a refusal settles it.

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{Accepted, Entry, EntryKind, Payload};
use comity_xmpp::jid::BareJid;
use uuid::Uuid;

use crate::content::MessageId;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Event, Refused, Warning};
use crate::flow::{ARRIVES_WITHIN_MS, MAX_PLANS, TRY_AGAIN_MS};
use crate::requests::Purpose;
use crate::room::{Body, InFlight, Place, Record, Waiting};
use crate::rows;
use crate::store::Space;

impl Engine {
    pub(crate) fn in_flight(&self, room: &BareJid) -> Result<Option<InFlight>, Error> {
        self.rows.read(Space::InFlight, room.as_str().as_bytes())
    }

    pub(crate) fn put_in_flight(&mut self, room: &BareJid, body: Body) -> Result<(), Error> {
        let in_flight = InFlight::new(crate::random::uuid()?, body);
        self.write_in_flight(room, &in_flight)
    }

    fn write_in_flight(&self, room: &BareJid, in_flight: &InFlight) -> Result<(), Error> {
        self.rows
            .write(Space::InFlight, room.as_str().as_bytes(), in_flight)
    }

    pub(crate) fn forget_in_flight(&mut self, room: &BareJid) {
        if let (Ok(Some(in_flight)), Ok(Some(record))) = (self.in_flight(room), self.record(room))
            && let Body::Rejoin(body) = in_flight.body
        {
            self.mls.forget_attempt(&record.group_id, body.attempt);
        }
        self.rows.delete(Space::InFlight, room.as_str().as_bytes());
        self.requests
            .drop_matching(|purpose| matches!(purpose, Purpose::InFlight(r, _) if r == room));
    }

    pub(crate) fn on_accepted(
        &mut self,
        room: &BareJid,
        key: [u8; 16],
        accepted: &Accepted,
        now: u64,
    ) -> Result<(), Error> {
        let record = self.record(room)?;
        let in_flight = self.in_flight(room)?;
        let (Some(record), Some(mut in_flight)) = (record, in_flight) else {
            return Ok(());
        };
        if in_flight.key != key {
            return Ok(());
        }
        if let Body::Create(_) = in_flight.body {
            return self.on_created(room, record, &in_flight, accepted);
        }
        if accepted.seq <= record.seq {
            // The log has passed that place and did not hold it.
            self.warn(
                Some(room),
                Warning::Unexpected {
                    what: "an acceptance that the log contradicts",
                },
            );
            self.forget_in_flight(room);
            self.touched.insert(room.clone());
            return Ok(());
        }
        in_flight.accepted = Some(Place {
            seq: accepted.seq,
            time: accepted.time,
            head: accepted.head,
        });
        self.write_in_flight(room, &in_flight)?;
        self.expect_seq(room, accepted.seq, ARRIVES_WITHIN_MS, now);
        // A commit waits for its entry, which carries the hub's signature.
        if record.seq.checked_add(1) == Some(accepted.seq) && in_flight.kind() != EntryKind::Commit
        {
            let entry = self.own_entry(room, &record, &in_flight, accepted)?;
            return self.on_entry(entry, now);
        }
        Ok(())
    }

    /// The entry our own request became, as the answer describes it.
    fn own_entry(
        &self,
        room: &BareJid,
        record: &Record,
        in_flight: &InFlight,
        accepted: &Accepted,
    ) -> Result<Entry, Error> {
        Ok(Entry {
            room: room.clone(),
            seq: accepted.seq,
            kind: in_flight.kind(),
            epoch: record.epoch,
            time: accepted.time,
            sender: self.account.clone(),
            device: Some(self.own_device()?),
            payload: Payload::Held(in_flight.payload().to_vec().into()),
            head: accepted.head,
            signature: None,
            changes: Vec::new(),
        })
    }

    pub(crate) fn on_in_flight_refused(
        &mut self,
        room: &BareJid,
        key: [u8; 16],
        refusal: &Refusal,
        now: u64,
    ) -> Result<(), Error> {
        let record = self.record(room)?;
        let in_flight = self.in_flight(room)?;
        let (Some(record), Some(in_flight)) = (record, in_flight) else {
            return Ok(());
        };
        if in_flight.key != key {
            return Ok(());
        }
        if let Body::Create(_) = in_flight.body {
            return self.await_or_give_up(room, record, refusal);
        }
        self.forget_in_flight(room);
        if let Body::Rejoin(_) = &in_flight.body {
            return self.on_rejoin_refused(room, record, refusal, now);
        }
        match refusal {
            Refusal::StaleEpoch { epoch, seq } => {
                if *seq <= record.seq && *epoch <= record.epoch {
                    // It contradicts what it told us before; ask again, but not at once.
                    self.pause(room, ARRIVES_WITHIN_MS, now);
                    return Ok(());
                }
                self.tell(Event::Retrying {
                    room: room.clone(),
                    epoch: *epoch,
                });
                self.expect_seq(room, *seq, ARRIVES_WITHIN_MS, now);
            }
            Refusal::MissingProposals { seqs } => {
                let newest = seqs.iter().copied().max().unwrap_or(0);
                if newest <= record.seq {
                    // They are held and were left out by rule: nothing changes by itself.
                    self.give_up(room, &in_flight, refusal, now)?;
                } else {
                    self.expect_seq(room, newest, ARRIVES_WITHIN_MS, now);
                }
            }
            _ => self.give_up(room, &in_flight, refusal, now)?,
        }
        self.touched.insert(room.clone());
        Ok(())
    }

    /// Refused for good: what was wanted is dropped and the person told.
    fn give_up(
        &mut self,
        room: &BareJid,
        in_flight: &InFlight,
        refusal: &Refusal,
        now: u64,
    ) -> Result<(), Error> {
        match &in_flight.body {
            Body::Create(_) | Body::Rejoin(_) => {}
            Body::Commit(body) => match body.plan {
                Some(number) => {
                    let what = self.drop_plan(room, number)?;
                    self.refused(Some(room), what, refusal);
                }
                None => {
                    self.refused(Some(room), Refused::Proposals, refusal);
                    self.pause(room, TRY_AGAIN_MS, now);
                }
            },
            Body::Propose(_) => {
                self.drop_leave_plans(room)?;
                self.refused(Some(room), Refused::Departure, refusal);
            }
            Body::Send(body) => {
                let key = rows::numbered(room.as_str(), body.number);
                let waiting: Option<Waiting> = self.rows.read(Space::Outbox, &key)?;
                self.rows.delete(Space::Outbox, &key);
                if let Some(waiting) = waiting {
                    let id = MessageId(Uuid::from_bytes(waiting.id));
                    self.refused(Some(room), Refused::Message(id), refusal);
                }
            }
        }
        Ok(())
    }

    /// Everything wanted of a room that cannot be had any more.
    pub(crate) fn drop_wishes(&mut self, room: &BareJid) -> Result<(), Error> {
        let prefix = rows::of_room(room.as_str());
        for (key, _) in self.rows.scan(Space::Plan, &prefix, None, MAX_PLANS)? {
            self.rows.delete(Space::Plan, &key);
        }
        let outbox =
            self.rows
                .list::<Waiting>(Space::Outbox, &prefix, crate::send::MAX_OUTBOX + 1)?;
        for (key, waiting) in outbox {
            self.rows.delete(Space::Outbox, &key);
            let id = MessageId(Uuid::from_bytes(waiting.id));
            if rows::number(&key) != crate::send::ROOM_STATE_NUMBER {
                let why = "this device is no longer in the room";
                self.refused(Some(room), Refused::Message(id), why);
            }
        }
        Ok(())
    }
}
