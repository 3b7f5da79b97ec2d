//! The table: what is changed of a good certificate, and what is expected of it.

use super::recipe::{self, DAY, NOW, Recipe, Workshop};
use crate::der;
use crate::leaf::CLOCK_TOLERANCE_S;

/// What is expected of a case: belief, or a word of the refusal.
pub(super) type Case = (
    &'static str,
    Box<dyn Fn(&mut Recipe, &Workshop)>,
    Result<(), &'static str>,
);

fn case(
    name: &'static str,
    change: impl Fn(&mut Recipe, &Workshop) + 'static,
    expected: Result<(), &'static str>,
) -> Case {
    (name, Box::new(change), expected)
}

pub(super) fn all() -> Vec<Case> {
    [
        what_is_believed(),
        addresses_that_are_refused(),
        devices_that_are_refused(),
        issuers_that_are_refused(),
        keys_and_uses_that_are_refused(),
        forms_that_are_refused(),
        time_counts_only_where_it_is_given(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(super) fn what_is_believed() -> Vec<Case> {
    vec![
        case("P-256 below P-256", |_, _| {}, Ok(())),
        case(
            "Ed25519 below P-256",
            |r, w| r.key = w.ed25519.clone(),
            Ok(()),
        ),
        case(
            "P-256 below Ed25519",
            |r, w| r.issued_by(&w.ed25519_ca),
            Ok(()),
        ),
        case(
            "for any purpose",
            |r, _| r.purposes(&["2.5.29.37.0"]),
            Ok(()),
        ),
        case(
            "for instant messaging URIs (RFC 9734)",
            |r, _| r.purposes(&["1.3.6.1.5.5.7.3.40"]),
            Ok(()),
        ),
        case(
            "an unknown extension that is not critical",
            |r, _| r.extension("1.2.3.4", false, &[5, 0]),
            Ok(()),
        ),
        case(
            "further names of other kinds",
            |r, _| {
                r.names.push(recipe::dns("a.example"));
                r.names.push(recipe::uri("xmpp:alice@a.example"));
            },
            Ok(()),
        ),
        case(
            "a hub: its domain and no device",
            |r, _| r.names = vec![recipe::xmpp("a.example")],
            Ok(()),
        ),
        case(
            "an address in another script",
            |r, _| r.names[0] = recipe::xmpp("алиса@a.example"),
            Ok(()),
        ),
    ]
}

pub(super) fn addresses_that_are_refused() -> Vec<Case> {
    const ONE: &str = "not exactly one XmppAddr";
    vec![
        case("no subjectAltName", |r, _| r.names.clear(), Err(ONE)),
        case("only a device", |r, _| drop(r.names.remove(0)), Err(ONE)),
        case(
            "two addresses",
            |r, _| r.names.push(recipe::xmpp("bob@a.example")),
            Err(ONE),
        ),
        case(
            "one address twice",
            |r, _| r.names.push(recipe::xmpp("alice@a.example")),
            Err(ONE),
        ),
        case(
            "an address with a resource",
            |r, _| r.names[0] = recipe::xmpp("alice@a.example/phone"),
            Err("no bare XMPP address"),
        ),
        case(
            "an empty address",
            |r, _| r.names[0] = recipe::xmpp(""),
            Err("no bare XMPP address"),
        ),
        case(
            "an address with NUL",
            |r, _| r.names[0] = recipe::xmpp("alice\0@a.example"),
            Err("no bare XMPP address"),
        ),
        case(
            "an address that is not enforced",
            |r, _| r.names[0] = recipe::xmpp("Alice@a.example"),
            Err("enforced form"),
        ),
        case(
            "an address as IA5String",
            |r, _| r.names[0] = recipe::other_name(&der::tlv(0x16, &[b"alice@a.example"])),
            Err("no UTF8String"),
        ),
        case(
            "an address that is no UTF-8",
            |r, _| r.names[0] = recipe::other_name(&der::tlv(0x0c, &[b"\xff@a.example"])),
            Err("no UTF8String"),
        ),
        case(
            "an address with octets behind",
            |r, _| r.names[0] = recipe::other_name(&[0x0c, 3, b'a', b'@', b'b', 5, 0]),
            Err("no UTF8String"),
        ),
        case(
            "an address in a long form of length",
            |r, _| r.names[0] = recipe::other_name(&[0x0c, 0x81, 3, b'a', b'@', b'b']),
            Err("no UTF8String"),
        ),
        case(
            "nine names",
            |r, _| r.names.extend((0..7).map(|_| recipe::dns("a.example"))),
            Err("many names"),
        ),
    ]
}

pub(super) fn devices_that_are_refused() -> Vec<Case> {
    vec![
        case(
            "two devices",
            |r, _| {
                r.names
                    .push(recipe::uri("urn:uuid:00000000-0000-4000-8000-000000000002"))
            },
            Err("several devices"),
        ),
        case(
            "a device in capitals",
            |r, _| r.names[1] = recipe::uri("urn:uuid:00000000-0000-4000-8000-00000000000A"),
            Err("lower case"),
        ),
        case(
            "a device without hyphens",
            |r, _| r.names[1] = recipe::uri("urn:uuid:00000000000040008000000000000001"),
            Err("lower case"),
        ),
        case(
            "a device that is none",
            |r, _| r.names[1] = recipe::uri("urn:uuid:phone"),
            Err("no UUID"),
        ),
    ]
}

pub(super) fn issuers_that_are_refused() -> Vec<Case> {
    const WRONG: &str = "not issued by a CA of its domain";
    vec![
        case(
            "a CA of domain b names a user of domain a",
            |r, w| r.issued_by(&w.b_ca),
            Err("no CA"),
        ),
        case(
            "the same, naming the CA of domain a as its issuer",
            |r, w| {
                r.issued_by(&w.b_ca);
                r.authority_key = Some(w.ca_id().to_vec());
            },
            Err(WRONG),
        ),
        case(
            "a CA of domain a names a user of domain b",
            |r, _| r.names[0] = recipe::xmpp("bob@b.example"),
            Err("no CA"),
        ),
        case(
            "the root signs by itself",
            |r, w| r.issued_by(&w.root),
            Err("no CA"),
        ),
        case(
            "the root signs in the name of its issuing CA",
            |r, w| {
                r.signer = w.root.key.clone();
            },
            Err(WRONG),
        ),
        case(
            "its issuer is a leaf",
            |r, w| r.issued_by(&w.leaf_as_ca),
            Err("no CA"),
        ),
        case(
            "the issuer's name is another's",
            |r, w| r.issuer_name = w.b_ca.certificate.clone(),
            Err(WRONG),
        ),
        case(
            "no authorityKeyIdentifier",
            |r, _| r.authority_key = None,
            Err("does not name its issuer"),
        ),
        case(
            "an authorityKeyIdentifier of 20 octets",
            |r, _| r.authority_key = Some(vec![7; 20]),
            Err("no SHA-256"),
        ),
        case(
            "an issuer nobody knows",
            |r, _| r.authority_key = Some(vec![7; 32]),
            Err("no CA"),
        ),
        case(
            "it outlives its issuer",
            |r, _| r.not_after = NOW + 10_000 * DAY,
            Err("outlives its issuer"),
        ),
        case(
            "signed with SHA-384",
            |r, _| r.sha384 = true,
            Err("neither ECDSA-SHA-256"),
        ),
        case("a damaged signature", |r, _| r.damage = Some(3), Err("")),
    ]
}

pub(super) fn keys_and_uses_that_are_refused() -> Vec<Case> {
    const USAGE: &str = "digitalSignature alone";
    vec![
        case("a CA", |r, _| r.ca = Some(true), Err("a CA certificate")),
        case("no key usage", |r, _| r.usage = None, Err(USAGE)),
        case(
            "usage: keyCertSign too",
            |r, _| r.usage = Some(0x84),
            Err(USAGE),
        ),
        case(
            "usage: cRLSign too",
            |r, _| r.usage = Some(0x82),
            Err(USAGE),
        ),
        case(
            "usage: keyEncipherment too",
            |r, _| r.usage = Some(0xa0),
            Err(USAGE),
        ),
        case(
            "usage: keyAgreement alone",
            |r, _| r.usage = Some(0x08),
            Err(USAGE),
        ),
        case(
            "only for TLS servers",
            |r, _| r.purposes(&["1.3.6.1.5.5.7.3.1"]),
            Err("another purpose"),
        ),
        case(
            "a P-384 key",
            |r, _| r.foreign_key = Some(recipe::p384()),
            Err("neither P-256"),
        ),
        case(
            "an RSA key",
            |r, _| r.foreign_key = Some(recipe::rsa()),
            Err("neither P-256"),
        ),
        case(
            "an X25519 key",
            |r, _| r.foreign_key = Some(recipe::x25519()),
            Err("neither P-256"),
        ),
    ]
}

pub(super) fn forms_that_are_refused() -> Vec<Case> {
    vec![
        case(
            "an unknown critical extension",
            |r, _| r.extension("1.2.3.4", true, &[5, 0]),
            Err("critical extension"),
        ),
        case(
            "critical name constraints",
            |r, _| r.extension("2.5.29.30", true, &[0x30, 0]),
            Err("extension"),
        ),
        case(
            "an extension twice",
            |r, _| {
                r.extension("1.2.3.4", false, &[5, 0]);
                r.extension("1.2.3.4", false, &[5, 0]);
            },
            Err("repeated"),
        ),
        case(
            "a second subjectAltName",
            |r, _| {
                let san = der::tlv(der::SEQUENCE, &[&recipe::xmpp("bob@a.example")]);
                r.extension("2.5.29.17", false, &san);
            },
            Err("repeated"),
        ),
        case("version 1", |r, _| r.version = 0, Err("version 3")),
        case("version 2", |r, _| r.version = 1, Err("version 3")),
        case(
            "serial number 0",
            |r, _| r.serial = vec![0],
            Err("serial number"),
        ),
        case(
            "a serial number of 21 octets",
            |r, _| r.serial = vec![0x55; 21],
            Err("serial number"),
        ),
        case(
            "it ends before it begins",
            |r, _| r.not_after = r.not_before - 1,
            Err("ends before"),
        ),
        case(
            "octets behind it",
            |r, _| r.trailing = vec![0],
            Err("octets follow"),
        ),
        case("cut short", |r, _| r.cut = 1, Err("cannot be read")),
        case("half of it", |r, _| r.cut = 200, Err("cannot be read")),
        case("nothing", |r, _| r.cut = usize::MAX, Err("cannot be read")),
        case(
            "9 KiB",
            |r, _| r.extension("1.2.3.4", false, &[0; 9 * 1024]),
            Err("larger than 8 KiB"),
        ),
    ]
}

pub(super) fn time_counts_only_where_it_is_given() -> Vec<Case> {
    const OUTSIDE: &str = "is valid from";
    vec![
        case("expired, time withheld", |r, _| r.expired(None), Ok(())),
        case("expired", |r, _| r.expired(Some(NOW)), Err(OUTSIDE)),
        case(
            "expired within the tolerance",
            |r, _| {
                r.not_after = NOW - CLOCK_TOLERANCE_S;
                r.judged_at = Some(NOW);
            },
            Ok(()),
        ),
        case(
            "expired just beyond it",
            |r, _| {
                r.not_after = NOW - CLOCK_TOLERANCE_S - 1;
                r.judged_at = Some(NOW);
            },
            Err(OUTSIDE),
        ),
        case(
            "valid from a minute hence",
            |r, _| {
                r.not_before = NOW + 60;
                r.judged_at = Some(NOW);
            },
            Ok(()),
        ),
        case(
            "valid from tomorrow on",
            |r, _| {
                r.not_before = NOW + DAY;
                r.judged_at = Some(NOW);
            },
            Err(OUTSIDE),
        ),
        case(
            "valid from tomorrow on, time withheld",
            |r, _| r.not_before = NOW + DAY,
            Ok(()),
        ),
    ]
}
