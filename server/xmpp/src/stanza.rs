//! Message, presence and IQ: a typed envelope around closed payload bytes (RFC 6120 §8).
//!
//! A payload is *closed*: it parses alone, given only that the default namespace is the content
//! namespace. So a stanza travels from stream to stream, archive and carbon without being parsed
//! again; only the module that needs a payload reads it.

use std::ops::Range;

use bytes::{Bytes, BytesMut};

use crate::element::Element;
use crate::error::{StanzaError, StreamError};
use crate::jid::Jid;
use crate::stream::Header;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    Chat,
    Error,
    Groupchat,
    Headline,
    Normal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PresenceType {
    Available,
    Unavailable,
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
    Probe,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IqType {
    Get,
    Set,
    Result,
    Error,
}

/// Which stanza it is, with its `type` attribute understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Message(MessageType),
    Presence(PresenceType),
    Iq(IqType),
}

/// A direct child of a stanza: its name, and where its bytes lie in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
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
    /// Namespaced attributes of foreign kinds, already closed, kept as they came.
    foreign: Bytes,
    payload: Bytes,
    children: Vec<Child>,
}

impl Stanza {
    /// Reads one top-level element as a stanza of the stream that `header` opened. What is no
    /// stanza at all is `unsupported-stanza-type`; use [`crate::xml::parse`] for other elements.
    pub fn parse(element: &Bytes, header: &Header) -> Result<Self, StreamError> {
        let _ = (element, header);
        todo!()
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
        self.children
            .iter()
            .any(|c| &*c.ns == ns && &*c.name == name)
    }

    /// Parses the first child of that name.
    #[must_use]
    pub fn child(&self, ns: &str, name: &str) -> Option<Element> {
        let _ = (ns, name);
        todo!()
    }

    /// Parses the first child, whatever it is: an IQ request has exactly one (RFC 6120 §8.2.3).
    #[must_use]
    pub fn first_child(&self) -> Option<Element> {
        todo!()
    }

    /// Parses one child of [`Stanza::children`].
    #[must_use]
    pub fn element(&self, child: &Child) -> Element {
        let _ = child;
        todo!()
    }

    /// Appends a payload.
    pub fn push(&mut self, payload: &Element) {
        let _ = payload;
        todo!()
    }

    /// Removes the children for which `which` says so; returns how many.
    pub fn remove(&mut self, which: impl FnMut(&Child) -> bool) -> usize {
        let _ = which;
        todo!()
    }

    /// Writes the stanza; `xmlns` is stated where no stream root provides it (WebSocket,
    /// `<forwarded/>`, archive).
    pub fn write(&self, xmlns: Option<&str>, out: &mut BytesMut) {
        let _ = (xmlns, out);
        todo!()
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
        let _ = error;
        todo!()
    }

    /// The result answer to an IQ request.
    #[must_use]
    pub fn result(&self, payload: Option<&Element>) -> Self {
        let _ = payload;
        todo!()
    }
}
