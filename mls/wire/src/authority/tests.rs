use bytes::Bytes;
use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_AS as NS;
use comity_xmpp::stanza::IqType;
use uuid::Uuid;

use super::*;

fn some(octet: u8) -> Bytes {
    Bytes::from(vec![octet; 5])
}

fn requests() -> Vec<Request> {
    let (device, revoked) = (Uuid::from_u128(1), Uuid::from_u128(2));
    vec![
        Request::Challenge,
        Request::Register {
            name: "Phone <of> \"Alice\" & co".to_owned(),
            device_key: some(1),
            signature: some(2),
        },
        Request::Prove {
            device,
            bound: true,
            signature: some(3),
        },
        Request::Enrol {
            device,
            requests: vec![some(4), some(5)],
            signature: some(6),
        },
        Request::Devices,
        Request::Revoke {
            device,
            revoked,
            signature: some(7),
        },
        Request::Anchors {
            domain: "b.example".to_owned(),
        },
        Request::Crl {
            domain: "b.example".to_owned(),
            issuer: [7; 32],
            offset: 131_072,
        },
        Request::LogHead {
            domain: "b.example".to_owned(),
        },
        Request::LogConsistency {
            domain: "b.example".to_owned(),
            first: 1,
            second: u64::MAX,
        },
        Request::LogInclusion {
            keys: vec![[1; 32], [2; 32]],
        },
        Request::LogEntries { from: 0 },
    ]
}

#[test]
fn requests_round_trip_by_their_iq_type_only() {
    for request in requests() {
        let element = request.to_element();
        let iq = request.iq_type();
        let wrong = if iq == IqType::Get {
            IqType::Set
        } else {
            IqType::Get
        };
        assert_eq!(Request::from_iq(iq, &element), Ok(request));
        assert!(Request::from_iq(wrong, &element).is_err());
    }
}

#[test]
fn answers_and_notices_round_trip() {
    let device = Device {
        id: Uuid::from_u128(3),
        name: "Laptop".to_owned(),
        device_key: some(5),
        registered: 1_700_000_000,
        revoked: Some(1_700_000_001),
    };
    for answer in [
        Answer::Challenge { nonce: some(1) },
        Answer::Registered { device: device.id },
        Answer::Proved,
        Answer::Certificates(vec![some(2), some(3)]),
        Answer::Devices(vec![device.clone()]),
        Answer::Devices(Vec::new()),
        Answer::Revoked,
        Answer::Anchors { statement: some(4) },
        Answer::Crl {
            number: u64::MAX,
            size: 300_000,
            offset: 131_072,
            part: some(5),
        },
        Answer::LogHead { head: some(5) },
        Answer::LogConsistency { proof: some(6) },
        Answer::LogConsistency {
            proof: Bytes::new(),
        },
        Answer::LogInclusion {
            head: some(7),
            keys: vec![([1; 32], Some(some(8))), ([2; 32], None)],
        },
        Answer::LogEntries {
            head: some(9),
            evidence: some(10),
            entries: vec![some(11), some(12)],
        },
    ] {
        assert_eq!(Answer::from_element(&answer.to_element()), Ok(answer));
    }
    for notice in [
        Notice::DeviceAdded(device.clone()),
        Notice::DeviceRevoked { id: device.id },
        Notice::CrlIssued {
            domain: "a.example".to_owned(),
            issuer: [7; 32],
            number: 9,
        },
    ] {
        assert_eq!(Notice::from_element(&notice.to_element()), Ok(notice));
    }
}

#[track_caller]
fn refused(element: &Element, why: &str) {
    let fault = Request::from_element(element).unwrap_err().to_string();
    assert!(fault.contains(why), "{fault}");
}

#[test]
fn what_is_missing_or_wrong_is_named() {
    let id = Uuid::from_u128(1).to_string();
    let prove = || Element::new(NS, "prove").with_attr("device", &id);
    refused(&prove(), "attribute bound");
    refused(&prove().with_attr("bound", "yes"), "found yes");
    refused(&prove().with_attr("bound", "true"), "<signature/>");
    refused(
        &Element::new(NS, "enrol").with_attr("device", &id),
        "at least one child <csr/>",
    );
    refused(&Element::new(NS, "conquer"), "one of challenge");
    refused(
        &Element::new("urn:other", "prove"),
        "namespace urn:xmpp:mls:0:as",
    );
    refused(
        &Element::new(NS, "anchors").with_attr("domain", "alice@a.example"),
        "expected a domain",
    );
    refused(
        &Element::new(NS, "log-inclusion"),
        "at least one child <key/>",
    );
    let key = Element::new(NS, "key").with_attr("hash", "ab");
    refused(
        &Element::new(NS, "log-inclusion").with_child(key.clone()),
        "64 lower-case hexadecimal digits",
    );
    refused(
        &Element::new(NS, "log-inclusion").with_children(vec![key; 33]),
        "64 lower-case",
    );
    refused(
        &Element::new(NS, "log-consistency").with_attr("domain", "b.example"),
        "attribute first",
    );
    let long = "x".repeat(crate::limits::DEVICE_NAME_BYTES + 1);
    refused(
        &Element::new(NS, "register").with_attr("name", long),
        "at most 128 octets",
    );
}

#[test]
fn unknown_children_and_attributes_are_passed_over() {
    let element = Request::Devices
        .to_element()
        .with_attr("since", "yesterday")
        .with_child(Element::new("urn:other", "signature"));
    assert_eq!(Request::from_element(&element), Ok(Request::Devices));
}
