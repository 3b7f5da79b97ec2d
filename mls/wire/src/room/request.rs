//! Requests to a room as XML.

use comity_xmpp::element::{Element, Node};
use comity_xmpp::ns::MLS_ROOM as NS;
use comity_xmpp::stanza::IqType;
use uuid::Uuid;

use super::{Bundle, Create, IdempotencyKey, Joiner, Member, MessageReport, Request, Stamped};
use crate::limits;
use crate::read::{
    Attributes as _, Malformed, Value, attr, attr_opt, attr_text, blob, bytes, child_bytes,
    child_bytes_opt, child_opt, children, expect_iq, name_in, unknown,
};

/// What a sender's own server appends to a room request.
const STAMP: &str = "device";

/// Puts the proven device of the sender's session on a room request: whatever `<device/>` children
/// the client wrote are removed, and the server's own is appended. To be done for every request
/// that leaves a local session, with or without a proof.
pub fn stamp(request: &mut Element, device: Option<Uuid>) {
    request
        .children
        .retain(|child| !matches!(child, Node::Element(e) if e.is(NS, STAMP)));
    if let Some(device) = device {
        let stamp = Element::new(NS, STAMP).put("id", &device);
        request.children.push(Node::Element(stamp));
    }
}

impl Stamped {
    /// Reads the payload of an IQ to a room, the sender's server's stamp with it.
    pub fn from_iq(iq: IqType, element: &Element) -> Result<Self, Malformed> {
        let request = Request::from_element(element)?;
        expect_iq(element, request.iq_type(), iq)?;
        let device = child_opt(element, STAMP)?
            .map(|stamp| attr(stamp, "id"))
            .transpose()?;
        Ok(Self { device, request })
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let mut element = self.request.to_element();
        stamp(&mut element, self.device);
        element
    }
}

impl Request {
    #[must_use]
    pub fn iq_type(&self) -> IqType {
        match self {
            Self::Hub
            | Self::Info
            | Self::Head
            | Self::Status { .. }
            | Self::GroupInfo
            | Self::Fetch { .. } => IqType::Get,
            Self::Create(_)
            | Self::Commit(_)
            | Self::Propose { .. }
            | Self::Send { .. }
            | Self::Ephemeral { .. }
            | Self::Report { .. }
            | Self::ReportMessage(_)
            | Self::Acknowledge { .. } => IqType::Set,
        }
    }

    #[must_use]
    pub fn to_element(&self) -> Element {
        let new = |name| Element::new(NS, name);
        match self {
            Self::Hub => new("hub"),
            Self::Create(create) => create.to_element(),
            Self::Info => new("info"),
            Self::Head => new("head"),
            Self::Commit(bundle) => bundle.to_element(),
            Self::Propose { key, proposal } => new("propose")
                .put("key", key)
                .with_child(blob(NS, "message", proposal)),
            Self::Send {
                key,
                epoch,
                message,
            } => new("send")
                .put("key", key)
                .put("epoch", epoch)
                .with_child(blob(NS, "message", message)),
            Self::Ephemeral { epoch, message } => new("ephemeral")
                .put("epoch", epoch)
                .with_child(blob(NS, "message", message)),
            Self::Status { key } => new("status").put("key", key),
            Self::GroupInfo => new("group-info"),
            Self::Report { seq, hash, why } => new("report")
                .put("seq", seq)
                .put("hash", hash)
                .with_attr("why", why.clone()),
            Self::ReportMessage(report) => report.to_element(),
            Self::Fetch { after, limit } => new("fetch").put("after", after).put("limit", limit),
            Self::Acknowledge {
                seq,
                welcomes,
                active,
            } => new("acknowledge")
                .put("seq", seq)
                .with_children(welcomes.iter().map(|id| new("welcome").put("id", id)))
                .with_children(active.iter().map(|member| {
                    new("active")
                        .put("account", &member.account)
                        .put("device", &member.device)
                })),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        let message = || child_bytes(element, "message", limits::OBJECT_BYTES);
        Ok(match name_in(element, NS) {
            Some("hub") => Self::Hub,
            Some("create") => Self::Create(Create::from_element(element)?),
            Some("info") => Self::Info,
            Some("head") => Self::Head,
            Some("commit") => Self::Commit(Bundle::from_element(element)?),
            Some("propose") => Self::Propose {
                key: attr(element, "key")?,
                proposal: message()?,
            },
            Some("send") => Self::Send {
                key: attr(element, "key")?,
                epoch: attr(element, "epoch")?,
                message: message()?,
            },
            Some("ephemeral") => Self::Ephemeral {
                epoch: attr(element, "epoch")?,
                message: child_bytes(element, "message", limits::EPHEMERAL_BYTES)?,
            },
            Some("status") => Self::Status {
                key: attr(element, "key")?,
            },
            Some("group-info") => Self::GroupInfo,
            Some("report") => Self::Report {
                seq: attr(element, "seq")?,
                hash: attr(element, "hash")?,
                why: attr_text(element, "why", limits::REASON_CHARACTERS * 4)?,
            },
            Some("report-message") => {
                Self::ReportMessage(Box::new(MessageReport::from_element(element)?))
            }
            Some("fetch") => Self::Fetch {
                after: attr(element, "after")?,
                limit: attr(element, "limit")?,
            },
            Some("acknowledge") => Self::Acknowledge {
                seq: attr(element, "seq")?,
                welcomes: children(element, "welcome", limits::WELCOMES, |w| attr(w, "id"))?,
                active: children(element, "active", limits::ACTIVE, |active| {
                    Ok(Member {
                        account: attr(active, "account")?,
                        device: attr(active, "device")?,
                    })
                })?,
            },
            _ => {
                return Err(unknown(
                    element,
                    NS,
                    "hub, create, info, head, commit, propose, send, ephemeral, status, group-info, \
                     report, report-message, fetch, acknowledge",
                ));
            }
        })
    }
}

impl Create {
    fn to_element(&self) -> Element {
        Element::new(NS, "create")
            .put("key", &self.key)
            .put_opt("direct-with", self.direct_with.as_ref())
            .with_child(blob(NS, "group-info", &self.group_info))
            .with_child(blob(NS, "tree", &self.tree))
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            key: attr(element, "key")?,
            direct_with: attr_opt(element, "direct-with")?,
            group_info: child_bytes(element, "group-info", limits::OBJECT_BYTES)?,
            tree: child_bytes(element, "tree", limits::OBJECT_BYTES)?,
        })
    }
}

impl Bundle {
    fn to_element(&self) -> Element {
        Element::new(NS, "commit")
            .put("key", &self.key)
            .put("epoch", &self.epoch)
            .with_child(blob(NS, "message", &self.commit))
            .with_children(self.welcome.iter().map(|w| blob(NS, "welcome", w)))
            .with_children(self.joiners.iter().map(Joiner::to_element))
            .with_child(blob(NS, "group-info", &self.group_info))
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        let bundle = Self {
            key: attr(element, "key")?,
            epoch: attr(element, "epoch")?,
            commit: child_bytes(element, "message", limits::OBJECT_BYTES)?,
            welcome: child_bytes_opt(element, "welcome", limits::OBJECT_BYTES)?,
            joiners: children(element, "joiner", limits::JOINERS, Joiner::from_element)?,
            group_info: child_bytes(element, "group-info", limits::OBJECT_BYTES)?,
        };
        match (&bundle.welcome, bundle.joiners.is_empty()) {
            (Some(_), true) => Err(Malformed::new(
                element,
                "a <joiner/> for each device the <welcome/> serves",
                "none",
            )),
            (None, false) => Err(Malformed::new(
                element,
                "a <welcome/> for the joiners",
                "none",
            )),
            _ => Ok(bundle),
        }
    }
}

impl MessageReport {
    fn to_element(&self) -> Element {
        Element::new(NS, "report-message")
            .put("seq", &self.seq)
            .put("id", &self.id)
            .put("key", &self.key)
            .with_attr("content-type", self.content_type.clone())
            .with_attr("why", self.why.clone())
            .with_child(blob(NS, "content", &self.content))
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            seq: attr(element, "seq")?,
            id: attr(element, "id")?,
            key: attr(element, "key")?,
            content_type: attr_text(element, "content-type", limits::CONTENT_TYPE_BYTES)?,
            why: attr_text(element, "why", limits::REASON_CHARACTERS * 4)?,
            content: child_bytes(element, "content", limits::CONTENT_BYTES)?,
        })
    }
}

impl Joiner {
    pub(super) fn to_element(&self) -> Element {
        blob(NS, "joiner", &self.key_package)
            .put("account", &self.account)
            .put("device", &self.device)
    }

    pub(super) fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            account: attr(element, "account")?,
            device: attr(element, "device")?,
            key_package: bytes(element, limits::REFERENCE_BYTES)?,
        })
    }
}

impl Value for IdempotencyKey {
    const EXPECTED: &'static str = Uuid::EXPECTED;
    fn read(text: &str) -> Option<Self> {
        Uuid::read(text).map(Self)
    }
    fn write(&self) -> String {
        self.0.write()
    }
}
