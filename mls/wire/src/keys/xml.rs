//! `urn:xmpp:mls:0:keys` as XML.

use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_KEYS as NS;
use comity_xmpp::stanza::IqType;

use super::{Answer, Claim, ClaimResult, Claimed, Count, Notice, Published, Request};
use crate::limits;
use crate::read::{
    Attributes as _, Malformed, attr, attr_opt, blob, bytes, child_bytes, child_opt, children,
    expect_iq, name_in, some_children, unknown,
};

impl Request {
    #[must_use]
    pub fn iq_type(&self) -> IqType {
        match self {
            Self::Count => IqType::Get,
            Self::Publish { .. } | Self::Claim(_) | Self::Delete { .. } => IqType::Set,
        }
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
            Self::Publish {
                device,
                replace,
                packages,
                signature,
            } => Element::new(NS, "publish")
                .put("device", device)
                .put("replace", replace)
                .with_children(packages.iter().map(Published::to_element))
                .with_child(blob(NS, "signature", signature)),
            Self::Count => Element::new(NS, "count"),
            Self::Delete { device, references } => Element::new(NS, "delete")
                .put("device", device)
                .with_children(references.iter().map(|r| blob(NS, "reference", r))),
            Self::Claim(claim) => claim.to_element(),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("publish") => Self::Publish {
                device: attr(element, "device")?,
                replace: attr_opt(element, "replace")?.unwrap_or(false),
                packages: some_children(
                    element,
                    "package",
                    limits::PUBLISH,
                    Published::from_element,
                )?,
                signature: child_bytes(element, "signature", limits::SIGNATURE_BYTES)?,
            },
            Some("count") => Self::Count,
            Some("delete") => Self::Delete {
                device: attr(element, "device")?,
                references: children(element, "reference", limits::PUBLISH, |r| {
                    bytes(r, limits::REFERENCE_BYTES)
                })?,
            },
            Some("claim") => Self::Claim(Claim::from_element(element)?),
            _ => return Err(unknown(element, NS, "publish, count, delete, claim")),
        })
    }
}

impl Published {
    fn to_element(&self) -> Element {
        blob(NS, "package", &self.package).put("last-resort", &self.last_resort)
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            last_resort: attr_opt(element, "last-resort")?.unwrap_or(false),
            package: bytes(element, limits::KEY_PACKAGE_BYTES)?,
        })
    }
}

impl Claim {
    fn to_element(&self) -> Element {
        Element::new(NS, "claim")
            .put("room", &self.room)
            .with_children(self.suites.iter().map(|s| numbered("suite", s)))
            .with_children(self.extensions.iter().map(|e| numbered("extension", e)))
            .with_children(
                self.devices
                    .iter()
                    .map(|d| Element::new(NS, "device").put("id", d)),
            )
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            room: attr(element, "room")?,
            suites: some_children(element, "suite", limits::SUITES, |e| attr(e, "id"))?,
            extensions: children(element, "extension", limits::EXTENSIONS, |e| attr(e, "id"))?,
            devices: children(element, "device", limits::DEVICES, |e| attr(e, "id"))?,
        })
    }
}

fn numbered(name: &str, id: &u16) -> Element {
    Element::new(NS, name).put("id", id)
}

impl Answer {
    #[must_use]
    pub fn to_element(&self) -> Element {
        let counts = |name, all: &[Count]| {
            Element::new(NS, name).with_children(all.iter().map(|c| c.to_element("count")))
        };
        match self {
            Self::Published(all) => counts("published", all),
            Self::Counts(all) => counts("counts", all),
            Self::Deleted(all) => counts("deleted", all),
            Self::Claimed(all) => {
                Element::new(NS, "claimed").with_children(all.iter().map(Claimed::to_element))
            }
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        let counts = || children(element, "count", limits::COUNTS, Count::from_element);
        Ok(match name_in(element, NS) {
            Some("published") => Self::Published(counts()?),
            Some("counts") => Self::Counts(counts()?),
            Some("deleted") => Self::Deleted(counts()?),
            Some("claimed") => Self::Claimed(children(
                element,
                "device",
                limits::DEVICES,
                Claimed::from_element,
            )?),
            _ => return Err(unknown(element, NS, "published, counts, deleted, claimed")),
        })
    }
}

impl Count {
    fn to_element(&self, name: &str) -> Element {
        Element::new(NS, name)
            .put("device", &self.device)
            .put("suite", &self.suite)
            .put("ordinary", &self.ordinary)
            .put("last-resort", &self.last_resort)
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            device: attr(element, "device")?,
            suite: attr(element, "suite")?,
            ordinary: attr(element, "ordinary")?,
            last_resort: attr(element, "last-resort")?,
        })
    }
}

impl Claimed {
    fn to_element(&self) -> Element {
        let result = match &self.result {
            ClaimResult::Package {
                package,
                last_resort,
            } => blob(NS, "package", package).put("last-resort", last_resort),
            ClaimResult::Exhausted => Element::new(NS, "exhausted"),
            ClaimResult::Incompatible => Element::new(NS, "incompatible"),
        };
        Element::new(NS, "device")
            .put("id", &self.device)
            .with_child(result)
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        let result = if let Some(package) = child_opt(element, "package")? {
            let Published {
                last_resort,
                package,
            } = Published::from_element(package)?;
            ClaimResult::Package {
                package,
                last_resort,
            }
        } else if child_opt(element, "exhausted")?.is_some() {
            ClaimResult::Exhausted
        } else if child_opt(element, "incompatible")?.is_some() {
            ClaimResult::Incompatible
        } else {
            return Err(Malformed::new(
                element,
                "a child <package/>, <exhausted/> or <incompatible/>",
                "none",
            ));
        };
        Ok(Self {
            device: attr(element, "id")?,
            result,
        })
    }
}

impl Notice {
    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::LowStock(count) => count.to_element("low-stock"),
            Self::LastResortUsed { device, suite } => Element::new(NS, "last-resort-used")
                .put("device", device)
                .put("suite", suite),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("low-stock") => Self::LowStock(Count::from_element(element)?),
            Some("last-resort-used") => Self::LastResortUsed {
                device: attr(element, "device")?,
                suite: attr(element, "suite")?,
            },
            _ => return Err(unknown(element, NS, "low-stock, last-resort-used")),
        })
    }
}
