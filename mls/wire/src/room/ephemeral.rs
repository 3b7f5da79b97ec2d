//! Messages outside the log, as XML: the same element from hub to domain and from there to a device.

use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_ROOM as NS;

use super::Ephemeral;
use crate::limits;
use crate::read::{Attributes as _, Malformed, attr, blob, child_bytes, expect};

impl Ephemeral {
    #[must_use]
    pub fn to_element(&self) -> Element {
        Element::new(NS, "ephemeral")
            .put("room", &self.room)
            .put("epoch", &self.epoch)
            .put("sender", &self.sender)
            .put("device", &self.device)
            .with_child(blob(NS, "message", &self.message))
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        expect(element, NS, "ephemeral")?;
        Ok(Self {
            room: attr(element, "room")?,
            epoch: attr(element, "epoch")?,
            sender: attr(element, "sender")?,
            device: attr(element, "device")?,
            message: child_bytes(element, "message", limits::EPHEMERAL_BYTES)?,
        })
    }
}
