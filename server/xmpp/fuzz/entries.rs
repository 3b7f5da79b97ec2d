//! What is fuzzed: each function takes any bytes, as a stranger might send them, and panics when
//! something that must always hold does not. The corpus runs through the same functions as an
//! ordinary test (`tests/corpus.rs`). To fuzz: `cargo +nightly fuzz run frames`, from this directory's
//! parent.

#![allow(dead_code, reason = "each fuzz target uses one of these")]

use bytes::{Bytes, BytesMut};
use comity_xmpp::frame::{Limits, TcpFraming};
use comity_xmpp::jid::{BareJid, Jid};
use comity_xmpp::machine::Frame;
use comity_xmpp::sasl::client::{Requested, Scram};
use comity_xmpp::sasl::{self, Bindings, Hash, Plain, ScramFirst, ScramKeys};
use comity_xmpp::stanza::{Stanza, Unacceptable};
use comity_xmpp::stream::{Features, Header};
use comity_xmpp::{certificate as x509, ns, xml};

const LIMITS: Limits = Limits {
    element_bytes: 4096,
    depth: 16,
    attributes: 16,
    name_bytes: 64,
};

/// The frames of a stream do not depend on how its bytes arrive, keep the limits, and parse to
/// trees that survive being written.
pub(crate) fn frames(data: &[u8]) {
    let whole = all_frames(data, data.len().max(1));
    let pieces = all_frames(data, 1 + data.len() % 7);
    assert_eq!(whole, pieces, "the frames depend on how the bytes arrive");
    for frame in &whole {
        if let Frame::Element(bytes) = frame {
            assert!(bytes.len() <= LIMITS.element_bytes);
            element(bytes);
        }
    }
}

fn all_frames(data: &[u8], piece: usize) -> Vec<Frame> {
    let mut framing = TcpFraming::new(LIMITS);
    let mut frames = Vec::new();
    for piece in data.chunks(piece) {
        framing.buffer().extend_from_slice(piece);
        while let Some(frame) = framing.next_frame() {
            frames.push(frame);
        }
        assert!(framing.buffer().len() <= LIMITS.element_bytes + piece.len());
    }
    frames
}

fn element(bytes: &[u8]) {
    let Ok(element) = xml::parse(bytes, &Header::of(ns::CLIENT)) else {
        return;
    };
    let mut out = BytesMut::new();
    xml::write(&element, "", &mut out);
    let again = xml::parse(&out, &Header::default());
    assert_eq!(
        again.as_ref(),
        Ok(&element),
        "the tree changes when it is written"
    );
    let _ = Features::from_element(&element);
    let _ = sasl::Failure::from_element(&element);
}

/// A stanza that is accepted is closed: it means the same on a stream without any prefixes, and
/// writing it again changes nothing.
pub(crate) fn stanza(data: &[u8]) {
    let header = Header {
        lang: Some("en".to_owned()),
        prefixes: vec![
            ("p".to_owned(), "urn:p".to_owned()),
            ("c".to_owned(), ns::CLIENT.to_owned()),
        ],
        ..Header::of(ns::CLIENT)
    };
    let stanza = match Stanza::parse(&Bytes::copy_from_slice(data), &header) {
        Ok(stanza) => stanza,
        Err(Unacceptable::Stream(_)) => return,
        Err(Unacceptable::Stanza(refused)) => {
            let reply = refused.reply().map(|reply| reply.to_bytes(None));
            assert!(reply.is_none_or(|bytes| xml::parse(&bytes, &header).is_ok()));
            return;
        }
    };
    let bytes = stanza.to_bytes(None);
    let plain = Header::of(ns::SERVER);
    let again = Stanza::parse(&bytes, &plain).expect("what was accepted is accepted again");
    assert_eq!(again.payload(), stanza.payload());
    assert_eq!(again.children(), stanza.children());
    assert_eq!(again.to_bytes(None), bytes);
    for child in stanza.children() {
        let element = stanza.element(child);
        assert_eq!((&*element.ns, &*element.name), (&*child.ns, &*child.name));
    }
    let mut emptied = stanza;
    let count = emptied.children().len();
    assert_eq!(emptied.remove(|_| true), count);
    assert!(emptied.children().is_empty());
}

/// An address has one canonical form, within the limits.
pub(crate) fn jid(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(jid) = Jid::parse(text) else {
        return;
    };
    assert_eq!(Jid::parse(jid.as_str()).as_ref(), Ok(&jid), "not canonical");
    for part in [jid.local(), Some(jid.domain()), jid.resource()]
        .into_iter()
        .flatten()
    {
        assert!((1..=1023).contains(&part.len()));
    }
    let parts = Jid::from_parts(jid.local(), jid.domain(), jid.resource());
    assert_eq!(parts.as_ref(), Ok(&jid));
    let bare = jid.to_bare();
    assert_eq!(BareJid::parse(bare.as_str()).as_ref(), Ok(&bare));
}

/// No message logs anybody in whose sender does not know the password.
pub(crate) fn sasl(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = sasl::decode(text);
    }
    let _ = sasl::external_authzid(data);
    if let Ok(plain) = Plain::parse(data) {
        assert_eq!(plain.message().as_deref(), Some(data));
    }
    let (first, last) = data.split_at(data.len() / 2);
    let bindings = Bindings(vec![("tls-exporter", vec![7; 32])]);
    for plus in [false, true] {
        for message in [first, data] {
            let Ok(waiting) = ScramFirst::parse(message, plus, &bindings) else {
                continue;
            };
            let keys = ScramKeys {
                hash: Hash::Sha256,
                salt: vec![1; 16],
                iterations: 4096,
                stored_key: vec![2; 32],
                server_key: vec![3; 32],
            };
            let (_, waiting) = waiting.challenge(keys, "nonce");
            assert!(waiting.finish(last).is_err());
        }
    }
    // Most of these are refused before their iterations, which would be slow, are run.
    let begun = Scram::new(Hash::Sha1, "user", "pencil", "x", &Requested::Unsupported);
    let (scram, _) = begun.expect("the password is a good one");
    if let Ok((expect, _)) = scram.respond(data) {
        assert!(expect.verify(last).is_err());
    }
}

/// Names are read from a certificate or it is refused.
pub(crate) fn certificate(data: &[u8]) {
    if let Ok(names) = x509::names(data) {
        assert!(names.dns.len() <= x509::MAX_NAMES);
    }
}
