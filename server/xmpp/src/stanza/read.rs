//! Reads a stanza in one pass, and closes its payload while it does.

use bytes::{Bytes, BytesMut};

use super::payload::Payload;
use super::{IqType, Kind, Refused, Stanza, TopLevel, Unacceptable};
use crate::error::{ErrorType, StanzaCondition, StanzaError, StreamCondition, StreamError};
use crate::jid::Jid;
use crate::ns;
use crate::stream::Header;
use crate::xml::{Reader, attribute, finish};

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
    to_malformed: bool,
}

impl Envelope {
    fn read(reader: &Reader<'_>, header: &Header) -> Result<Self, StreamError> {
        let local = reader.name().local;
        let mut type_ = None;
        let mut stanza = Stanza::new(Kind::Iq(IqType::Error));
        let (mut fault, mut to_malformed) = (None, false);
        let mut foreign = BytesMut::new();
        for a in reader.attributes() {
            let value = &*a.value;
            match (reader.ns(a.name), a.name.local) {
                (None, "type") => type_ = Some(value),
                (None, "id") => stanza.id = Some(value.into()),
                (None, "to") => match Jid::parse(value) {
                    Ok(to) => stanza.to = Some(to),
                    Err(error) => {
                        to_malformed = true;
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
        Ok(Self {
            stanza,
            fault,
            to_malformed,
        })
    }

    /// The stanza, or what its sender is to be told.
    fn judge(self) -> Result<Stanza, Unacceptable> {
        let stanza = self.stanza;
        match self.fault.or_else(|| iq_fault(&stanza)) {
            None => Ok(stanza),
            Some(error) => Err(Unacceptable::Stanza(Box::new(Refused {
                error,
                stanza,
                to_malformed: self.to_malformed,
            }))),
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
