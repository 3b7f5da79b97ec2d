//! Messages outside the log, such as that somebody types: sealed by the epoch like all others, kept by
//! nobody, and lost without a trace where something is in their way. They count towards nothing: what
//! is lost of the log is told by the log, and by the counter of the messages that are in it.

use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Ephemeral, Member};
use comity_xmpp::jid::BareJid;
use mls_rs::WireFormat;
use mls_rs::group::ReceivedMessage;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};

use crate::content::{Passing, is_content_type};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, Event, Warning};
use crate::follow::{device, parse};
use crate::mls::NO_NODES;
use crate::outgoing::{Destination, Request};
use crate::plan::check_open;
use crate::requests::Purpose;
use crate::room::{Record, Stage};
use crate::rules::agreed;
use crate::session::Session;
use crate::store::Space;

/// Octets of one; it says something small.
pub const MAX_EPHEMERAL: usize = 4 * 1024;
/// This device sends no more in an epoch, whatever the policy allows. Who got none of them still finds
/// the key of the next message in the log: receivers go 1,024 keys forward (RFC 9420 §9.2).
const MOST_PER_EPOCH: u32 = 500;
/// Under way to a room at a time; what comes beyond is too late already.
const UNDER_WAY: usize = 4;
/// A hub that takes no more is left alone for so long, unless it says otherwise.
const HUSHED_MS: u64 = 5 * 60_000;

/// How much this device has sent outside the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Sent {
    epoch: u64,
    number: u32,
}

impl Engine {
    /// Says something to those members' devices that are there now. It gets no place in the log and no
    /// history, and is never sent later: false if it cannot be said at this moment, because this device
    /// is away or catching up, the epoch is about to end, or enough was said so in it.
    pub fn send_ephemeral(
        &mut self,
        room: &BareJid,
        content_type: &str,
        content: &[u8],
        now: u64,
    ) -> Result<bool, Error> {
        if content.len() > MAX_EPHEMERAL {
            let what = "octets of a message outside the log";
            let limit = MAX_EPHEMERAL;
            return Err(Error::TooMuch { what, limit });
        }
        if !is_content_type(content_type) {
            return Err(Error::ContentType);
        }
        self.input(now, |engine| {
            let record = engine.known_room(room)?;
            check_open(room, &record)?;
            let may = engine.may_pass(room, &record, now)?;
            Ok(may && engine.pass(room, &record, content_type, content, now)?)
        })
    }

    fn may_pass(&mut self, room: &BareJid, record: &Record, now: u64) -> Result<bool, Error> {
        let of_room = |purpose: &Purpose| matches!(purpose, Purpose::Ephemeral(r, _) if r == room);
        let there = matches!(self.session, Session::Up { .. })
            && self.synced
            && record.stage == Stage::Active
            && !record.leaving
            && !self.is_behind(room, record)
            && self.hushed.get(room).is_none_or(|until| now >= *until)
            && self.requests.count(of_room) < UNDER_WAY;
        Ok(there && self.is_fresh(room, now) && !self.is_damaged(room, record)?)
    }

    /// Seals it and asks the hub to hand it on. Its generation is spent in the transaction that sends
    /// it, as with every message.
    fn pass(
        &mut self,
        room: &BareJid,
        record: &Record,
        content_type: &str,
        content: &[u8],
        now: u64,
    ) -> Result<bool, Error> {
        let group = self.take_group(room, record)?;
        let policy = agreed(&group);
        let key = room.as_str().as_bytes();
        let sent: Option<Sent> = self.rows.read(Space::Ephemeral, key)?;
        let sent = sent.filter(|sent| sent.epoch == record.epoch);
        let number = sent.map_or(0, |sent| sent.number);
        // RFC 9420 §12.4: who has seen proposals commits them before it says anything.
        let waits = group.commit_required()
            || number >= policy.ephemeral_per_epoch.min(MOST_PER_EPOCH)
            || !self.flagged(room, &group).is_empty()
            || self.is_held_up(room)?;
        if waits {
            self.keep_group(room, group);
            return Ok(false);
        }
        let passing = Passing::new(content_type, content, policy.padding);
        let fault = |error: mls_rs_codec::Error| Error::Mls(error.to_string());
        let sealed = passing.mls_encode_to_vec().map_err(fault)?;
        let marked = AuthenticatedData::ephemeral().to_bytes();
        let marked = marked.map_err(|error| Error::Mls(error.to_string()))?;
        let mut speaker = self.mls.speaker(group.group_id(), &NO_NODES)?;
        let message = speaker
            .encrypt_application_message(&sealed, marked)?
            .to_bytes()?;
        self.mls.save_ratchets(&mut speaker)?;
        self.keep_group(room, group);
        let sent = Sent {
            epoch: record.epoch,
            number: number + 1,
        };
        self.rows.write(Space::Ephemeral, key, &sent)?;
        let request = room::Request::Ephemeral {
            epoch: record.epoch,
            message: message.into(),
        };
        self.ask(
            Purpose::Ephemeral(room.clone(), sent.number),
            Destination::Room(room.clone()),
            Request::Room(request),
            now,
        );
        Ok(true)
    }

    /// It is never sent again; the next may be.
    pub(crate) fn on_ephemeral_refused(&mut self, room: &BareJid, refusal: &Refusal, now: u64) {
        match refusal {
            // The log brings the new epoch by itself.
            Refusal::StaleEpoch { .. } => {}
            Refusal::RateLimited { retry_after_s } => {
                let until = now + u64::from(*retry_after_s) * 1_000;
                self.hushed.insert(room.clone(), until);
            }
            _ => drop(self.hushed.insert(room.clone(), now + HUSHED_MS)),
        }
    }

    /// What somebody says outside the log. What is of an epoch that this device is not in says nothing
    /// to it, and is no fault of anybody's.
    pub(crate) fn on_ephemeral(&mut self, ephemeral: &Ephemeral) -> Result<(), Error> {
        let room = &ephemeral.room;
        let Some(record) = self.record(room)? else {
            return Ok(());
        };
        let own = ephemeral.sender == self.account && ephemeral.device == self.own_device()?;
        let current = record.stage == Stage::Active && record.epoch == ephemeral.epoch;
        if own || !current || self.is_damaged(room, &record)? {
            return Ok(());
        }
        match self.open_ephemeral(&record, ephemeral)? {
            Ok((by, said)) => self.tell(Event::Ephemeral {
                room: room.clone(),
                by,
                content_type: said.content_type,
                content: said.content,
            }),
            Err(why) => self.warn(
                Some(room),
                Warning::Ephemeral {
                    account: ephemeral.sender.as_str().to_owned(),
                    why,
                },
            ),
        }
        Ok(())
    }

    /// The ratchets are saved only if all is as it should be. So nothing that a server gives out for such a
    /// message, a message of the log among them, spends a key.
    fn open_ephemeral(
        &mut self,
        record: &Record,
        ephemeral: &Ephemeral,
    ) -> Result<Result<(Device, Passing), String>, Error> {
        let fail = |why: &str| Ok(Err(why.to_owned()));
        let message = match parse(&ephemeral.message, record) {
            Ok(message) if message.wire_format() == WireFormat::PrivateMessage => message,
            Ok(_) => return fail("it is not encrypted"),
            Err(why) => return fail(why),
        };
        let said_by = Member {
            account: ephemeral.sender.clone(),
            device: ephemeral.device,
        };
        let group = self.take_group(&ephemeral.room, record)?;
        let opened = self.mls.open(&group, message, &said_by)?;
        self.keep_group(&ephemeral.room, group);
        let (mut speaker, message) = match opened {
            Ok((speaker, ReceivedMessage::ApplicationMessage(message))) => (speaker, message),
            Ok(_) => return fail("it is no message"),
            Err(error) => return Ok(Err(error.to_string())),
        };
        if !is_marked(&message.authenticated_data) {
            return fail("it belongs into the log");
        }
        let member = speaker.member_at_index(message.sender_index);
        let Some(by) = member.and_then(|member| device(&member.signing_identity)) else {
            return fail("its sender is no member");
        };
        if by.account != ephemeral.sender.as_str() || by.id() != ephemeral.device {
            return fail("it was written by another than the server says");
        }
        let said = match Passing::read(message.data()) {
            Ok(said) => said,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.mls.save_ratchets(&mut speaker)?;
        Ok(Ok((by, said)))
    }
}

/// Does a message say of itself that it has no place in the log?
pub(crate) fn is_marked(authenticated_data: &[u8]) -> bool {
    AuthenticatedData::from_bytes(authenticated_data).is_ok_and(|data| data.ephemeral)
}
