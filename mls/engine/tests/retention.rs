//! What is no longer to be kept is deleted from the device.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::MessageId;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;

fn say(world: &mut World, client: usize, room: &BareJid, words: &str) -> MessageId {
    let now = world.now;
    let id = world.input(client, |e| e.send(room, "text", words.as_bytes(), now));
    world.run();
    id.unwrap()
}

fn holds(world: &World, client: usize, words: &str) -> bool {
    let rows = world.clients[client].store.rows();
    let found = |value: &[u8]| value.windows(words.len()).any(|w| w == words.as_bytes());
    rows.iter().any(|(_, (_, value))| found(value))
}

#[test]
fn what_is_older_than_it_is_to_be_kept_is_deleted_from_the_device() {
    let mut world = World::new(&["a.example", "b.example"]);
    world.keep_history_ms = Some(7 * DAY_MS);
    let alice = world.enrolled("alice@a.example");
    world.keep_history_ms = None;
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    let old = say(&mut world, bob, &room, "burn after reading");
    say(&mut world, alice, &room, "and this of mine as well");
    world.run_for(5 * DAY_MS);
    say(&mut world, bob, &room, "this is younger");
    assert!(holds(&world, alice, "burn after reading"));
    world.run_for(3 * DAY_MS);
    for gone in ["burn after reading", "and this of mine as well"] {
        assert!(!holds(&world, alice, gone), "{gone}");
        assert!(holds(&world, bob, gone), "{gone}");
    }
    assert_eq!(world.words(alice, &room), ["this is younger"]);
    assert_eq!(world.words(bob, &room).len(), 3);
    // What is gone cannot be shown any more, and said again it is a replay all the same.
    let now = world.now;
    let refused = world.engine(alice).report(&room, old, "", now);
    assert!(refused.is_err());
    say(&mut world, alice, &room, "we go on");
    assert_eq!(world.words(bob, &room).len(), 4);
    world.assert_unwarned();
}
