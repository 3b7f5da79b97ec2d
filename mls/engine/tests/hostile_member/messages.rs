//! What a member says: positions, counters, ids, sizes, and what stands in the content.

use comity_mls_credential::franking;
use comity_mls_engine::{MAX_CONTENT, What};
use comity_mls_wire::authenticated::AuthenticatedData;
use comity_mls_wire::room::{EntryKind, Payload, Request};
use mls_rs_codec::{MlsEncode, MlsSize};

use crate::lies::{Ends, Row, Stage};
use crate::world::raw::key;

/// PROTOCOL.md §12.5, as whoever keeps no rules writes it.
#[derive(Clone, MlsSize, MlsEncode)]
struct Said {
    version: u8,
    id: [u8; 16],
    counter: u64,
    seq: u64,
    head: [u8; 32],
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    epoch_authenticator: Vec<u8>,
    log_head: Option<Head>,
    franking_key: [u8; 32],
    content_type: Bytes,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    content: Vec<u8>,
    #[mls_codec(with = "mls_rs_codec::byte_vec")]
    padding: Vec<u8>,
}

#[derive(Clone, MlsSize, MlsEncode)]
struct Head(#[mls_codec(with = "mls_rs_codec::byte_vec")] Vec<u8>);

#[derive(Clone, MlsSize, MlsEncode)]
struct Bytes(#[mls_codec(with = "mls_rs_codec::byte_vec")] Vec<u8>);

/// What an honest program would say now, as its message `counter`.
fn honest(stage: &mut Stage, counter: u64, words: &str) -> Said {
    let room = stage.room.clone();
    stage.world.catch_up(&mut stage.mallory, &room);
    let last = stage.world.rooms[&room].log.last().unwrap();
    let (seq, head) = (last.seq, last.head);
    let authenticator = stage.mallory.group().epoch_authenticator().unwrap();
    let mut id = [0x66; 16];
    id[..8].copy_from_slice(&counter.to_be_bytes());
    Said {
        version: 1,
        id,
        counter,
        seq,
        head,
        epoch_authenticator: authenticator.as_bytes().to_vec(),
        log_head: None,
        franking_key: [5; 32],
        content_type: Bytes(b"text".to_vec()),
        content: words.as_bytes().to_vec(),
        padding: vec![0; 20],
    }
}

/// Sends these octets as an application message.
fn send(stage: &mut Stage, octets: &[u8]) {
    send_with(stage, octets, Vec::new());
}

/// With that beside it.
fn send_with(stage: &mut Stage, octets: &[u8], data: Vec<u8>) {
    let message = stage
        .mallory
        .group()
        .encrypt_application_message(octets, data);
    let message = message.unwrap().to_bytes().unwrap();
    send_message(stage, message);
}

/// The tag of that, under the key that is said.
fn tag(said: &Said, content: &[u8]) -> Vec<u8> {
    let message = franking::Message {
        id: &said.id,
        content_type: std::str::from_utf8(&said.content_type.0).unwrap_or_default(),
        content,
    };
    let tag = message.tag(&said.franking_key).unwrap();
    AuthenticatedData::franked(tag).to_bytes().unwrap()
}

/// As if it were said, with that beside it.
fn franked(stage: &mut Stage, data: impl FnOnce(&Said) -> Vec<u8>) {
    let said = honest(stage, 1, "nobody can show this");
    let octets = said.mls_encode_to_vec().unwrap();
    let data = data(&said);
    send_with(stage, &octets, data);
}

fn send_message(stage: &mut Stage, message: Vec<u8>) {
    let epoch = stage.mallory.group().current_epoch();
    stage.hand_in(Request::Send {
        key: key(),
        epoch,
        message: message.into(),
    });
    // Her own entry is nothing to her.
    let room = stage.room.clone();
    stage.world.catch_up(&mut stage.mallory, &room);
}

fn say(stage: &mut Stage, said: &Said) {
    let octets = said.mls_encode_to_vec().unwrap();
    send_with(stage, &octets, tag(said, &said.content));
}

/// Mallory has spoken once as everybody does; then she says something that is not so.
fn second(stage: &mut Stage, lie: impl FnOnce(&mut Said)) {
    let first = honest(stage, 1, "I am Mallory");
    stage.mallory_says(&first.content);
    say(stage, &first);
    let mut said = honest(stage, 2, "as you know");
    lie(&mut said);
    say(stage, &said);
}

/// The same, and what she says is hers to say.
fn said(stage: &mut Stage, lie: impl FnOnce(&mut Said)) {
    second(stage, |said| {
        lie(said);
    });
    stage.mallory_says(b"as you know");
}

/// Nonce, check, source, secret (PROTOCOL.md §12.5).
fn offer(source: u8, octets: usize) -> Vec<u8> {
    let mut offer = vec![7; 48];
    offer.push(source);
    offer.extend(vec![9; octets]);
    offer
}

/// Says that, in the engine's own words.
fn psk(stage: &mut Stage, content_type: &[u8], content: &[u8]) {
    second(stage, |said| {
        said.content_type = Bytes(content_type.to_vec());
        said.content = content.to_vec();
    });
}

macro_rules! rows {
    ($($lie:literal, $told:expr, $ends:ident, $play:expr;)*) => {
        &[$(Row { lie: $lie, play: $play, told: &$told, ends: Ends::$ends },)*]
    };
}
pub(crate) use rows;

pub(crate) const TABLE: &[Row] = rows![
    "says what she may", [], GoesOn, |stage| {
        said(stage, |_| {});
    };
    "says what could not be reported", ["Unfranked", "Unreadable"], GoesOn, |stage| {
        franked(stage, |_| Vec::new());
    };
    "puts the tag of other words beside hers", ["Unfranked", "Unreadable"], GoesOn, |stage| {
        franked(stage, |said| tag(said, b"see you tomorrow"));
    };
    "puts beside hers what is no tag", ["Unfranked", "Unreadable"], GoesOn, |stage| {
        franked(stage, |_| b"\0\x01\0".to_vec());
    };
    "hands out a key, which is never used", [], GoesOn, |stage| {
        psk(stage, b"psk", &offer(1, 32));
    };
    "hands out one after the other", [], GoesOn, |stage| {
        psk(stage, b"psk", &offer(1, 32));
        let mut said = honest(stage, 3, "");
        said.content_type = Bytes(b"psk".to_vec());
        said.content = offer(1, 32);
        say(stage, &said);
    };
    "hands out what is no key", ["Unreadable"], GoesOn, |stage| {
        psk(stage, b"psk", &offer(1, 31));
    };
    "hands out a key from a source that does not exist", ["Unreadable"], GoesOn, |stage| {
        psk(stage, b"psk", &offer(3, 32));
    };
    "says to hold a key that nobody handed out", [], GoesOn, |stage| {
        psk(stage, b"psk-held", &[7; 16]);
    };
    "says to hold what names no key", [], GoesOn, |stage| {
        psk(stage, b"psk-held", &[7; 15]);
    };
    "sends Alice's message again as hers", ["Unreadable"], GoesOn, |stage| {
        let alice = stage.alice;
        stage.say(alice, "I owe Mallory nothing");
        let entry = stage.world.rooms[&stage.room].log.last().unwrap().clone();
        assert_eq!(entry.kind, EntryKind::Application);
        let Payload::Held(payload) = entry.payload else { panic!("purged") };
        let room = stage.room.clone();
        stage.world.catch_up(&mut stage.mallory, &room);
        send_message(stage, payload.to_vec());
    };
    "sends her own message again", ["Unreadable"], GoesOn, |stage| {
        let first = honest(stage, 1, "once");
        stage.mallory_says(&first.content);
        say(stage, &first);
        let entry = stage.world.rooms[&stage.room].log.last().unwrap().clone();
        let Payload::Held(payload) = entry.payload else { panic!("purged") };
        send_message(stage, payload.to_vec());
    };
    "counts a message twice", ["Replayed"], GoesOn, |stage| {
        second(stage, |said| said.counter = 1);
    };
    "counts backwards", ["Replayed"], GoesOn, |stage| {
        second(stage, |said| said.counter = 0);
    };
    "leaves numbers out", ["Lost"], GoesOn, |stage| {
        said(stage, |said| said.counter = 7);
    };
    "counts as far as one can", ["Lost"], GoesOn, |stage| {
        said(stage, |said| said.counter = u64::MAX);
    };
    "says the same again under another number", ["Replayed"], GoesOn, |stage| {
        second(stage, |said| said.id[..8].copy_from_slice(&1_u64.to_be_bytes()));
    };
    "gives her message the id of Alice's", ["ForgedId"], GoesOn, |stage| {
        let alice = stage.alice;
        stage.say(alice, "the real one");
        let items = stage.world.history(stage.bob, &stage.room);
        let What::Message(message) = &items.last().unwrap().what else { panic!("no message") };
        let id = message.id;
        second(stage, |said| said.id = id);
    };
    "gives her message the id of Bob's", ["ForgedId"], GoesOn, |stage| {
        let bob = stage.bob;
        stage.say(bob, "mine");
        let items = stage.world.history(bob, &stage.room);
        let What::Message(message) = &items.last().unwrap().what else { panic!("no message") };
        let id = message.id;
        second(stage, |said| said.id = id);
    };
    "holds a part of the log that is still to come", ["Fork"], GoesOn, |stage| {
        said(stage, |said| said.seq += 100);
    };
    "holds another log", ["Fork"], GoesOn, |stage| {
        said(stage, |said| said.head[0] ^= 1);
    };
    "is in another epoch, as she says", ["Fork"], GoesOn, |stage| {
        said(stage, |said| said.epoch_authenticator[0] ^= 1);
    };
    "has no epoch authenticator", ["Fork"], GoesOn, |stage| {
        said(stage, |said| said.epoch_authenticator.clear());
    };
    "speaks a version that is still to come", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| said.version = 2);
    };
    "says nothing at all", ["Unreadable"], GoesOn, |stage| {
        honest(stage, 1, "");
        send(stage, b"");
    };
    "breaks off", ["Unreadable"], GoesOn, |stage| {
        let octets = honest(stage, 1, "breaks off").mls_encode_to_vec().unwrap();
        send(stage, &octets[..octets.len() / 2]);
    };
    "says more than fits", ["Unreadable"], GoesOn, |stage| {
        let mut octets = honest(stage, 1, "more").mls_encode_to_vec().unwrap();
        octets.push(0);
        send(stage, &octets);
    };
    "says too much", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| said.content = vec![b'x'; MAX_CONTENT + 1]);
    };
    "says far too much", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| said.padding = vec![0; 1_000_000]);
    };
    "has a content type without end", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| said.content_type = Bytes(vec![b'x'; 129]));
    };
    "has a content type that clears the screen", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| said.content_type = Bytes(b"text\x1b[2J".to_vec()));
    };
    "has a content type that is no text", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| said.content_type = Bytes(vec![0xff, 0xfe]));
    };
    "calls the room by what is no text", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| {
            said.content_type = Bytes(b"room-state".to_vec());
            said.content = vec![0xff];
        });
    };
    "calls the room by a name without end", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| {
            said.content_type = Bytes(b"room-state".to_vec());
            said.content = vec![b'x'; 257];
        });
    };
    "calls the room by a name that sets the terminal's title", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| {
            said.content_type = Bytes(b"room-state".to_vec());
            said.content = b"\x1b]0;bank\x07".to_vec();
        });
    };
    "calls the room by a name of two lines", ["Unreadable"], GoesOn, |stage| {
        second(stage, |said| {
            said.content_type = Bytes(b"room-state".to_vec());
            said.content = b"Tea\r\nalice@a.example: I agree".to_vec();
        });
    };
    "shows a head of a transparency log that is none, which says nothing of the domain", [], GoesOn, |stage| {
        said(stage, |said| said.log_head = Some(Head(b"head".to_vec())));
    };
    "shows a head of a domain that nobody knows, whom nobody asks", [], GoesOn, |stage| {
        let mut head = stage.world.domains["a.example"].head().to_vec();
        let at = head.windows(9).position(|w| w == b"a.example").unwrap();
        head[at] = b'z';
        said(stage, |said| said.log_head = Some(Head(head)));
    };
];
