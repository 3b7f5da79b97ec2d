//! The thirty digits that two people compare by another way than the one they distrust (RFC 9750
//! §4, §8.4.3.3): how they come about, how they are written, how they are read.

use comity_mls_credential::leaf;
use comity_mls_credential::signed;
use comity_xmpp::jid::BareJid;
use openssl::sha::Sha512;
use uuid::Uuid;

use crate::event::Device;

/// Digits of a code.
pub const CODE_DIGITS: usize = 30;
/// Digits written together.
const GROUP: usize = 5;
/// Hashes behind a code. 30 digits are 99 bits; who sits between two people could make groups by
/// the million until two codes agree, and each try costs this much.
const ROUNDS: usize = 5_200;
/// Characters of what was typed or scanned that are looked at.
const MAX_TEXT: usize = 8_192;

/// Of two devices in a room. Parts: group_id, epoch (u64), epoch authenticator, both identities in
/// the order of their octets.
pub(crate) const PAIR: &str = "comity pair code v1";
/// Of a room. Parts: group_id, epoch (u64), epoch authenticator, the identity of each leaf in the
/// order of their octets.
pub(crate) const ROOM: &str = "comity room code v1";
/// Of two devices of one account. Parts: account, then for both, in the order of their octets:
/// device id ‖ device key (SPKI).
pub(crate) const DEVICES: &str = "comity device code v1";

/// What people compare, and what a QR code holds. Equal on both sides if, and only if, nobody sits
/// between them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerificationCode {
    /// The room; none between two devices of one account.
    pub room: Option<BareJid>,
    /// The other device; none if the code is of the whole room.
    pub with: Option<Device>,
    /// Codes of different epochs differ: both sides must be in the same.
    pub epoch: u64,
    /// Thirty digits.
    pub digits: String,
    /// What the QR code holds: an `xmpp:` URI (RFC 5122).
    pub uri: String,
}

/// In six groups of five.
impl std::fmt::Display for VerificationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, digit) in self.digits.chars().enumerate() {
            if place > 0 && place % GROUP == 0 {
                f.write_str(" ")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// The identity that goes into a code: `account ‖ 0x00 ‖ device id`, as for MLS.
pub(crate) fn identity(account: &BareJid, device: Uuid) -> Vec<u8> {
    leaf::identity(account, Some(device))
}

/// The digits of a label and its parts: iterated SHA-512, then six times five octets modulo
/// 100,000.
pub(crate) fn digits(label: &str, parts: &[&[u8]]) -> String {
    let content = signed::content(label, parts);
    let mut hash = openssl::sha::sha512(&content);
    for _ in 1..ROUNDS {
        let mut next = Sha512::new();
        next.update(&hash);
        next.update(&content);
        hash = next.finish();
    }
    let (groups, _) = hash.as_chunks::<5>();
    groups
        .iter()
        .take(CODE_DIGITS / GROUP)
        .map(|group| {
            let value = group
                .iter()
                .fold(0_u64, |v, octet| v << 8 | u64::from(*octet));
            format!("{:05}", value % 100_000)
        })
        .collect()
}

/// Inputs of a code in a room, apart from whose it is.
pub(crate) struct Epoch<'a> {
    pub(crate) group_id: &'a [u8],
    pub(crate) number: u64,
    pub(crate) authenticator: &'a [u8],
}

impl Epoch<'_> {
    /// The digits for these identities, in whatever order they come.
    pub(crate) fn digits(&self, label: &str, mut identities: Vec<Vec<u8>>) -> String {
        identities.sort();
        let number = self.number.to_be_bytes();
        let mut parts = vec![self.group_id, &number, self.authenticator];
        parts.extend(identities.iter().map(Vec::as_slice));
        digits(label, &parts)
    }
}

/// `xmpp:ADDRESS?mls-code;key=value…;code=DIGITS`.
pub(crate) fn uri(address: &BareJid, pairs: &[(&str, &str)], digits: &str) -> String {
    let mut uri = format!("xmpp:{}?mls-code", escape(address.as_str(), b"@"));
    for (key, value) in pairs {
        uri.push_str(&format!(";{key}={}", escape(value, b"")));
    }
    uri.push_str(&format!(";code={digits}"));
    uri
}

/// RFC 3986 §2.1: everything but unreserved characters as %XX.
fn escape(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for octet in text.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) || also.contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

/// The digits in what somebody typed (with whatever lies between them) or scanned.
pub(crate) fn read(text: &str) -> Option<String> {
    if text.len() > MAX_TEXT {
        return None;
    }
    let code = match text.trim().strip_prefix("xmpp:") {
        Some(uri) => uri
            .split_once("?mls-code;")?
            .1
            .split(';')
            .find_map(|pair| pair.strip_prefix("code="))?,
        None => text,
    };
    let separates = |c: char| c.is_whitespace() || "-.,".contains(c);
    let digits: String = code.chars().filter(|c| !separates(*c)).collect();
    let complete = digits.len() == CODE_DIGITS && digits.bytes().all(|d| d.is_ascii_digit());
    complete.then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

    /// The value of `name = …` in the document's vector.
    fn vector(name: &str) -> &'static str {
        let start = format!("{name} = ");
        let mut lines = DOCUMENT.lines().filter_map(|l| l.strip_prefix(&start));
        let value = lines.next().unwrap_or_else(|| panic!("no {name}"));
        assert!(lines.next().is_none(), "{name} is there twice");
        value
    }

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn codes_are_what_the_document_says() {
        let (group_id, authenticator) = (hex(vector("group_id")), hex(vector("authenticator")));
        let epoch = Epoch {
            group_id: &group_id,
            number: vector("epoch").parse().unwrap(),
            authenticator: &authenticator,
        };
        let device = |name: &str| {
            let (account, id) = vector(name).split_once(' ').unwrap();
            let account = BareJid::parse(account).unwrap();
            (account, Uuid::parse_str(id).unwrap())
        };
        let (alice, bob) = (device("alice"), device("bob"));
        let both = vec![identity(&bob.0, bob.1), identity(&alice.0, alice.1)];
        let grouped = |text: &str| read(text).unwrap();
        assert_eq!(epoch.digits(PAIR, both.clone()), grouped(vector("pair")));
        assert_eq!(epoch.digits(ROOM, both), grouped(vector("room")));
        let room = BareJid::parse(vector("address")).unwrap();
        let written = uri(
            &room,
            &[
                ("epoch", vector("epoch")),
                ("account", alice.0.as_str()),
                ("device", &alice.1.to_string()),
            ],
            &grouped(vector("pair")),
        );
        assert_eq!(written, vector("uri"));
        let (one, two) = (hex(vector("key_1")), hex(vector("key_2")));
        let with_id = |id: Uuid, key: &[u8]| [id.as_bytes(), key].concat();
        let mut devices = [with_id(bob.1, &two), with_id(alice.1, &one)];
        devices.sort();
        let name = alice.0.as_str().as_bytes();
        let own = digits(DEVICES, &[name, &devices[0], &devices[1]]);
        assert_eq!(own, grouped(vector("devices")));
    }

    #[test]
    fn a_code_is_read_as_people_type_it() {
        let digits = "012345678901234567890123456789";
        for typed in [
            digits,
            "01234 56789 01234 56789 01234 56789",
            " 01234-56789-01234-56789-01234-56789\n",
            "xmpp:~room@a.example?mls-code;epoch=3;code=012345678901234567890123456789",
        ] {
            assert_eq!(read(typed).as_deref(), Some(digits), "{typed}");
        }
        for wrong in [
            "",
            "01234",
            "0123456789012345678901234567890",
            "01234567890123456789012345678x",
            "０１２３４５６７８９",
            "xmpp:~room@a.example?join;code=012345678901234567890123456789",
            "xmpp:~room@a.example?mls-code;epoch=3",
            &"1".repeat(MAX_TEXT * 2),
            &"é".repeat(MAX_TEXT),
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
