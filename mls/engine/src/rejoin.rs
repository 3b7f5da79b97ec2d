//! Coming back by an external commit (RFC 9420 §12.4.3.2) that takes this device's own place again:
//! made from what the hub serves, after it was held against what this device has followed itself.

use bytes::Bytes;
use comity_mls_credential::endorsement;
use comity_mls_wire::authenticated::{AuthenticatedData, Endorsement};
use comity_mls_wire::policy::{ExternalJoins, Policy};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Entry, Tree};
use comity_xmpp::jid::BareJid;
use mls_rs::MlsMessage;
use mls_rs::group::Member;

use crate::certify::spare_key;
use crate::commit::members;
use crate::engine::{Engine, seconds};
use crate::error::Error;
use crate::event::{Device, Event, Refused, Rejoined, What};
use crate::flow::ARRIVES_WITHIN_MS;
use crate::follow::{Step, hub_key_of};
use crate::join::{Unjoinable, check_context, read_tree};
use crate::mls::{Certified, PublicGroup};
use crate::resync::{Lost, Resync};
use crate::room::{Body, Record, RejoinBody, Stage};
use crate::store::Space;

/// An endorsement of one's own is used at once.
const ENDORSED_FOR_S: u64 = 60 * 60;
/// Departures that an external commit carries.
const MAX_DEPARTURES: usize = 1_000;

/// What a hub gives to one who comes by itself.
pub(crate) struct Served {
    pub(crate) group_info: Bytes,
    pub(crate) tree: Tree,
    pub(crate) epoch: u64,
    pub(crate) seq: u64,
    /// Pending SelfRemoves.
    pub(crate) proposals: Vec<Bytes>,
}

/// What became of an attempt to come back.
enum Made {
    Commit(Box<RejoinBody>),
    /// A certified key is not at hand yet.
    Awaits,
    /// The device has no leaf to come back to: it was put out.
    Out,
}

const KEY_LOST: &str = "the key of the leaf that this device has in the room is lost: remove the \
                        device, and invite it again";

fn because(why: &str) -> Unjoinable {
    Unjoinable::Because(why.to_owned())
}

impl Engine {
    pub(crate) fn on_group_info(
        &mut self,
        room: &BareJid,
        served: &Served,
        now: u64,
    ) -> Result<(), Error> {
        let Some(mut record) = self.record(room)? else {
            return Ok(());
        };
        let mut resync = self.resync(room)?;
        let Some(lost) = resync.lost.clone() else {
            return Ok(());
        };
        if record.stage != Stage::Resyncing || self.in_flight(room)?.is_some() {
            return Ok(());
        }
        if served.seq > record.seq {
            // First what leads there; then it is asked for again.
            self.expect_seq(room, served.seq, ARRIVES_WITHIN_MS, now);
            return Ok(());
        }
        if lost.public.is_some() && served.epoch != record.epoch {
            return self.try_soon(room, now);
        }
        match self.make_rejoin(room, &mut record, &lost, served, now) {
            Ok(Made::Commit(body)) => {
                resync.tried.push(now);
                self.write_resync(room, &resync)?;
                self.write_record(room, &record)?;
                self.put_in_flight(room, Body::Rejoin(*body))?;
                self.send_in_flight(room, now).map(drop)
            }
            // Certificates are on their way.
            Ok(Made::Awaits) => {
                self.write_record(room, &record)?;
                self.try_soon(room, now)
            }
            Ok(Made::Out) => {
                self.close_room(room, &mut record, None)?;
                self.write_record(room, &record)
            }
            Err(Unjoinable::Engine(error)) => Err(error),
            Err(Unjoinable::Awaits(domain)) => {
                self.await_issuer(&domain, now);
                self.try_soon(room, now)
            }
            Err(Unjoinable::Because(why) | Unjoinable::Upgrade(why)) => {
                self.write_record(room, &record)?;
                resync.tried.push(now);
                self.refused(Some(room), Refused::Resync, why);
                self.put_off(room, &mut resync, now)
            }
        }
    }

    pub(crate) fn on_group_info_refused(
        &mut self,
        room: &BareJid,
        refusal: &Refusal,
        now: u64,
    ) -> Result<(), Error> {
        match self.record(room)? {
            Some(record) if record.stage == Stage::Resyncing => {
                self.cannot_come_back(room, record, refusal, now)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn on_rejoin_refused(
        &mut self,
        room: &BareJid,
        record: Record,
        refusal: &Refusal,
        now: u64,
    ) -> Result<(), Error> {
        let mut resync = self.resync(room)?;
        match refusal {
            // Another's commit came first, or somebody leaves: it is made anew from what is then
            // served, and counts as no attempt.
            Refusal::StaleEpoch { .. } | Refusal::MissingProposals { .. } => {
                resync.tried.pop();
                self.write_resync(room, &resync)?;
                if let Refusal::StaleEpoch { seq, .. } = refusal
                    && *seq > record.seq
                {
                    self.expect_seq(room, *seq, ARRIVES_WITHIN_MS, now);
                }
                self.try_soon(room, now)
            }
            _ => self.cannot_come_back(room, record, refusal, now),
        }
    }

    fn cannot_come_back(
        &mut self,
        room: &BareJid,
        mut record: Record,
        refusal: &Refusal,
        now: u64,
    ) -> Result<(), Error> {
        if *refusal == Refusal::NoRoom {
            // It was put out while it could not follow.
            self.close_room(room, &mut record, None)?;
            return self.write_record(room, &record);
        }
        self.refused(Some(room), Refused::Resync, refusal);
        let mut resync = self.resync(room)?;
        if resync.tried.is_empty() {
            resync.tried.push(now);
        }
        self.put_off(room, &mut resync, now)
    }

    /// Makes the external commit.
    fn make_rejoin(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        lost: &Lost,
        served: &Served,
        now: u64,
    ) -> Result<Made, Unjoinable> {
        let info = MlsMessage::from_bytes(&served.group_info)
            .map_err(|_| because("the GroupInfo that is served cannot be read"))?;
        let tree = read_tree(&served.tree, "the tree that is served cannot be read")?;
        let public = self.mls.observe_served(info.clone(), tree.clone())?;
        self.compare_served(room, record, lost, &public)?;
        let Some(old) = self.own_leaf(&public)? else {
            return Ok(Made::Out);
        };
        self.find_key(record, &old)?;
        if record.next_leaf.is_none() {
            let suite = public.group_context().cipher_suite();
            record.next_leaf = self.take_spare(suite.into(), now)?;
        }
        let Some(leaf) = record.next_leaf.clone() else {
            return Ok(Made::Awaits);
        };
        let data = self.rejoin_data(room, record, lost, &leaf, now)?;
        let attempt = crate::random::uuid().map_err(Error::from)?.into_bytes();
        let mut builder = self
            .mls
            .comer(&leaf, attempt)?
            .external_commit_builder()?
            .with_tree_data(tree)
            .with_removal(old.index)
            .with_authenticated_data(data);
        for proposal in served.proposals.iter().take(MAX_DEPARTURES) {
            let message = MlsMessage::from_bytes(proposal)
                .map_err(|_| because("a departure that is served cannot be read"))?;
            builder = builder.with_received_custom_proposal(message);
        }
        let (mut group, commit) = builder.build(info)?;
        let group_info = group.group_info_message_allowing_ext_commit(false)?;
        self.mls.save_attempt(&mut group, attempt)?;
        Ok(Made::Commit(Box::new(RejoinBody {
            epoch: served.epoch,
            commit: commit.to_bytes()?,
            group_info: group_info.to_bytes()?,
            attempt,
            leaf,
        })))
    }

    /// The key with which this device has signed in the room becomes that of its leaf again.
    fn find_key(&self, record: &mut Record, old: &Member) -> Result<(), Unjoinable> {
        let found = self.key_of_leaf(record, old)?;
        let (key, shared) = found.ok_or_else(|| because(KEY_LOST))?;
        if record.next_leaf.as_ref() == Some(&key) {
            record.next_leaf = None;
        }
        self.rows.delete(Space::Certificate, &spare_key(&key));
        record.leaf = Some(key);
        record.rotate = shared;
        Ok(())
    }

    /// Is it the group that this device has followed, and one that it can live in?
    fn compare_served(
        &self,
        room: &BareJid,
        record: &Record,
        lost: &Lost,
        served: &PublicGroup,
    ) -> Result<(), Unjoinable> {
        let context = served.group_context();
        if context.group_id != record.group_id {
            return Err(because("the GroupInfo that is served is of another group"));
        }
        if let Some(snapshot) = &lost.public {
            // The tree stands in the context by its hash, and all commits by their transcript.
            let followed = self.mls.load_public(&snapshot.0)?;
            if followed.group_context() != context {
                return Err(because(
                    "the GroupInfo that is served is not what this room's log leads to",
                ));
            }
        }
        check_context(context, room, self.mls.provider())?;
        match Policy::of(&context.extensions) {
            Ok(policy) if policy.external_joins == ExternalJoins::Nobody => Err(because(
                "nobody comes back by itself to this room: ask a member to remove and add this \
                 device",
            )),
            _ => Ok(()),
        }
    }

    /// The word of the leaf that is replaced, and the proof of the last epoch.
    fn rejoin_data(
        &self,
        room: &BareJid,
        record: &Record,
        lost: &Lost,
        leaf: &Certified,
        now: u64,
    ) -> Result<Vec<u8>, Unjoinable> {
        let public = |certified: &Certified| -> Result<Vec<u8>, Error> {
            Ok(self.keys.public(&certified.key())?.as_mls().to_vec())
        };
        let own = record.leaf.as_ref().ok_or_else(|| because(KEY_LOST))?;
        let key = public(leaf)?;
        let device = self.own_device()?;
        let hash = endorsement::key_hash(&key);
        let not_after = seconds(now) + ENDORSED_FOR_S;
        let content = endorsement::content(&record.group_id, device, &hash, not_after);
        let signature = self.keys.sign(&own.key(), &content).map_err(Error::from)?;
        let data = AuthenticatedData {
            endorsements: vec![Endorsement::new(device, hash, not_after, device, signature)],
            rejoin: self.prove_rejoin(room, lost.epoch, &record.group_id, &key)?,
            ..AuthenticatedData::default()
        };
        data.to_bytes()
            .map_err(|error| Unjoinable::Engine(Error::Mls(error.to_string())))
    }

    /// The log has this device's external commit: its group takes the place of the one lost.
    pub(crate) fn come_back(
        &mut self,
        record: &mut Record,
        resync: &mut Resync,
        entry: &Entry,
        body: &RejoinBody,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        let group = self.mls.adopt(&record.group_id, body.attempt)?;
        self.check_head(hub_key_of(group.context()).as_ref(), entry);
        self.forget_in_flight(room);
        let old = record.leaf.replace(body.leaf.clone());
        if !record.rotate {
            self.unused_keys.extend(old.map(|old| old.key()));
        }
        record.rotate = false;
        record.next_leaf = None;
        record.stage = Stage::Active;
        self.fresh.insert(room.clone());
        record.epoch = group.current_epoch();
        record.updated = entry.time;
        // Each message that was missed is told of by itself.
        self.forget_counters(room)?;
        self.check_all_logged(&group, now)?;
        self.follow_marks(room, None, &group, now)?;
        self.remember_rejoin(room, &group)?;
        let who = Device {
            account: self.account.as_str().to_owned(),
            device: self.own_device()?.into_bytes(),
        };
        let mut whats = vec![What::Rejoined(Rejoined { who, proven: true })];
        let lost = resync.lost.take();
        if lost.as_ref().is_none_or(|lost| lost.public.is_none()) {
            // Who came and went meanwhile was not seen.
            let present: Vec<Device> = members(&group)
                .into_iter()
                .map(|(account, device)| Device::from(&room::Member { account, device }))
                .collect();
            for who in &present {
                self.see(room, who, now)?;
            }
            whats.push(What::Joined(present));
        }
        self.keep_group(room, group);
        self.write_resync(room, resync)?;
        self.note(room, entry.seq, entry.time, whats)?;
        self.tell(Event::RoomResynced {
            room: room.clone(),
            missed: lost.map_or(0, |lost| lost.missed),
        });
        Ok(Step::Done)
    }
}
