//! Sync as XML: in `urn:xmpp:mls:0:room`, by names of their own, since these go to one's domain.

use comity_xmpp::element::Element;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns::MLS_ROOM as NS;
use comity_xmpp::stanza::IqType;

use super::{Answer, Notice, Request, Standing};
use crate::limits;
use crate::read::{Attributes as _, Malformed, attr, children, expect_iq, name_in, unknown};
use crate::room::{Entry, Ephemeral, Welcome};

impl Request {
    #[must_use]
    pub fn iq_type(&self) -> IqType {
        IqType::Set
    }

    /// Reads the payload of an IQ that came with this type.
    pub fn from_iq(iq: IqType, element: &Element) -> Result<Self, Malformed> {
        let request = Self::from_element(element)?;
        expect_iq(element, request.iq_type(), iq)?;
        Ok(request)
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::Sync { cursors } => {
                Element::new(NS, "sync").with_children(cursors.iter().map(room))
            }
            Self::Acknowledge { room, seq } => {
                Element::new(NS, "stored").put("room", room).put("seq", seq)
            }
            Self::AcknowledgeWelcome { id } => Element::new(NS, "welcomed").put("id", id),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("sync") => Self::Sync {
                cursors: rooms(element)?,
            },
            Some("stored") => Self::Acknowledge {
                room: attr(element, "room")?,
                seq: attr(element, "seq")?,
            },
            Some("welcomed") => Self::AcknowledgeWelcome {
                id: attr(element, "id")?,
            },
            _ => return Err(unknown(element, NS, "sync, stored, welcomed")),
        })
    }
}

impl Answer {
    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::Syncing { rooms } => {
                Element::new(NS, "syncing").with_children(rooms.iter().map(Standing::to_element))
            }
            Self::Acknowledged => Element::new(NS, "acknowledged"),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("syncing") => Self::Syncing {
                rooms: children(element, "room", limits::ROOMS, Standing::from_element)?,
            },
            Some("acknowledged") => Self::Acknowledged,
            _ => return Err(unknown(element, NS, "syncing, acknowledged")),
        })
    }
}

impl Standing {
    fn to_element(&self) -> Element {
        Element::new(NS, "room")
            .put("jid", &self.room)
            .put("seq", &self.seq)
            .put("since", &self.since)
            .put("stored", &self.stored)
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            room: attr(element, "jid")?,
            seq: attr(element, "seq")?,
            since: attr(element, "since")?,
            stored: attr(element, "stored")?,
        })
    }
}

fn room((jid, seq): &(BareJid, u64)) -> Element {
    Element::new(NS, "room").put("jid", jid).put("seq", seq)
}

fn rooms(element: &Element) -> Result<Vec<(BareJid, u64)>, Malformed> {
    children(element, "room", limits::ROOMS, |room| {
        Ok((attr(room, "jid")?, attr(room, "seq")?))
    })
}

impl Notice {
    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::Entry(entry) => entry.to_element(),
            Self::Welcome(welcome) => welcome.to_element(),
            Self::Ephemeral(ephemeral) => ephemeral.to_element(),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("entry") => Self::Entry(Entry::from_element(element)?),
            Some("welcome") => Self::Welcome(Welcome::from_element(element)?),
            Some("ephemeral") => Self::Ephemeral(Ephemeral::from_element(element)?),
            _ => return Err(unknown(element, NS, "entry, welcome, ephemeral")),
        })
    }
}
