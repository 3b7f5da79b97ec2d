//! What a message costs does not grow with its room.

mod world;

use comity_mls_engine::Space;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

/// Octets of a device's rows of that kind.
fn octets(world: &World, client: usize, space: Space) -> usize {
    let rows = world.clients[client].store.rows();
    let of = rows.iter().filter(|(name, _)| *name == space.name());
    of.map(|(_, (_, value))| value.len()).sum()
}

/// Octets that Alice, who says something, and Bob, who hears it, write for it.
fn written(world: &mut World, room: &BareJid, alice: usize, bob: usize) -> [u64; 2] {
    let stores = [alice, bob].map(|client| world.clients[client].store.clone());
    let before = stores.each_ref().map(|store| store.written());
    let now = world.now;
    world.input(alice, |e| e.send(room, "text", b"hello", now));
    world.run();
    let after = stores.each_ref().map(|store| store.written());
    [after[0] - before[0], after[1] - before[1]]
}

#[test]
fn a_message_writes_as_much_in_a_larger_room() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    written(&mut world, &room, alice, bob);
    let small = written(&mut world, &room, alice, bob);
    let tree = octets(&world, bob, Space::Tree);

    let others: Vec<BareJid> = (0..14)
        .map(|n| jid(&format!("citizen{n}@b.example")))
        .collect();
    for citizen in &others {
        world.enrolled(citizen.as_str());
    }
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &others, now));
    world.run();
    // The first of an epoch makes the ratchets of its sender.
    written(&mut world, &room, alice, bob);
    let large = written(&mut world, &room, alice, bob);
    let grown = octets(&world, bob, Space::Tree) - tree;
    println!("{small:?} and {large:?} octets for a message, and {grown} more of the tree");
    assert!(grown > 10_000, "{grown}");
    for (small, large) in small.into_iter().zip(large) {
        assert!(
            large < small + 1_500 && large < 16 * 1024,
            "{small} {large}"
        );
    }
}
