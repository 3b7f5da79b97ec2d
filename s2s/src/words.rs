//! What both directions say and understand in the same way.

use comity_xmpp::element::Element;
use comity_xmpp::error::{StreamCondition, StreamError};
use comity_xmpp::jid::Jid;
use comity_xmpp::ns;
use comity_xmpp::stream::Header;

/// How long the peer may take to close its direction after we closed ours (RFC 6120 §4.4).
pub(crate) const FAREWELL: std::time::Duration = std::time::Duration::from_secs(5);

/// A stream that carries both directions is read though the peer leaves unread what we have
/// written, until so many frames wait behind that.
pub(crate) const BACKLOG: usize = 512;

/// The feature of XEP-0288 §2.1.
pub(crate) fn bidi_feature() -> Element {
    Element::new(ns::BIDI_FEATURE, "bidi")
}

/// A header of ours. A domain that is no address is left out rather than written.
pub(crate) fn header(from: &str, to: Option<&str>, id: Option<String>) -> Header {
    Header {
        from: Jid::parse(from).ok(),
        to: to.and_then(|to| Jid::parse(to).ok()),
        id,
        lang: Some("en".to_owned()),
        // XEP-0220 §2.1: some know by it who understands dialback.
        prefixes: vec![("db".to_owned(), ns::DIALBACK.to_owned())],
        ..Header::of(ns::SERVER)
    }
}

/// What every header between servers has to be, in either direction.
pub(crate) fn check(header: &Header) -> Result<(), StreamError> {
    if header.content_ns != ns::SERVER {
        return Err(StreamError::new(
            StreamCondition::InvalidNamespace,
            format!(
                "streams between servers carry {}, not {:?}",
                ns::SERVER,
                header.content_ns
            ),
        ));
    }
    // RFC 6120 §4.7.5: no version is 0.9, whose peers have no features to negotiate TLS with.
    if header.version.is_none_or(|(major, _)| major < 1) {
        return Err(StreamError::new(
            StreamCondition::UnsupportedVersion,
            "we speak version 1.0: send version='1.0' in the stream header",
        ));
    }
    Ok(())
}

/// The domain of an address in a header, which has to be a domain and nothing more.
pub(crate) fn domain(address: &Jid) -> Option<&str> {
    (address.local().is_none() && address.is_bare()).then(|| address.domain())
}

/// Is this element, by its first bytes, to be read as a stanza? A stanza under a prefix is not
/// seen here and is found when it is parsed as an element.
pub(crate) fn looks_like_stanza(element: &[u8]) -> bool {
    let name = element.get(1..).unwrap_or_default();
    let end = name
        .iter()
        .position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/' | b'>'))
        .unwrap_or(name.len());
    matches!(&name[..end], b"message" | b"presence" | b"iq")
}
