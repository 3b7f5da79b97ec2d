//! Showing a message to the operator of the room's hub (RFC 9750 §8.2.3), with the key that its sender
//! put into it: it proves who said that and shows nothing else of the room.

use comity_mls_credential::franking;
use comity_mls_wire::limits::REASON_CHARACTERS;
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, MessageReport};
use comity_xmpp::jid::BareJid;
use mls_rs_codec::{MlsDecode, MlsEncode, MlsSize};
use uuid::Uuid;

use crate::content::{Framed, MessageId};
use crate::engine::Engine;
use crate::error::Error;
use crate::event::{Device, Event, Refused, Warning, What};
use crate::messages::{Said, said_key};
use crate::newcomers::said;
use crate::outgoing::{Destination, Request};
use crate::requests::Purpose;
use crate::store::Space;

/// Reports that wait for their hubs.
pub const MAX_REPORTS: usize = 100;

/// A report that its hub has not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, MlsSize, MlsEncode, MlsDecode)]
struct Complaint {
    seq: u64,
    key: franking::Key,
    content_type: String,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    content: Vec<u8>,
    why: String,
}

impl Engine {
    /// Shows this message to the operator of the domain that orders the room, with `why`. What becomes
    /// of it comes with [`Event::Reported`] or [`Event::Refused`].
    pub fn report(
        &mut self,
        room: &BareJid,
        id: MessageId,
        why: &str,
        now: u64,
    ) -> Result<(), Error> {
        self.input(now, |engine| {
            engine.known_room(room)?;
            let unknown = || Error::UnknownMessage(id.0);
            let said: Option<Said> = engine
                .rows
                .read(Space::Said, &said_key(room, id.0.as_bytes()))?;
            let said = said.ok_or_else(unknown)?;
            if said.by.account == engine.account.as_str() {
                return Err(Error::OwnMessage);
            }
            let lines = engine.history(room, said.seq.saturating_sub(1), 1)?;
            let message = lines.into_iter().find_map(|item| match item.what {
                What::Message(message) if message.id == *id.0.as_bytes() => Some(message),
                _ => None,
            });
            let message = message.ok_or_else(unknown)?;
            if engine
                .rows
                .scan(Space::Complaint, b"", None, MAX_REPORTS)?
                .len()
                >= MAX_REPORTS
            {
                return Err(Error::TooMuch {
                    what: "reports that wait",
                    limit: MAX_REPORTS,
                });
            }
            let complaint = Complaint {
                seq: said.seq,
                key: said.franking_key,
                content_type: message.content_type,
                content: message.content,
                why: why.chars().take(REASON_CHARACTERS).collect(),
            };
            let key = said_key(room, id.0.as_bytes());
            engine.rows.write(Space::Complaint, &key, &complaint)?;
            engine.ask_complaint(room, id.0.into_bytes(), complaint, now);
            Ok(())
        })
    }

    /// With a new session: what was not answered.
    pub(crate) fn ask_complaints(&mut self, now: u64) -> Result<(), Error> {
        let waiting = self
            .rows
            .list::<Complaint>(Space::Complaint, b"", MAX_REPORTS)?;
        for (key, complaint) in waiting {
            let named = key.split_last_chunk::<16>().and_then(|(room, id)| {
                let room = std::str::from_utf8(room.strip_suffix(&[0])?).ok()?;
                Some((BareJid::parse(room).ok()?, *id))
            });
            let Some((room, id)) = named else {
                self.rows.delete(Space::Complaint, &key);
                continue;
            };
            self.ask_complaint(&room, id, complaint, now);
        }
        Ok(())
    }

    fn ask_complaint(&mut self, room: &BareJid, id: [u8; 16], complaint: Complaint, now: u64) {
        let report = MessageReport {
            seq: complaint.seq,
            id: Uuid::from_bytes(id),
            content_type: complaint.content_type,
            content: complaint.content.into(),
            key: complaint.key,
            why: complaint.why,
        };
        self.ask(
            Purpose::Complaint(room.clone(), id),
            Destination::Room(room.clone()),
            Request::Room(room::Request::ReportMessage(Box::new(report))),
            now,
        );
    }

    pub(crate) fn on_complaint(
        &mut self,
        room: &BareJid,
        id: [u8; 16],
        refusal: Option<&Refusal>,
    ) -> Result<(), Error> {
        self.rows.delete(Space::Complaint, &said_key(room, &id));
        let id = MessageId(Uuid::from_bytes(id));
        match refusal {
            Some(refusal) => self.refused(Some(room), Refused::Report(id), refusal),
            None => self.tell(Event::Reported {
                room: room.clone(),
                id,
            }),
        }
        Ok(())
    }

    /// Can what was said be shown to the hub? If not, it is not shown here either: nobody says what
    /// cannot be held against them.
    pub(crate) fn is_franked(
        &mut self,
        (room, seq): (&BareJid, u64),
        framed: &Framed,
        sender: &Device,
        authenticated_data: &[u8],
    ) -> Result<bool, Error> {
        let message = franking::Message {
            id: &framed.id,
            content_type: &framed.content_type,
            content: &framed.content,
        };
        let fits = match said(authenticated_data).franking {
            Some(tag) => message.fits(&framed.franking_key, &tag)?,
            None => false,
        };
        if !fits {
            let account = sender.account.clone();
            self.warn(Some(room), Warning::Unfranked { account, seq });
        }
        Ok(fits)
    }
}
