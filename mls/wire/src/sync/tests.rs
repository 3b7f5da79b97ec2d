use comity_xmpp::stanza::IqType;
use uuid::Uuid;

use super::*;

fn room() -> BareJid {
    BareJid::parse("~abcdefghijklmnopqrstuvwxyz@a.example").unwrap()
}

#[test]
fn everything_round_trips() {
    for request in [
        Request::Sync {
            cursors: Vec::new(),
        },
        Request::Sync {
            cursors: vec![(room(), 12)],
        },
        Request::Acknowledge {
            room: room(),
            seq: 12,
        },
        Request::AcknowledgeWelcome {
            id: Uuid::from_u128(1),
        },
    ] {
        let element = request.to_element();
        assert_eq!(Request::from_iq(IqType::Set, &element), Ok(request));
        assert!(Request::from_iq(IqType::Get, &element).is_err());
    }
    for answer in [
        Answer::Syncing {
            rooms: vec![Standing {
                room: room(),
                seq: 7,
                since: 2,
                stored: 5,
            }],
        },
        Answer::Acknowledged,
    ] {
        assert_eq!(Answer::from_element(&answer.to_element()), Ok(answer));
    }
}

#[test]
fn what_is_outside_the_log_is_small() {
    let ephemeral = |octets| crate::room::Ephemeral {
        room: room(),
        epoch: 7,
        sender: BareJid::parse("alice@a.example").unwrap(),
        device: Uuid::from_u128(1),
        message: vec![1; octets].into(),
    };
    let most = crate::limits::EPHEMERAL_BYTES;
    let notice = Notice::Ephemeral(ephemeral(most));
    assert_eq!(Notice::from_element(&notice.to_element()), Ok(notice));
    assert!(Notice::from_element(&ephemeral(most + 1).to_element()).is_err());
}

#[test]
fn a_room_request_is_no_sync_request() {
    let acknowledge = crate::room::Request::Acknowledge {
        seq: 1,
        welcomes: Vec::new(),
        active: Vec::new(),
    };
    assert!(Request::from_element(&acknowledge.to_element()).is_err());
    let sync = Request::Sync {
        cursors: Vec::new(),
    };
    assert!(crate::room::Request::from_element(&sync.to_element()).is_err());
}

#[test]
fn rooms_are_bounded() {
    let cursors = vec![(room(), 1); crate::limits::ROOMS + 1];
    assert!(Request::from_element(&Request::Sync { cursors }.to_element()).is_err());
}
