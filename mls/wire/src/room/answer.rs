//! A room's answers as XML.

use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_ROOM as NS;

use super::{Accepted, Answer, Entry, Head, Hub, Info, Member, Tree};
use crate::limits;
use crate::read::{
    Attributes as _, Malformed, attr, blob, bytes, child, child_bytes, child_opt, children,
    name_in, some_children, unknown,
};

impl Answer {
    #[must_use]
    pub fn to_element(&self) -> Element {
        let new = |name| Element::new(NS, name);
        match self {
            Self::Hub(hub) => hub.to_element(),
            Self::Accepted(accepted) => accepted.to_element(),
            Self::Info(info) => info.to_element(),
            Self::Head(head) => head.to_element(),
            Self::Status(accepted) => {
                new("status").with_children(accepted.iter().map(Accepted::to_element))
            }
            Self::GroupInfo {
                group_info,
                tree,
                epoch,
                seq,
                proposals,
            } => new("group-info")
                .put("epoch", epoch)
                .put("seq", seq)
                .with_child(blob(NS, "message", group_info))
                .with_child(tree.to_element())
                .with_children(proposals.iter().map(|one| blob(NS, "proposal", one))),
            Self::Entries(entries) => {
                new("entries").with_children(entries.iter().map(Entry::to_element))
            }
            Self::Reported => new("reported"),
            Self::Acknowledged => new("acknowledged"),
            Self::Relayed => new("relayed"),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("hub") => Self::Hub(Hub::from_element(element)?),
            Some("accepted") => Self::Accepted(Accepted::from_element(element)?),
            Some("info") => Self::Info(Info::from_element(element)?),
            Some("head") => Self::Head(Head::from_element(element)?),
            Some("status") => Self::Status(
                child_opt(element, "accepted")?
                    .map(Accepted::from_element)
                    .transpose()?,
            ),
            Some("group-info") => Self::GroupInfo {
                group_info: child_bytes(element, "message", limits::OBJECT_BYTES)?,
                tree: Tree::from_element(child(element, "tree")?)?,
                epoch: attr(element, "epoch")?,
                seq: attr(element, "seq")?,
                proposals: children(element, "proposal", limits::PROPOSALS, |proposal| {
                    bytes(proposal, limits::OBJECT_BYTES)
                })?,
            },
            Some("entries") => Self::Entries(children(
                element,
                "entry",
                limits::ENTRIES,
                Entry::from_element,
            )?),
            Some("reported") => Self::Reported,
            Some("acknowledged") => Self::Acknowledged,
            Some("relayed") => Self::Relayed,
            _ => {
                return Err(unknown(
                    element,
                    NS,
                    "hub, accepted, info, head, status, group-info, reported, entries, \
                     acknowledged, relayed",
                ));
            }
        })
    }
}

impl Hub {
    fn to_element(&self) -> Element {
        Element::new(NS, "hub")
            .put("exists", &self.exists)
            .with_child(blob(NS, "certificate", &self.certificate))
            .with_children(
                self.suites
                    .iter()
                    .map(|suite| Element::new(NS, "suite").put("id", suite)),
            )
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            certificate: child_bytes(element, "certificate", limits::CERTIFICATE_BYTES)?,
            suites: some_children(element, "suite", limits::SUITES, |s| attr(s, "id"))?,
            exists: attr(element, "exists")?,
        })
    }
}

impl Accepted {
    fn to_element(&self) -> Element {
        Element::new(NS, "accepted")
            .put("seq", &self.seq)
            .put("epoch", &self.epoch)
            .put("time", &self.time)
            .put("head", &self.head)
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            seq: attr(element, "seq")?,
            epoch: attr(element, "epoch")?,
            time: attr(element, "time")?,
            head: attr(element, "head")?,
        })
    }
}

impl Info {
    fn to_element(&self) -> Element {
        Element::new(NS, "info")
            .put("epoch", &self.epoch)
            .put("seq", &self.seq)
            .put("head", &self.head)
            .with_child(blob(NS, "group-id", &self.group_id))
            .with_children(self.members.iter().map(|m| m.to_element("member")))
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            group_id: child_bytes(element, "group-id", limits::GROUP_ID_BYTES)?,
            epoch: attr(element, "epoch")?,
            seq: attr(element, "seq")?,
            head: attr(element, "head")?,
            members: children(element, "member", limits::MEMBERS, Member::from_element)?,
        })
    }
}

impl Head {
    fn to_element(&self) -> Element {
        Element::new(NS, "head")
            .put("epoch", &self.epoch)
            .put("seq", &self.seq)
            .put("head", &self.head)
            .with_child(blob(NS, "group-id", &self.group_id))
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            group_id: child_bytes(element, "group-id", limits::GROUP_ID_BYTES)?,
            epoch: attr(element, "epoch")?,
            seq: attr(element, "seq")?,
            head: attr(element, "head")?,
        })
    }
}

impl Member {
    pub(super) fn to_element(&self, name: &str) -> Element {
        Element::new(NS, name)
            .put("account", &self.account)
            .put("device", &self.device)
    }

    pub(super) fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            account: attr(element, "account")?,
            device: attr(element, "device")?,
        })
    }
}
