use comity_xmpp::element::Element;
use comity_xmpp::ns::MLS_ROOM as NS;
use comity_xmpp::stanza::IqType;

use super::*;
use crate::limits;

fn some(octet: u8) -> Bytes {
    Bytes::from(vec![octet; 5])
}

fn jid(text: &str) -> BareJid {
    BareJid::parse(text).unwrap()
}

fn room() -> BareJid {
    jid("~abcdefghijklmnopqrstuvwxyz@a.example")
}

fn key() -> IdempotencyKey {
    IdempotencyKey(Uuid::from_u128(42))
}

fn joiner() -> Joiner {
    Joiner {
        account: jid("bob@b.example"),
        device: Uuid::from_u128(2),
        key_package: some(9),
    }
}

fn bundle() -> Bundle {
    Bundle {
        key: key(),
        epoch: 7,
        commit: some(1),
        welcome: Some(some(2)),
        joiners: vec![joiner()],
        group_info: some(3),
    }
}

fn entry() -> Entry {
    let member = Member {
        account: jid("bob@b.example"),
        device: Uuid::from_u128(2),
    };
    let mut entry = Entry {
        room: room(),
        seq: 12,
        kind: EntryKind::Commit,
        epoch: 7,
        time: 1_700_000_000_123,
        sender: jid("alice@a.example"),
        device: Some(Uuid::from_u128(1)),
        payload: Payload::Held(some(4)),
        head: GENESIS,
        signature: Some(some(5)),
        changes: vec![
            Change {
                member: member.clone(),
                joined: false,
            },
            Change {
                member,
                joined: true,
            },
        ],
    };
    entry.head = entry.computed_head(&GENESIS);
    entry
}

fn welcome() -> Welcome {
    Welcome {
        id: Uuid::from_u128(5),
        room: room(),
        seq: 12,
        head: [3; 32],
        epoch: 8,
        sender: jid("alice@a.example"),
        joiners: vec![joiner()],
        welcome: some(6),
        tree: Tree::plain(some(7)),
    }
}

fn requests() -> Vec<Request> {
    let create = |direct_with| {
        Request::Create(Create {
            key: key(),
            group_info: some(1),
            tree: some(2),
            direct_with,
        })
    };
    vec![
        Request::Hub,
        create(None),
        create(Some(jid("bob@b.example"))),
        Request::Info,
        Request::Head,
        Request::Commit(bundle()),
        Request::Commit(Bundle {
            welcome: None,
            joiners: Vec::new(),
            ..bundle()
        }),
        Request::Propose {
            key: key(),
            proposal: some(1),
        },
        Request::Ephemeral {
            epoch: 7,
            message: some(1),
        },
        Request::Send {
            key: key(),
            epoch: u64::MAX,
            message: some(1),
        },
        Request::Status { key: key() },
        Request::GroupInfo,
        Request::Report {
            seq: 9,
            hash: [7; 32],
            why: "no path secret for this leaf".to_owned(),
        },
        Request::ReportMessage(Box::new(MessageReport {
            seq: 9,
            id: Uuid::from_u128(5),
            content_type: "text".to_owned(),
            content: some(1),
            key: [7; 32],
            why: "threats".to_owned(),
        })),
        Request::Fetch {
            after: 3,
            limit: 100,
        },
        Request::Acknowledge {
            seq: 9,
            welcomes: vec![Uuid::from_u128(3), Uuid::from_u128(4)],
            active: vec![Member {
                account: BareJid::parse("bob@b.example").unwrap(),
                device: Uuid::from_u128(5),
            }],
        },
    ]
}

#[test]
fn requests_round_trip_with_their_stamp_and_by_their_iq_type_only() {
    for request in requests() {
        for device in [None, Some(Uuid::from_u128(77))] {
            let stamped = Stamped {
                device,
                request: request.clone(),
            };
            let element = stamped.to_element();
            let iq = request.iq_type();
            let wrong = if iq == IqType::Get {
                IqType::Set
            } else {
                IqType::Get
            };
            assert_eq!(Stamped::from_iq(iq, &element), Ok(stamped));
            assert!(Stamped::from_iq(wrong, &element).is_err());
        }
    }
}

#[test]
fn a_clients_own_stamps_are_stripped() {
    let forged =
        |id: u128| Element::new(NS, "device").with_attr("id", Uuid::from_u128(id).to_string());
    let mut request = Request::Commit(bundle())
        .to_element()
        .with_child(forged(1))
        .with_child(forged(2));
    request
        .children
        .insert(0, comity_xmpp::element::Node::Element(forged(3)));
    assert!(
        Stamped::from_iq(IqType::Set, &request).is_err(),
        "two stamps"
    );

    let device = Some(Uuid::from_u128(9));
    stamp(&mut request, device);
    let read = Stamped::from_iq(IqType::Set, &request);
    assert_eq!(read.map(|stamped| stamped.device), Ok(device));

    stamp(&mut request, None);
    assert_eq!(request, Request::Commit(bundle()).to_element());
}

#[test]
fn answers_round_trip() {
    let accepted = Accepted {
        seq: 13,
        epoch: 8,
        time: 1_700_000_000_000,
        head: [0xab; 32],
    };
    for answer in [
        Answer::Hub(Hub {
            certificate: some(1),
            suites: vec![2, 1],
            exists: true,
        }),
        Answer::Accepted(accepted.clone()),
        Answer::Info(Info {
            group_id: some(2),
            epoch: 8,
            seq: 13,
            head: [1; 32],
            members: vec![Member {
                account: jid("alice@a.example"),
                device: Uuid::from_u128(1),
            }],
        }),
        Answer::Head(Head {
            group_id: some(2),
            epoch: 8,
            seq: 13,
            head: [1; 32],
        }),
        Answer::Status(None),
        Answer::Status(Some(accepted)),
        Answer::GroupInfo {
            group_info: some(3),
            tree: Tree {
                octets: some(4),
                inflated: Some(9),
            },
            epoch: 8,
            seq: 13,
            proposals: vec![some(5), some(6)],
        },
        Answer::Reported,
        Answer::Entries(vec![entry()]),
        Answer::Entries(Vec::new()),
        Answer::Acknowledged,
    ] {
        assert_eq!(Answer::from_element(&answer.to_element()), Ok(answer));
    }
}

#[test]
fn what_hubs_send_round_trips() {
    let purged = Entry {
        payload: Payload::Purged([8; 32]),
        device: None,
        signature: None,
        changes: Vec::new(),
        ..entry()
    };
    for entry in [entry(), purged] {
        assert_eq!(Entry::from_element(&entry.to_element()), Ok(entry.clone()));
        for welcome in [None, Some(welcome())] {
            let fanout = Fanout {
                entry: entry.clone(),
                welcome,
            };
            assert_eq!(Fanout::from_element(&fanout.to_element()), Ok(fanout));
        }
    }
}

#[test]
fn contradictory_payloads_are_refused() {
    let both = entry()
        .to_element()
        .with_child(Element::new(NS, "purged").with_attr("hash", "00".repeat(32)));
    assert!(Entry::from_element(&both).is_err());
    let mut none = entry().to_element();
    none.children.clear();
    assert!(Entry::from_element(&none).is_err());

    for broken in [
        Bundle {
            joiners: Vec::new(),
            ..bundle()
        },
        Bundle {
            welcome: None,
            ..bundle()
        },
        Bundle {
            joiners: vec![joiner(); limits::JOINERS + 1],
            ..bundle()
        },
    ] {
        assert!(Request::from_element(&Request::Commit(broken).to_element()).is_err());
    }
    let mut unserved = welcome();
    unserved.joiners.clear();
    assert!(Welcome::from_element(&unserved.to_element()).is_err());
    for kind in ["", "Commit", "rumour"] {
        let element = entry().to_element().with_attr("kind", kind);
        assert!(Entry::from_element(&element).is_err(), "{kind:?}");
    }
}

#[test]
fn kinds_have_octets() {
    for octet in 0..=u8::MAX {
        if let Some(kind) = EntryKind::from_octet(octet) {
            assert_eq!(kind.octet(), octet);
        } else {
            assert!(!(1..=4).contains(&octet));
        }
    }
}

/// Computed independently, with Python's hashlib, from the formula of the protocol document.
#[test]
fn the_chain_is_the_documented_one() {
    let hash = head(
        &GENESIS,
        &room(),
        1,
        EntryKind::Notice,
        1_700_000_000_123,
        &jid("alice@a.example"),
        &payload_hash(b"hello"),
    );
    let text: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        text,
        "f1c4aa9be4f6588b805d3fa6fe5100abfdf2fcd79f376fe23c8d28b96e2d43f0"
    );
}

#[test]
fn every_word_of_an_entry_is_in_its_head() {
    let previous = [7; 32];
    let honest = Entry {
        head: entry().computed_head(&previous),
        ..entry()
    };
    assert!(honest.follows(&previous));
    assert!(!honest.follows(&GENESIS));
    let cases: [fn(&mut Entry); 6] = [
        |e| e.room = jid("~abcdefghijklmnopqrstuvwxya@a.example"),
        |e| e.seq += 1,
        |e| e.kind = EntryKind::Proposal,
        |e| e.time += 1,
        |e| e.sender = jid("mallory@a.example"),
        |e| e.payload = Payload::Held(Bytes::from_static(b"other")),
    ];
    for (number, change) in cases.into_iter().enumerate() {
        let mut changed = honest.clone();
        change(&mut changed);
        assert!(!changed.follows(&previous), "case {number}");
    }
    let mut purged = honest.clone();
    purged.payload = Payload::Purged(honest.payload.hash());
    assert!(
        purged.follows(&previous),
        "a purged payload leaves its hash"
    );
}
