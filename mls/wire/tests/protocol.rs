//! Every XML example of `mls/PROTOCOL.md`, read by the real types and written again: what is
//! documented is what is built.

use std::collections::BTreeSet;

use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Stamped};
use comity_mls_wire::{Malformed, authority, blob, disco, keys, sync};
use comity_xmpp::element::{Element, Node};
use comity_xmpp::error::StanzaError;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns;
use comity_xmpp::stanza::IqType;
use comity_xmpp::stream::Header;
use comity_xmpp::xml;

const DOCUMENT: &str = include_str!("../../PROTOCOL.md");

/// The ```xml blocks, each with the line it begins on.
fn examples() -> Vec<(usize, String)> {
    let mut examples = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (line, text) in DOCUMENT.lines().enumerate() {
        match &mut open {
            None if text == "```xml" => open = Some((line + 2, String::new())),
            None => {}
            Some(_) if text == "```" => examples.extend(open.take()),
            Some((_, example)) => {
                example.push_str(text);
                example.push('\n');
            }
        }
    }
    assert!(open.is_none(), "the last example has no end");
    examples
}

fn parse(text: &str) -> Element {
    xml::parse(text.trim().as_bytes(), &Header::of(ns::CLIENT)).expect("an example is well-formed")
}

/// The tree without what means nothing: white space between elements, the order of attributes.
fn normal(element: &Element) -> Element {
    let mut normal = element.clone();
    normal.attributes.sort_by(|a, b| a.name.cmp(&b.name));
    let nested = element.elements().next().is_some();
    normal.children = element
        .children
        .iter()
        .filter_map(|child| match child {
            Node::Element(child) => Some(Node::Element(self::normal(child))),
            Node::Text(text) if nested && text.trim().is_empty() => None,
            Node::Text(text) => Some(Node::Text(text.clone())),
        })
        .collect();
    normal
}

/// Puts the name of an object in the place of what stood for it.
fn name_again(element: &mut Element, named: blob::Named) {
    use base64::Engine as _;
    let object = base64::engine::general_purpose::STANDARD.encode(b"an object");
    if element.text() == object {
        let name = Element::new(ns::MLS_ROOM, "blob")
            .with_attr("hash", hex(&named.hash))
            .with_attr("size", named.size.to_string());
        element.children = vec![Node::Element(name)];
        return;
    }
    for child in &mut element.children {
        if let Node::Element(child) = child {
            name_again(child, named);
        }
    }
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The payload of a stanza as the types write it again.
fn again(stanza: &Element, payload: &Element) -> Result<Element, Malformed> {
    let to_room = stanza
        .attr("to")
        .and_then(|to| BareJid::parse(to).ok())
        .is_some_and(|to| room::is_room(&to));
    let iq = match stanza.attr("type") {
        Some("get") => IqType::Get,
        Some("set") => IqType::Set,
        _ => IqType::Result,
    };
    let space = payload.ns.as_str();
    if space == ns::MLS_ROOM && matches!(payload.name.as_str(), "held" | "chunk") {
        return Ok(match iq {
            IqType::Result => blob::Answer::from_element(payload)?.to_element(),
            _ => blob::Request::from_iq(iq, payload)?.to_element(),
        });
    }
    // What an example names is at hand, and is named again.
    let named = blob::named(payload)?;
    if let [named] = named[..] {
        let mut held = payload.clone();
        blob::put_in(&mut held, &mut |_| {
            Some(bytes::Bytes::from_static(b"an object"))
        });
        let mut written = self::again(stanza, &held)?;
        name_again(&mut written, named);
        return Ok(written);
    }
    if stanza.name == "message" {
        return notice(payload);
    }
    Ok(match (iq, space) {
        (IqType::Result, ns::MLS_AS) => authority::Answer::from_element(payload)?.to_element(),
        (IqType::Result, ns::MLS_KEYS) => keys::Answer::from_element(payload)?.to_element(),
        (IqType::Result, ns::MLS_ROOM) => room::Answer::from_element(payload)
            .map(|answer| answer.to_element())
            .or_else(|_| sync::Answer::from_element(payload).map(|a| a.to_element()))?,
        (_, ns::MLS_AS) => authority::Request::from_iq(iq, payload)?.to_element(),
        (_, ns::MLS_KEYS) => keys::Request::from_iq(iq, payload)?.to_element(),
        (_, ns::MLS_ROOM) if to_room => Stamped::from_iq(iq, payload)?.to_element(),
        (_, ns::MLS_ROOM) if payload.name == "ephemeral" => {
            room::Ephemeral::from_element(payload)?.to_element()
        }
        (_, ns::MLS_ROOM) => sync::Request::from_iq(iq, payload)?.to_element(),
        _ => return discovery(payload),
    })
}

fn notice(payload: &Element) -> Result<Element, Malformed> {
    Ok(match (payload.ns.as_str(), payload.name.as_str()) {
        (ns::MLS_AS, _) => authority::Notice::from_element(payload)?.to_element(),
        (ns::MLS_KEYS, _) => keys::Notice::from_element(payload)?.to_element(),
        (_, "fanout") => room::Fanout::from_element(payload)?.to_element(),
        _ => sync::Notice::from_element(payload)?.to_element(),
    })
}

/// Service discovery is others' to read; ours are the features and the form.
fn discovery(query: &Element) -> Result<Element, Malformed> {
    assert!(query.is(ns::DISCO_INFO, "query"), "{query:?}");
    let mut again = query.clone();
    let features: Vec<&str> = query
        .elements()
        .filter(|e| e.name == "feature")
        .filter_map(|e| e.attr("var"))
        .collect();
    if features.len() == disco::ROOM_FEATURES.len() {
        assert_eq!(features, disco::ROOM_FEATURES);
        let (category, kind) = disco::ROOM_IDENTITY;
        let identity = query.elements().next().expect("an identity comes first");
        assert_eq!(identity.attr("category"), Some(category));
        assert_eq!(identity.attr("type"), Some(kind));
    } else if !features.is_empty() {
        assert_eq!(features, disco::DOMAIN_FEATURES);
        again.children.retain(|child| match child {
            Node::Element(e) => e.name != "x",
            Node::Text(_) => true,
        });
        again = again.with_child(disco::form(&disco::Limits {
            suites: vec![2, 1],
            rooms_host: None,
            key_packages: 100,
            key_package_lifetime_s: 84 * 86_400,
            certificate_lifetime_s: 120 * 86_400,
            room_leaves: 1000,
            stanza_bytes: 256 * 1024,
        }));
    }
    Ok(again)
}

#[test]
fn every_example_is_what_the_types_say() {
    let examples = examples();
    assert!(examples.len() > 80, "{} examples", examples.len());
    for (line, text) in &examples {
        let stanza = parse(text);
        let payload = stanza.elements().next();
        let payload = payload.unwrap_or_else(|| panic!("line {line}: no payload"));
        let again = if stanza.attr("type") == Some("error") {
            let error = StanzaError::from_element(payload);
            let refusal = Refusal::from_stanza_error(&error);
            let refusal = refusal.unwrap_or_else(|| panic!("line {line}: {error:?}"));
            refusal.to_stanza_error().to_element()
        } else {
            again(&stanza, payload).unwrap_or_else(|fault| panic!("line {line}: {fault}"))
        };
        assert_eq!(normal(&again), normal(payload), "line {line}");
    }
}

#[test]
fn every_payload_of_the_protocol_has_an_example() {
    let mut shown = BTreeSet::new();
    for (_, text) in examples() {
        let stanza = parse(&text);
        for payload in stanza.elements() {
            let payload = match payload.elements().last() {
                Some(application) if payload.name == "error" => application,
                _ => payload,
            };
            let kind = stanza.attr("type").unwrap_or_default();
            shown.insert(format!("{kind} {}", payload.name));
        }
    }
    for (kind, names) in [
        (
            "get",
            "challenge devices anchors crl count hub info status group-info fetch",
        ),
        (
            "set",
            "register prove enrol revoke publish delete claim create commit propose send \
             acknowledge sync stored welcomed",
        ),
        (
            "result",
            "challenge registered proved certificates devices revoked anchors crl published counts \
             deleted claimed hub accepted info status group-info entries acknowledged syncing",
        ),
        (
            "headline",
            "device-added device-revoked crl-issued low-stock last-resort-used",
        ),
        ("normal", "fanout entry welcome"),
        (
            "error",
            "stale-epoch missing-proposals invalid-commit invalid-message not-allowed \
             group-info-mismatch bad-credential bad-signature no-device unknown-device no-room \
             room-exists no-key-packages unreachable-domain key-reused limit-reached rate-limited \
             bad-request internal",
        ),
    ] {
        for name in names.split_whitespace() {
            assert!(shown.contains(&format!("{kind} {name}")), "{kind} {name}");
        }
    }
}

#[test]
fn examples_are_numbered_in_order() {
    let numbers: Vec<usize> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("**Example "))
        .filter_map(|line| line.split('.').next()?.parse().ok())
        .collect();
    assert_eq!(numbers, (1..=examples().len()).collect::<Vec<_>>());
}

#[test]
fn documented_addresses_and_hashes_are_computed_ones() {
    let jid = |text| BareJid::parse(text).unwrap();
    let (alice, bob) = (jid("alice@a.example"), jid("bob@b.example"));
    let direct = room::direct(&jid("a.example"), &alice, &bob);
    assert!(DOCUMENT.contains(direct.as_str()), "{direct}");
    let head = room::head(
        &room::GENESIS,
        &jid("~abcdefghijklmnopqrstuvwxyz@a.example"),
        1,
        room::EntryKind::Notice,
        1_700_000_000_123,
        &alice,
        &room::payload_hash(b"hello"),
    );
    let head: String = head.iter().map(|octet| format!("{octet:02x}")).collect();
    assert!(DOCUMENT.contains(&head), "{head}");
}
