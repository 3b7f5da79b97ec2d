//! Reads a stanza in one pass, and closes its payload while it does.

use bytes::{Bytes, BytesMut};

use super::{Child, IqType, Kind, Refused, Stanza, TopLevel, Unacceptable};
use crate::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use crate::jid::Jid;
use crate::stream::Header;
use crate::xml::{Reader, Token, attribute, content, finish};
use crate::{ns, xml};

/// Both content namespaces are one inside a stanza: a child in either is the stanza's own.
pub(super) fn content_ns(namespace: &str) -> &str {
    if namespace == ns::SERVER {
        ns::CLIENT
    } else {
        namespace
    }
}

fn is_content(namespace: &str) -> bool {
    content_ns(namespace) == ns::CLIENT
}

pub(super) fn stanza(element: &Bytes, header: &Header) -> Result<Stanza, Unacceptable> {
    match top_level(element, header)? {
        TopLevel::Stanza(stanza) => Ok(*stanza),
        // RFC 6120 §4.9.3.24.
        TopLevel::Other(other) => Err(Unacceptable::Stream(StreamError::new(
            StreamCondition::UnsupportedStanzaType,
            format!("<{}/> is no stanza of this stream", other.name),
        ))),
    }
}

pub(super) fn top_level(element: &Bytes, header: &Header) -> Result<TopLevel, Unacceptable> {
    let mut reader = Reader::new(element, header)?;
    reader.open()?;
    let name = reader.name();
    let is_stanza = reader.ns(name) == Some(&header.content_ns)
        && matches!(name.local, "message" | "presence" | "iq");
    if !is_stanza {
        let other = finish(&mut reader)?;
        reader.end()?;
        return Ok(TopLevel::Other(other));
    }
    let mut envelope = Envelope::read(&reader, header)?;
    let payload = Payload::read(element, &mut reader, &header.content_ns)?;
    reader.end()?;
    envelope.stanza.payload = payload.bytes;
    envelope.stanza.children = payload.children;
    envelope
        .judge()
        .map(|stanza| TopLevel::Stanza(Box::new(stanza)))
}

/// The start tag, and what is wrong with it.
struct Envelope {
    stanza: Stanza,
    fault: Option<StanzaError>,
}

impl Envelope {
    fn read(reader: &Reader<'_>, header: &Header) -> Result<Self, StreamError> {
        let local = reader.name().local;
        let mut type_ = None;
        let mut stanza = Stanza::new(Kind::Iq(IqType::Error));
        let mut fault = None;
        let mut foreign = BytesMut::new();
        for a in reader.attributes() {
            let value = &*a.value;
            match (reader.ns(a.name), a.name.local) {
                (None, "type") => type_ = Some(value),
                (None, "id") => stanza.id = Some(value.into()),
                (None, "to") => match Jid::parse(value) {
                    Ok(to) => stanza.to = Some(to),
                    Err(error) => {
                        fault = Some(modify(
                            StanzaCondition::JidMalformed,
                            format!("'to': {error}"),
                        ));
                    }
                },
                (None, "from") => {
                    // RFC 6120 §8.1.2: nobody could be answered.
                    let from = Jid::parse(value).map_err(|error| {
                        StreamError::new(StreamCondition::InvalidFrom, format!("'from': {error}"))
                    })?;
                    stanza.from = Some(from);
                }
                (None, other) => attribute(other, value, &mut foreign),
                (Some(ns::XML), "lang") => stanza.lang = Some(value.into()),
                (Some(ns::XML), other) => attribute(&format!("xml:{other}"), value, &mut foreign),
                (Some(namespace), other) => {
                    let prefix = format!("f{}", foreign.len());
                    attribute(&format!("xmlns:{prefix}"), namespace, &mut foreign);
                    attribute(&format!("{prefix}:{other}"), value, &mut foreign);
                }
            }
        }
        stanza.foreign = foreign.freeze();
        // RFC 6120 §4.7.4: a stanza without a language has the stream's.
        if stanza.lang.is_none() {
            stanza.lang = header.lang.as_deref().map(Into::into);
        }
        match Kind::from_names(local, type_) {
            Some(kind) => stanza.kind = kind,
            None => {
                stanza.kind = if local == "iq" {
                    Kind::Iq(IqType::Get)
                } else {
                    Kind::Presence(super::PresenceType::Available)
                };
                fault = Some(modify(
                    StanzaCondition::BadRequest,
                    match type_ {
                        Some(type_) => format!("<{local}/> has no type '{type_}'"),
                        None => format!("<{local}/> must have a type"),
                    },
                ));
            }
        }
        Ok(Self { stanza, fault })
    }

    /// The stanza, or what its sender is to be told.
    fn judge(self) -> Result<Stanza, Unacceptable> {
        let stanza = self.stanza;
        let fault = self.fault.or_else(|| iq_fault(&stanza));
        match fault {
            None => Ok(stanza),
            Some(error) => {
                let reply = stanza.error_reply(&error);
                Err(Unacceptable::Stanza(Box::new(Refused { error, reply })))
            }
        }
    }
}

/// RFC 6120 §8.2.3.
fn iq_fault(stanza: &Stanza) -> Option<StanzaError> {
    let Kind::Iq(type_) = stanza.kind else {
        return None;
    };
    let children = stanza.children.len();
    let text = match type_ {
        _ if stanza.id.is_none() => "an IQ must have an id",
        IqType::Get | IqType::Set if children != 1 => "an IQ request must have exactly one child",
        IqType::Result if children > 1 => "an IQ result must not have more than one child",
        _ => return None,
    };
    Some(modify(StanzaCondition::BadRequest, text.to_owned()))
}

fn modify(condition: StanzaCondition, text: String) -> StanzaError {
    StanzaError::new(ErrorType::Modify, condition).with_text(text)
}

/// The bytes between the stanza's tags, and what stands where in them.
struct Payload {
    bytes: Bytes,
    children: Vec<Child>,
}

impl Payload {
    fn read(
        element: &Bytes,
        reader: &mut Reader<'_>,
        stream_ns: &str,
    ) -> Result<Self, StreamError> {
        let begin = reader.span().1;
        let mut closing = Closing {
            stream_ns,
            done: begin,
            rewritten: BytesMut::new(),
        };
        let mut children = Vec::new();
        loop {
            match reader.next()? {
                Some(Token::Start) => children.push(closing.child(element, reader)?),
                Some(Token::Text(_)) => {}
                Some(Token::End) => break,
                None => {
                    return Err(StreamError::new(
                        StreamCondition::NotWellFormed,
                        "not well-formed: a stanza without its end",
                    ));
                }
            }
        }
        // An empty element's end has no bytes: it stands where the start tag ends.
        let end = reader.span().0;
        let bytes = if closing.done == begin {
            element.slice(begin..end)
        } else {
            closing
                .rewritten
                .extend_from_slice(&element[closing.done..end]);
            closing.rewritten.freeze()
        };
        Ok(Self { bytes, children })
    }
}

/// What has been copied, with changes; nothing, as long as nothing had to change.
struct Closing<'h> {
    /// The content namespace that the stream declares for all of it.
    stream_ns: &'h str,
    /// Up to here the element's bytes are in `rewritten`; `begin` while nothing is.
    done: usize,
    rewritten: BytesMut,
}

impl Closing<'_> {
    /// The reader stands on a child's start tag; reads to the child's end.
    fn child(&mut self, element: &Bytes, reader: &mut Reader<'_>) -> Result<Child, StreamError> {
        let (tag_start, tag_end) = reader.span();
        let name = reader.name();
        let namespace = reader.ns(name).unwrap_or_default().to_owned();
        let start = self.position(tag_start);
        let child_ns = content_ns(&namespace).into();
        let child_name = name.local.into();
        let stated = !name.prefix.is_empty()
            || reader.declared_at(name) == Some(2)
            || namespace != self.stream_ns;
        if is_content(&namespace) && stated {
            // Its namespace would name one stream's content on another's: written anew.
            let tree = finish(reader)?;
            self.copy(element, tag_start);
            content(&tree, &mut self.rewritten);
            self.done = reader.span().1;
        } else {
            let mut outer = Outer {
                stream_ns: self.stream_ns,
                bindings: Vec::new(),
            };
            outer.start_tag(reader);
            while reader.depth() > 1 {
                match reader.next()? {
                    Some(Token::Start) => outer.start_tag(reader),
                    Some(_) => {}
                    None => break,
                }
            }
            if !outer.bindings.is_empty() {
                let name_end = tag_start + 1 + name.prefix.len() + name.local.len();
                let name_end = name_end + usize::from(!name.prefix.is_empty());
                self.copy(element, name_end.min(tag_end));
                outer.declare(&mut self.rewritten);
            }
        }
        let end = self.position(reader.span().1);
        Ok(Child {
            ns: child_ns,
            name: child_name,
            range: start..end,
        })
    }

    fn copy(&mut self, element: &Bytes, to: usize) {
        self.rewritten.extend_from_slice(&element[self.done..to]);
        self.done = to;
    }

    /// Where an offset of the element lies in the payload.
    fn position(&self, at: usize) -> usize {
        self.rewritten.len() + (at - self.done)
    }
}

/// Declarations of the stream's or the stanza's tag that a child leans on.
struct Outer<'h> {
    stream_ns: &'h str,
    bindings: Vec<(String, String)>,
}

impl Outer<'_> {
    /// Takes note of what the names on this start tag mean.
    fn start_tag(&mut self, reader: &Reader<'_>) {
        let names =
            std::iter::once(reader.name()).chain(reader.attributes().iter().map(|a| a.name));
        for name in names {
            let (Some(namespace), Some(depth)) = (reader.ns(name), reader.declared_at(name)) else {
                continue;
            };
            // The content namespace is what every stream declares.
            let provided = name.prefix.is_empty() && namespace == self.stream_ns;
            if depth > 1 || name.prefix == "xml" || provided {
                continue;
            }
            if !self
                .bindings
                .iter()
                .any(|(prefix, _)| prefix == name.prefix)
            {
                self.bindings
                    .push((name.prefix.to_owned(), namespace.to_owned()));
            }
        }
    }

    fn declare(&self, out: &mut BytesMut) {
        for (prefix, namespace) in &self.bindings {
            let name = if prefix.is_empty() {
                "xmlns".to_owned()
            } else {
                format!("xmlns:{prefix}")
            };
            xml::attribute(&name, namespace, out);
        }
    }
}
