//! How far members have come, as they say themselves.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::Event;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

fn held(world: &World, client: usize, room: &BareJid, by: usize) -> Option<u64> {
    let (account, device) = (&world.clients[by].account, world.device_id(by));
    let held = world.clients[client].engine.held_by(room).unwrap();
    let found = held
        .into_iter()
        .find(|(who, _)| who.account == account.as_str() && who.id() == device);
    found.map(|(_, seq)| seq)
}

fn last(world: &World, room: &BareJid) -> u64 {
    world.rooms[room].log.len() as u64
}

fn reads(world: &mut World, client: usize, room: &BareJid) -> bool {
    let now = world.now;
    let sent = world.input(client, |e| e.acknowledge_reading(room, now));
    world.run();
    sent.unwrap().is_some()
}

#[test]
fn members_learn_who_holds_what_was_said_and_servers_do_not() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    let guests = [jid("bob@b.example"), jid("carol@b.example")];
    world.input(alice, |e| e.invite(&room, &guests, now));
    world.run();
    assert_eq!(held(&world, alice, &room, bob), None);
    // Where nothing was said nothing is acknowledged.
    assert!(!reads(&mut world, bob, &room));
    let now = world.now;
    world.input(alice, |e| e.send(&room, "text", b"hello", now));
    world.run();
    let said = last(&world, &room);
    assert!(reads(&mut world, bob, &room));
    assert_eq!(last(&world, &room), said + 1);
    assert_eq!(held(&world, alice, &room, bob), Some(said));
    assert_eq!(held(&world, carol, &room, bob), Some(said));
    assert_eq!(held(&world, alice, &room, carol), None);
    let told = world.clients[alice].events.iter().any(|event| {
        matches!(event, Event::Acknowledged { by, seq, .. }
            if by.account == "bob@b.example" && *seq == said)
    });
    assert!(told);
    // Once, and no acknowledgement is acknowledged.
    assert!(!reads(&mut world, bob, &room));
    assert!(!reads(&mut world, alice, &room));
    // What somebody says acknowledges what came before; nobody is shown an acknowledgement.
    let now = world.now;
    world.input(carol, |e| e.send(&room, "text", b"hello you two", now));
    world.run();
    assert_eq!(held(&world, alice, &room, carol), Some(said + 1));
    for client in [alice, bob, carol] {
        assert_eq!(world.words(client, &room), ["hello", "hello you two"]);
    }
    // To the hub it is a message like any other: of the length that many have.
    let length = |seq: u64| {
        let entry = &world.rooms[&room].log[usize::try_from(seq - 1).unwrap()];
        match &entry.payload {
            comity_mls_wire::room::Payload::Held(payload) => payload.len(),
            comity_mls_wire::room::Payload::Purged(_) => panic!("purged"),
        }
    };
    assert!(length(said + 1).abs_diff(length(said + 2)) <= 128);
    // It outlasts a restart, and ends where one is gone and comes again.
    world.restart(bob);
    world.run();
    assert_eq!(held(&world, bob, &room, carol), Some(said + 1));
    world.assert_unwarned();
}
