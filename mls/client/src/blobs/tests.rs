use std::collections::BTreeMap;

use comity_mls_wire::limits::OBJECT_BYTES;
use comity_mls_wire::room::{self, IdempotencyKey};
use comity_xmpp::error::{ErrorType, StanzaCondition, StanzaError};
use comity_xmpp::stanza::{IqType, MessageType};

use super::*;

const ROOM: &str = "~room@b.example";

fn account() -> BareJid {
    BareJid::parse("alice@a.example").unwrap()
}

/// A server that keeps what it is given.
#[derive(Default)]
struct Server {
    parts: BTreeMap<Named, Vec<u8>>,
    asked: Vec<String>,
}

impl Server {
    fn answer(&mut self, stanza: &Stanza) -> Stanza {
        let to = stanza.to.clone().unwrap();
        self.asked.push(to.to_string());
        let kind = match stanza.kind {
            Kind::Iq(kind) => kind,
            other => panic!("{other:?} is no request"),
        };
        let answer = match Request::from_iq(kind, &stanza.first_child().unwrap()).unwrap() {
            Request::Held { named } => Answer::Held {
                named,
                next: self.parts.entry(named).or_default().len() as u64,
            },
            Request::Put {
                named,
                offset,
                octets,
            } => {
                let part = self.parts.entry(named).or_default();
                assert_eq!(part.len() as u64, offset);
                part.extend_from_slice(&octets);
                Answer::Held {
                    named,
                    next: part.len() as u64,
                }
            }
            Request::Get { named, offset } => {
                let start = usize::try_from(offset).unwrap();
                let length = named.chunk(offset).unwrap();
                let whole = &self.parts[&named];
                Answer::Chunk {
                    named,
                    offset,
                    octets: Bytes::copy_from_slice(&whole[start..start + length]),
                }
            }
        };
        let mut answered = stanza.result(Some(&answer.to_element()));
        answered.from = Some(to);
        answered
    }
}

/// Goes on until nothing is left to send but what is for others than the server's store.
fn settle(blobs: &mut Blobs, server: &mut Server, mut next: Vec<Next>) -> Vec<Next> {
    let mut left = Vec::new();
    while !next.is_empty() {
        let step = next.remove(0);
        match step {
            Next::Send(stanza)
                if stanza
                    .id
                    .as_deref()
                    .is_some_and(|id| id.starts_with("blob")) =>
            {
                let answer = server.answer(&stanza);
                next.extend(blobs.take(&account(), answer));
            }
            other => left.push(other),
        }
    }
    left
}

fn create(octets: usize) -> Stanza {
    let request = room::Request::Create(room::Create {
        key: IdempotencyKey(uuid::Uuid::from_u128(1)),
        group_info: Bytes::from_static(b"GroupInfo"),
        tree: vec![7; octets].into(),
        direct_with: None,
    });
    Stanza::new(Kind::Iq(request.iq_type()))
        .with_to(Jid::parse(ROOM).unwrap())
        .with_id("mls-1")
        .with(&request.to_element())
}

fn entry(seq: u64, octets: usize) -> Stanza {
    let entry = room::Entry {
        room: BareJid::parse(ROOM).unwrap(),
        seq,
        kind: room::EntryKind::Commit,
        epoch: 0,
        time: 1,
        sender: account(),
        device: None,
        payload: room::Payload::Held(vec![3; octets].into()),
        head: [1; 32],
        signature: None,
        changes: Vec::new(),
    };
    Stanza::new(Kind::Message(MessageType::Normal))
        .with_from(Jid::parse(ROOM).unwrap())
        .with(&entry.to_element())
}

fn seqs(next: &[Next]) -> Vec<(u64, usize)> {
    let read = |next: &Next| match next {
        Next::Take(stanza) => {
            let entry = room::Entry::from_element(&stanza.first_child().unwrap()).unwrap();
            let room::Payload::Held(payload) = entry.payload else {
                panic!("a purged entry");
            };
            (entry.seq, payload.len())
        }
        other => panic!("{other:?}"),
    };
    next.iter().map(read).collect()
}

#[test]
fn what_is_large_goes_up_first_and_once() {
    let (mut blobs, mut server) = (Blobs::default(), Server::default());
    let next = blobs.send(&account(), create(100_000));
    let left = settle(&mut blobs, &mut server, next);
    let [Next::Send(request)] = &left[..] else {
        panic!("{left:?}");
    };
    assert_eq!(request.id.as_deref(), Some("mls-1"));
    assert!(request.to_bytes(None).len() < 2_000);
    assert_eq!(server.asked, ["a.example"; 4], "held, and three chunks");

    let next = blobs.send(&account(), create(100_000));
    assert_eq!(settle(&mut blobs, &mut server, next).len(), 1);
    assert_eq!(server.asked.len(), 5, "it is there already");
    assert!(matches!(
        &blobs.send(&account(), create(100))[..],
        [Next::Send(_)]
    ));
}

#[test]
fn a_refused_object_refuses_its_request() {
    let mut blobs = Blobs::default();
    let next = blobs.send(&account(), create(OBJECT_BYTES));
    let [Next::Send(asked)] = &next[..] else {
        panic!("{next:?}");
    };
    let error = StanzaError::new(ErrorType::Wait, StanzaCondition::ResourceConstraint);
    let mut answer = asked.error_reply(&error).unwrap();
    answer.kind = Kind::Iq(IqType::Error);
    let next = blobs.take(&account(), answer);
    assert!(matches!(&next[..], [Next::Refused(id, _)] if id == "mls-1"));
}

#[test]
fn messages_wait_for_the_large_one_before_them() {
    let (mut blobs, mut server) = (Blobs::default(), Server::default());
    let mut large = entry(2, 150_000);
    let mut payload = large.first_child().unwrap();
    for (named, object) in blob::put_out(&mut payload) {
        server.parts.insert(named, object.to_vec());
    }
    large = with_payload(&large, &payload);
    let first = blobs.take(&account(), entry(1, 10));
    assert_eq!(seqs(&first), [(1, 10)]);
    let asking = blobs.take(&account(), large.clone());
    assert!(blobs.take(&account(), entry(3, 10)).is_empty());
    assert!(blobs.take(&account(), large).is_empty());
    assert!(blobs.take(&account(), entry(4, 10)).is_empty());
    let next = settle(&mut blobs, &mut server, asking);
    let expected = [(2, 150_000), (3, 10), (2, 150_000), (4, 10)];
    assert_eq!(seqs(&next), expected);
    assert!(server.asked.iter().all(|asked| asked == "a.example"));
    assert_eq!(seqs(&blobs.take(&account(), entry(5, 10))), [(5, 10)]);
}

#[test]
fn a_spoiled_object_is_not_taken_and_what_follows_is() {
    let (mut blobs, mut server) = (Blobs::default(), Server::default());
    let mut large = entry(2, 60_000);
    let mut payload = large.first_child().unwrap();
    for (named, object) in blob::put_out(&mut payload) {
        let mut spoiled = object.to_vec();
        spoiled[0] ^= 1;
        server.parts.insert(named, spoiled);
    }
    large = with_payload(&large, &payload);
    let asking = blobs.take(&account(), large);
    assert!(blobs.take(&account(), entry(3, 10)).is_empty());
    let next = settle(&mut blobs, &mut server, asking);
    assert_eq!(seqs(&next), [(3, 10)]);
}

#[test]
fn what_is_large_is_told_on_its_way_and_what_is_small_is_not() {
    let (mut blobs, mut server) = (Blobs::default(), Server::default());
    let asking = blobs.send(&account(), create(60_000));
    settle(&mut blobs, &mut server, asking);
    assert_eq!(blobs.moved(), []);
    let asking = blobs.send(&account(), create(600_000));
    settle(&mut blobs, &mut server, asking);
    let sent = blobs.moved();
    let room = BareJid::parse(ROOM).ok();
    assert!(
        sent.iter()
            .all(|p| p.task == Task::Sending && p.room == room)
    );
    let done: Vec<u64> = sent.iter().map(|p| p.done).collect();
    assert!(done.is_sorted() && done.first() == Some(&0), "{done:?}");
    assert!(
        sent.last()
            .is_some_and(|p| p.done == p.total && p.total >= 600_000)
    );

    let large = entry(2, 600_000);
    let mut payload = large.first_child().unwrap();
    for (named, object) in blob::put_out(&mut payload) {
        server.parts.insert(named, object.to_vec());
    }
    let asking = blobs.take(&account(), with_payload(&large, &payload));
    settle(&mut blobs, &mut server, asking);
    let got = blobs.moved();
    assert!(got.iter().all(|p| p.task == Task::Receiving));
    assert!(got.len() > 10 && got.last().is_some_and(|p| p.done == p.total));
    assert_eq!(blobs.moved(), []);
}
