//! `urn:xmpp:mls:0:as` as XML.

use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_AS as NS;
use comity_xmpp::stanza::IqType;

use super::{Answer, Device, Notice, Request};
use crate::limits;
use crate::read::{
    Attributes as _, Malformed, attr, attr_opt, attr_text, blob, bytes, child, child_bytes,
    child_bytes_opt, children, expect_iq, name_in, some_children, unknown,
};

impl Request {
    #[must_use]
    pub fn iq_type(&self) -> IqType {
        match self {
            Self::Challenge
            | Self::Devices
            | Self::Anchors { .. }
            | Self::Crl { .. }
            | Self::LogHead { .. }
            | Self::LogConsistency { .. }
            | Self::LogInclusion { .. }
            | Self::LogEntries { .. } => IqType::Get,
            Self::Register { .. }
            | Self::Prove { .. }
            | Self::Enrol { .. }
            | Self::Revoke { .. } => IqType::Set,
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
        let new = |name| Element::new(NS, name);
        match self {
            Self::Challenge => new("challenge"),
            Self::Register {
                name,
                device_key,
                signature,
            } => new("register")
                .with_attr("name", name)
                .with_child(blob(NS, "device-key", device_key))
                .with_child(blob(NS, "signature", signature)),
            Self::Prove {
                device,
                bound,
                signature,
            } => new("prove")
                .put("device", device)
                .put("bound", bound)
                .with_child(blob(NS, "signature", signature)),
            Self::Enrol {
                device,
                requests,
                signature,
            } => new("enrol")
                .put("device", device)
                .with_children(requests.iter().map(|csr| blob(NS, "csr", csr)))
                .with_child(blob(NS, "signature", signature)),
            Self::Devices => new("devices"),
            Self::Revoke {
                device,
                revoked,
                signature,
            } => new("revoke")
                .put("device", device)
                .put("revoked", revoked)
                .with_child(blob(NS, "signature", signature)),
            Self::Anchors { domain } => new("anchors").with_attr("domain", domain),
            Self::Crl {
                domain,
                issuer,
                offset,
            } => new("crl")
                .with_attr("domain", domain)
                .put("issuer", issuer)
                .put("offset", offset),
            Self::LogHead { domain } => new("log-head").with_attr("domain", domain),
            Self::LogConsistency {
                domain,
                first,
                second,
            } => new("log-consistency")
                .with_attr("domain", domain)
                .put("first", first)
                .put("second", second),
            Self::LogInclusion { keys } => {
                new("log-inclusion").with_children(keys.iter().map(|key| log_key(key, None)))
            }
            Self::LogEntries { from } => new("log-entries").put("from", from),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        let signature = || child_bytes(element, "signature", limits::SIGNATURE_BYTES);
        Ok(match name_in(element, NS) {
            Some("challenge") => Self::Challenge,
            Some("register") => Self::Register {
                name: attr_text(element, "name", limits::DEVICE_NAME_BYTES)?,
                device_key: child_bytes(element, "device-key", limits::PUBLIC_KEY_BYTES)?,
                signature: signature()?,
            },
            Some("prove") => Self::Prove {
                device: attr(element, "device")?,
                bound: attr(element, "bound")?,
                signature: signature()?,
            },
            Some("enrol") => Self::Enrol {
                device: attr(element, "device")?,
                requests: some_children(element, "csr", limits::ENROL, |csr| {
                    bytes(csr, limits::CSR_BYTES)
                })?,
                signature: signature()?,
            },
            Some("devices") => Self::Devices,
            Some("revoke") => Self::Revoke {
                device: attr(element, "device")?,
                revoked: attr(element, "revoked")?,
                signature: signature()?,
            },
            Some("anchors") => Self::Anchors {
                domain: domain(element)?,
            },
            Some("crl") => Self::Crl {
                domain: domain(element)?,
                issuer: attr(element, "issuer")?,
                offset: attr(element, "offset")?,
            },
            _ => return Self::of_log(element),
        })
    }

    fn of_log(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("log-head") => Self::LogHead {
                domain: domain(element)?,
            },
            Some("log-consistency") => Self::LogConsistency {
                domain: domain(element)?,
                first: attr(element, "first")?,
                second: attr(element, "second")?,
            },
            Some("log-inclusion") => Self::LogInclusion {
                keys: some_children(element, "key", limits::LOG_KEYS, |key| attr(key, "hash"))?,
            },
            Some("log-entries") => Self::LogEntries {
                from: attr(element, "from")?,
            },
            _ => {
                return Err(unknown(
                    element,
                    NS,
                    "challenge, register, prove, enrol, devices, revoke, anchors, crl, log-head, \
                     log-consistency, log-inclusion, log-entries",
                ));
            }
        })
    }
}

/// A key looked up in a log, and what is known of it.
fn log_key(key: &[u8; 32], evidence: Option<&[u8]>) -> Element {
    Element::new(NS, "key")
        .put("hash", key)
        .with_children(evidence.map(|evidence| blob(NS, "evidence", evidence)))
}

/// A domain is an address without localpart and resource; its prepared form is kept.
fn domain(element: &Element) -> Result<String, Malformed> {
    let jid: comity_xmpp::jid::BareJid = attr(element, "domain")?;
    match jid.local() {
        None => Ok(jid.domain().to_owned()),
        Some(_) => Err(Malformed::new(element, "a domain", jid.as_str())),
    }
}

impl Answer {
    #[must_use]
    pub fn to_element(&self) -> Element {
        let new = |name| Element::new(NS, name);
        match self {
            Self::Challenge { nonce } => new("challenge").with_child(blob(NS, "nonce", nonce)),
            Self::Registered { device } => new("registered").put("device", device),
            Self::Proved => new("proved"),
            Self::Certificates(all) => {
                new("certificates").with_children(all.iter().map(|c| blob(NS, "certificate", c)))
            }
            Self::Devices(all) => new("devices").with_children(all.iter().map(Device::to_element)),
            Self::Revoked => new("revoked"),
            Self::Anchors { statement } => {
                new("anchors").with_child(blob(NS, "statement", statement))
            }
            Self::Crl {
                number,
                size,
                offset,
                part,
            } => new("crl")
                .put("number", number)
                .put("size", size)
                .put("offset", offset)
                .with_child(blob(NS, "part", part)),
            Self::LogHead { head } => new("log-head").with_child(blob(NS, "head", head)),
            Self::LogConsistency { proof } => new("log-consistency")
                .with_children((!proof.is_empty()).then(|| blob(NS, "proof", proof))),
            Self::LogInclusion { head, keys } => new("log-inclusion")
                .with_child(blob(NS, "head", head))
                .with_children(
                    keys.iter()
                        .map(|(key, shown)| log_key(key, shown.as_deref())),
                ),
            Self::LogEntries {
                head,
                evidence,
                entries,
            } => new("log-entries")
                .with_child(blob(NS, "head", head))
                .with_child(blob(NS, "evidence", evidence))
                .with_children(entries.iter().map(|entry| blob(NS, "entry", entry))),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("challenge") => Self::Challenge {
                nonce: child_bytes(element, "nonce", limits::NONCE_BYTES)?,
            },
            Some("registered") => Self::Registered {
                device: attr(element, "device")?,
            },
            Some("proved") => Self::Proved,
            Some("certificates") => {
                Self::Certificates(some_children(element, "certificate", limits::ENROL, |c| {
                    bytes(c, limits::CERTIFICATE_BYTES)
                })?)
            }
            Some("devices") => Self::Devices(children(
                element,
                "device",
                limits::DEVICES,
                Device::from_element,
            )?),
            Some("revoked") => Self::Revoked,
            Some("anchors") => Self::Anchors {
                statement: child_bytes(element, "statement", limits::ANCHORS_BYTES)?,
            },
            Some("crl") => Self::Crl {
                number: attr(element, "number")?,
                size: attr(element, "size")?,
                offset: attr(element, "offset")?,
                part: child_bytes(element, "part", limits::CRL_PART_BYTES)?,
            },
            _ => return Self::of_log(element),
        })
    }

    fn of_log(element: &Element) -> Result<Self, Malformed> {
        let head = || child_bytes(element, "head", limits::LOG_HEAD_BYTES);
        let evidence_in =
            |at: &Element| child_bytes_opt(at, "evidence", limits::LOG_EVIDENCE_BYTES);
        Ok(match name_in(element, NS) {
            Some("log-head") => Self::LogHead { head: head()? },
            Some("log-consistency") => Self::LogConsistency {
                proof: child_bytes_opt(element, "proof", 32 * limits::LOG_HASHES)?
                    .unwrap_or_default(),
            },
            Some("log-inclusion") => Self::LogInclusion {
                head: head()?,
                keys: some_children(element, "key", limits::LOG_KEYS, |key| {
                    Ok((attr(key, "hash")?, evidence_in(key)?))
                })?,
            },
            Some("log-entries") => Self::LogEntries {
                head: head()?,
                evidence: child_bytes(element, "evidence", limits::LOG_EVIDENCE_BYTES)?,
                entries: children(element, "entry", limits::LOG_ENTRIES, |entry| {
                    bytes(entry, limits::LOG_ENTRY_BYTES)
                })?,
            },
            _ => {
                return Err(unknown(
                    element,
                    NS,
                    "challenge, registered, proved, certificates, devices, revoked, anchors, crl, \
                     log-head, log-consistency, log-inclusion, log-entries",
                ));
            }
        })
    }
}

impl Device {
    fn to_element(&self) -> Element {
        Element::new(NS, "device")
            .put("id", &self.id)
            .with_attr("name", &self.name)
            .put("registered", &self.registered)
            .put_opt("revoked", self.revoked.as_ref())
            .with_child(blob(NS, "device-key", &self.device_key))
    }

    fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(Self {
            id: attr(element, "id")?,
            name: attr_text(element, "name", limits::DEVICE_NAME_BYTES)?,
            registered: attr(element, "registered")?,
            revoked: attr_opt(element, "revoked")?,
            device_key: child_bytes(element, "device-key", limits::PUBLIC_KEY_BYTES)?,
        })
    }
}

impl Notice {
    #[must_use]
    pub fn to_element(&self) -> Element {
        match self {
            Self::DeviceAdded(device) => {
                Element::new(NS, "device-added").with_child(device.to_element())
            }
            Self::DeviceRevoked { id } => Element::new(NS, "device-revoked").put("id", id),
            Self::CrlIssued {
                domain,
                issuer,
                number,
            } => Element::new(NS, "crl-issued")
                .with_attr("domain", domain)
                .put("issuer", issuer)
                .put("number", number),
        }
    }

    pub fn from_element(element: &Element) -> Result<Self, Malformed> {
        Ok(match name_in(element, NS) {
            Some("device-added") => {
                Self::DeviceAdded(Device::from_element(child(element, "device")?)?)
            }
            Some("device-revoked") => Self::DeviceRevoked {
                id: attr(element, "id")?,
            },
            Some("crl-issued") => Self::CrlIssued {
                domain: domain(element)?,
                issuer: attr(element, "issuer")?,
                number: attr(element, "number")?,
            },
            _ => {
                return Err(unknown(
                    element,
                    NS,
                    "device-added, device-revoked, crl-issued",
                ));
            }
        })
    }
}
