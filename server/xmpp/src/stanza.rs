//! Message, presence and IQ: a typed envelope around closed payload bytes (RFC 6120 §8).
//!
//! A payload is *closed*: it parses alone, given only that the default namespace is the content
//! namespace. So a stanza travels from stream to stream, archive and carbon without being parsed
//! again; only the module that needs a payload reads it.
//!
//! The content namespace of a payload (`<body/>`, `<show/>`, `<error/>`) is told as
//! `jabber:client`, whatever stream it came from or goes to.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::element::Element;
use crate::error::{StanzaError, StreamError};
use crate::jid::Jid;
use crate::stream::Header;
use crate::{ns, xml};

mod kind;
mod payload;
mod read;

pub use kind::{IqType, Kind, MessageType, PresenceType};

/// A direct child of a stanza: its name, and where its bytes lie in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// `jabber:client` for a child in the content namespace.
    pub ns: Box<str>,
    pub name: Box<str>,
    pub range: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    pub kind: Kind,
    pub from: Option<Jid>,
    pub to: Option<Jid>,
    pub id: Option<Box<str>>,
    pub lang: Option<Box<str>>,
    /// Attributes of foreign kinds, already closed, as they are written: each with a space before.
    foreign: Bytes,
    payload: Bytes,
    children: Vec<Child>,
}

/// One top-level element of a stream that is past its negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopLevel {
    Stanza(Box<Stanza>),
    /// An acknowledgement, a stream error, or something that nobody knows.
    Other(Element),
}

impl TopLevel {
    /// Reads one top-level element of the stream that `header` opened, whatever it is, in one
    /// pass.
    pub fn parse(element: &Bytes, header: &Header) -> Result<Self, Unacceptable> {
        read::top_level(element, header)
    }
}

/// Why an element was not taken as a stanza.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unacceptable {
    /// The stream cannot go on.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// This stanza alone is at fault, and the stream goes on.
    #[error("{}", .0.error)]
    Stanza(Box<Refused>),
}

/// A stanza that is one, but not a right one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub error: StanzaError,
    /// As far as it could be read: its addresses are checked like those of any other.
    pub stanza: Stanza,
    /// It had a `to`, which is no address.
    pub to_malformed: bool,
}

impl Refused {
    /// The error stanza its sender is owed, addressed as far as the addresses could be read: on a
    /// client's stream set `to` to the client's own address. None for what must never be answered.
    #[must_use]
    pub fn reply(&self) -> Option<Stanza> {
        self.stanza.error_reply(&self.error)
    }
}

impl Stanza {
    /// Reads one top-level element as a stanza of the stream that `header` opened. What is no
    /// stanza at all is `unsupported-stanza-type`; use [`crate::xml::parse`] for other elements.
    pub fn parse(element: &Bytes, header: &Header) -> Result<Self, Unacceptable> {
        read::stanza(element, header)
    }

    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            from: None,
            to: None,
            id: None,
            lang: None,
            foreign: Bytes::new(),
            payload: Bytes::new(),
            children: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_from(mut self, from: impl Into<Jid>) -> Self {
        self.from = Some(from.into());
        self
    }

    #[must_use]
    pub fn with_to(mut self, to: impl Into<Jid>) -> Self {
        self.to = Some(to.into());
        self
    }

    #[must_use]
    pub fn with_id(mut self, id: impl Into<Box<str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    #[must_use]
    pub fn with(mut self, payload: &Element) -> Self {
        self.push(payload);
        self
    }

    /// The direct children, in document order.
    #[must_use]
    pub fn children(&self) -> &[Child] {
        &self.children
    }

    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    #[must_use]
    pub fn has(&self, ns: &str, name: &str) -> bool {
        self.find(ns, name).is_some()
    }

    /// Parses the first child of that name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<Element> {
        self.find(ns, name).map(|child| self.element(child))
    }

    /// Parses the first child, whatever it is: an IQ request has exactly one (RFC 6120 §8.2.3).
    #[must_use]
    pub fn first_child(&self) -> Option<Element> {
        self.children.first().map(|child| self.element(child))
    }

    /// Parses one child of [`Stanza::children`].
    #[must_use]
    pub fn element(&self, child: &Child) -> Element {
        let surroundings = Header::of(ns::CLIENT);
        self.payload
            .get(child.range.clone())
            .and_then(|bytes| xml::parse(bytes, &surroundings).ok())
            // A range of another stanza; a child of this one was parsed, and written by us.
            .unwrap_or_else(|| Element::new(&*child.ns, &*child.name))
    }

    /// The text of the first child of that name in the content namespace, such as `body`.
    #[must_use]
    pub fn text_of(&self, name: &str) -> Option<String> {
        self.child(ns::CLIENT, name).map(|element| element.text())
    }

    /// Appends a payload. One in `jabber:client` or `jabber:server` is in the content namespace.
    pub fn push(&mut self, payload: &Element) {
        let mut bytes = std::mem::take(&mut self.payload)
            .try_into_mut()
            .unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        let start = bytes.len();
        xml::content(payload, &mut bytes);
        self.children.push(Child {
            ns: payload::content_ns(&payload.ns).into(),
            name: payload.name.as_str().into(),
            range: start..bytes.len(),
        });
        self.payload = bytes.freeze();
    }

    /// Removes the children for which `which` says so; returns how many.
    pub fn remove(&mut self, mut which: impl FnMut(&Child) -> bool) -> usize {
        let (gone, mut kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.children)
            .into_iter()
            .partition(|child| which(child));
        if !gone.is_empty() {
            let mut bytes = BytesMut::with_capacity(self.payload.len());
            let mut done = 0;
            for child in &gone {
                bytes.extend_from_slice(&self.payload[done..child.range.start]);
                done = child.range.end;
            }
            bytes.extend_from_slice(&self.payload[done..]);
            for child in &mut kept {
                let before: usize = gone
                    .iter()
                    .take_while(|other| other.range.end <= child.range.start)
                    .map(|other| other.range.len())
                    .sum();
                child.range = child.range.start - before..child.range.end - before;
            }
            self.payload = bytes.freeze();
        }
        self.children = kept;
        gone.len()
    }

    /// Writes the stanza; `xmlns` is stated where no stream root provides it (WebSocket,
    /// `<forwarded/>`, archive).
    pub fn write(&self, xmlns: Option<&str>, out: &mut BytesMut) {
        let name = self.kind.name();
        out.extend_from_slice(b"<");
        out.extend_from_slice(name.as_bytes());
        if let Some(xmlns) = xmlns {
            xml::attribute("xmlns", xmlns, out);
        }
        let from = self.from.as_ref().map(Jid::as_str);
        let to = self.to.as_ref().map(Jid::as_str);
        for (name, value) in [
            ("type", self.kind.type_name()),
            ("from", from),
            ("to", to),
            ("id", self.id.as_deref()),
            ("xml:lang", self.lang.as_deref()),
        ] {
            if let Some(value) = value {
                xml::attribute(name, value, out);
            }
        }
        out.extend_from_slice(&self.foreign);
        if self.payload.is_empty() {
            out.extend_from_slice(b"/>");
        } else {
            out.extend_from_slice(b">");
            out.extend_from_slice(&self.payload);
            out.extend_from_slice(b"</");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b">");
        }
    }

    #[must_use]
    pub fn to_bytes(&self, xmlns: Option<&str>) -> Bytes {
        let mut out = BytesMut::with_capacity(self.payload.len() + 256);
        self.write(xmlns, &mut out);
        out.freeze()
    }

    /// The error answer to this stanza: addresses swapped, same id. None for what must never be
    /// answered with an error (RFC 6120 §8.3.1: errors, and IQ results).
    #[must_use]
    pub fn error_reply(&self, error: &StanzaError) -> Option<Self> {
        if self.kind.is_error() || self.kind == Kind::Iq(IqType::Result) {
            return None;
        }
        Some(self.reply(self.kind.to_error()).with(&error.to_element()))
    }

    /// The result answer to an IQ request.
    #[must_use]
    pub fn result(&self, payload: Option<&Element>) -> Self {
        let reply = self.reply(Kind::Iq(IqType::Result));
        match payload {
            Some(payload) => reply.with(payload),
            None => reply,
        }
    }

    /// The error that an error stanza carries.
    #[must_use]
    pub fn error(&self) -> Option<StanzaError> {
        if !self.kind.is_error() {
            return None;
        }
        let error = self.child(ns::CLIENT, "error");
        Some(StanzaError::from_element(
            &error.unwrap_or_else(|| Element::new(ns::CLIENT, "error")),
        ))
    }

    fn reply(&self, kind: Kind) -> Self {
        Self {
            from: self.to.clone(),
            to: self.from.clone(),
            id: self.id.clone(),
            ..Self::new(kind)
        }
    }

    fn find(&self, ns: &str, name: &str) -> Option<&Child> {
        let ns = payload::content_ns(ns);
        self.children
            .iter()
            .find(|c| &*c.ns == ns && &*c.name == name)
    }
}

#[cfg(test)]
mod tests;
