//! What is said outside the log: to who is there, once, and never in the way of what is in the log.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Error, Event, MAX_EPHEMERAL, Notice, Warning, What};
use comity_mls_wire::room::{Ephemeral, Payload, Request};
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

/// Alice at a, Bob at b, in a room of Alice's.
fn two() -> (World, usize, usize, BareJid) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world
        .input(alice, |e| e.create_room(Some("Tea"), now))
        .unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    (world, alice, bob, room)
}

fn say(world: &mut World, client: usize, room: &BareJid, words: &str) {
    let now = world.now;
    world.input(client, |e| e.send(room, "text", words.as_bytes(), now));
    world.run();
}

/// Says something outside the log; what the hub has of it.
fn hint(world: &mut World, client: usize, room: &BareJid, words: &str) -> Option<Ephemeral> {
    let now = world.now;
    let sent = world.input(client, |e| {
        e.send_ephemeral(room, "text", words.as_bytes(), now)
    });
    world.run();
    let passed = world.rooms.get_mut(room).unwrap().ephemeral.pop();
    assert_eq!(sent, Some(passed.is_some()));
    passed
}

fn hand(world: &mut World, client: usize, ephemeral: &Ephemeral) {
    world.deliver(
        client,
        Notice::Sync(sync::Notice::Ephemeral(ephemeral.clone())),
    );
    world.run();
}

fn heard(world: &World, client: usize) -> Vec<String> {
    let said = |event: &Event| match event {
        Event::Ephemeral { content, .. } => Some(String::from_utf8(content.clone()).unwrap()),
        _ => None,
    };
    world.clients[client]
        .events
        .iter()
        .filter_map(said)
        .collect()
}

fn doubted(world: &World, client: usize) -> usize {
    let doubt = |event: &&Event| {
        matches!(
            event,
            Event::Warning {
                warning: Warning::Ephemeral { .. },
                ..
            }
        )
    };
    world.clients[client].events.iter().filter(doubt).count()
}

#[test]
fn it_is_heard_once_and_stands_nowhere() {
    let (mut world, alice, bob, room) = two();
    let length = world.rooms[&room].log.len();
    let typing = hint(&mut world, alice, &room, "typing").unwrap();
    hand(&mut world, bob, &typing);
    assert_eq!(heard(&world, bob), ["typing"]);
    assert_eq!(world.rooms[&room].log.len(), length);
    say(&mut world, alice, &room, "hello");
    assert_eq!(world.words(bob, &room), ["hello"]);
    world.assert_unwarned();
    // A server gives it again: the key is spent.
    hand(&mut world, bob, &typing);
    assert_eq!(heard(&world, bob), ["typing"]);
    assert_eq!(doubted(&world, bob), 1);
    world.restart(bob);
    world.run();
    hand(&mut world, bob, &typing);
    assert_eq!(heard(&world, bob), ["typing"]);
    // Its sender is not told what it said itself.
    hand(&mut world, alice, &typing);
    assert_eq!((heard(&world, alice).len(), doubted(&world, alice)), (0, 0));
}

#[test]
fn what_is_lost_of_it_is_no_loss_and_no_more_than_five_hundred_are_sent() {
    let (mut world, alice, bob, room) = two();
    say(&mut world, alice, &room, "before");
    for _ in 0..500 {
        assert!(hint(&mut world, alice, &room, "typing").is_some());
    }
    assert_eq!(hint(&mut world, alice, &room, "typing"), None);
    // Counted in the store: a restart does not begin anew.
    world.restart(alice);
    world.run();
    assert_eq!(hint(&mut world, alice, &room, "typing"), None);
    say(&mut world, alice, &room, "after");
    assert_eq!(world.words(bob, &room), ["before", "after"]);
    world.assert_unwarned();
    let now = world.now;
    world.input(bob, |e| e.update(&room, now));
    world.run();
    assert!(hint(&mut world, alice, &room, "typing").is_some());
}

#[test]
fn nothing_is_said_so_that_cannot_be_said_now() {
    let (mut world, alice, bob, room) = two();
    world.disconnect(alice);
    assert_eq!(hint(&mut world, alice, &room, "typing"), None);
    world.connect(alice);
    world.run();
    assert_eq!(
        world.rooms[&room].ephemeral.len(),
        0,
        "it is not sent later"
    );
    // A proposal is pending: the next in the epoch is a commit (RFC 9420 §12.4).
    world.cut(alice);
    let now = world.now;
    world.input(bob, |e| e.leave(&room, now));
    world.run();
    world.restart(alice);
    world.run();
    assert_eq!(hint(&mut world, alice, &room, "typing"), None);
    let long = vec![b'x'; MAX_EPHEMERAL + 1];
    let now = world.now;
    let refused = world
        .engine(alice)
        .send_ephemeral(&room, "text", &long, now);
    assert!(matches!(refused, Err(Error::TooMuch { .. })), "{refused:?}");
    let refused = world.engine(alice).send_ephemeral(&room, "a b", b"", now);
    assert!(matches!(refused, Err(Error::ContentType)), "{refused:?}");
}

#[test]
fn what_is_of_another_epoch_says_nothing() {
    let (mut world, alice, bob, room) = two();
    let late = hint(&mut world, alice, &room, "late").unwrap();
    let now = world.now;
    world.input(alice, |e| e.update(&room, now));
    world.run();
    hand(&mut world, bob, &late);
    assert_eq!(heard(&world, bob).len(), 0);
    world.assert_unwarned();
    // The server claims that it is of this one.
    let mut forged = late;
    forged.epoch += 1;
    hand(&mut world, bob, &forged);
    assert_eq!((heard(&world, bob).len(), doubted(&world, bob)), (0, 1));
}

#[test]
fn a_message_of_the_log_is_not_spent_by_passing_it_off_as_another() {
    let (mut world, alice, bob, room) = two();
    world.cut(bob);
    say(&mut world, alice, &room, "hello");
    let entry = world.rooms[&room].log.last().unwrap().clone();
    let Payload::Held(message) = entry.payload else {
        panic!("purged")
    };
    let forged = Ephemeral {
        room: room.clone(),
        epoch: entry.epoch,
        sender: entry.sender,
        device: entry.device.unwrap(),
        message,
    };
    for _ in 0..3 {
        hand(&mut world, bob, &forged);
    }
    assert_eq!((heard(&world, bob).len(), doubted(&world, bob)), (0, 3));
    world.restart(bob);
    world.run();
    assert_eq!(world.words(bob, &room), ["hello"]);
}

#[test]
fn what_is_outside_the_log_has_no_place_in_it() {
    let (mut world, alice, bob, room) = two();
    let typing = hint(&mut world, alice, &room, "typing").unwrap();
    // A hub that puts it into the log nevertheless.
    let key = comity_mls_wire::room::IdempotencyKey(uuid::Uuid::from_u128(7));
    let from = comity_mls_wire::room::Member {
        account: typing.sender.clone(),
        device: typing.device,
    };
    let (epoch, message) = (typing.epoch, typing.message.clone());
    let request = Request::Send {
        key,
        epoch,
        message,
    };
    let now = world.now;
    let hub = world.rooms.get_mut(&room).unwrap();
    hub.answer(&from, request, now).unwrap();
    world.cut(alice);
    world.push();
    world.run();
    let last = world.history(bob, &room).pop().unwrap();
    assert!(matches!(last.what, What::Unreadable(_)), "{last:?}");
    hand(&mut world, bob, &typing);
    assert_eq!(heard(&world, bob), ["typing"]);
    say(&mut world, bob, &room, "hello");
    assert_eq!(doubted(&world, bob), 0);
}

#[test]
fn who_is_named_must_have_written_it() {
    let (mut world, alice, bob, room) = two();
    let typing = hint(&mut world, alice, &room, "typing").unwrap();
    let mut forged = typing.clone();
    forged.sender = jid("carol@a.example");
    hand(&mut world, bob, &forged);
    forged.sender = typing.sender.clone();
    forged.device = uuid::Uuid::from_u128(99);
    hand(&mut world, bob, &forged);
    let mut garbled = typing.message.to_vec();
    *garbled.last_mut().unwrap() ^= 1;
    forged = Ephemeral {
        message: garbled.into(),
        ..typing.clone()
    };
    hand(&mut world, bob, &forged);
    assert_eq!((heard(&world, bob).len(), doubted(&world, bob)), (0, 3));
    hand(&mut world, bob, &typing);
    assert_eq!(heard(&world, bob), ["typing"]);
}
