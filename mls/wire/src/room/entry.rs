//! Log entries, Welcomes and the fan-out that carries both between domains, as XML.

use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_ROOM as NS;

use super::{Change, Entry, EntryKind, Fanout, Joiner, Member, Payload, Tree, Welcome};
use crate::limits;
use crate::read::{
    Attributes as _, Malformed, Value, attr, attr_opt, blob, child, child_bytes, child_bytes_opt,
    child_opt, expect, some_children,
};

impl Entry {
    #[must_use]
    pub fn to_element(&self) -> Element {
        let payload = match &self.payload {
            Payload::Held(payload) => blob(NS, "payload", payload),
            Payload::Purged(hash) => Element::new(NS, "purged").put("hash", hash),
        };
        Element::new(NS, "entry")
            .put("room", &self.room)
            .put("seq", &self.seq)
            .put("kind", &self.kind)
            .put("epoch", &self.epoch)
            .put("time", &self.time)
            .put("sender", &self.sender)
            .put_opt("device", self.device.as_ref())
            .put("head", &self.head)
            .with_child(payload)
            .with_children(self.signature.iter().map(|s| blob(NS, "signature", s)))
            .with_children(self.changes.iter().map(Change::to_element))
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        expect(element, NS, "entry")?;
        Ok(Self {
            room: attr(element, "room")?,
            seq: attr(element, "seq")?,
            kind: attr(element, "kind")?,
            epoch: attr(element, "epoch")?,
            time: attr(element, "time")?,
            sender: attr(element, "sender")?,
            device: attr_opt(element, "device")?,
            payload: Payload::of(element)?,
            head: attr(element, "head")?,
            signature: child_bytes_opt(element, "signature", limits::SIGNATURE_BYTES)?,
            changes: Change::all(element)?,
        })
    }
}

impl Payload {
    fn of(entry: &Element) -> Result<Self, Malformed> {
        let held = child_bytes_opt(entry, "payload", limits::OBJECT_BYTES)?;
        let purged = child_opt(entry, "purged")?;
        match (held, purged) {
            (Some(payload), None) => Ok(Self::Held(payload)),
            (None, Some(purged)) => Ok(Self::Purged(attr(purged, "hash")?)),
            (held, _) => Err(Malformed::new(
                entry,
                "either <payload/> or <purged/>",
                if held.is_some() { "both" } else { "none" },
            )),
        }
    }
}

impl Change {
    fn to_element(&self) -> Element {
        self.member
            .to_element(if self.joined { "joined" } else { "left" })
    }

    /// Those of an entry, in the order they stand: a device may leave and join in one commit.
    fn all(entry: &Element) -> Result<Vec<Self>, Malformed> {
        let mut all = Vec::new();
        for element in entry.elements() {
            let joined = element.is(NS, "joined");
            if !joined && !element.is(NS, "left") {
                continue;
            }
            if all.len() == limits::CHANGES {
                return Err(Malformed::new(
                    entry,
                    format!("at most {} children <joined/> and <left/>", limits::CHANGES),
                    "more",
                ));
            }
            all.push(Self {
                member: Member::from_element(element)?,
                joined,
            });
        }
        Ok(all)
    }
}

impl Welcome {
    #[must_use]
    pub fn to_element(&self) -> Element {
        Element::new(NS, "welcome")
            .put("id", &self.id)
            .put("room", &self.room)
            .put("seq", &self.seq)
            .put("head", &self.head)
            .put("epoch", &self.epoch)
            .put("sender", &self.sender)
            .with_children(self.joiners.iter().map(Joiner::to_element))
            .with_child(blob(NS, "message", &self.welcome))
            .with_child(self.tree.to_element())
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        expect(element, NS, "welcome")?;
        Ok(Self {
            id: attr(element, "id")?,
            room: attr(element, "room")?,
            seq: attr(element, "seq")?,
            head: attr(element, "head")?,
            epoch: attr(element, "epoch")?,
            sender: attr(element, "sender")?,
            joiners: some_children(element, "joiner", limits::JOINERS, Joiner::from_element)?,
            welcome: child_bytes(element, "message", limits::OBJECT_BYTES)?,
            tree: Tree::from_element(child(element, "tree")?)?,
        })
    }
}

impl Fanout {
    #[must_use]
    pub fn to_element(&self) -> Element {
        Element::new(NS, "fanout")
            .with_child(self.entry.to_element())
            .with_children(self.welcome.iter().map(Welcome::to_element))
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        expect(element, NS, "fanout")?;
        Ok(Self {
            entry: Entry::from_element(child(element, "entry")?)?,
            welcome: child_opt(element, "welcome")?
                .map(Welcome::from_element)
                .transpose()?,
        })
    }
}

impl EntryKind {
    /// The octet that stands for it in the hash chain.
    #[must_use]
    pub fn octet(self) -> u8 {
        match self {
            Self::Commit => 1,
            Self::Proposal => 2,
            Self::Application => 3,
            Self::Notice => 4,
        }
    }

    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Commit),
            2 => Some(Self::Proposal),
            3 => Some(Self::Application),
            4 => Some(Self::Notice),
            _ => None,
        }
    }
}

impl Value for EntryKind {
    const EXPECTED: &'static str = "commit, proposal, application or notice";
    fn read(text: &str) -> Option<Self> {
        match text {
            "commit" => Some(Self::Commit),
            "proposal" => Some(Self::Proposal),
            "application" => Some(Self::Application),
            "notice" => Some(Self::Notice),
            _ => None,
        }
    }
    fn write(&self) -> String {
        match self {
            Self::Commit => "commit",
            Self::Proposal => "proposal",
            Self::Application => "application",
            Self::Notice => "notice",
        }
        .to_owned()
    }
}
