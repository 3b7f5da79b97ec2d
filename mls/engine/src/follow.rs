//! One entry of the log, whose turn it is: a message, a proposal, a commit. Nothing is believed
//! because the server ordered it.

use comity_mls_credential::leaf::Leaf;
use comity_mls_credential::provider::certificate;
use comity_mls_credential::signed;
use comity_mls_wire::policy::{Handshakes, Policy};
use comity_mls_wire::room::{Entry, Member, Payload};
use mls_rs::error::MlsError;
use mls_rs::extension::built_in::ExternalSendersExt;
use mls_rs::group::{CommitEffect, CommitSecrets, GroupContext, ReceivedMessage};
use mls_rs::{CipherSuiteProvider as _, MlsMessage, WireFormat};
use mls_rs_core::crypto::{CipherSuite, SignaturePublicKey};
use mls_rs_core::identity::SigningIdentity;
use uuid::Uuid;

use crate::engine::Engine;
use crate::ephemeral::is_marked;
use crate::error::Error;
use crate::event::{Device, Event, Unreadable, Warning, What};
use crate::mls::{Group, NO_NODES, follow, unknown_issuer};
use crate::newcomers::check_commit;
use crate::room::{Body, InFlight, Record, Stage};

/// The largest payload that is looked at: a commit of a large room.
const MAX_PAYLOAD: usize = comity_mls_wire::limits::OBJECT_BYTES;
/// The largest message that is looked at; no room makes what is said larger.
const MAX_MESSAGE: usize = 192 * 1024;

/// What an entry led to.
pub(crate) enum Step {
    /// It is behind us.
    Done,
    /// The anchors of that domain are awaited.
    Blocked(String),
    /// Nothing was changed; the entry is dropped and the server asked again later.
    Dropped,
}

/// A decrypted message.
pub(crate) struct Opened {
    /// What has opened it: its ratchets are spent once they are saved.
    pub(crate) speaker: Group,
    pub(crate) sender: SigningIdentity,
    pub(crate) data: Vec<u8>,
    pub(crate) authenticated_data: Vec<u8>,
}

pub(crate) type HubKey = (CipherSuite, SignaturePublicKey);

impl Engine {
    pub(crate) fn take_message(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        if let Some(in_flight) = self.in_flight(room)?
            && carries(entry, &in_flight)
        {
            self.message_accepted(room, record, entry, &in_flight)?;
            return Ok(Step::Done);
        }
        if self.is_own_unknown(record, entry)? {
            // RFC 9420 §15.1: what this device says from here on would be sealed with keys that it
            // has used already.
            let why = "it was sent by this device before its data was restored";
            return self.lose(record, entry, why, now);
        }
        let opened = match self.open_message(record, entry)? {
            Ok(opened) => self.accept_content(record, entry, opened, now)?,
            Err(why) => Err(why),
        };
        if let Err(why) = opened {
            // Nothing hangs on a message: the log goes on without it, and the person is told.
            let unreadable = Unreadable {
                sender: entry.sender.as_str().to_owned(),
                why,
            };
            let what = vec![What::Unreadable(unreadable)];
            self.note(room, entry.seq, entry.time, what)?;
        }
        Ok(Step::Done)
    }

    /// Was it sealed by this very leaf, which knows nothing of it?
    fn is_own_unknown(&mut self, record: &Record, entry: &Entry) -> Result<bool, Error> {
        let mine = entry.sender == self.account && entry.device == Some(self.own_device()?);
        let Payload::Held(payload) = &entry.payload else {
            return Ok(false);
        };
        let (true, Ok(message)) = (mine, parse(payload, record)) else {
            return Ok(false);
        };
        if message.wire_format() != WireFormat::PrivateMessage {
            return Ok(false);
        }
        let mut speaker = self.mls.speaker(&record.group_id, &NO_NODES)?;
        let opened = speaker.process_incoming_message(message);
        Ok(matches!(opened, Err(MlsError::CantProcessMessageFromSelf)))
    }

    /// Decrypts; the ratchets are only worth saving if that went well.
    fn open_message(
        &mut self,
        record: &Record,
        entry: &Entry,
    ) -> Result<Result<Opened, String>, Error> {
        let fail = |why: &str| Ok(Err(why.to_owned()));
        let Payload::Held(payload) = &entry.payload else {
            return fail("the server no longer holds it");
        };
        let message = match parse(payload, record) {
            Ok(message) if message.wire_format() == WireFormat::PrivateMessage => message,
            Ok(_) => return fail("it is not encrypted"),
            Err(why) => return fail(why),
        };
        let group = self.take_group(&entry.room, record)?;
        let said_by = Member {
            account: entry.sender.clone(),
            device: entry.device.unwrap_or_default(),
        };
        let opened = self.mls.open(&group, message, &said_by)?;
        self.keep_group(&entry.room, group);
        match opened {
            Ok((_, ReceivedMessage::ApplicationMessage(message)))
                if is_marked(&message.authenticated_data) =>
            {
                fail("it was said to those who were there, and has no place in the log")
            }
            Ok((speaker, ReceivedMessage::ApplicationMessage(message))) => {
                match speaker.member_at_index(message.sender_index) {
                    Some(member) => Ok(Ok(Opened {
                        speaker,
                        sender: member.signing_identity,
                        data: message.data().to_vec(),
                        authenticated_data: message.authenticated_data,
                    })),
                    None => fail("its sender is no member"),
                }
            }
            Ok(_) => fail("it is no message"),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    pub(crate) fn take_proposal(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        if let Some(in_flight) = self.in_flight(room)?
            && carries(entry, &in_flight)
        {
            self.forget_in_flight(room);
        }
        if matches!(entry.payload, Payload::Purged(_)) {
            return self.lose(record, entry, "the server no longer holds it", now);
        }
        let message = match self.parse_handshake(record, entry)? {
            Ok(message) => message,
            Err(why) => return self.stop(record, entry, &why),
        };
        let mut group = self.take_group(room, record)?;
        match follow(&mut group, message) {
            Ok(ReceivedMessage::Proposal(proposal)) => {
                self.note_proposal(entry, &group, &proposal, now)?;
                self.mls.save_proposals(&mut group)?;
                self.keep_group(room, group);
                Ok(Step::Done)
            }
            Ok(_) => self.stop(record, entry, "it is no proposal"),
            Err(error) => match unknown_issuer(&error) {
                Some(domain) => Ok(Step::Blocked(domain)),
                None => self.lose(record, entry, &error.to_string(), now),
            },
        }
    }

    pub(crate) fn take_commit(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        now: u64,
    ) -> Result<Step, Error> {
        let room = &entry.room;
        let in_flight = self.in_flight(room)?;
        let own = in_flight.as_ref().filter(|f| carries(entry, f));
        if let Some(InFlight {
            body: Body::Commit(body),
            ..
        }) = own
        {
            let mut group = self.take_group(room, record)?;
            self.check_head(hub_key(&group).as_ref(), entry);
            let secrets = CommitSecrets::from_bytes(&body.secrets)?;
            let description = group.apply_detached_commit(secrets)?;
            let body = body.clone();
            self.commit_accepted(record, &body, entry)?;
            self.new_epoch(record, entry, group, &description, now)?;
            return Ok(Step::Done);
        }
        if matches!(entry.payload, Payload::Purged(_)) {
            return self.lose(record, entry, "the server no longer holds it", now);
        }
        let message = match self.parse_handshake(record, entry)? {
            Ok(message) => message,
            Err(why) => return self.stop(record, entry, &why),
        };
        let mut group = self.take_group(room, record)?;
        let full = Policy::of(&group.context().extensions).is_ok_and(|p| p.full_commits);
        if full && message.commit_path_leaf_node().is_none() {
            return self.stop(
                record,
                entry,
                "every commit of this room has an update path",
            );
        }
        let hub = hub_key(&group);
        match follow(&mut group, message) {
            Ok(ReceivedMessage::Commit(description)) => {
                let comer = group.member_at_index(description.committer);
                if let CommitEffect::NewEpoch(new) = &description.effect
                    && let Err(why) = check_commit(new, &description, comer, &self.noted(room)?)
                {
                    return self.stop(record, entry, &why);
                }
                // Another's commit ended the epoch: what was made for it is void.
                if in_flight.is_some() {
                    self.forget_in_flight(room);
                    self.tell(Event::Retrying {
                        room: room.clone(),
                        epoch: record.epoch.saturating_add(1),
                    });
                }
                self.check_head(hub.as_ref(), entry);
                self.new_epoch(record, entry, group, &description, now)?;
                Ok(Step::Done)
            }
            Ok(_) => self.stop(record, entry, "it is no commit"),
            Err(error) => match unknown_issuer(&error) {
                Some(domain) => Ok(Step::Blocked(domain)),
                None => self.lose(record, entry, &error.to_string(), now),
            },
        }
    }

    /// A handshake in the room's wire format, of its group and epoch.
    fn parse_handshake(
        &mut self,
        record: &Record,
        entry: &Entry,
    ) -> Result<Result<MlsMessage, String>, Error> {
        let Payload::Held(payload) = &entry.payload else {
            return Ok(Err("the server no longer holds it".to_owned()));
        };
        let message = match parse(payload, record) {
            Ok(message) => message,
            Err(why) => return Ok(Err(why.to_owned())),
        };
        let group = self.take_group(&entry.room, record)?;
        let policy = Policy::of(&group.context().extensions);
        self.keep_group(&entry.room, group);
        let expected = match policy {
            Ok(policy) if policy.handshakes == Handshakes::Public => WireFormat::PublicMessage,
            Ok(_) => WireFormat::PrivateMessage,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if message.wire_format() != expected {
            return Ok(Err(
                "it is in the wrong wire format for this room".to_owned()
            ));
        }
        Ok(Ok(message))
    }

    /// An accepted entry that breaks the room's rules, or that nobody can follow: the room stops here
    /// and the person is told.
    pub(crate) fn stop(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        why: &str,
    ) -> Result<Step, Error> {
        record.stage = Stage::Stopped;
        self.forget_in_flight(&entry.room);
        self.forget_group(&entry.room);
        self.tell(Event::RoomStopped {
            room: entry.room.clone(),
            seq: entry.seq,
            why: why.to_owned(),
        });
        Ok(Step::Done)
    }

    /// The hub signs the head at each commit, with the key the epoch before names. A wrong one
    /// makes no commit inapplicable, but the person learns of it.
    pub(crate) fn check_head(&mut self, hub: Option<&HubKey>, entry: &Entry) {
        let room = &entry.room;
        let Some(signature) = &entry.signature else {
            return self.warn(Some(room), Warning::HeadUnsigned { seq: entry.seq });
        };
        let content = signed::content(
            signed::HEAD,
            &[
                room.as_str().as_bytes(),
                &entry.seq.to_be_bytes(),
                &entry.head,
            ],
        );
        let verified = hub.is_some_and(|(suite, key)| {
            let suite = self.mls.suite(*suite);
            suite.is_ok_and(|suite| suite.verify(key, signature, &content).is_ok())
        });
        if !verified {
            self.warn(Some(room), Warning::HeadForged { seq: entry.seq });
        }
    }
}

/// The key that signs the heads of the log, as the group names it now.
pub(crate) fn hub_key(group: &Group) -> Option<HubKey> {
    hub_key_of(group.context())
}

pub(crate) fn hub_key_of(context: &GroupContext) -> Option<HubKey> {
    let senders = context.extensions.get_as::<ExternalSendersExt>();
    let senders = senders.ok().flatten()?;
    let hub = senders.allowed_senders().first()?;
    Some((context.cipher_suite(), hub.signature_key.clone()))
}

/// The entry is what this request became.
pub(crate) fn carries(entry: &Entry, in_flight: &InFlight) -> bool {
    let same = |payload: &[u8]| payload == in_flight.payload();
    entry.kind == in_flight.kind()
        && matches!(&entry.payload, Payload::Held(payload) if same(payload))
}

pub(crate) fn parse(payload: &[u8], record: &Record) -> Result<MlsMessage, &'static str> {
    if payload.len() > MAX_PAYLOAD {
        return Err("it is too large");
    }
    let message = MlsMessage::from_bytes(payload).map_err(|_| "it is no MLS message")?;
    // Handshakes are PublicMessages.
    if payload.len() > MAX_MESSAGE && message.wire_format() == WireFormat::PrivateMessage {
        return Err("it is too large");
    }
    if message.group_id() != Some(&record.group_id) {
        return Err("it belongs to another group");
    }
    if message.epoch() != Some(record.epoch) {
        return Err("it belongs to another epoch");
    }
    Ok(message)
}

/// A member as its certificate names it.
pub(crate) fn device(identity: &SigningIdentity) -> Option<Device> {
    let leaf = certificate(&identity.credential)
        .and_then(Leaf::read)
        .ok()?;
    Some(Device {
        account: leaf.account.as_str().to_owned(),
        device: leaf.device.map_or([0; 16], Uuid::into_bytes),
    })
}
