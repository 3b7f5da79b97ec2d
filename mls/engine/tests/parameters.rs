//! What RFC 9750 §5.1, §7 and §8 ask of keys and stocks: spent keys are gone, and stocks are filled up.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Notice, Space, Store as _};
use comity_mls_wire::keys;
use world::{World, jid};

fn directory(world: &World, client: usize) -> Vec<keys::Published> {
    let (account, device) = (&world.clients[client].account, world.device_id(client));
    world.domains[account.domain()].devices[&device]
        .packages
        .clone()
}

/// Takes packages out of the directory, as others do who claim them.
fn claim(world: &mut World, client: usize, count: usize) {
    let account = world.clients[client].account.clone();
    let domain = world.domains.get_mut(account.domain()).unwrap();
    for _ in 0..count {
        domain.claim(&account, &[]).unwrap();
    }
}

fn ordinary(packages: &[keys::Published]) -> usize {
    packages.iter().filter(|p| !p.last_resort).count()
}

#[test]
fn a_stock_is_filled_up_when_the_directory_says_that_it_is_low() {
    let mut world = World::new(&["a.example"]);
    let alice = world.enrolled("alice@a.example");
    let full = ordinary(&directory(&world, alice));
    assert!(full > 2);
    claim(&mut world, alice, full - 1);
    world.run();
    assert_eq!(ordinary(&directory(&world, alice)), 1, "she cannot know");
    let low = keys::Count {
        device: world.device_id(alice),
        suite: 2,
        ordinary: 1,
        last_resort: true,
    };
    world.deliver(alice, Notice::Keys(keys::Notice::LowStock(low)));
    world.run();
    assert_eq!(ordinary(&directory(&world, alice)), full);
    world.assert_unwarned();
}

#[test]
fn a_last_resort_that_was_handed_out_is_replaced_by_another() {
    let mut world = World::new(&["a.example"]);
    let alice = world.enrolled("alice@a.example");
    let full = ordinary(&directory(&world, alice));
    claim(&mut world, alice, full);
    let before = directory(&world, alice);
    assert!(before.len() == 1 && before[0].last_resort, "{before:?}");
    claim(&mut world, alice, 1);
    let used = keys::Notice::LastResortUsed {
        device: world.device_id(alice),
        suite: 2,
    };
    world.deliver(alice, Notice::Keys(used));
    world.run();
    let after = directory(&world, alice);
    assert_eq!(ordinary(&after), full);
    let new = |p: &&keys::Published| p.last_resort && !before.contains(p);
    assert_eq!(after.iter().filter(new).count(), 1);
    world.assert_unwarned();
}

#[test]
fn the_private_half_of_a_package_goes_when_its_welcome_is_joined() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    world.disconnect(bob);
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    let welcome = world.rooms[&room].welcomes[0].1.clone();
    let reference = welcome.joiners[0].key_package.clone();
    let held = |world: &World| {
        let store = &world.clients[bob].store;
        store.get(Space::KeyPackage, &reference).unwrap().is_some()
    };
    assert!(held(&world));
    let keys = world.clients[bob].keys.len();
    world.connect(bob);
    world.run();
    assert_eq!(world.engine(bob).rooms().unwrap().len(), 1);
    assert!(!held(&world), "the init key is gone");
    assert!(
        world.clients[bob].keys.len() >= keys,
        "its leaf's key is not"
    );

    // Whoever has the store now, and the Welcome, cannot join by it again.
    let (mut engine, _) = world.twin(bob);
    let mut again = welcome;
    again.room = jid("~bbbbbbbbbbbbbbbbbbbbbbbbbb@a.example");
    let notice = comity_mls_wire::sync::Notice::Welcome(again);
    engine.notice(Notice::Sync(notice), world.now).unwrap();
    assert_eq!(engine.rooms().unwrap().len(), 1);
}

/// Where octets of the old epoch's state are still to be found.
fn left_of(old: &[(&'static str, Vec<u8>)], world: &World, client: usize) -> Vec<&'static str> {
    let rows = world.clients[client].store.rows();
    let kept = |value: &Vec<u8>| rows.iter().any(|(_, (_, now))| now == value);
    old.iter()
        .filter(|(_, value)| kept(value))
        .map(|(space, _)| *space)
        .collect()
}

#[test]
fn of_an_epoch_that_has_ended_no_state_is_left() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    let groups = |world: &World, client: usize| -> Vec<(&'static str, Vec<u8>)> {
        let rows = world.clients[client].store.rows();
        let spaces = [Space::Group.name(), Space::InFlight.name()];
        let of = rows.into_iter().filter(|(space, _)| spaces.contains(space));
        of.map(|(space, (_, value))| (space, value)).collect()
    };
    let counts: Vec<usize> = [alice, bob].map(|c| groups(&world, c).len()).to_vec();
    for round in 0..6 {
        let before = [alice, bob].map(|client| groups(&world, client));
        let now = world.now;
        let by = [alice, bob][round % 2];
        world.input(by, |e| e.update(&room, now));
        world.run();
        for (client, before) in [alice, bob].into_iter().zip(&before) {
            assert!(!before.is_empty());
            assert_eq!(left_of(before, &world, client), Vec::<&str>::new());
        }
    }
    let after: Vec<usize> = [alice, bob].map(|c| groups(&world, c).len()).to_vec();
    assert_eq!(after, counts, "nothing of past epochs piles up");
}
