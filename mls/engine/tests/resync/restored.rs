//! A device whose data is put back to an older copy: across its removal, across its coming, and while
//! something waits to be said.

use comity_mls_engine::{Event, Refused, RoomState, Warning};
use comity_mls_wire::room::EntryKind;

use super::{HOUR_MS, Stage};
use crate::world::jid;

impl Stage {
    fn put_out(&mut self, who: &str) {
        let (now, room, alice) = (self.world.now, self.room.clone(), self.alice);
        self.world
            .input(alice, |e| e.remove(&room, &jid(who), None, now));
        self.world.run();
    }

    fn let_in(&mut self, who: &str) {
        let (now, room, alice) = (self.world.now, self.room.clone(), self.alice);
        self.world
            .input(alice, |e| e.invite(&room, &[jid(who)], now));
        self.world.run();
    }

    fn is_told(&self, client: usize, what: impl Fn(&Event) -> bool) -> bool {
        self.world.clients[client].events.iter().any(what)
    }

    /// What this device was refused, as far as it was about coming back.
    fn cannot_come_back(&self, client: usize) -> Vec<String> {
        let events = self.world.clients[client].events.iter();
        events
            .filter_map(|event| match event {
                Event::Refused {
                    what: Refused::Resync,
                    why,
                    ..
                } => Some(why.clone()),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn who_was_put_out_in_the_time_that_is_lost_learns_it() {
    let mut stage = Stage::new();
    stage.say(stage.alice, "one");
    let backup = stage.world.clients[stage.bob].store.copy();
    stage.put_out("bob@b.example");
    assert_eq!(stage.state(stage.bob), RoomState::Left);
    stage.world.clients[stage.bob].events.clear();
    stage.world.restore(stage.bob, backup);
    stage.world.run();
    assert_eq!(stage.state(stage.bob), RoomState::Left);
    assert!(stage.is_told(stage.bob, |e| matches!(e, Event::RoomLeft { .. })));
    assert!(stage.is_told(stage.bob, |e| matches!(e, Event::Restored)));
    assert_eq!(stage.heard(stage.bob), ["one"]);
    let room = stage.room.clone();
    stage
        .world
        .assert_agreement(&room, &[stage.alice, stage.carol]);
    // It can be invited as before.
    stage.let_in("bob@b.example");
    stage.world.assert_agreement(&room, &stage.all());
    stage.say(stage.bob, "two");
    assert_eq!(stage.heard(stage.alice), ["one", "two"]);
}

#[test]
fn who_came_in_the_time_that_is_lost_takes_its_place() {
    let mut stage = Stage::new();
    let room = stage.room.clone();
    let dave = stage.world.enrolled("dave@b.example");
    let backup = stage.world.clients[dave].store.copy();
    stage.let_in("dave@b.example");
    stage.say(stage.alice, "one");
    stage.world.restore(dave, backup);
    stage.world.run_for(HOUR_MS);
    let all = [&stage.all()[..], &[dave]].concat();
    stage.world.assert_agreement(&room, &all);
    assert_eq!(stage.returns(dave), [0]);
    // He held no epoch that he could prove.
    assert_eq!(
        stage.seen(stage.alice),
        [("dave@b.example".to_owned(), false)]
    );
    stage.say(dave, "two");
    stage.say(stage.bob, "three");
    assert_eq!(stage.heard(stage.alice), ["one", "two", "three"]);
    assert_eq!(stage.heard(dave), ["two", "three"]);
}

#[test]
fn who_was_put_out_and_came_again_takes_its_place() {
    let mut stage = Stage::new();
    let room = stage.room.clone();
    stage.say(stage.alice, "one");
    let backup = stage.world.clients[stage.bob].store.copy();
    stage.put_out("bob@b.example");
    stage.say(stage.alice, "two");
    stage.let_in("bob@b.example");
    stage.say(stage.alice, "three");
    stage.world.restore(stage.bob, backup);
    stage.world.run_for(HOUR_MS);
    stage.world.assert_agreement(&room, &stage.all());
    assert_eq!(stage.returns(stage.bob), [0]);
    stage.say(stage.bob, "four");
    assert_eq!(stage.heard(stage.carol), ["one", "two", "three", "four"]);
    assert_eq!(stage.heard(stage.bob), ["one", "four"]);
}

/// Whoever is invited by a package that was made in the time that is lost is in the room, and cannot
/// use it.
#[test]
fn whose_key_is_lost_is_told_and_can_be_invited_again() {
    let mut stage = Stage::new();
    let room = stage.room.clone();
    let dave = stage.world.enrolled("dave@b.example");
    let backup = stage.world.clients[dave].store.copy();
    // Packages are made anew after 28 days.
    stage.world.run_for(29 * 24 * HOUR_MS);
    stage.world.restore(dave, backup);
    stage.world.disconnect(dave);
    stage.let_in("dave@b.example");
    stage.world.connect(dave);
    stage.world.run_for(HOUR_MS);
    assert!(stage.is_told(dave, |e| matches!(e, Event::Restored)));
    let told = stage.cannot_come_back(dave);
    assert!(told[0].contains("invite it again"), "{told:?}");
    stage.put_out("dave@b.example");
    stage.let_in("dave@b.example");
    let all = [&stage.all()[..], &[dave]].concat();
    stage.world.assert_agreement(&room, &all);
    stage.say(dave, "here");
    assert_eq!(stage.heard(stage.alice), ["here"]);
}

/// What it says first would be sealed with the key of the message that it has forgotten, had it not
/// asked the hub where the log ends.
#[test]
fn nothing_that_waits_is_sealed_with_a_key_that_was_used() {
    let mut stage = Stage::new();
    let room = stage.room.clone();
    stage.say(stage.bob, "one");
    stage.world.disconnect(stage.bob);
    stage.say(stage.bob, "two");
    let backup = stage.world.clients[stage.bob].store.copy();
    stage.world.connect(stage.bob);
    stage.world.run();
    assert_eq!(stage.heard(stage.alice), ["one", "two"]);
    stage.world.restore(stage.bob, backup);
    stage.world.run_for(HOUR_MS);
    stage.world.assert_agreement(&room, &stage.all());
    // It was said again, as far as this copy knows, and under another key; nobody is shown it twice,
    // nor warned of a replay.
    let log = &stage.world.rooms[&room].log;
    let said = |kind| log.iter().filter(|entry| entry.kind == kind).count();
    assert_eq!(said(EntryKind::Application), 3);
    for client in [stage.alice, stage.carol] {
        assert_eq!(stage.heard(client), ["one", "two"]);
        assert!(!stage.is_told(client, |event| matches!(
            event,
            Event::Warning {
                warning: Warning::Replayed { .. },
                ..
            }
        )));
    }
}
