use bytes::Bytes;
use comity_xmpp::jid::BareJid;
use comity_xmpp::ns::MLS_ROOM as NS;
use comity_xmpp::stanza::IqType;
use uuid::Uuid;

use super::*;
use crate::room::{Entry, EntryKind, Fanout, Joiner, Payload, Welcome};

fn fanout(octets: usize) -> Fanout {
    let room = BareJid::parse("~room@a.example").unwrap();
    let alice = BareJid::parse("alice@a.example").unwrap();
    let object = |octet: u8| Bytes::from(vec![octet; octets]);
    Fanout {
        entry: Entry {
            room: room.clone(),
            seq: 2,
            kind: EntryKind::Commit,
            epoch: 0,
            time: 1,
            sender: alice.clone(),
            device: Some(Uuid::from_u128(1)),
            payload: Payload::Held(object(1)),
            head: [3; 32],
            signature: None,
            changes: Vec::new(),
        },
        welcome: Some(Welcome {
            id: Uuid::from_u128(2),
            room,
            seq: 2,
            head: [3; 32],
            epoch: 1,
            sender: alice.clone(),
            joiners: vec![Joiner {
                account: alice,
                device: Uuid::from_u128(3),
                key_package: Bytes::from_static(b"reference"),
            }],
            welcome: object(2),
            tree: crate::room::Tree::plain(object(4)),
        }),
    }
}

#[test]
fn large_objects_leave_their_stanza_and_come_back() {
    let fanout = fanout(1_000_000);
    let mut element = fanout.to_element();
    let out = put_out(&mut element);
    assert_eq!(out.len(), 3);
    let text = element.to_string();
    assert!(text.len() < 4_096, "{} octets", text.len());
    let names: Vec<Named> = out.iter().map(|(named, _)| *named).collect();
    assert_eq!(named(&element).unwrap(), names);
    assert!(
        Fanout::from_element(&element).is_err(),
        "nothing is there yet"
    );

    put_in(&mut element, &mut |wanted| {
        let (_, object) = out.iter().find(|(named, _)| named == wanted)?;
        Some(object.clone())
    });
    assert_eq!(Fanout::from_element(&element).unwrap(), fanout);
}

#[test]
fn small_objects_stay_where_they_are() {
    let mut element = fanout(INLINE_BYTES).to_element();
    assert!(put_out(&mut element).is_empty());
    assert!(named(&element).unwrap().is_empty());
    assert_eq!(put_out(&mut fanout(INLINE_BYTES + 1).to_element()).len(), 3);
}

#[test]
fn requests_and_answers_are_read_as_written() {
    let object = vec![7; 2 * CHUNK_BYTES + 5];
    let named = Named::of(&object);
    let last = Bytes::copy_from_slice(&object[2 * CHUNK_BYTES..]);
    let offset = 2 * CHUNK_BYTES as u64;
    for request in [
        Request::Get { named, offset },
        Request::Held { named },
        Request::Put {
            named,
            offset,
            octets: last.clone(),
        },
    ] {
        let element = request.to_element();
        assert_eq!(
            Request::from_iq(request.iq_type(), &element).unwrap(),
            request
        );
    }
    for answer in [
        Answer::Held { named, next: 7 },
        Answer::Chunk {
            named,
            offset,
            octets: last,
        },
    ] {
        assert_eq!(Answer::from_element(&answer.to_element()).unwrap(), answer);
    }
}

#[test]
fn what_is_no_chunk_is_refused() {
    let named = Named {
        hash: [1; 32],
        size: CHUNK_BYTES as u64 + 1,
    };
    let put = |offset, octets: usize| Request::Put {
        named,
        offset,
        octets: vec![0; octets].into(),
    };
    let refused = |element: &Element, iq| assert!(Request::from_iq(iq, element).is_err());
    // At the wrong place, of the wrong length, beyond the end.
    refused(&put(1, 1).to_element(), IqType::Set);
    refused(&put(0, 1).to_element(), IqType::Set);
    refused(&put(CHUNK_BYTES as u64, 2).to_element(), IqType::Set);
    refused(&put(2 * CHUNK_BYTES as u64, 1).to_element(), IqType::Set);
    // By the wrong kind of IQ, of no size or too large, of another name.
    refused(&Request::Held { named }.to_element(), IqType::Set);
    for size in [0, limits::OBJECT_BYTES as u64 + 1] {
        let named = Named { size, ..named };
        refused(&Request::Held { named }.to_element(), IqType::Get);
    }
    refused(&about("other", named), IqType::Get);
}

#[test]
fn a_stanza_names_a_bounded_number() {
    let mut element = Element::new(NS, "entries");
    for number in 0..=limits::BLOBS {
        let named = Named::of(&number.to_be_bytes());
        let payload = Element::new(NS, "payload").with_child(named.to_element());
        element = element.with_child(Element::new(NS, "entry").with_child(payload));
    }
    assert!(named(&element).is_err());
}
