//! Members that cannot follow: they come back by themselves, once, with what they may read told or
//! shown, and nobody who is out comes with them.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "resync/restored.rs"]
mod restored;
mod world;

use comity_mls_engine::{Event, Refused, RoomState, Space, Warning, What};
use comity_mls_wire::room::{EntryKind, Payload, Request};
use comity_xmpp::jid::BareJid;
use world::raw::Raw;
use world::{World, jid};

const HOUR_MS: u64 = 60 * 60 * 1_000;

struct Stage {
    world: World,
    alice: usize,
    bob: usize,
    carol: usize,
    room: BareJid,
}

impl Stage {
    fn new() -> Self {
        let mut world = World::new(&["a.example", "b.example"]);
        let alice = world.enrolled("alice@a.example");
        let bob = world.enrolled("bob@b.example");
        let carol = world.enrolled("carol@b.example");
        let now = world.now;
        let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
        Self::invite(&mut world, alice, &room, &[]);
        Self {
            world,
            alice,
            bob,
            carol,
            room,
        }
    }

    /// The others stand between Alice and Bob in the tree.
    fn invite(world: &mut World, alice: usize, room: &BareJid, others: &[&str]) {
        let mut guests: Vec<_> = others.iter().map(|other| jid(other)).collect();
        guests.extend([jid("bob@b.example"), jid("carol@b.example")]);
        let now = world.now;
        world.input(alice, |e| e.invite(room, &guests, now));
        world.run();
    }

    fn say(&mut self, client: usize, words: &str) {
        let now = self.world.now;
        let room = self.room.clone();
        self.world
            .input(client, |e| e.send(&room, "text", words.as_bytes(), now));
        self.world.run();
    }

    fn update(&mut self, client: usize) {
        let (now, room) = (self.world.now, self.room.clone());
        self.world.input(client, |e| e.update(&room, now));
        self.world.run();
    }

    fn state(&self, client: usize) -> RoomState {
        self.world.clients[client].engine.rooms().unwrap()[0].state
    }

    fn all(&self) -> [usize; 3] {
        [self.alice, self.bob, self.carol]
    }

    /// How often this device came back, and what it missed.
    fn returns(&self, client: usize) -> Vec<u64> {
        let events = self.world.clients[client].events.iter();
        events
            .filter_map(|event| match event {
                Event::RoomResynced { missed, .. } => Some(*missed),
                _ => None,
            })
            .collect()
    }

    fn heard(&self, client: usize) -> Vec<String> {
        let items = self.world.history(client, &self.room);
        items
            .into_iter()
            .filter_map(|item| match item.what {
                What::Message(message) => Some(String::from_utf8(message.content).unwrap()),
                What::Unreadable(_) => Some("?".to_owned()),
                _ => None,
            })
            .collect()
    }

    /// What this device shows of others that came back.
    fn seen(&self, client: usize) -> Vec<(String, bool)> {
        let items = self.world.history(client, &self.room);
        items
            .into_iter()
            .filter_map(|item| match item.what {
                What::Rejoined(back) => Some((back.who.account, back.proven)),
                _ => None,
            })
            .collect()
    }
}

/// Alice, Mallory, Bob, Carol, in this order in the tree: what Mallory seals for Bob and Carol, she
/// seals for each of their leaves.
fn with_mallory() -> (Stage, Raw) {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let mut mallory = world.raw("mallory@b.example", 0x66);
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    Stage::invite(&mut world, alice, &room, &["mallory@b.example"]);
    world.catch_up(&mut mallory, &room);
    let stage = Stage {
        world,
        alice,
        bob,
        carol,
        room,
    };
    (stage, mallory)
}

fn hand_in(stage: &mut Stage, mallory: &mut Raw, request: Request) {
    let room = stage.room.clone();
    let answer = stage.world.hand_in(mallory, &room, request).unwrap();
    assert!(matches!(answer, comity_mls_wire::room::Answer::Accepted(_)));
}

#[test]
fn a_commit_with_garbage_for_half_of_the_members_is_come_back_from() {
    let (mut stage, mut mallory) = with_mallory();
    mallory.spoil(&["bob@b.example", "carol@b.example"]);
    let request = mallory.commit(&[], Vec::new());
    hand_in(&mut stage, &mut mallory, request);
    assert_eq!(stage.state(stage.alice), RoomState::Active);
    for victim in [stage.bob, stage.carol] {
        assert_eq!(stage.state(victim), RoomState::Resyncing);
    }
    // What is said meanwhile is told as unreadable, what they say waits.
    stage.say(stage.alice, "one");
    stage.say(stage.bob, "two");
    assert_eq!(stage.heard(stage.bob), ["?"]);
    stage.world.run_for(HOUR_MS);
    let room = stage.room.clone();
    stage.world.assert_agreement(&room, &stage.all());
    assert_eq!(stage.returns(stage.bob), [1]);
    // One of them was back first and spoke.
    assert_eq!(stage.returns(stage.carol), [2]);
    assert_eq!(stage.heard(stage.alice), ["one", "two"]);
    assert_eq!(stage.heard(stage.bob), ["?", "two"]);
    // Both have said so, and Mallory commits no more; Alice has made what they came back from.
    let hub = &stage.world.rooms[&room];
    assert_eq!(hub.reports.len(), 2);
    assert_eq!(hub.barred.len(), 1);
    assert_eq!(hub.barred[0].0, mallory.member);
    for client in stage.all() {
        let items = stage.world.history(client, &room);
        let told = |item: &&comity_mls_engine::Item| matches!(item.what, What::Barred(_));
        assert_eq!(items.iter().filter(told).count(), 1);
    }
    // Both proved that they were there: Alice and the other one hold that epoch's secret.
    assert!(stage.seen(stage.alice).iter().all(|(_, proven)| *proven));
    assert_eq!(stage.seen(stage.alice).len(), 2);
    stage.say(stage.carol, "three");
    assert_eq!(stage.heard(stage.alice), ["one", "two", "three"]);
    assert_eq!(stage.heard(stage.bob).last().unwrap(), "three");
    assert_eq!(stage.world.rooms[&room].members().len(), 4);
}

/// The GroupInfo of Mallory's commit has a false key in it: what is made from it nobody can apply.
/// Nobody sees that beforehand.
#[test]
fn a_corrupt_group_info_gets_no_honest_device_barred() {
    let (mut stage, mut mallory) = with_mallory();
    let backup = stage.world.clients[stage.bob].store.copy();
    stage.update(stage.bob);
    stage.world.catch_up(&mut mallory, &stage.room.clone());
    let request = mallory.commit(&[], Vec::new());
    let Request::Commit(bundle) = &request else {
        unreachable!()
    };
    let corrupt = mallory.corrupt(&bundle.group_info);
    hand_in(&mut stage, &mut mallory, request);
    let room = stage.room.clone();
    stage.world.rooms.get_mut(&room).unwrap().group_info = corrupt;
    stage.world.restore(stage.bob, backup);
    stage.world.run_for(HOUR_MS);
    assert_eq!(stage.returns(stage.bob), [0]);
    // Alice and Carol could not follow him, said so, and came back from what he brought.
    assert_eq!(stage.returns(stage.alice), [0]);
    assert_eq!(stage.returns(stage.carol), [0]);
    let hub = &stage.world.rooms[&room];
    assert_eq!(hub.reports.len(), 2);
    assert_eq!(hub.barred, []);
    stage.world.assert_agreement(&room, &stage.all());
    stage.say(stage.bob, "well");
    assert_eq!(stage.heard(stage.alice), ["well"]);
}

#[test]
fn who_is_put_out_while_it_cannot_follow_stays_out() {
    let (mut stage, mut mallory) = with_mallory();
    mallory.spoil(&["bob@b.example", "carol@b.example"]);
    let request = mallory.commit(&[], Vec::new());
    hand_in(&mut stage, &mut mallory, request);
    let (now, room) = (stage.world.now, stage.room.clone());
    stage.world.input(stage.alice, |e| {
        e.remove(&room, &jid("bob@b.example"), None, now)
    });
    stage.world.run();
    assert_eq!(stage.state(stage.bob), RoomState::Left);
    stage.world.run_for(HOUR_MS);
    assert_eq!(stage.state(stage.bob), RoomState::Left);
    stage
        .world
        .assert_agreement(&room, &[stage.alice, stage.carol]);
    assert_eq!(stage.world.rooms[&room].members().len(), 3);
}

#[test]
fn a_device_restored_from_a_backup_comes_back() {
    let mut stage = Stage::new();
    let backup = stage.world.clients[stage.bob].store.copy();
    stage.update(stage.bob);
    stage.say(stage.alice, "one");
    stage.world.restore(stage.bob, backup);
    stage.world.run();
    assert_eq!(stage.state(stage.bob), RoomState::Resyncing);
    stage.say(stage.bob, "two");
    stage.world.run_for(HOUR_MS);
    let room = stage.room.clone();
    stage.world.assert_agreement(&room, &stage.all());
    assert_eq!(stage.heard(stage.bob), ["?", "two"]);
    assert_eq!(stage.heard(stage.carol), ["one", "two"]);
    // Its counter was lost with the rest, and nobody takes what it says for a replay.
    for client in stage.all() {
        let events = &stage.world.clients[client].events;
        let replayed = |event: &&Event| {
            matches!(
                event,
                Event::Warning {
                    warning: Warning::Replayed { .. },
                    ..
                }
            )
        };
        assert_eq!(events.iter().find(replayed), None);
    }
    assert_eq!(
        stage.seen(stage.alice),
        [("bob@b.example".to_owned(), true)]
    );
}

/// Its next message would be sealed with a key that it has used before.
#[test]
fn a_device_restored_to_before_a_message_of_its_own_says_nothing_before_it_is_back() {
    let mut stage = Stage::new();
    let backup = stage.world.clients[stage.bob].store.copy();
    stage.say(stage.bob, "one");
    stage.world.restore(stage.bob, backup);
    stage.world.run();
    assert_eq!(stage.state(stage.bob), RoomState::Resyncing);
    stage.say(stage.bob, "two");
    stage.world.run_for(HOUR_MS);
    let room = stage.room.clone();
    stage.world.assert_agreement(&room, &stage.all());
    assert_eq!(stage.heard(stage.alice), ["one", "two"]);
    assert_eq!(stage.world.rooms[&room].reports, []);
}

#[test]
fn a_handshake_that_is_gone_is_come_back_from_and_who_is_there_is_shown() {
    let mut stage = Stage::new();
    stage.world.disconnect(stage.bob);
    stage.update(stage.alice);
    stage.say(stage.alice, "one");
    let now = stage.world.now;
    let room = stage.room.clone();
    stage.world.input(stage.alice, |e| {
        e.remove(&room, &jid("carol@b.example"), None, now)
    });
    stage.world.run();
    for entry in &mut stage.world.rooms.get_mut(&room).unwrap().log {
        if entry.kind == EntryKind::Commit {
            entry.payload = Payload::Purged(entry.payload.hash());
        }
    }
    stage.world.connect(stage.bob);
    stage.world.run_for(HOUR_MS);
    stage
        .world
        .assert_agreement(&room, &[stage.alice, stage.bob]);
    assert_eq!(stage.returns(stage.bob), [1]);
    let items = stage.world.history(stage.bob, &room);
    let present = items.iter().rev().find_map(|item| match &item.what {
        What::Joined(present) => Some(present.len()),
        _ => None,
    });
    assert_eq!(present, Some(2));
}

#[test]
fn a_damaged_store_is_come_back_from() {
    for space in [Space::Group, Space::Tree] {
        let mut stage = Stage::new();
        stage.say(stage.alice, "one");
        stage.world.disconnect(stage.bob);
        stage.world.clients[stage.bob].store.damage(space);
        stage.say(stage.alice, "two");
        stage.world.restart(stage.bob);
        stage.world.run_for(HOUR_MS);
        let room = stage.room.clone();
        stage.world.assert_agreement(&room, &stage.all());
        assert_eq!(stage.heard(stage.bob), ["one", "?"]);
        stage.say(stage.bob, "three");
        assert_eq!(stage.heard(stage.alice), ["one", "two", "three"]);
    }
}

#[test]
fn what_is_served_must_be_what_the_log_leads_to_and_a_day_has_a_cap() {
    let mut stage = Stage::new();
    let backup = stage.world.clients[stage.bob].store.copy();
    let early = stage.world.rooms[&stage.room].group_info.clone();
    stage.update(stage.bob);
    let room = stage.room.clone();
    let good = stage.world.rooms[&room].group_info.clone();
    stage.world.rooms.get_mut(&room).unwrap().group_info = early;
    stage.world.restore(stage.bob, backup);
    stage.world.run_for(12 * HOUR_MS);
    assert_eq!(stage.state(stage.bob), RoomState::Resyncing);
    assert_eq!(stage.returns(stage.bob), []);
    let refused = stage.world.clients[stage.bob]
        .events
        .iter()
        .filter(|event| {
            matches!(
                event,
                Event::Refused {
                    what: Refused::Resync,
                    ..
                }
            )
        });
    let refused = refused.count();
    assert!((6..=8).contains(&refused), "{refused}");
    stage.world.rooms.get_mut(&room).unwrap().group_info = good;
    stage.world.run_for(HOUR_MS);
    assert_eq!(stage.returns(stage.bob), []);
    stage.world.run_for(14 * HOUR_MS);
    assert_eq!(stage.returns(stage.bob), [0]);
    stage.world.assert_agreement(&room, &stage.all());
}

#[test]
fn a_return_survives_crashes_lost_answers_and_races() {
    for seed in 1..6 {
        let mut stage = Stage::new();
        stage.world.seed(seed);
        let backup = stage.world.clients[stage.bob].store.copy();
        stage.update(stage.bob);
        stage.world.lossy = 15;
        stage.world.leaky = 15;
        stage.world.restore(stage.bob, backup);
        for round in 0..12 {
            let point = stage.world.random(12);
            stage.world.crash_at(stage.bob, point);
            if round % 3 == 0 {
                stage.update(stage.alice);
            }
            let words = format!("{seed}.{round}");
            stage.say(stage.carol, &words);
            stage.world.run_for(5_000);
        }
        stage.world.lossy = 0;
        stage.world.leaky = 0;
        // What was lost last shows with the next session.
        for client in stage.all() {
            stage.world.disconnect(client);
            stage.world.connect(client);
        }
        stage.world.run_for(25 * HOUR_MS);
        let room = stage.room.clone();
        stage.world.assert_agreement(&room, &stage.all());
        assert_eq!(stage.returns(stage.bob).len(), 1, "seed {seed}");
        // Each message stands there once, read or not.
        assert_eq!(stage.heard(stage.bob).len(), 12, "seed {seed}");
        assert_eq!(stage.heard(stage.alice).len(), 12, "seed {seed}");
    }
}
