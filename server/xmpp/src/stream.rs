//! Stream headers and features (RFC 6120 §4).

use bytes::BytesMut;

use crate::error::{StreamCondition, StreamError};
use crate::jid::Jid;
use crate::ns;
use crate::xml::{Reader, attribute};

mod features;
mod open;

pub use features::Features;

/// The attributes of a stream header, and what its namespace declarations mean for every stanza
/// on the stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub from: Option<Jid>,
    pub to: Option<Jid>,
    pub id: Option<String>,
    pub version: Option<(u16, u16)>,
    pub lang: Option<String>,
    /// The content namespace: the default `xmlns` of the stream (`jabber:client`, `jabber:server`).
    pub content_ns: String,
    /// Prefixes declared on the stream tag, `stream` among them when it was read from one:
    /// (prefix, namespace).
    pub prefixes: Vec<(String, String)>,
}

impl Header {
    /// A header of version 1.0 that says nothing but its content namespace. With it, a stanza
    /// that was stored without `xmlns` can be read again.
    #[must_use]
    pub fn of(content_ns: &str) -> Self {
        Self {
            version: Some((1, 0)),
            content_ns: content_ns.to_owned(),
            ..Self::default()
        }
    }

    /// Reads the start tag of a stream; `tag` is exactly that tag.
    pub fn parse(tag: &[u8]) -> Result<Self, StreamError> {
        let surroundings = Self::default();
        let mut reader = Reader::new(tag, &surroundings)?;
        reader.open()?;
        let name = reader.name();
        if reader.ns(name) != Some(ns::STREAM) {
            // RFC 6120 §4.9.3.10.
            return Err(StreamError::new(
                StreamCondition::InvalidNamespace,
                format!(
                    "a stream starts with an element in the namespace {}",
                    ns::STREAM
                ),
            ));
        }
        if name.local != "stream" {
            return Err(StreamError::new(
                StreamCondition::BadFormat,
                format!("a stream starts with <stream>, not <{}>", name.local),
            ));
        }
        let mut header = Self {
            content_ns: reader.meaning("").unwrap_or_default().to_owned(),
            prefixes: reader
                .declarations()
                .filter(|(prefix, _)| !prefix.is_empty())
                .map(|(prefix, ns)| (prefix.to_owned(), ns.to_owned()))
                .collect(),
            ..Self::default()
        };
        for a in reader.attributes() {
            let value = &*a.value;
            match (reader.ns(a.name), a.name.local) {
                (None, "from") => {
                    header.from = Some(address(value, StreamCondition::InvalidFrom, "from")?);
                }
                (None, "to") => {
                    header.to = Some(address(value, StreamCondition::HostUnknown, "to")?);
                }
                (None, "id") => header.id = Some(value.to_owned()),
                (None, "version") => header.version = Some(version(value)?),
                (Some(ns::XML), "lang") => header.lang = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(header)
    }

    /// Writes the XML declaration and the start tag (RFC 6120 §4.7, §4.8). The prefix `stream` is
    /// always declared.
    pub fn write(&self, out: &mut BytesMut) {
        // RFC 6120 §11.5.
        out.extend_from_slice(b"<?xml version='1.0'?><stream:stream");
        attribute("xmlns", &self.content_ns, out);
        attribute("xmlns:stream", ns::STREAM, out);
        for (prefix, namespace) in &self.prefixes {
            if prefix != "stream" {
                attribute(&format!("xmlns:{prefix}"), namespace, out);
            }
        }
        if let Some(from) = &self.from {
            attribute("from", from.as_str(), out);
        }
        if let Some(to) = &self.to {
            attribute("to", to.as_str(), out);
        }
        if let Some(id) = &self.id {
            attribute("id", id, out);
        }
        if let Some((major, minor)) = self.version {
            attribute("version", &format!("{major}.{minor}"), out);
        }
        if let Some(lang) = &self.lang {
            attribute("xml:lang", lang, out);
        }
        out.extend_from_slice(b">");
    }
}

fn address(value: &str, fault: StreamCondition, attribute: &str) -> Result<Jid, StreamError> {
    Jid::parse(value).map_err(|error| {
        StreamError::new(
            fault,
            format!("'{attribute}' of the stream header: {error}"),
        )
    })
}

/// RFC 6120 §4.7.5: two integers, compared as such.
fn version(value: &str) -> Result<(u16, u16), StreamError> {
    let number = |text: &str| {
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()))
            .then(|| text.parse::<u16>().ok())
            .flatten()
    };
    value
        .split_once('.')
        .and_then(|(major, minor)| Some((number(major)?, number(minor)?)))
        .ok_or_else(|| {
            StreamError::new(
                StreamCondition::UnsupportedVersion,
                "the stream's version must be two numbers: send version='1.0'",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read() -> Result<(), StreamError> {
        // RFC 6120 §9.1.1.
        let header = Header::parse(
            b"<stream:stream from='juliet@im.example.com' to='im.example.com' version='1.0' \
              xml:lang='en' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
        )?;
        assert_eq!(
            header.from.as_ref().map(Jid::as_str),
            Some("juliet@im.example.com")
        );
        assert_eq!(header.to.as_ref().map(Jid::as_str), Some("im.example.com"));
        assert_eq!(header.version, Some((1, 0)));
        assert_eq!(header.lang.as_deref(), Some("en"));
        assert_eq!(header.content_ns, ns::CLIENT);
        assert_eq!(
            header.prefixes,
            [("stream".to_owned(), ns::STREAM.to_owned())]
        );
        Ok(())
    }

    #[test]
    fn a_header_is_read_as_it_was_written() -> Result<(), StreamError> {
        let mut header = Header::of(ns::SERVER);
        header.id = Some("<'&>".to_owned());
        header.prefixes = vec![
            ("db".to_owned(), ns::DIALBACK.to_owned()),
            ("stream".to_owned(), ns::STREAM.to_owned()),
        ];
        let mut out = BytesMut::new();
        header.write(&mut out);
        let tag = out.split_off(b"<?xml version='1.0'?>".len());
        let mut read = Header::parse(&tag)?;
        read.prefixes.sort();
        assert_eq!(read, header);
        Ok(())
    }

    #[track_caller]
    fn refuse(tag: &str, expect: StreamCondition) {
        match Header::parse(tag.as_bytes()) {
            Ok(header) => panic!("{tag} was accepted: {header:?}"),
            Err(error) => assert_eq!(error.condition, expect, "{tag}"),
        }
    }

    #[test]
    fn faults_have_their_conditions() {
        use StreamCondition::*;
        let with = |rest: &str| format!("<s:stream xmlns:s='{}' {rest}>", ns::STREAM);
        refuse("<stream>", InvalidNamespace);
        refuse("<stream:stream>", NotWellFormed);
        refuse(
            "<stream:stream xmlns:stream='http://etherx.jabber.org/stream'>",
            InvalidNamespace,
        );
        refuse(&with("").replace("s:stream", "s:open"), BadFormat);
        refuse(&with("to='a@@b'"), HostUnknown);
        refuse(&with("from='@'"), InvalidFrom);
        refuse(&with("version='1'"), UnsupportedVersion);
        refuse(&with("version='+1.0'"), UnsupportedVersion);
        refuse(&with("to='a' to='b'"), NotWellFormed);
        refuse(&with("p:x='1'"), NotWellFormed);
    }
}
