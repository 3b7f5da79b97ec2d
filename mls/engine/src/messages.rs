//! Messages that have their place in the log: one's own, and those of others with what they say
//! of themselves.

use comity_mls_credential::franking;
use comity_mls_wire::room::Entry;
use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::acknowledge::Counted;
use crate::content::{ACKNOWLEDGEMENT, ENGINES_OWN, Framed, MessageId, PSK, PSK_HELD, ROOM_STATE};
use crate::create::is_room_name;
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, Event, Message, Name, Warning, What};
use crate::follow::{Opened, device};
use crate::history::MAX_HISTORY;
use crate::room::{Body, InFlight, Record, Waiting};
use crate::rows;
use crate::store::Space;

impl Engine {
    /// This device's own message is in the log: the next may follow.
    pub(crate) fn message_accepted(
        &mut self,
        room: &BareJid,
        record: &mut Record,
        entry: &Entry,
        in_flight: &InFlight,
    ) -> Result<(), Error> {
        self.forget_in_flight(room);
        let Body::Send(body) = &in_flight.body else {
            return Ok(());
        };
        record.counter += 1;
        let key = rows::numbered(room.as_str(), body.number);
        let waiting: Option<Waiting> = self.rows.read(Space::Outbox, &key)?;
        self.rows.delete(Space::Outbox, &key);
        let Some(waiting) = waiting else {
            return Ok(());
        };
        let sender = Device {
            account: self.account.as_str().to_owned(),
            device: self.own_device()?.into_bytes(),
        };
        if ENGINES_OWN.contains(&waiting.content_type.as_str()) {
            return Ok(());
        }
        self.tell(Event::Sent {
            room: room.clone(),
            id: MessageId(Uuid::from_bytes(waiting.id)),
            seq: entry.seq,
        });
        let said = Said {
            by: sender.clone(),
            seq: entry.seq,
            // Of one's own nothing is shown to anybody.
            franking_key: [0; franking::KEY_BYTES],
        };
        self.rows
            .write(Space::Said, &said_key(room, &waiting.id), &said)?;
        let message = Message {
            sender,
            id: waiting.id,
            content_type: waiting.content_type,
            content: waiting.content,
        };
        self.note(room, entry.seq, entry.time, vec![What::Message(message)])
    }

    /// A decrypted message. The inner error is what the person is told of it instead.
    pub(crate) fn accept_content(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        opened: Opened,
        now: u64,
    ) -> Result<Result<(), String>, Error> {
        let room = &entry.room;
        let Opened {
            mut speaker,
            sender,
            ..
        } = opened;
        let authenticator = speaker.epoch_authenticator()?.as_bytes().to_vec();
        // The key is spent, whatever the content is worth.
        self.mls.save_ratchets(&mut speaker)?;
        let Some(sender) = device(&sender) else {
            return Ok(Err("its sender's certificate cannot be read".to_owned()));
        };
        if sender.account != entry.sender.as_str() {
            self.warn(
                Some(room),
                Warning::WrongSender {
                    account: sender.account.clone(),
                    claimed: entry.sender.as_str().to_owned(),
                    seq: entry.seq,
                },
            );
        }
        let framed = match Framed::read(&opened.data) {
            Ok(framed) => framed,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.compare_position(entry, &framed, &sender, &authenticator)?;
        if let Some(head) = &framed.log_head {
            self.take_head_of_member(&head.0, now)?;
        }
        if !self.count(entry, &framed, &sender)? || !self.is_new(entry, &framed, &sender)? {
            return Ok(Ok(()));
        }
        let at = (room, entry.seq);
        if !self.is_franked(at, &framed, &sender, &opened.authenticated_data)? {
            return Ok(Err(
                "its sender has not put beside it what makes it theirs".to_owned()
            ));
        }
        match framed.content_type.as_str() {
            ACKNOWLEDGEMENT => return Ok(Ok(())),
            ROOM_STATE => return self.take_name(record, entry, &framed, sender),
            PSK => return self.take_psk(record, entry, &framed, sender),
            PSK_HELD => return self.take_psk_held(entry, &framed, sender).map(Ok),
            _ => {}
        }
        let message = Message {
            sender,
            id: framed.id,
            content_type: framed.content_type,
            content: framed.content,
        };
        self.note(room, entry.seq, entry.time, vec![What::Message(message)])?;
        Ok(Ok(()))
    }

    /// What the sender last saw must be what we saw there (RFC 9750 §5.2, a server that shows
    /// members different histories).
    fn compare_position(
        &mut self,
        entry: &Entry,
        framed: &Framed,
        sender: &Device,
        authenticator: &[u8],
    ) -> Result<(), Error> {
        let key = rows::numbered(entry.room.as_str(), framed.seq);
        let ours = self.rows.get(Space::Head, &key)?;
        let same_log = match ours {
            Some(head) => head == framed.head,
            // Before this device came, or too long ago to tell; never in the future.
            None => framed.seq < entry.seq,
        };
        if !same_log || framed.epoch_authenticator != authenticator {
            self.warn(
                Some(&entry.room),
                Warning::Fork {
                    account: sender.account.clone(),
                    seq: framed.seq,
                },
            );
        }
        Ok(())
    }

    /// Counts the sender's messages; false for one that was there before.
    fn count(&mut self, entry: &Entry, framed: &Framed, sender: &Device) -> Result<bool, Error> {
        let key = counter_key(&entry.room, sender);
        let seen: Option<Counted> = self.rows.read(Space::Counter, &key)?;
        let mut held = 0;
        if let Some(Counted {
            counter: seen,
            held: before,
        }) = seen
        {
            held = before;
            if framed.counter <= seen {
                self.warn(
                    Some(&entry.room),
                    Warning::Replayed {
                        account: sender.account.clone(),
                        seq: entry.seq,
                    },
                );
                return Ok(false);
            }
            let missing = framed.counter - seen - 1;
            if missing > 0 {
                self.warn(
                    Some(&entry.room),
                    Warning::Lost {
                        account: sender.account.clone(),
                        seq: entry.seq,
                        missing,
                    },
                );
            }
        }
        // Of what is still to come nobody can hold anything; that is told as a fork.
        let holds = framed.seq.min(entry.seq.saturating_sub(1));
        if holds > held {
            self.tell(Event::Acknowledged {
                room: entry.room.clone(),
                by: sender.clone(),
                seq: holds,
            });
        }
        let counted = Counted {
            counter: framed.counter,
            held: holds.max(held),
        };
        self.rows.write(Space::Counter, &key, &counted)?;
        Ok(true)
    }

    /// An id names one message. Whoever gives it to another would have answers, corrections and
    /// reactions meant for the first fall on theirs.
    fn is_new(&mut self, entry: &Entry, framed: &Framed, sender: &Device) -> Result<bool, Error> {
        let room = &entry.room;
        let key = said_key(room, &framed.id);
        let Some(first) = self.rows.read::<Said>(Space::Said, &key)? else {
            let said = Said {
                by: sender.clone(),
                seq: entry.seq,
                franking_key: framed.franking_key,
            };
            self.rows.write(Space::Said, &key, &said)?;
            return Ok(true);
        };
        if first.by == *sender && self.came_back(room, sender, first.seq)? {
            // Its data is an older copy, in which this still waited.
            return Ok(false);
        }
        let account = sender.account.clone();
        let warning = match first.by == *sender {
            true => Warning::Replayed {
                account,
                seq: entry.seq,
            },
            false => Warning::ForgedId {
                account,
                seq: entry.seq,
                of: first.by.account,
            },
        };
        self.warn(Some(room), warning);
        Ok(false)
    }

    /// Has a device come, or come back, since that entry?
    fn came_back(&self, room: &BareJid, who: &Device, since: u64) -> Result<bool, Error> {
        let mut after = since;
        loop {
            let page = self.history(room, after, MAX_HISTORY)?;
            let Some(last) = page.last() else {
                return Ok(false);
            };
            after = last.seq;
            let came = page.iter().any(|item| match &item.what {
                What::Rejoined(back) => back.who == *who,
                What::Added(change) => change.who == *who,
                _ => false,
            });
            if came {
                return Ok(true);
            }
        }
    }

    fn take_name(
        &mut self,
        record: &mut Record,
        entry: &Entry,
        framed: &Framed,
        by: Device,
    ) -> Result<Result<(), String>, Error> {
        let name = match std::str::from_utf8(&framed.content) {
            Ok(name) if is_room_name(name) => name.to_owned(),
            _ => {
                return Ok(Err(
                    "it gives the room a name that cannot be read".to_owned()
                ));
            }
        };
        if record.name.as_ref() == Some(&name) {
            return Ok(Ok(()));
        }
        record.name = Some(name.clone());
        self.tell(Event::RoomNamed {
            room: entry.room.clone(),
            name: name.clone(),
        });
        let what = vec![What::Named(Name { name, by })];
        self.note(&entry.room, entry.seq, entry.time, what)?;
        Ok(Ok(()))
    }
}

/// A message that has its place in the log.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
pub(crate) struct Said {
    pub(crate) by: Device,
    pub(crate) seq: u64,
    /// With it the message can be shown to the hub.
    pub(crate) franking_key: franking::Key,
}

pub(crate) fn said_key(room: &BareJid, id: &[u8; 16]) -> Vec<u8> {
    let mut key = rows::of_room(room.as_str());
    key.extend_from_slice(id);
    key
}

/// Where the last counter of a sender is kept.
pub(crate) fn counter_key(room: &BareJid, sender: &Device) -> Vec<u8> {
    let mut key = rows::of_room(room.as_str());
    key.extend_from_slice(sender.account.as_bytes());
    key.push(0);
    key.extend_from_slice(&sender.device);
    key
}
