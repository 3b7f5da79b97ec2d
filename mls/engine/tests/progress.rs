//! Who comes back to much is told how far it is.

mod world;

use comity_mls_engine::Event;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

fn progress(world: &World, client: usize) -> Vec<(u64, u64)> {
    let of = |event: &Event| match event {
        Event::CatchingUp { done, total, .. } => Some((*done, *total)),
        _ => None,
    };
    world.clients[client].events.iter().filter_map(of).collect()
}

fn says(world: &mut World, client: usize, room: &BareJid, count: usize) {
    let now = world.now;
    for _ in 0..count {
        world.input(client, |e| e.send(room, "text", b"hello", now));
    }
    world.run();
}

#[test]
fn catching_up_is_told_from_its_start_to_its_end_and_a_little_is_not() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world
        .input(alice, |e| e.create_room(Some("Tea"), now))
        .unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    world.disconnect(bob);
    says(&mut world, alice, &room, 20);
    world.connect(bob);
    world.run();
    assert_eq!(progress(&world, bob), []);
    world.disconnect(bob);
    says(&mut world, alice, &room, 200);
    world.connect(bob);
    world.run();
    let told = progress(&world, bob);
    assert_eq!(told.first(), Some(&(0, 200)));
    assert_eq!(told.last(), Some(&(200, 200)));
    assert!(
        told.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "{told:?}"
    );
    assert!(told.len() <= 22, "{told:?}");
    assert_eq!(world.words(bob, &room).len(), 220);
    world.assert_unwarned();
}
