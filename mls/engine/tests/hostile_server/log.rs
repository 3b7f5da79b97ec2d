//! Entries of the log, answers of its hub, and cursors.

use bytes::Bytes;
use comity_mls_engine::{Answer, Request};
use comity_mls_wire::refusal::Refusal;
use comity_mls_wire::room::{self, Barred, Entry, EntryKind, Payload};
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;

use crate::lies::{CAROL, Ends, Row, Stage};
use crate::world::jid;

/// While Bob is away: two messages of Alice's.
fn two_messages(stage: &mut Stage) {
    stage.hold();
    let alice = stage.alice;
    stage.say(alice, "first");
    stage.say(alice, "second");
}

/// A message, a commit, a message.
fn across_a_commit(stage: &mut Stage) {
    stage.hold();
    let alice = stage.alice;
    stage.say(alice, "before");
    stage.update(alice);
    stage.say(alice, "behind");
}

/// Where the entries begin that Bob has not seen.
fn new(log: &[Entry], count: usize) -> usize {
    log.len() - count
}

fn payload(entry: &mut Entry, payload: &[u8]) {
    entry.payload = Payload::Held(Bytes::copy_from_slice(payload));
}

fn of(entry: &Entry) -> Bytes {
    let Payload::Held(payload) = &entry.payload else {
        panic!("purged")
    };
    payload.clone()
}

fn flipped(entry: &mut Entry) {
    let mut bytes = of(entry).to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    payload(entry, &bytes);
}

fn standing(room: BareJid, seq: u64) -> sync::Standing {
    sync::Standing {
        room,
        seq,
        since: 1,
        stored: 1,
    }
}

macro_rules! rows {
    ($($lie:literal, $told:expr, $ends:ident, $play:expr;)*) => {
        &[$(Row { lie: $lie, play: $play, told: &$told, ends: Ends::$ends },)*]
    };
}
pub(crate) use rows;

pub(crate) const TABLE: &[Row] = rows![
    "replays a message under the next number", ["Unreadable", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| log.push(log[new(log, 2)].clone()));
    };
    "replays an old message in place of a new one", ["Unreadable", "Lost", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| {
            let at = new(log, 2);
            log[at + 1] = log[at].clone();
        });
    };
    "hands the same entry over again", [], GoesOn, |stage| {
        two_messages(stage);
        stage.release();
        let entry = stage.world.rooms[&stage.room].log.last().unwrap().clone();
        let notice = comity_mls_engine::Notice::Sync(sync::Notice::Entry(entry));
        stage.world.deliver(stage.bob, notice);
    };
    "drops a message", ["Lost", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| drop(log.remove(new(log, 2))));
    };
    "drops the newest message", ["Lost", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| drop(log.pop()));
    };
    "turns two messages of one sender round", ["Lost", "Replayed", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| {
            let at = new(log, 2);
            log.swap(at, at + 1);
        });
    };
    "turns messages of two senders round", ["Fork"], GoesOn, |stage| {
        stage.hold();
        let (alice, carol) = (stage.alice, stage.carol);
        stage.say(alice, "a question");
        stage.say(carol, "an answer");
        stage.lie(|log| {
            let at = new(log, 2);
            log.swap(at, at + 1);
        });
    };
    "spoils a message", ["Unreadable", "Lost", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| { let at = new(log, 2); flipped(&mut log[at]); });
    };
    "invents a message", ["Unreadable", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| {
            let mut forged = log.last().unwrap().clone();
            payload(&mut forged, b"I, Carol, agree");
            forged.sender = jid(CAROL);
            log.push(forged);
        });
    };
    "invents a message of Bob's own", ["Unreadable", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        let bob = stage.device(stage.bob);
        stage.lie(|log| {
            let mut forged = log.last().unwrap().clone();
            forged.sender = bob.account.clone();
            forged.device = Some(bob.device);
            flipped(&mut forged);
            log.push(forged);
        });
    };
    "brings a message of another room", ["Unreadable", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        let (alice, other) = (stage.alice, stage.other.clone());
        stage.say_in(alice, &other, "for you alone");
        let foreign = stage.world.rooms[&other].log.last().unwrap().clone();
        let room = stage.room.clone();
        stage.lie(|log| log.push(Entry { room, ..foreign }));
    };
    "puts a message under another name", ["WrongSender", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| log.last_mut().unwrap().sender = jid(CAROL));
    };
    "puts a commit under another name", ["WrongSender", "Fork"], GoesOn, |stage| {
        across_a_commit(stage);
        stage.lie(|log| { let at = new(log, 2); log[at].sender = jid(CAROL); });
    };
    "moves a message to another day", ["Fork"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| log.last_mut().unwrap().time += 86_400_000);
    };
    "no longer holds a message", ["Unreadable", "Lost"], GoesOn, |stage| {
        two_messages(stage);
        stage.lie(|log| {
            let at = new(log, 2);
            log[at].payload = Payload::Purged(log[at].payload.hash());
        });
    };
    "no longer holds a commit", ["RoomResyncing", "Unreadable", "RoomResynced", "Rejoined"], GoesOn, |stage| {
        across_a_commit(stage);
        stage.lie(|log| {
            let at = new(log, 2);
            log[at].payload = Payload::Purged(log[at].payload.hash());
        });
    };
    "drops a commit", ["Unreadable"], Apart, |stage| {
        across_a_commit(stage);
        stage.lie(|log| drop(log.remove(new(log, 2))));
    };
    "replays a commit", ["RoomStopped"], Stopped, |stage| {
        across_a_commit(stage);
        stage.lie(|log| log.push(log[new(log, 2)].clone()));
    };
    "spoils a commit", ["RoomStopped"], Stopped, |stage| {
        across_a_commit(stage);
        stage.lie(|log| { let at = new(log, 2); payload(&mut log[at], b"no commit"); });
    };
    "calls a message a commit", ["RoomStopped"], Stopped, |stage| {
        two_messages(stage);
        stage.lie(|log| log.last_mut().unwrap().kind = EntryKind::Commit);
    };
    "calls a commit a message", ["HeadForged", "Unreadable"], Apart, |stage| {
        across_a_commit(stage);
        stage.lie(|log| { let at = new(log, 2); log[at].kind = EntryKind::Application; });
    };
    "calls a message a proposal", ["RoomStopped"], Stopped, |stage| {
        two_messages(stage);
        stage.lie(|log| log.last_mut().unwrap().kind = EntryKind::Proposal);
    };
    "invents a proposal", ["RoomStopped"], Stopped, |stage| {
        two_messages(stage);
        stage.lie(|log| {
            let mut forged = log.last().unwrap().clone();
            forged.kind = EntryKind::Proposal;
            payload(&mut forged, b"let us put Bob out");
            log.push(forged);
        });
    };
    "says that Carol commits no more", ["Barred", "Fork"], GoesOn, |stage| {
        two_messages(stage);
        let notice = room::Notice::Barred(Barred::new(&stage.device(stage.carol), 2));
        stage.lie(|log| {
            let mut forged = log.last().unwrap().clone();
            forged.kind = EntryKind::Notice;
            forged.device = None;
            payload(&mut forged, &notice.to_bytes());
            log.push(forged);
        });
    };
    "hides from the others what it shows Bob", ["Fork"], GoesOn, |stage| {
        let (alice, carol) = (stage.alice, stage.carol);
        let device = stage.device(alice);
        stage.world.disconnect(alice);
        stage.say(carol, "for some of you");
        let hub = stage.world.rooms.get_mut(&stage.room).unwrap();
        hub.lie_to(&device, |log| drop(log.pop()));
        stage.world.connect(alice);
        stage.world.run();
        // Her first words could have crossed with Carol's; the next cannot.
        stage.say(alice, "one");
        stage.say(alice, "two");
    };
    "shows Bob an epoch of his own", ["Unreadable"], Apart, |stage| {
        stage.hold();
        let room = stage.room.clone();
        stage.world.catch_up(&mut stage.mallory, &room);
        let request = stage.mallory.commit(&[], Vec::new());
        let room::Request::Commit(bundle) = request else { panic!("no commit") };
        let mallory = stage.mallory.member.clone();
        let alice = stage.alice;
        stage.update(alice);
        stage.lie(|log| {
            let last = log.last_mut().unwrap();
            last.sender = mallory.account;
            last.device = Some(mallory.device);
            last.payload = Payload::Held(bundle.commit);
        });
    };
    "changes the head of an entry", ["ChainBroken", "Withheld"], GoesOn, |stage| {
        two_messages(stage);
        stage.garble(|log| log.last_mut().unwrap().head[0] ^= 1);
    };
    "changes the time of an entry", ["ChainBroken", "Withheld"], GoesOn, |stage| {
        two_messages(stage);
        stage.garble(|log| log.last_mut().unwrap().time += 1);
    };
    "changes an entry's sender and not its head", ["ChainBroken", "Withheld"], GoesOn, |stage| {
        two_messages(stage);
        stage.garble(|log| log.last_mut().unwrap().sender = jid(CAROL));
    };
    "turns two entries round and not their numbers", ["ChainBroken", "Withheld"], GoesOn, |stage| {
        two_messages(stage);
        stage.garble(|log| {
            let at = new(log, 2);
            let (first, second) = (log[at].payload.clone(), log[at + 1].payload.clone());
            log[at].payload = second;
            log[at + 1].payload = first;
        });
    };
    "does not sign the head of a commit", ["HeadUnsigned"], GoesOn, |stage| {
        across_a_commit(stage);
        stage.garble(|log| { let at = new(log, 2); log[at].signature = None; });
    };
    "signs the head of a commit with nothing", ["HeadForged"], GoesOn, |stage| {
        across_a_commit(stage);
        stage.garble(|log| { let at = new(log, 2); log[at].signature = Some(Bytes::new()); });
    };
    "signs the head of a commit with another domain's key", ["HeadForged"], GoesOn, |stage| {
        across_a_commit(stage);
        let key = stage.world.domains["b.example"].hub_key.clone();
        stage.garble(|log| {
            let at = new(log, 2);
            log[at].signature = Some(key.sign(b"whatever").unwrap().into());
        });
    };
    "leaves a number out", ["Withheld"], GoesOn, |stage| {
        two_messages(stage);
        stage.garble(|log| drop(log.remove(new(log, 2))));
    };
    "numbers an entry beyond all others", ["Withheld"], GoesOn, |stage| {
        two_messages(stage);
        stage.garble(|log| log.last_mut().unwrap().seq = u64::MAX);
    };
    "brings an entry under another room's name", ["Withheld"], GoesOn, |stage| {
        two_messages(stage);
        let strange = jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example");
        stage.garble(|log| log.last_mut().unwrap().room = strange);
    };
    "speaks of entries that it does not have", ["Withheld"], GoesOn, |stage| {
        stage.hold();
        let room = stage.room.clone();
        stage.world.lie = Some(Box::new(move |_, _, answer| match answer {
            Ok(Answer::Sync(sync::Answer::Syncing { .. })) => {
                let rooms = vec![standing(room.clone(), u64::MAX)];
                Ok(Answer::Sync(sync::Answer::Syncing { rooms }))
            }
            other => other,
        }));
        stage.release();
        stage.world.run_for(200_000);
        stage.world.lie = None;
        stage.hold();
        stage.release();
    };
    "speaks of rooms that Bob is not in", [], GoesOn, |stage| {
        stage.hold();
        stage.world.lie = Some(Box::new(|_, _, answer| match answer {
            Ok(Answer::Sync(sync::Answer::Syncing { mut rooms })) => {
                rooms.push(standing(jid("~aaaaaaaaaaaaaaaaaaaaaaaaaa@a.example"), 7));
                Ok(Answer::Sync(sync::Answer::Syncing { rooms }))
            }
            other => other,
        }));
        stage.release();
    };
    "says that Bob's message is where it is not", ["Withheld"], GoesOn, |stage| {
        let bob = stage.bob;
        stage.world.lie = Some(Box::new(move |client, request, answer| {
            match (request, answer) {
                (Request::Room(room::Request::Send { .. }), Ok(Answer::Room(room::Answer::Accepted(accepted)))) if client == bob => {
                    let accepted = room::Accepted { seq: accepted.seq + 9, ..accepted };
                    Ok(Answer::Room(room::Answer::Accepted(accepted)))
                }
                (_, answer) => answer,
            }
        }));
        let (room, now) = (stage.room.clone(), stage.world.now);
        stage.hold();
        stage.world.input(bob, |e| e.send(&room, "text", b"where?", now));
        stage.says(bob, b"where?");
        stage.release();
        stage.world.run_for(200_000);
    };
    "answers something else than it was asked", ["Unexpected"], GoesOn, |stage| {
        stage.hold();
        stage.world.lie = Some(Box::new(|_, request, answer| match request {
            Request::Sync(sync::Request::Acknowledge { .. }) => {
                Ok(Answer::Sync(sync::Answer::Syncing { rooms: Vec::new() }))
            }
            _ => answer,
        }));
        let alice = stage.alice;
        stage.say(alice, "hm");
        stage.release();
    };
    "refuses Bob's message", ["Refused"], GoesOn, |stage| {
        let bob = stage.bob;
        let (room, now) = (stage.room.clone(), stage.world.now);
        let refused = Refusal::NotAllowed { rule: "I do not like it".to_owned() };
        stage.world.refusing = Some(refused);
        stage.world.input(bob, |e| e.send(&room, "text", b"unheard", now));
        stage.world.run();
        stage.world.refusing = None;
    };
    "says that Bob's message came too late, and it did not", [], GoesOn, |stage| {
        let bob = stage.bob;
        let refused = Refusal::StaleEpoch { epoch: 0, seq: 1 };
        stage.world.refusing = Some(refused);
        stage.say(bob, "in time");
        stage.world.run_for(30_000);
        stage.world.refusing = None;
        stage.world.run_for(60_000);
    };
];
