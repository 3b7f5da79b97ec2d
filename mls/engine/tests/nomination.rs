//! What is pending is committed by whom the hub asks, where nobody has something to send.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::RoomState;
use comity_mls_wire::room::Member;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

/// Alice, Bob and Carol in a room; Dave has just proposed to leave it.
fn stage() -> (World, [usize; 3], usize, BareJid) {
    let mut world = World::new(&["a.example", "b.example"]);
    let names = [
        "alice@a.example",
        "bob@b.example",
        "carol@b.example",
        "dave@b.example",
    ];
    let clients = names.map(|name| world.enrolled(name));
    let [alice, bob, carol, dave] = clients;
    let now = world.now;
    let room = world
        .input(alice, |e| e.create_room(Some("Council"), now))
        .unwrap();
    world.run();
    let others = [jid(names[1]), jid(names[2]), jid(names[3])];
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &others, now));
    world.run();
    (world, [alice, bob, carol], dave, room)
}

fn leave(world: &mut World, client: usize, room: &BareJid) {
    let now = world.now;
    world.input(client, |e| e.leave(room, now));
    world.run();
}

fn is_out(world: &mut World, client: usize) -> bool {
    world.engine(client).rooms().unwrap()[0].state == RoomState::Left
}

fn asked(world: &World, room: &BareJid) -> Vec<Member> {
    let nominated = world.rooms[room].nominated.iter();
    nominated.map(|(member, _)| member.clone()).collect()
}

fn member(world: &World, client: usize) -> Member {
    Member {
        account: world.clients[client].engine.account().clone(),
        device: world.device_id(client),
    }
}

#[test]
fn who_is_asked_commits_and_nobody_else() {
    let (mut world, [alice, bob, carol], dave, room) = stage();
    let before = world.rooms[&room].commits;
    leave(&mut world, dave, &room);
    world.run_for(1_900);
    assert!(!is_out(&mut world, dave));
    world.run_for(200);
    assert!(is_out(&mut world, dave));
    world.run_for(10 * 60_000);
    assert_eq!(world.rooms[&room].commits, before + 1);
    assert_eq!(world.rooms[&room].stale, 0);
    world.assert_agreement(&room, &[alice, bob, carol]);
    world.assert_unwarned();
}

#[test]
fn after_who_does_not_commit_the_next_one_is_asked() {
    let (mut world, [alice, bob, carol], dave, room) = stage();
    leave(&mut world, dave, &room);
    // Bob acknowledges the proposal last, and is gone.
    let bobs = member(&world, bob);
    world.rooms.get_mut(&room).unwrap().seen(&bobs);
    world.disconnect(bob);
    world.run_for(2_000);
    assert_eq!(asked(&world, &room), [bobs]);
    world.run_for(29_000);
    assert!(!is_out(&mut world, dave));
    world.run_for(1_000);
    assert!(is_out(&mut world, dave));
    world.connect(bob);
    world.run();
    world.assert_agreement(&room, &[alice, bob, carol]);
    world.assert_unwarned();
}

#[test]
fn who_was_asked_commits_when_it_is_back() {
    let (mut world, [alice, bob, carol], dave, room) = stage();
    leave(&mut world, dave, &room);
    world.rooms.get_mut(&room).unwrap().nominates = false;
    for client in [bob, carol] {
        world.disconnect(client);
    }
    let (bobs, now) = (member(&world, bob), world.now);
    world
        .rooms
        .get_mut(&room)
        .unwrap()
        .ask_to_commit(&bobs, now);
    world.run_for(60_000);
    assert!(!is_out(&mut world, dave));
    // It has read that it is asked and could not commit any more: it does after its restart.
    world.connect(bob);
    world.cut(bob);
    world.restart(bob);
    world.connect(bob);
    world.run();
    assert!(is_out(&mut world, dave));
    world.connect(carol);
    world.run();
    world.assert_agreement(&room, &[alice, bob, carol]);
    world.assert_unwarned();
}

#[test]
fn what_the_hub_asks_of_others_or_of_another_epoch_moves_nobody() {
    let (mut world, [alice, bob, carol], dave, room) = stage();
    world.rooms.get_mut(&room).unwrap().nominates = false;
    let (alices, daves) = (member(&world, alice), member(&world, dave));
    let now = world.now;
    // Nothing is pending: being asked is not to be heeded in the next epoch.
    let hub = world.rooms.get_mut(&room).unwrap();
    hub.ask_to_commit(&alices, now);
    world.run_for(1_000);
    let now = world.now;
    world.input(bob, |e| e.send(&room, "text", b"hello", now));
    world.run_for(1_000);
    let before = world.rooms[&room].commits;
    let now = world.now;
    world.input(carol, |e| e.update(&room, now));
    world.run();
    assert_eq!(world.rooms[&room].commits, before + 1);
    leave(&mut world, dave, &room);
    // Who leaves cannot commit it.
    let now = world.now;
    world
        .rooms
        .get_mut(&room)
        .unwrap()
        .ask_to_commit(&daves, now);
    world.run_for(110_000);
    assert!(!is_out(&mut world, dave));
    // A hub that asks nobody who could: in the end the members do it by themselves.
    world.run_for(30_000);
    assert!(is_out(&mut world, dave));
    assert_eq!(world.rooms[&room].commits, before + 2);
    world.assert_agreement(&room, &[alice, bob, carol]);
    world.assert_unwarned();
}
