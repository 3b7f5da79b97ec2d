//! What rooms are called: `~` and 26 lower-case base32 characters at the hub's domain.

use comity_xmpp::jid::BareJid;
use ring::digest::{SHA256, digest};

/// What tells a room from an account; local parts starting with it are refused to accounts.
pub const SIGIL: char = '~';

const CHARACTERS: usize = 26;

/// The address of a room at `host`, from 16 random octets drawn by its creator.
#[must_use]
pub fn random(host: &BareJid, octets: &[u8; 16]) -> BareJid {
    address(host, octets)
}

/// The one address of the direct room of two accounts: at the rooms host of the smaller one's
/// domain, which is `host` (see [`direct_domain`]). The order of the two does not matter.
#[must_use]
pub fn direct(host: &BareJid, one: &BareJid, other: &BareJid) -> BareJid {
    let (smaller, larger) = ordered(one, other);
    let mut text = b"comity direct\0".to_vec();
    text.extend_from_slice(smaller.as_str().as_bytes());
    text.push(0);
    text.extend_from_slice(larger.as_str().as_bytes());
    let hash = digest(&SHA256, &text);
    let mut octets = [0; 16];
    octets.copy_from_slice(&hash.as_ref()[..16]);
    address(host, &octets)
}

/// The domain that keeps the direct room of two accounts.
#[must_use]
pub fn direct_domain<'a>(one: &'a BareJid, other: &'a BareJid) -> &'a str {
    ordered(one, other).0.domain()
}

/// Whether an address can be a room's.
#[must_use]
pub fn is_room(jid: &BareJid) -> bool {
    jid.local().is_some_and(|local| {
        local.strip_prefix(SIGIL).is_some_and(|name| {
            name.len() == CHARACTERS
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
        })
    })
}

/// By octets, as the strings stand after preparation (RFC 7622).
fn ordered<'a>(one: &'a BareJid, other: &'a BareJid) -> (&'a BareJid, &'a BareJid) {
    if one.as_str().as_bytes() <= other.as_str().as_bytes() {
        (one, other)
    } else {
        (other, one)
    }
}

fn address(host: &BareJid, octets: &[u8; 16]) -> BareJid {
    let text = format!("{SIGIL}{}@{}", base32(octets), host.domain());
    // Lower-case ASCII letters and digits are valid in a localpart and already prepared, and the
    // domain comes from a parsed address, so this always parses.
    BareJid::parse(&text).unwrap_or_else(|_| host.clone())
}

/// RFC 4648 §6, lower case, without padding: 128 bits are 26 characters, the last one holding 3.
fn base32(octets: &[u8; 16]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let value = u128::from_be_bytes(*octets);
    (0..CHARACTERS)
        .map(|place| {
            let shift = 123_i32 - 5 * place as i32;
            let bits = if shift >= 0 {
                value >> shift
            } else {
                value << -shift
            };
            char::from(ALPHABET[(bits & 31) as usize])
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jid(text: &str) -> BareJid {
        BareJid::parse(text).unwrap()
    }

    #[test]
    fn base32_as_rfc_4648_writes_it() {
        assert_eq!(base32(&[0; 16]), "a".repeat(26));
        assert_eq!(base32(&[0xff; 16]), format!("{}4", "7".repeat(25)));
        assert_eq!(base32(b"foobarfoobarfoob"), "mzxw6ytbojtg633cmfzgm33pmi");
    }

    #[test]
    fn a_direct_room_has_one_address() {
        let (alice, bob) = (jid("alice@a.example"), jid("bob@b.example"));
        let host = jid(direct_domain(&bob, &alice));
        assert_eq!(host.as_str(), "a.example");
        let room = direct(&host, &alice, &bob);
        assert_eq!(room, direct(&host, &bob, &alice));
        assert!(is_room(&room));
        assert_ne!(room, direct(&host, &alice, &jid("bobby@b.example")));
    }

    #[test]
    fn accounts_are_not_rooms() {
        for other in ["alice@a.example", "~alice@a.example", "a.example"] {
            assert!(!is_room(&jid(other)), "{other}");
        }
        assert!(is_room(&random(&jid("a.example"), &[7; 16])));
    }
}
