//! Dialback (XEP-0220): a domain proves itself by what its own server says when it is called back.
//! Always inside TLS, and only with a server whose certificate proves the domain: what is believed
//! here is never weaker than a certificate, only shown the other way round.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use comity_xmpp::element::Element;
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::jid::Jid;
use comity_xmpp::{ns, xml};
use ring::{digest, hmac};

use crate::words;

/// From which keys are made; nobody else knows it.
#[derive(Clone)]
pub struct Secret(hmac::Key);

impl Secret {
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        let hashed = hex(digest::digest(&digest::SHA256, secret).as_ref());
        Self(hmac::Key::new(hmac::HMAC_SHA256, hashed.as_bytes()))
    }

    /// XEP-0185 §3: for a stream of this id from the originating to the receiving domain.
    #[must_use]
    pub fn key(&self, receiving: &str, originating: &str, id: &str) -> String {
        let text = format!("{receiving} {originating} {id}");
        hex(hmac::sign(&self.0, text.as_bytes()).as_ref())
    }

    /// Was this key made here? In constant time.
    #[must_use]
    pub fn made(&self, key: &str, receiving: &str, originating: &str, id: &str) -> bool {
        let Some(tag) = unhex(key.trim()) else {
            return false;
        };
        let text = format!("{receiving} {originating} {id}");
        hmac::verify(&self.0, text.as_bytes(), &tag).is_ok()
    }
}

/// A key that a peer has shown, to be verified with the domain that it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// Which of our domains it is for, and who the peer says it is.
    pub ours: String,
    pub theirs: String,
    /// Of the stream on which it was shown.
    pub id: String,
    pub key: String,
}

/// What has come of it (XEP-0220 §2.4, §2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Valid,
    Invalid,
    Error(StanzaCondition),
}

impl Verdict {
    /// `<db:result/>` or `<db:verify/>` with this verdict.
    pub(crate) fn said(self, name: &str, from: &str, to: &str, id: Option<&str>) -> Element {
        let mut element = words_of(name, from, to);
        if let Some(id) = id {
            element = element.with_attr("id", id);
        }
        match self {
            Self::Valid => element.with_attr("type", "valid"),
            Self::Invalid => element.with_attr("type", "invalid"),
            Self::Error(condition) => {
                let mut error = StanzaError::new(ErrorType::Cancel, condition).to_element();
                ns::SERVER.clone_into(&mut error.ns);
                element.with_attr("type", "error").with_child(error)
            }
        }
    }

    /// Reads a verdict; None where the element asks rather than answers.
    pub(crate) fn read(element: &Element) -> Option<Self> {
        Some(match element.attr("type")? {
            "valid" => Self::Valid,
            "error" => {
                let error = element.elements().find(|child| child.name == "error");
                let condition = error.map(|error| StanzaError::from_element(error).condition);
                Self::Error(condition.unwrap_or(StanzaCondition::UndefinedCondition))
            }
            _ => Self::Invalid,
        })
    }
}

/// A key as it is shown (`result`) or asked about (`verify`).
pub(crate) fn shown(name: &str, from: &str, to: &str, id: Option<&str>, key: &str) -> Element {
    let element = words_of(name, from, to).with_text(key);
    match id {
        Some(id) => element.with_attr("id", id),
        None => element,
    }
}

fn words_of(name: &str, from: &str, to: &str) -> Element {
    Element::new(ns::DIALBACK, name)
        .with_attr("from", from)
        .with_attr("to", to)
}

/// As it is said on a stream whose header declares the prefix `db`. XEP-0220 §2.1 lets any prefix
/// be declared, or none; ejabberd knows these elements by `db:` alone and passes over others.
pub(crate) fn written(element: &Element) -> Bytes {
    let mut plain = BytesMut::new();
    xml::write(element, ns::SERVER, &mut plain);
    let name = element.name.as_bytes();
    let begin = [b"<", name, b" xmlns='", ns::DIALBACK.as_bytes(), b"'"].concat();
    let Some(inner) = plain.strip_prefix(&begin[..]) else {
        return plain.freeze();
    };
    let mut out = BytesMut::from(&[b"<db:", name].concat()[..]);
    let end = [b"</", name, b">"].concat();
    match inner.strip_suffix(&end[..]) {
        Some(inner) => {
            out.extend_from_slice(inner);
            out.extend_from_slice(&[b"</db:", name, b">"].concat());
        }
        None => out.extend_from_slice(inner),
    }
    out.freeze()
}

/// The domains of an element's `from` and `to`.
pub(crate) fn pair(element: &Element) -> Option<(String, String)> {
    let domain = |name| {
        let jid = Jid::parse(element.attr(name)?).ok()?;
        words::domain(&jid).map(str::to_owned)
    };
    Some((domain("from")?, domain("to")?))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    let digits = (0..text.len()).step_by(2).map(|at| &text[at..at + 2]);
    digits
        .map(|digits| u8::from_str_radix(digits, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_has_the_prefix_of_the_header() {
        let said = |element: &Element| String::from_utf8(written(element).to_vec()).unwrap();
        let asked = shown("verify", "a.example", "b.example", Some("1"), "key");
        let expected = "<db:verify from='a.example' to='b.example' id='1'>key</db:verify>";
        assert_eq!(said(&asked), expected);
        let valid = Verdict::Valid.said("result", "a.example", "b.example", None);
        let expected = "<db:result from='a.example' to='b.example' type='valid'/>";
        assert_eq!(said(&valid), expected);
        let error = Verdict::Error(StanzaCondition::ItemNotFound);
        let error = said(&error.said("result", "a.example", "b.example", None));
        assert!(error.ends_with("</error></db:result>"), "{error}");
        assert!(error.contains("<error xmlns='jabber:server'"), "{error}");
    }

    #[test]
    fn keys_are_those_of_the_recommendation() {
        // XEP-0185 §3.
        let secret = Secret::new(b"s3cr3tf0rd14lb4ck");
        let key = secret.key("xmpp.example.com", "example.org", "D60000229F");
        let expected = "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643";
        assert_eq!(key, expected);
        let made = |key: &str, to, from, id| secret.made(key, to, from, id);
        assert!(made(&key, "xmpp.example.com", "example.org", "D60000229F"));
        assert!(!made(&key, "xmpp.example.com", "example.org", "D60000229E"));
        assert!(!made(&key, "example.org", "xmpp.example.com", "D60000229F"));
        assert!(!made(
            &key[1..],
            "xmpp.example.com",
            "example.org",
            "D60000229F"
        ));
        assert!(!made("", "xmpp.example.com", "example.org", "D60000229F"));
        let foreign = "é".repeat(32);
        assert!(!made(
            &foreign,
            "xmpp.example.com",
            "example.org",
            "D60000229F"
        ));
    }
}
