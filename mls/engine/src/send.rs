//! Saying something: queued in the store, encrypted for the epoch it will be accepted in, one at a
//! time in the order it was said.

use comity_mls_credential::franking;
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_xmpp::jid::BareJid;
use mls_rs_codec::MlsEncode as _;
use uuid::Uuid;

use crate::content::{Framed, MAX_CONTENT, MessageId, Position, ROOM_STATE, is_content_type};
use crate::engine::Engine;
use crate::error::Error;
use crate::mls::{Group, NO_NODES};
use crate::plan::check_open;
use crate::room::{Body, Record, SendBody, Waiting};
use crate::rows;
use crate::rules::agreed;
use crate::store::Space;

/// Messages of one room that wait to be accepted.
pub const MAX_OUTBOX: usize = 1_000;
/// The room's name goes out before everything that waits.
pub(crate) const ROOM_STATE_NUMBER: u64 = 0;

impl Engine {
    /// Queues a message. Its place in the log comes with [`crate::Event::Sent`]; until then it
    /// survives restarts and changes of epoch under this id.
    pub fn send(
        &mut self,
        room: &BareJid,
        content_type: &str,
        content: &[u8],
        now: u64,
    ) -> Result<MessageId, Error> {
        let too_much = |what, limit| Error::TooMuch { what, limit };
        if content.len() > MAX_CONTENT {
            return Err(too_much("octets of a message", MAX_CONTENT));
        }
        if !is_content_type(content_type) {
            return Err(Error::ContentType);
        }
        self.input(now, |engine| {
            let mut record = engine.known_room(room)?;
            check_open(room, &record)?;
            if record.leaving {
                return Err(Error::RoomClosed(room.clone(), "this device is leaving it"));
            }
            let prefix = rows::of_room(room.as_str());
            let waiting = engine.rows.scan(Space::Outbox, &prefix, None, MAX_OUTBOX)?;
            if waiting.len() >= MAX_OUTBOX {
                return Err(too_much("messages of a room that wait", MAX_OUTBOX));
            }
            let id = engine.queue(room, record.next_message, content_type, content)?;
            record.next_message += 1;
            engine.write_record(room, &record)?;
            engine.touched.insert(room.clone());
            Ok(id)
        })
    }

    pub(crate) fn queue(
        &mut self,
        room: &BareJid,
        number: u64,
        content_type: &str,
        content: &[u8],
    ) -> Result<MessageId, Error> {
        let id = crate::random::uuid()?;
        let waiting = Waiting {
            id: id.into_bytes(),
            content_type: content_type.to_owned(),
            content: content.to_vec(),
        };
        let key = rows::numbered(room.as_str(), number);
        self.rows.write(Space::Outbox, &key, &waiting)?;
        Ok(MessageId(id))
    }

    /// Whoever came learns the room's name before anything else.
    pub(crate) fn queue_name(&mut self, room: &BareJid, name: &str) -> Result<(), Error> {
        self.queue(room, ROOM_STATE_NUMBER, ROOM_STATE, name.as_bytes())
            .map(drop)
    }

    pub(crate) fn next_waiting(&self, room: &BareJid) -> Result<Option<(u64, Waiting)>, Error> {
        let prefix = rows::of_room(room.as_str());
        let first = self.rows.list::<Waiting>(Space::Outbox, &prefix, 1)?;
        Ok(first
            .into_iter()
            .next()
            .map(|(key, waiting)| (rows::number(&key), waiting)))
    }

    /// Encrypts the message for this epoch. Its generation is spent in the same transaction that
    /// keeps its octets: no key is used twice, whatever happens.
    pub(crate) fn encrypt(
        &mut self,
        room: &BareJid,
        record: &Record,
        group: Group,
        number: u64,
        message: &Waiting,
        now: u64,
    ) -> Result<(), Error> {
        let log_head = self.head_to_say(room, &group, now)?;
        let mut franking_key = [0; franking::KEY_BYTES];
        openssl::rand::rand_bytes(&mut franking_key)?;
        let franked = franking::Message {
            id: &message.id,
            content_type: &message.content_type,
            content: &message.content,
        };
        let data = AuthenticatedData::franked(franked.tag(&franking_key)?)
            .to_bytes()
            .map_err(|e| Error::Mls(e.to_string()))?;
        self.said_to_hold(room, record)?;
        let position = Position {
            id: MessageId(Uuid::from_bytes(message.id)),
            counter: record.counter + 1,
            seq: record.seq,
            head: record.head,
            epoch_authenticator: group.epoch_authenticator()?.as_bytes().to_vec(),
            log_head,
            franking_key,
        };
        let step = agreed(&group).padding;
        let framed = Framed::new(position, &message.content_type, &message.content, step)
            .mls_encode_to_vec()
            .map_err(|e| Error::Mls(e.to_string()))?;
        let mut speaker = self.mls.speaker(group.group_id(), &NO_NODES)?;
        let encrypted = speaker
            .encrypt_application_message(&framed, data)?
            .to_bytes()?;
        self.mls.save_ratchets(&mut speaker)?;
        self.keep_group(room, group);
        self.put_in_flight(
            room,
            Body::Send(SendBody {
                epoch: record.epoch,
                message: encrypted,
                number,
            }),
        )?;
        self.look_after(room, now)
    }
}
