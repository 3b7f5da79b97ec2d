//! A hub that shows its members different histories (RFC 9750 §5.2, §8.3): what they say of the log
//! inside their messages gives it away.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod world;

use comity_mls_engine::{Event, Notice, Warning, What};
use comity_mls_wire::room::{Entry, EntryKind};
use comity_mls_wire::sync;
use comity_xmpp::jid::BareJid;
use world::{World, jid};

struct Scene {
    world: World,
    room: BareJid,
    alice: usize,
    bob: usize,
    carol: usize,
}

fn scene() -> Scene {
    let mut world = World::new(&["a.example", "b.example"]);
    let alice = world.enrolled("alice@a.example");
    let bob = world.enrolled("bob@b.example");
    let carol = world.enrolled("carol@b.example");
    let now = world.now;
    let room = world.input(alice, |e| e.create_room(None, now)).unwrap();
    let guests = [jid("bob@b.example"), jid("carol@b.example")];
    world.input(alice, |e| e.invite(&room, &guests, now));
    world.run();
    world.assert_agreement(&room, &[alice, bob, carol]);
    Scene {
        world,
        room,
        alice,
        bob,
        carol,
    }
}

impl Scene {
    fn say(&mut self, client: usize, words: &str) {
        let (room, now) = (self.room.clone(), self.world.now);
        self.world
            .input(client, |e| e.send(&room, "text", words.as_bytes(), now));
        self.world.run();
    }

    fn log(&mut self) -> &mut Vec<Entry> {
        &mut self.world.rooms.get_mut(&self.room).unwrap().log
    }

    /// An entry as the next of a log, with a chain that closes.
    fn next(log: &[Entry], entry: &Entry) -> Entry {
        let last = log.last().unwrap();
        let mut next = entry.clone();
        next.seq = last.seq + 1;
        next.head = next.computed_head(&last.head);
        next
    }

    fn forks(&self, client: usize) -> Vec<(String, u64)> {
        let told = self.world.clients[client].events.iter();
        told.filter_map(|event| match event {
            Event::Warning {
                warning: Warning::Fork { account, seq },
                ..
            } => Some((account.clone(), *seq)),
            _ => None,
        })
        .collect()
    }
}

#[test]
fn a_message_that_some_are_not_shown_is_told_by_what_they_say_next() {
    let mut scene = scene();
    let Scene {
        alice, bob, carol, ..
    } = scene;
    let common = scene.log().clone();
    scene.world.disconnect(bob);
    scene.say(carol, "do not sign");
    scene.say(alice, "shall we sign");
    let shown_to_others = scene.log().clone();
    let [_, asked] = &shown_to_others[common.len()..] else {
        panic!("{shown_to_others:?}");
    };

    // Bob is shown the question without the warning before it, in a chain that closes.
    let mut shown_to_bob = common.clone();
    shown_to_bob.push(Scene::next(&shown_to_bob, asked));
    let place = shown_to_bob.len() as u64;
    *scene.log() = shown_to_bob;
    scene.world.connect(bob);
    scene.world.run();
    assert_eq!(scene.world.words(bob, &scene.room), ["shall we sign"]);
    // What he is shown was said by somebody who had the warning before it.
    assert_eq!(scene.forks(bob), [("alice@a.example".to_owned(), place)]);
    scene.say(bob, "yes");
    scene.world.disconnect(bob);

    // The others get his answer as the next entry of their own history.
    let answer = scene.log().last().unwrap().clone();
    let mut log = shown_to_others;
    log.push(Scene::next(&log, &answer));
    let entry = log.last().unwrap().clone();
    *scene.log() = log;
    for client in [alice, carol] {
        let notice = Notice::Sync(sync::Notice::Entry(entry.clone()));
        scene.world.deliver(client, notice);
        scene.world.run();
        let bob = "bob@b.example".to_owned();
        assert_eq!(scene.forks(client), [(bob, place)]);
    }
}

#[test]
fn members_that_are_shown_different_commits_are_told_that_they_cannot_read_each_other() {
    let mut scene = scene();
    let Scene { alice, bob, .. } = scene;
    let room = scene.room.clone();
    let common = scene.log().clone();
    let group = scene.world.rooms[&room].group.clone();
    scene.world.disconnect(bob);
    let now = scene.world.now;
    scene.world.input(alice, |e| e.update(&room, now));
    scene.world.run();
    scene.say(alice, "in my epoch");
    let said = scene.log().last().unwrap().clone();
    assert_eq!(said.kind, EntryKind::Application);

    // For Bob the same epoch ends by his own commit.
    *scene.log() = common;
    scene.world.rooms.get_mut(&room).unwrap().group = group;
    scene.world.disconnect(alice);
    scene.world.connect(bob);
    let now = scene.world.now;
    scene.world.input(bob, |e| e.update(&room, now));
    scene.world.run();
    let log = scene.log().clone();
    let entry = Scene::next(&log, &said);
    scene.log().push(entry.clone());
    let notice = Notice::Sync(sync::Notice::Entry(entry));
    scene.world.deliver(bob, notice);
    scene.world.run();
    let history = scene.world.history(bob, &room);
    let unreadable = |item: &&comity_mls_engine::Item| matches!(item.what, What::Unreadable(_));
    assert_eq!(history.iter().filter(unreadable).count(), 1);
}
