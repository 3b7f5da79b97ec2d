//! People talk: rooms made, people invited across domains, messages read, people gone.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Event, Refused, RoomState, What};
use comity_xmpp::jid::BareJid;
use world::{World, jid};

fn say(world: &mut World, client: usize, room: &BareJid, words: &str) {
    let now = world.now;
    world.input(client, |e| e.send(room, "text", words.as_bytes(), now));
}

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

#[test]
fn two_domains_one_encrypted_conversation() {
    let (mut world, alice, bob, room) = two();
    world.assert_agreement(&room, &[alice, bob]);
    say(&mut world, alice, &room, "hello Bob");
    say(&mut world, alice, &room, "are you there?");
    world.run();
    say(&mut world, bob, &room, "yes");
    world.run();
    let expected = ["hello Bob", "are you there?", "yes"];
    assert_eq!(world.words(alice, &room), expected);
    assert_eq!(world.words(bob, &room), expected);
    let named = world.clients[bob]
        .events
        .iter()
        .any(|e| matches!(e, Event::RoomNamed { name, .. } if name == "Tea"));
    assert!(named);
    world.assert_unwarned();
}

#[test]
fn an_update_changes_the_epoch_for_all() {
    let (mut world, alice, bob, room) = two();
    let before = world.engine(bob).epoch_authenticator(&room).unwrap();
    let now = world.now;
    world.input(bob, |e| e.update(&room, now));
    world.run();
    world.assert_agreement(&room, &[alice, bob]);
    assert_ne!(
        world.engine(bob).epoch_authenticator(&room).unwrap(),
        before
    );
    let updated = world
        .history(alice, &room)
        .into_iter()
        .any(|i| matches!(i.what, What::Updated(who) if who.account == "bob@b.example"));
    assert!(updated);
    say(&mut world, bob, &room, "in the new epoch");
    world.run();
    assert_eq!(world.words(alice, &room), ["in the new epoch"]);
    world.assert_unwarned();
}

#[test]
fn who_is_removed_reads_no_further() {
    let (mut world, alice, bob, room) = two();
    let now = world.now;
    world.input(alice, |e| e.remove(&room, &jid("bob@b.example"), None, now));
    world.run();
    say(&mut world, alice, &room, "alone again");
    world.run();
    let rooms = world.engine(bob).rooms().unwrap();
    assert_eq!(rooms[0].state, RoomState::Left);
    assert!(world.words(bob, &room).is_empty());
    assert!(world.clients[bob].events.iter().any(
        |e| matches!(e, Event::RoomLeft { by: Some(by), .. } if *by == jid("alice@a.example"))
    ));
    world.assert_agreement(&room, &[alice]);

    // And may come back.
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    say(&mut world, alice, &room, "welcome back");
    world.run();
    assert_eq!(world.words(bob, &room), ["welcome back"]);
    world.assert_agreement(&room, &[alice, bob]);
    world.assert_unwarned();
}

#[test]
fn who_leaves_is_let_go_though_nobody_speaks() {
    let (mut world, alice, bob, room) = two();
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("carol@b.example")], now));
    world.run();
    let now = world.now;
    world.input(bob, |e| e.leave(&room, now));
    world.run();
    assert_eq!(
        world.engine(bob).rooms().unwrap()[0].state,
        RoomState::Leaving
    );
    world.run_for(30_000);
    assert_eq!(world.engine(bob).rooms().unwrap()[0].state, RoomState::Left);
    world.assert_agreement(&room, &[alice, carol]);
    assert_eq!(world.rooms[&room].members().len(), 2);
    world.assert_unwarned();
}

#[test]
fn whoever_speaks_commits_what_is_pending_first() {
    let (mut world, alice, bob, room) = two();
    let now = world.now;
    world.input(bob, |e| e.leave(&room, now));
    world.run();
    say(&mut world, alice, &room, "he is gone");
    world.run();
    assert_eq!(world.engine(bob).rooms().unwrap()[0].state, RoomState::Left);
    assert_eq!(world.words(alice, &room), ["he is gone"]);
    assert!(world.words(bob, &room).is_empty());
    world.assert_unwarned();
}

#[test]
fn the_last_one_closes_the_door_alone() {
    let mut world = World::new(&["a.example"]);
    let alice = world.enrolled("alice@a.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.run();
    world.input(alice, |e| e.leave(&room, now));
    world.run();
    assert_eq!(
        world.engine(alice).rooms().unwrap()[0].state,
        RoomState::Left
    );
}

#[test]
fn all_devices_of_an_account_come_and_go_together() {
    let (mut world, alice, bob, room) = two();
    let phone = world.enrolled("alice@a.example");
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("alice@a.example")], now));
    world.run();
    say(&mut world, phone, &room, "from my phone");
    world.run();
    assert_eq!(world.words(bob, &room), ["from my phone"]);
    assert_eq!(world.words(alice, &room), ["from my phone"]);
    world.assert_agreement(&room, &[alice, bob, phone]);
    let now = world.now;
    world.input(phone, |e| e.leave(&room, now));
    world.run_for(60_000);
    for client in [alice, phone] {
        assert_eq!(
            world.engine(client).rooms().unwrap()[0].state,
            RoomState::Left
        );
    }
    world.assert_agreement(&room, &[bob]);
    world.assert_unwarned();
}

#[test]
fn a_direct_room_is_one_room_whoever_opens_it() {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let one = world
        .input(alice, |e| e.open_direct(&jid("bob@b.example"), now))
        .unwrap();
    let other = world
        .input(bob, |e| e.open_direct(&jid("alice@a.example"), now))
        .unwrap();
    assert_eq!(one, other);
    say(&mut world, alice, &one, "from Alice");
    say(&mut world, bob, &one, "from Bob");
    world.run_for(30_000);
    world.assert_agreement(&one, &[alice, bob]);
    let mut words = world.words(alice, &one);
    assert_eq!(words, world.words(bob, &one));
    words.sort();
    assert_eq!(words, ["from Alice", "from Bob"]);
    world.assert_unwarned();
}

#[test]
fn who_cannot_be_invited_is_named_and_the_others_come() {
    let (mut world, alice, bob, room) = two();
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    let accounts = [jid("nobody@b.example"), jid("carol@b.example")];
    world.input(alice, |e| e.invite(&room, &accounts, now));
    world.run();
    world.assert_agreement(&room, &[alice, bob, carol]);
    let named = world.clients[alice].events.iter().any(
        |e| matches!(e, Event::NotInvited { account, .. } if *account == jid("nobody@b.example")),
    );
    assert!(named);
}

#[test]
fn whoever_came_by_a_last_resort_renews_its_key_first() {
    let (mut world, alice, bob, room) = two();
    let carol = world.enrolled("carol@b.example");
    let device = world.device_id(carol);
    let packages = &mut world
        .domains
        .get_mut("b.example")
        .unwrap()
        .devices
        .get_mut(&device)
        .unwrap()
        .packages;
    packages.retain(|p| p.last_resort);
    assert_eq!(packages.len(), 1);
    let now = world.now;
    world.input(alice, |e| e.invite(&room, &[jid("carol@b.example")], now));
    world.run_for(5_000);
    let renewed = world
        .history(bob, &room)
        .into_iter()
        .any(|i| matches!(i.what, What::Updated(who) if who.account == "carol@b.example"));
    assert!(renewed);
    say(&mut world, carol, &room, "with a key of its own");
    world.run();
    assert_eq!(world.words(bob, &room), ["with a key of its own"]);
    world.assert_agreement(&room, &[alice, bob, carol]);
    world.assert_unwarned();
}

#[test]
fn the_other_cipher_suite_carries_a_conversation_as_well() {
    let mut world = World::with_suite(&["a.example", "b.example"], 1);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    world.input(alice, |e| e.invite(&room, &[jid("bob@b.example")], now));
    world.run();
    say(&mut world, bob, &room, "over Ed25519");
    let now = world.now;
    world.input(alice, |e| e.update(&room, now));
    world.run();
    assert_eq!(world.words(alice, &room), ["over Ed25519"]);
    world.assert_agreement(&room, &[alice, bob]);
    world.assert_unwarned();
}

#[test]
fn what_the_policy_forbids_is_refused_before_it_is_sent() {
    let (mut world, alice, bob, room) = two();
    let now = world.now;
    world.input(bob, |e| e.remove(&room, &jid("alice@a.example"), None, now));
    world.run();
    let refused = world.clients[bob].events.iter().any(|e| {
        matches!(e, Event::Refused { what: Refused::Removal, why, .. } if why.contains("Admin"))
    });
    assert!(refused, "{:?}", world.clients[bob].events.last());
    assert_eq!(world.rooms[&room].members().len(), 2);
    // Nor does anybody come to a direct room of two.
    let direct = world
        .input(alice, |e| e.open_direct(&jid("bob@b.example"), now))
        .unwrap();
    world.run();
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    world.input(alice, |e| e.invite(&direct, &[jid("carol@b.example")], now));
    world.run();
    world.assert_agreement(&direct, &[alice, bob]);
    assert!(world.engine(carol).rooms().unwrap().is_empty());
    say(&mut world, alice, &direct, "just us");
    world.run();
    assert_eq!(world.words(bob, &direct), ["just us"]);
}

#[test]
fn history_is_read_in_pages_that_keep_a_commit_whole() {
    let (mut world, alice, bob, room) = two();
    let carol = world.enrolled("carol@b.example");
    let dave = world.enrolled("dave@a.example");
    let now = world.now;
    let guests = [jid("carol@b.example"), jid("dave@a.example")];
    world.input(alice, |e| e.invite(&room, &guests, now));
    world.run();
    for n in 0..5 {
        say(&mut world, bob, &room, &n.to_string());
    }
    world.run();
    let all = world.history(alice, &room);
    let mut pages = Vec::new();
    let mut after = 0;
    loop {
        let page = world.engine(alice).history(&room, after, 2).unwrap();
        let Some(last) = page.last() else { break };
        after = last.seq;
        pages.extend(page);
    }
    assert_eq!(pages, all);
    let now = world.now;
    world.input(carol, |e| e.mark_read(&room, 7, now));
    world.restart(carol);
    let read = world.engine(carol).rooms().unwrap()[0].read;
    assert_eq!(read, 7);
    world.run();
    world.assert_agreement(&room, &[alice, bob, carol, dave]);
}
