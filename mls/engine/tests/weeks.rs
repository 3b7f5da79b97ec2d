//! Simulated months: certificates, packages and leaves are renewed before their time, nothing piles
//! up, and a device that slept through it all catches up.

mod world;

use comity_mls_engine::{Space, Store as _, What};
use world::{World, jid};

const DAY: u64 = 24 * 60 * 60 * 1_000;

#[test]
fn a_room_lives_through_half_a_year() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    let guests = [jid("bob@b.example"), jid("carol@b.example")];
    world.input(alice, |e| e.invite(&room, &guests, now));
    world.run();
    world.disconnect(carol);
    let mut said = Vec::new();
    for week in 0..26 {
        world.run_for(7 * DAY);
        let words = format!("week {week}");
        let now = world.now;
        let speaker = [alice, bob][week % 2];
        world.input(speaker, |e| e.send(&room, "text", words.as_bytes(), now));
        said.push(words);
        // Of those who are there, no leaf's certificate is near its end (RFC 9750 §4.1).
        world.run();
        for member in world.rooms[&room].members() {
            let rest = world.rooms[&room]
                .not_after(&member)
                .saturating_sub(world.now / 1_000);
            let sleeps = member.account == jid("carol@b.example");
            assert!(
                sleeps || rest > 60 * 24 * 60 * 60,
                "{member:?} in week {week}: {rest} s"
            );
        }
    }
    world.run();
    world.assert_agreement(&room, &[alice, bob]);
    // Carol's certificate and package have expired long ago; she follows all the same.
    world.connect(carol);
    world.run_for(60_000);
    world.assert_agreement(&room, &[alice, bob, carol]);
    for client in [alice, bob, carol] {
        assert_eq!(world.words(client, &room), said);
    }
    let renewals = world
        .history(alice, &room)
        .into_iter()
        .filter(|item| matches!(&item.what, What::Updated(who) if who.account == "bob@b.example"))
        .count();
    assert!((20..40).contains(&renewals), "{renewals} leaf updates");
    for client in [alice, bob, carol] {
        let keys = world.clients[client].keys.len();
        let store = &world.clients[client].store;
        let packages = store.scan(Space::KeyPackage, b"", None, 999).unwrap().len();
        assert!(packages < 30, "{packages} private halves");
        assert!(keys < packages + 12, "{keys} keys for {packages} packages");
    }
    // New people still come, by packages and certificates of today.
    let dave = world.enrolled("dave@a.example");
    let now = world.now;
    world.input(bob, |e| e.invite(&room, &[jid("dave@a.example")], now));
    world.run_for(60_000);
    world.assert_agreement(&room, &[alice, bob, carol, dave]);
    world.assert_unwarned();
}
